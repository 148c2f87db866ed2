import RoostCausality
import RoostCluster

// Deadlines, sending again, and clocks that drift.
extension Coordinator {
  /// What is due for a transaction now.
  mutating func lookAfter(_ transaction: TransactionID) {
    guard let found = active[transaction] else { return }
    defer { schedule(transaction) }
    if found.deadline <= now.monotonicMilliseconds {
      if found.isUndecided { return abort(transaction, .expired) }
      if case .atOnce = found.phase { return giveUpAtOnce(transaction) }
    }
    if let retry = found.nextRetry, retry <= now.monotonicMilliseconds {
      resend(transaction)
      let wait = times.nextRetry(after: found.retryWait)
      active[transaction]?.retryWait = wait
      active[transaction]?.nextRetry = now.monotonicMilliseconds &+ wait
    }
    answerCallers(transaction)
    endIfDone(transaction)
  }

  private mutating func resend(_ transaction: TransactionID) {
    guard let found = active[transaction] else { return }
    switch found.phase {
    case .running, .locking:
      for acquire in found.acquires.sorted(by: { $0.key < $1.key }) {
        effects.append(.send(to: acquire.value.member, acquire.value.message))
      }
    case .preparing: resendPrepares(transaction)
    case .atOnce: sendAtOnce(transaction)
    case .unknownAtOnce(let member):
      if times.isForgotten(transaction, at: now) {
        active[transaction] = nil
      } else {
        send(member, transaction, .inquire)
      }
    case .committed(let timestamp):
      if found.readersUntil <= now.monotonicMilliseconds { active[transaction]?.readers = [] }
      tell(transaction, timestamp)
    case .logging, .lost: break
    }
  }

  /// The receiver is not there. That ends what is not decided; the rest is sent again.
  mutating func undeliverable(_ envelope: Envelope, _ text: String) {
    let transaction = envelope.message.transaction
    guard let found = active[transaction] else { return }
    switch (found.phase, envelope.message.body) {
    case (.running, .acquire), (.locking, .acquire), (.preparing, .prepare):
      abort(transaction, .unreachable(text))
    // An earlier copy may have arrived.
    case (.atOnce(_, attempts: 1), .commitAtOnce): abort(transaction, .unreachable(text))
    default: break
    }
  }

  // MARK: Clocks

  /// Whether a message, or an answer to what was asked at a physical time, proves that its sender's
  /// clock and ours are further apart than the bound. A clock that seems behind proves it only where
  /// it is behind the time of the question: the message may have been on its way for long.
  func isOutside(_ envelope: Envelope, askedAt: UInt64) -> Bool {
    guard times.clockBoundMilliseconds > 0 else { return false }
    return times.isAhead(envelope, at: now)
      || envelope.physicalMilliseconds &+ times.clockBoundMilliseconds < askedAt
  }

  /// Fences itself where clocks come near the bound, until the same sender's show them inside.
  mutating func watchClock(_ envelope: Envelope) {
    guard times.clockBoundMilliseconds > 0 else { return }
    // At least one: with a bound of a millisecond, clocks that agree are not near it.
    let near = max(1, times.clockBoundMilliseconds &* 8 / 10)
    var isNear = times.isAhead(envelope, at: now, percent: 80)
    if let asked = asked(envelope), envelope.physicalMilliseconds &+ near <= asked { isNear = true }
    if isNear {
      let until = now.monotonicMilliseconds &+ 2 &* times.durationMilliseconds
      if suspects.updateValue(until, forKey: envelope.from) == nil {
        warn(
          "the clocks here (\(now.physicalMilliseconds) ms) and at \(envelope.from)"
            + " (\(envelope.physicalMilliseconds) ms) are nearly \(times.clockBoundMilliseconds) ms"
            + " apart, or more: no transaction begins until they are not")
      }
    } else if suspects.removeValue(forKey: envelope.from) != nil, suspects.isEmpty {
      warn("the clocks are within the bound again: transactions begin")
    }
  }

  /// When, by the physical clock here, what a message answers was asked.
  private func asked(_ envelope: Envelope) -> UInt64? {
    guard let found = active[envelope.message.transaction] else { return nil }
    switch envelope.message.body {
    case .acquired(let request, _, _), .committedAtOnce(let request, _), .refused(let request, _):
      return found.acquires[request]?.sentAt
    case .vote: return found.sentAt
    default: return nil
    }
  }
}
