import RoostCausality
import RoostCluster

// From the first lock to the decision.
extension Coordinator {
  // MARK: Locks and reads of the body

  mutating func acquire(
    _ request: UInt64, _ transaction: TransactionID, at member: MemberID, _ locks: [LockTarget],
    _ read: TransactionRead?
  ) {
    guard let found = active[transaction], case .running = found.phase else {
      return effects.append(.failAcquire(request: request, reason(transaction)))
    }
    if found.acquires.values.contains(where: { $0.answers == request }) { return }
    acquire(transaction, at: member, locks, read, answers: request)
  }

  /// Why nothing more can be done in a transaction.
  private func reason(_ transaction: TransactionID) -> AbortReason {
    if case .aborted(let reason) = finished[transaction] { return reason }
    return active[transaction] == nil ? .expired : .failed("the transaction is being committed")
  }

  private mutating func acquire(
    _ transaction: TransactionID, at member: MemberID, _ locks: [LockTarget], _ read: TransactionRead?,
    answers: UInt64?
  ) {
    guard let found = active[transaction] else { return }
    let epoch = found.participants[member] ?? nil
    if found.participants[member] == nil {
      active[transaction]?.participants.updateValue(nil, forKey: member)
    }
    lastRequest += 1
    let message = Message(
      transaction,
      .acquire(
        AcquireRequest(
          request: lastRequest, age: found.age, locks: locks, read: read, epoch: epoch,
          waitMilliseconds: waitMilliseconds(found))))
    active[transaction]?.acquires[lastRequest] = ActiveTransaction.Acquire(
      member: member, message: message, answers: answers, sentAt: now.physicalMilliseconds)
    effects.append(.send(to: member, message))
    expectAnswer(transaction)
  }

  private func waitMilliseconds(_ transaction: ActiveTransaction) -> UInt64 {
    let left = max(transaction.deadline, now.monotonicMilliseconds) - now.monotonicMilliseconds
    return min(times.lockWaitMilliseconds, left)
  }

  mutating func acquired(
    _ transaction: TransactionID, _ request: UInt64, _ epoch: UInt64, _ answer: ReadAnswer,
    from member: MemberID, _ envelope: Envelope
  ) {
    guard let found = active[transaction] else { return disown(transaction, at: member) }
    guard found.isUndecided, let acquire = found.acquires[request], acquire.member == member
    else { return }
    if isOutside(envelope, askedAt: acquire.sentAt) { return abort(transaction, .clock) }
    if let known = found.participants[member] ?? nil, known != epoch {
      // It restarted between two answers: the locks of the first are gone.
      return abort(transaction, .interrupted)
    }
    active[transaction]?.participants.updateValue(epoch, forKey: member)
    active[transaction]?.acquires[request] = nil
    if let caller = acquire.answers {
      effects.append(.answerAcquire(request: caller, answer))
    } else if active[transaction]?.acquires.isEmpty ?? false {
      return sendPrepares(transaction)
    }
    if active[transaction]?.acquires.isEmpty ?? false { active[transaction]?.nextRetry = nil }
    schedule(transaction)
  }

  // MARK: Commit

  mutating func commit(_ call: CommitCall) {
    let transaction = call.transaction
    guard let found = active[transaction] else {
      let outcome: TransactionOutcome =
        switch finished[transaction] {
        case .committed(let timestamp): .committed(at: timestamp)
        case .aborted(let reason): .aborted(reason)
        case nil: .unknown(transaction)
        }
      return effects.append(.answerCommit(request: call.request, outcome))
    }
    switch found.phase {
    case .lost, .unknownAtOnce:
      return effects.append(.answerCommit(request: call.request, .unknown(transaction)))
    default: break
    }
    if !found.callers.contains(call.request) { active[transaction]?.callers.append(call.request) }
    guard case .running = found.phase else { return answerCallers(transaction) }
    guard found.acquires.isEmpty else {
      return abort(transaction, .failed("it commits while it waits for locks"))
    }
    active[transaction]?.call = call
    decideHow(transaction, call)
  }

  private mutating func decideHow(_ transaction: TransactionID, _ call: CommitCall) {
    guard let found = active[transaction] else { return }
    let writers = found.writers
    if writers.isEmpty {
      active[transaction]?.phase = .preparing
      return sendPrepares(transaction)
    }
    if writers.count == 1, call.effects.isEmpty, found.participants.keys.allSatisfy({ $0 == writers[0] }) {
      return beginAtOnce(transaction, at: writers[0], call)
    }
    active[transaction]?.phase = .locking
    for writer in writers {
      let keys = (call.writes[writer] ?? []).map { LockTarget.exclusive($0.target) }
      acquire(transaction, at: writer, keys, nil, answers: nil)
    }
  }

  private mutating func beginAtOnce(
    _ transaction: TransactionID, at writer: MemberID, _ call: CommitCall
  ) {
    guard let found = active[transaction] else { return }
    let epoch = found.participants[writer] ?? nil
    lastRequest += 1
    let request = CommitAtOnceRequest(
      request: lastRequest, age: found.age, epoch: epoch, writes: call.writes[writer] ?? [],
      waitMilliseconds: waitMilliseconds(found), isSynced: call.isSynced)
    active[transaction]?.participants.updateValue(epoch, forKey: writer)
    active[transaction]?.phase = .atOnce(writer, attempts: 0)
    active[transaction]?.acquires[lastRequest] = ActiveTransaction.Acquire(
      member: writer, message: Message(transaction, .commitAtOnce(request)), answers: nil,
      sentAt: now.physicalMilliseconds)
    sendAtOnce(transaction)
    expectAnswer(transaction)
  }

