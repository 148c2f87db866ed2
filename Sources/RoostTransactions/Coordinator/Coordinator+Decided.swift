import RoostCausality
import RoostCluster

// From the decision to END, and commits at once.
extension Coordinator {
  /// COMMIT is logged, or nobody knows.
  mutating func logged(_ number: UInt64, _ failure: String?) {
    guard let transaction = commits.removeValue(forKey: number),
      let found = active[transaction], case .logging(let record) = found.phase
    else { return }
    if let failure {
      warn("\(transaction): COMMIT could not be logged, and it stays in doubt: \(failure)")
      logFailure = failure
      active[transaction]?.phase = .lost
      countUnknown()
      for caller in found.callers {
        effects.append(.answerCommit(request: caller, .unknown(transaction)))
      }
      active[transaction]?.callers = []
      return schedule(transaction)
    }
    if record.isSynced { forgetEffects(before: number) }
    active[transaction]?.isLogged = true
    conclude(transaction, .committed(record.timestamp))
    deliver(transaction, record.timestamp)
  }

  /// Every END before a durable COMMIT is durable: the marks of those effects may go.
  private mutating func forgetEffects(before number: UInt64) {
    let durable = ended.prefix { $0.after < number }
    ended.removeFirst(durable.count)
    for end in durable {
      for target in end.targets.sorted() { send(target, end.transaction, .forgetEffects) }
    }
  }

  /// Tells all who take part, and the caller once every clock has passed the timestamp.
  mutating func deliver(_ transaction: TransactionID, _ timestamp: Timestamp) {
    guard let found = active[transaction] else { return }
    let writers = Set(found.writers)
    active[transaction]?.phase = .committed(timestamp)
    active[transaction]?.unacknowledged = writers
    active[transaction]?.hasWriters = !writers.isEmpty
    active[transaction]?.readers = Set(found.participants.keys).subtracting(writers)
    active[transaction]?.readersUntil =
      now.monotonicMilliseconds &+ 2 &* times.durationMilliseconds
    for (index, effect) in (found.call?.effects ?? []).enumerated() {
      active[transaction]?.effects[index] = effect
      active[transaction]?.effectTargets.insert(effect.target)
    }
    active[transaction]?.call = nil
    expectAnswer(transaction)
    tell(transaction, timestamp)
    answerCallers(transaction)
    endIfDone(transaction)
  }

  /// Sends the decision to all who have not answered.
  func recipients(_ found: ActiveTransaction) -> [MemberID] {
    found.unacknowledged.union(found.readers).sorted()
  }

  mutating func tell(_ transaction: TransactionID, _ timestamp: Timestamp) {
    guard let found = active[transaction] else { return }
    for member in recipients(found) { send(member, transaction, .commit(timestamp)) }
    for (index, effect) in found.effects.sorted(by: { $0.key < $1.key }) {
      // One that writes nothing else has no participant that records what became of it.
      let outcome = found.hasWriters ? nil : timestamp
      send(effect.target, transaction, .effect(effect, index: index, outcome: outcome))
    }
  }

  mutating func answerCallers(_ transaction: TransactionID) {
    guard let found = active[transaction], case .committed(let timestamp) = found.phase,
      times.hasPassed(timestamp, at: now)
    else { return schedule(transaction) }
    for caller in found.callers {
      effects.append(.answerCommit(request: caller, .committed(at: timestamp)))
    }
    active[transaction]?.callers = []
    schedule(transaction)
  }

  mutating func acknowledged(_ transaction: TransactionID, from member: MemberID) {
    guard let found = active[transaction], case .committed = found.phase else { return }
    active[transaction]?.unacknowledged.remove(member)
    active[transaction]?.readers.remove(member)
    endIfDone(transaction)
  }

  mutating func effectDone(_ transaction: TransactionID, _ index: Int, from member: MemberID) {
    guard let found = active[transaction], found.effects[index]?.target == member else { return }
    active[transaction]?.effects[index] = nil
    endIfDone(transaction)
  }

