import RoostCausality
import RoostCluster

// Two-phase commit, a participant's side: votes and what follows them.
extension Participant {
  mutating func prepare(
    _ request: PrepareRequest, _ transaction: TransactionID, _ envelope: Envelope
  ) {
    switch branches[transaction]?.phase {
    case .open, nil: break
    case .readOnly(let timestamp, let bound):
      return send(envelope.from, transaction, .vote(.readOnly(timestamp, bound: bound)))
    case .prepared(let timestamp):
      return send(envelope.from, transaction, .vote(.yes(timestamp)))
    default: return  // Its vote is on the way, or it is decided: this came late.
    }
    if case .committed = finished[transaction] { return }
    if case .forced = finished[transaction] { return }
    if let refusal = refusal(transaction, epoch: request.epoch, envelope) {
      return send(envelope.from, transaction, .vote(.no(refusal)))
    }
    guard var branch = branches[transaction] else { return }
    let isLocked = request.writes.allSatisfy { locks.holds(.exclusive($0.target), transaction) }
    guard isLocked, branch.requests.values.allSatisfy({ $0.deadline == nil }) else {
      let refusal = Refusal.failed("it holds not all locks that it needs")
      giveUp(transaction, refusal, telling: true)
      return send(envelope.from, transaction, .vote(.no(refusal)))
    }
    locks.protect(transaction)
    if request.writes.isEmpty {
      branch.phase = .readOnly(now.timestamp, bound: now.bound)
      branch.nextAsk = now.monotonicMilliseconds &+ times.durationMilliseconds
      branch.askWait = times.firstRetryMilliseconds
      send(envelope.from, transaction, .vote(.readOnly(now.timestamp, bound: now.bound)))
    } else {
      branch.phase = .preparing(now.timestamp)
      branch.writes = request.writes
      branch.writers = request.writers
      branch.isSynced = request.isSynced
      let record = PreparedRecord(
        transaction: transaction, timestamp: now.timestamp, writes: request.writes,
        writers: request.writers, isSynced: request.isSynced)
      write(.prepare(record), of: transaction, .prepare, isForced: request.isSynced)
    }
    branches[transaction] = branch
    schedule(transaction)
  }

  // MARK: Decisions

  mutating func commit(_ transaction: TransactionID, at timestamp: Timestamp, from sender: Endpoint) {
    guard let branch = branches[transaction] else {
      warnOfContradiction(transaction, timestamp)
      // Nothing of it is here: it was finished before.
      return send(sender, transaction, .acknowledged)
    }
    switch branch.phase {
    case .settling(let forced) where branch.isForced && forced != timestamp:
      warnOfForcedCommit(transaction, forced, timestamp)
      send(sender, transaction, .acknowledged)
    case .prepared(let least) where least <= timestamp, .undone(let least) where least <= timestamp:
      branches[transaction]?.acknowledges.insert(sender)
      branches[transaction]?.phase = .committing(timestamp)
      write(
        .commit(transaction, timestamp, branch.writes), of: transaction, .commit,
        isForced: branch.isSynced)
      // Reads below the commit need not wait for it any more.
      retrySnapshots()
    case .committing: branches[transaction]?.acknowledges.insert(sender)
    case .settling: send(sender, transaction, .acknowledged)
    case .readOnly:
      branches[transaction]?.acknowledges.insert(sender)
      branches[transaction]?.phase = .settlingReadOnly(timestamp)
      return settle(transaction)
    case .settlingReadOnly: branches[transaction]?.acknowledges.insert(sender)
    case .open, .lockingAtOnce:
      // It read here before a restart, and locks came late: a vote of before is kept by the clock.
      giveUp(transaction, .restarted, telling: false)
      send(sender, transaction, .acknowledged)
    default: warn("\(transaction) is told to commit at \(timestamp), against what is known of it here")
    }
    schedule(transaction)
  }

  /// What an operator decided otherwise is done in part for ever: whoever asked for it hears so.
  private mutating func warnOfContradiction(_ transaction: TransactionID, _ timestamp: Timestamp) {
    switch finished[transaction] {
    case .forced(.aborted):
      warn("\(transaction) was aborted by an operator, and is told to commit at \(timestamp)")
    case .forced(.committed(let forced)) where forced != timestamp:
      warnOfForcedCommit(transaction, forced, timestamp)
    default: break
    }
  }

  private mutating func warnOfForcedCommit(
    _ transaction: TransactionID, _ forced: Timestamp, _ timestamp: Timestamp
  ) {
    warn("\(transaction) was committed by an operator at \(forced), and is told to commit at \(timestamp)")
  }