  /// All locks are there.
  private mutating func sendPrepares(_ transaction: TransactionID) {
    active[transaction]?.phase = .preparing
    active[transaction]?.sentAt = now.physicalMilliseconds
    resendPrepares(transaction)
    expectAnswer(transaction)
    decide(transaction)
  }

  /// To those that have not voted.
  mutating func resendPrepares(_ transaction: TransactionID) {
    guard let found = active[transaction], let call = found.call else { return }
    for (member, epoch) in found.participants.sorted(by: { $0.key < $1.key })
    where found.votes[member] == nil {
      // Whoever gave locks said its epoch.
      guard let epoch else { continue }
      let request = PrepareRequest(
        epoch: epoch, writes: call.writes[member] ?? [], writers: found.writers,
        isSynced: call.isSynced)
      send(member, transaction, .prepare(request))
    }
  }

  mutating func voted(
    _ transaction: TransactionID, _ vote: Vote, from member: MemberID, _ envelope: Envelope
  ) {
    guard let found = active[transaction] else {
      if case .no = vote { return }
      return disown(transaction, at: member)
    }
    guard found.isUndecided else { return }
    if case .no(let refusal) = vote { return abort(transaction, AbortReason(refusal)) }
    guard case .preparing = found.phase, found.participants[member] != nil else { return }
    if isOutside(envelope, askedAt: found.sentAt) { return abort(transaction, .clock) }
    if found.votes[member] == nil { active[transaction]?.votes[member] = vote }
    decide(transaction)
  }

  /// Once all have voted yes: the commit timestamp, and the record that makes it so.
  private mutating func decide(_ transaction: TransactionID) {
    guard let found = active[transaction], case .preparing = found.phase, let call = found.call,
      found.votes.count == found.participants.count
    else { return }
    var timestamp = now.timestamp
    var bound = Timestamp(rawValue: .max)
    for vote in found.votes.values {
      switch vote {
      case .yes(let prepared): timestamp = max(timestamp, prepared)
      case .readOnly(let read, let limit):
        timestamp = max(timestamp, read)
        bound = min(bound, limit)
      case .no: return
      }
    }
    // Above it a participant that restarts could let others write what was read.
    guard timestamp <= bound else { return abort(transaction, .interrupted) }
    let writers = found.writers
    if writers.isEmpty, call.effects.isEmpty {
      // Nothing to make durable, and what it read all clocks have passed.
      conclude(transaction, .committed(timestamp))
      for caller in found.callers {
        effects.append(.answerCommit(request: caller, .committed(at: timestamp)))
      }
      active[transaction]?.callers = []
      return deliver(transaction, timestamp)
    }
    if let logFailure { return abort(transaction, .failed(logFailure)) }
    let record = CommitRecord(
      transaction: transaction, timestamp: timestamp, writers: writers, effects: call.effects,
      isSynced: call.isSynced)
    active[transaction]?.phase = .logging(record)
    active[transaction]?.nextRetry = nil
    lastCommit += 1
    commits[lastCommit] = transaction
    effects.append(.logCommit(lastCommit, record))
    schedule(transaction)
  }

  // MARK: Abort

  mutating func refused(
    _ transaction: TransactionID, _ request: UInt64, _ refusal: Refusal, from member: MemberID
  ) {
    guard let found = active[transaction], found.acquires[request]?.member == member else { return }
    switch found.phase {
    case .running, .locking, .atOnce: abort(transaction, AbortReason(refusal))
    case .unknownAtOnce: settleUnknown(transaction, .aborted(AbortReason(refusal)))
    case .preparing, .logging, .lost, .committed: break
    }
  }

  mutating func wounded(_ transaction: TransactionID, from member: MemberID) {
    guard let found = active[transaction], found.participants[member] != nil else { return }
    switch found.phase {
    case .running, .locking, .preparing, .atOnce: abort(transaction, .conflict)
    case .unknownAtOnce: settleUnknown(transaction, .aborted(.conflict))
    case .logging, .lost, .committed: break
    }
  }

  /// All participants are told, once: whoever does not hear it asks, or is told when it speaks.
  mutating func abort(_ transaction: TransactionID, _ reason: AbortReason) {
    guard let found = active.removeValue(forKey: transaction) else { return }
    schedule(transaction)
    conclude(transaction, .aborted(reason))
    for acquire in found.acquires.sorted(by: { $0.key < $1.key }) {
      if let caller = acquire.value.answers { effects.append(.failAcquire(request: caller, reason)) }
    }
    for member in found.participants.keys.sorted() { send(member, transaction, .abort) }
    for caller in found.callers {
      effects.append(.answerCommit(request: caller, .aborted(reason)))
    }
  }

  /// Answers a participant that speaks of a transaction which is not under way.
  private mutating func disown(_ transaction: TransactionID, at member: MemberID) {
    guard transaction.coordinator == id else { return }
    switch finished[transaction] {
    case .committed(let timestamp): send(member, transaction, .commit(timestamp))
    case .aborted: send(member, transaction, .abort)
    case nil: if presumesAbort { send(member, transaction, .abort) }
    }
  }
}

extension AbortReason {
  init(_ refusal: Refusal) {
    switch refusal {
    case .wounded: self = .conflict
    case .deadline: self = .deadline
    case .restarted, .refusedBefore: self = .interrupted
    case .notOwner, .moving: self = .moving
    case .expired: self = .expired
    case .clock: self = .clock
    case .failed(let text): self = .failed(text)
    }
  }
}
