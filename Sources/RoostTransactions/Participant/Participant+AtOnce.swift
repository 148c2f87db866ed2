import RoostCausality
import RoostCluster

// The fast path: all that a transaction writes is at this participant, and one batch commits it.
extension Participant {
  mutating func commitAtOnce(
    _ request: CommitAtOnceRequest, _ transaction: TransactionID, _ envelope: Envelope
  ) {
    let number = request.request
    if case .committed(let timestamp) = finished[transaction] {
      return send(envelope.from, transaction, .committedAtOnce(request: number, timestamp))
    }
    switch branches[transaction]?.phase {
    case .open, nil: break
    case .settling(let timestamp):
      return send(envelope.from, transaction, .committedAtOnce(request: number, timestamp))
    default: return  // Its answer is on the way.
    }
    if branches[transaction] == nil, finished[transaction] == nil,
      times.isOver(transaction, at: now)
    {
      // Whether it has committed is on disk only.
      return lookUp(transaction, .commitAtOnce(envelope.from, request: number))
    }
    if let refusal = refusalAtOnce(request, transaction, envelope) {
      return send(envelope.from, transaction, .refused(request: number, refusal))
    }
    let limit = now.monotonicMilliseconds &+ times.durationMilliseconds &+ times.firstRetryMilliseconds
    var branch = branches[transaction] ?? Branch(expires: limit)
    branch.phase = .lockingAtOnce(request: number)
    branch.writes = request.writes
    branch.isSynced = request.isSynced
    branches[transaction] = branch
    ask(
      for: request.writes.map { .exclusive($0.target) }, transaction, age: request.age, number,
      Branch.Request(
        from: envelope.from, read: nil,
        deadline: now.monotonicMilliseconds &+ request.waitMilliseconds))
  }

  private mutating func refusalAtOnce(
    _ request: CommitAtOnceRequest, _ transaction: TransactionID, _ envelope: Envelope
  ) -> Refusal? {
    if let refusal = refusal(transaction, epoch: request.epoch, envelope) { return refusal }
    var refusal: Refusal?
    if request.epoch == nil, transaction.start <= openedAt {
      // It may have been refused before the restart, and its caller told so: that is forgotten.
      refusal = .restarted
    } else if let handover = handoverRefusal(
      request.writes.map(\.target.partition), transaction)
    {
      refusal = handover
    } else if branches[transaction]?.requests.values.contains(where: { $0.deadline != nil }) ?? false {
      refusal = .failed("it commits while it waits for locks")
    }
    if let refusal { giveUp(transaction, refusal, telling: true) }
    return refusal
  }

  /// The locks are there: the timestamp is chosen under them.
  mutating func writeAtOnce(_ transaction: TransactionID, request: UInt64) {
    guard let branch = branches[transaction] else { return }
    locks.protect(transaction)
    branches[transaction]?.phase = .committingAtOnce(request: request, now.timestamp)
    write(
      .commit(transaction, now.timestamp, branch.writes), of: transaction, .commitAtOnce,
      isForced: branch.isSynced)
  }

  mutating func committedAtOnce(_ transaction: TransactionID, _ failure: String?) {
    guard let branch = branches[transaction],
      case .committingAtOnce(let request, let timestamp) = branch.phase
    else { return }
    if let failure {
      warn("\(transaction): nobody knows whether it committed at \(timestamp): \(failure)")
      branches[transaction]?.phase = .lost(timestamp)
      return
    }
    send(branch.asker(request, transaction), transaction, .committedAtOnce(request: request, timestamp))
    branches[transaction]?.phase = .settling(timestamp)
    settle(transaction)
  }

  /// The store took nothing of its batch: it has not committed, and will not.
  mutating func refusedAtOnce(_ transaction: TransactionID, _ reason: String) {
    guard let branch = branches[transaction], case .committingAtOnce(let request, _) = branch.phase
    else { return }
    remove(transaction, .dead(.failed(reason)))
    send(branch.asker(request, transaction), transaction, .refused(request: request, .failed(reason)))
  }
}

extension Branch {
  /// Who made a request, and hears of it.
  fileprivate func asker(_ request: UInt64, _ transaction: TransactionID) -> Endpoint {
    requests[request]?.from ?? .coordinator(transaction.coordinator)
  }
}