  /// END once every writer acknowledged and every effect is done; then, when the readers and the
  /// caller know too, nothing is left to do.
  mutating func endIfDone(_ transaction: TransactionID) {
    guard let found = active[transaction], case .committed = found.phase,
      found.unacknowledged.isEmpty, found.effects.isEmpty
    else { return }
    if found.isLogged {
      active[transaction]?.isLogged = false
      effects.append(.logEnd(transaction))
      if !found.effectTargets.isEmpty {
        ended.append(
          Ended(transaction: transaction, targets: found.effectTargets, after: lastCommit))
        // Without forced records none is ever durable for sure: such marks go by their age.
        if ended.count > times.activeLimit { ended.removeFirst() }
      }
    }
    guard found.readers.isEmpty, found.callers.isEmpty else { return }
    active[transaction] = nil
    schedule(transaction)
  }

  // MARK: At once

  mutating func sendAtOnce(_ transaction: TransactionID) {
    guard let found = active[transaction], case .atOnce(let member, let attempts) = found.phase
    else { return }
    active[transaction]?.phase = .atOnce(member, attempts: attempts + 1)
    for acquire in found.acquires.sorted(by: { $0.key < $1.key }) {
      effects.append(.send(to: member, acquire.value.message))
    }
  }

  mutating func committedAtOnce(
    _ transaction: TransactionID, _ request: UInt64, _ timestamp: Timestamp, from member: MemberID
  ) {
    guard let found = active[transaction], found.acquires[request]?.member == member else { return }
    switch found.phase {
    case .atOnce:
      conclude(transaction, .committed(timestamp))
      // Nobody else is to be told: it ends when the caller is answered.
      active[transaction]?.acquires = [:]
      active[transaction]?.nextRetry = nil
      active[transaction]?.phase = .committed(timestamp)
      answerCallers(transaction)
      endIfDone(transaction)
    case .unknownAtOnce: settleUnknown(transaction, .committed(timestamp))
    default: break
    }
  }

  /// The time is up, and it may have committed or not: the caller is told so, and the participant
  /// asked until it says.
  mutating func giveUpAtOnce(_ transaction: TransactionID) {
    guard let found = active[transaction], case .atOnce(let member, _) = found.phase else { return }
    active[transaction]?.phase = .unknownAtOnce(member)
    countUnknown()
    for caller in found.callers {
      effects.append(.answerCommit(request: caller, .unknown(transaction)))
    }
    active[transaction]?.callers = []
    send(member, transaction, .inquire)
    expectAnswer(transaction)
  }

  /// Now it is known what became of it.
  mutating func settleUnknown(_ transaction: TransactionID, _ how: Finish) {
    active[transaction] = nil
    schedule(transaction)
    conclude(transaction, how)
  }

  // MARK: Questions and answers

  mutating func inquired(_ transaction: TransactionID, from asker: Endpoint) {
    effects.append(.reply(to: asker, Message(transaction, .answer(answer(transaction)))))
  }

  private func answer(_ transaction: TransactionID) -> Answer {
    if let found = active[transaction] {
      if case .committed(let timestamp) = found.phase { return .committed(timestamp) }
      return .unknown
    }
    switch finished[transaction] {
    case .committed(let timestamp): return .committed(timestamp)
    case .aborted: return .aborted
    // Whoever is prepared has not acknowledged: had it committed, there would be no END.
    case nil: return presumesAbort && transaction.coordinator == id ? .aborted : .unknown
    }
  }

  mutating func answered(_ transaction: TransactionID, _ answer: Answer, from member: MemberID) {
    guard let found = active[transaction], case .unknownAtOnce(member) = found.phase else { return }
    switch answer {
    case .committed(let timestamp): settleUnknown(transaction, .committed(timestamp))
    case .aborted: settleUnknown(transaction, .aborted(.recorded))
    case .unknown: break
    }
  }
}