  mutating func abort(_ transaction: TransactionID) {
    guard let branch = branches[transaction] else {
      if case .forced(.committed) = finished[transaction] {
        warn("\(transaction) was committed by an operator, and is told to abort")
      }
      // What comes late must not bring it to life.
      if finished[transaction] == nil { finish(transaction, .dead(.wounded)) }
      return
    }
    switch branch.phase {
    case .open, .lockingAtOnce: giveUp(transaction, .wounded, telling: false)
    case .readOnly: remove(transaction, .dead(.wounded))
    case .preparing, .refusing: branches[transaction]?.isAborted = true
    case .prepared, .silent: abortPrepared(transaction)
    case .forcing(_, .committed):
      warn("\(transaction) is being committed by an operator, and is told to abort")
    case .committingAtOnce, .lost, .forcing: break
    case .committing, .undone, .settling, .settlingReadOnly:
      warn("\(transaction) is told to abort, and has committed")
    }
  }

  /// The record goes; who presumes abort need not force that.
  private mutating func abortPrepared(_ transaction: TransactionID) {
    let partitions = Set(branches[transaction]?.writes.map(\.target.partition) ?? [])
    write(.abort(transaction), of: transaction, .abort(partitions: partitions), isForced: false)
    remove(transaction, .dead(.wounded))
  }

  // MARK: Writes that are done

  mutating func written(_ number: UInt64, _ failure: String?) {
    guard let (transaction, pending) = writes.removeValue(forKey: number) else { return }
    switch pending {
    case .prepare: prepared(transaction, failure)
    case .refuse: refused(transaction, failure)
    case .commit: committed(transaction, failure)
    case .commitAtOnce: committedAtOnce(transaction, failure)
    case .force(let request): forced(transaction, request, failure)
    case .abort:
      if let failure { warn("\(transaction): the end could not be written: \(failure)") }
    }
    schedule(transaction)
  }

  /// A commit at once is then known not to have happened. For all else that is no other failure: what
  /// stands in the store already decides.
  mutating func notWritten(_ number: UInt64, _ reason: String) {
    guard case (let transaction, .commitAtOnce)? = writes[number] else { return written(number, reason) }
    writes[number] = nil
    refusedAtOnce(transaction, reason)
  }

  private mutating func prepared(_ transaction: TransactionID, _ failure: String?) {
    guard let branch = branches[transaction], case .preparing(let timestamp) = branch.phase
    else { return }
    if branch.isAborted { return abortPrepared(transaction) }
    if let failure {
      // It may be on disk all the same. To say no is right once a refusal is.
      warn("\(transaction): PREPARE could not be written: \(failure)")
      branches[transaction]?.phase = .refusing(timestamp, failure: failure)
      return write(.refuse(transaction), of: transaction, .refuse, isForced: true)
    }
    branches[transaction]?.phase = .prepared(timestamp)
    branches[transaction]?.nextAsk = now.monotonicMilliseconds &+ times.firstRetryMilliseconds
    branches[transaction]?.askWait = times.firstRetryMilliseconds
    send(.coordinator(transaction.coordinator), transaction, .vote(.yes(timestamp)))
  }

  private mutating func refused(_ transaction: TransactionID, _ failure: String?) {
    let askers = refusals.removeValue(forKey: transaction) ?? []
    if let branch = branches[transaction], case .refusing(let timestamp, let first) = branch.phase {
      if branch.isAborted { return abortPrepared(transaction) }
      if let failure {
        warn("\(transaction): the refusal could not be written: \(failure)")
        branches[transaction]?.phase = .silent(timestamp)
        branches[transaction]?.isSilent = true
        branches[transaction]?.nextAsk = now.monotonicMilliseconds &+ times.firstRetryMilliseconds
        branches[transaction]?.askWait = times.firstRetryMilliseconds
        return
      }
      remove(transaction, .dead(.failed(first)))
      send(.coordinator(transaction.coordinator), transaction, .vote(.no(.failed(first))))
    }
    if let failure {
      return warn("\(transaction): a refusal could not be written: \(failure)")
    }
    for asker in askers.sorted(by: Self.precedes) { send(asker, transaction, .answer(.aborted)) }
  }

  private mutating func committed(_ transaction: TransactionID, _ failure: String?) {
    guard let branch = branches[transaction], case .committing(let timestamp) = branch.phase
    else { return }
    if let failure {
      warn("\(transaction): COMMIT could not be written: \(failure)")
      branches[transaction]?.phase = .undone(timestamp)
      return
    }
    acknowledge(transaction, branch)
    branches[transaction]?.phase = .settling(timestamp)
    settle(transaction)
  }

  private mutating func acknowledge(_ transaction: TransactionID, _ branch: Branch) {
    for endpoint in branch.acknowledges.sorted(by: Self.precedes) {
      send(endpoint, transaction, .acknowledged)
    }
  }

  /// Releases what has committed, once every clock has passed its timestamp.
  mutating func settle(_ transaction: TransactionID) {
    guard let branch = branches[transaction] else { return }
    switch branch.phase {
    case .settling(let timestamp) where times.hasPassed(timestamp, at: now):
      remove(transaction, branch.isForced ? .forced(.committed(timestamp)) : .committed(timestamp))
    case .settlingReadOnly(let timestamp) where times.hasPassed(timestamp, at: now):
      acknowledge(transaction, branch)
      remove(transaction, .committed(timestamp))
    default: schedule(transaction)
    }
  }
}
