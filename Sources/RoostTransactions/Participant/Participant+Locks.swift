import RoostCausality
import RoostCluster

// A participant's locks: who gets them, who loses them, and partitions that are handed over.
extension Participant {
  mutating func acquire(
    _ request: AcquireRequest, _ transaction: TransactionID, _ envelope: Envelope
  ) {
    let number = request.request
    if let known = branches[transaction]?.requests[number] {
      // Sent again. The locks that were granted are held still, so the read finds the same.
      if known.deadline == nil { answer(transaction, number, known) }
      return
    }
    if let refusal = refusal(transaction, epoch: request.epoch, envelope) {
      return send(envelope.from, transaction, .refused(request: number, refusal))
    }
    if let branch = branches[transaction] {
      // It has voted or is over: this came late.
      guard case .open = branch.phase else { return }
    } else if times.isOver(transaction, at: now) {
      return send(envelope.from, transaction, .refused(request: number, .expired))
    }
    if let refusal = handoverRefusal(request.locks.map(\.place.partition), transaction) {
      giveUp(transaction, refusal, telling: false)
      return send(envelope.from, transaction, .refused(request: number, refusal))
    }
    ask(
      for: request.locks, transaction, age: request.age, number,
      Branch.Request(
        from: envelope.from, read: request.read,
        deadline: now.monotonicMilliseconds &+ request.waitMilliseconds))
  }

  /// Why nothing new is done for the transaction here, if so; whatever it held it holds no more.
  mutating func refusal(
    _ transaction: TransactionID, epoch theirs: UInt64?, _ envelope: Envelope
  ) -> Refusal? {
    switch finished[transaction] {
    case .dead(let refusal): return refusal
    case .committed, .forced: return .refusedBefore
    case nil: break
    }
    if let branch = branches[transaction], !branch.isFree { return nil }
    var refusal: Refusal?
    if let theirs, theirs != epoch {
      refusal = .restarted
    } else if theirs != nil, branches[transaction] == nil {
      refusal = .wounded
    } else if times.isAhead(envelope, at: now) {
      refusal = .clock
      warn(
        "a clock is \(envelope.physicalMilliseconds - now.physicalMilliseconds) ms ahead of the one here;"
          + " \(times.clockBoundMilliseconds) ms are allowed: a transaction was refused")
    }
    if let refusal { giveUp(transaction, refusal, telling: false) }
    return refusal
  }

  /// Asks the table, and sees to those that this wounds and those whose turn it then is.
  mutating func ask(
    for targets: [LockTarget], _ transaction: TransactionID, age: TransactionID, _ number: UInt64,
    _ request: Branch.Request
  ) {
    let limit = now.monotonicMilliseconds &+ times.durationMilliseconds &+ times.firstRetryMilliseconds
    branches[transaction, default: Branch(expires: limit)].requests[number] = request
    handle(locks.acquire(targets, for: transaction, age: age, request: number))
    schedule(transaction)
  }

  mutating func handle(_ changes: LockTable.Changes) {
    for transaction in changes.wounded {
      wounds += 1
      remove(transaction, .dead(.wounded))
      send(.coordinator(transaction.coordinator), transaction, .wounded)
    }
    for ticket in changes.granted {
      if opensAfter != nil { grantedEarly.append(ticket) } else { granted(ticket) }
    }
  }

  private mutating func granted(_ ticket: LockTable.Ticket) {
    let transaction = ticket.transaction
    guard let request = branches[transaction]?.requests[ticket.request] else { return }
    branches[transaction]?.requests[ticket.request]?.deadline = nil
    if branches[transaction]?.phase == .lockingAtOnce(request: ticket.request) {
      writeAtOnce(transaction, request: ticket.request)
    } else {
      answer(transaction, ticket.request, request)
    }
    schedule(transaction)
  }

  private mutating func answer(
    _ transaction: TransactionID, _ number: UInt64, _ request: Branch.Request
  ) {
    if let read = request.read {
      effects.append(.readLocked(to: request.from, transaction, request: number, read))
    } else {
      send(request.from, transaction, .acquired(request: number, epoch: epoch, ReadAnswer()))
    }
  }

  /// The commits of before the opening can be seen now, if every clock has passed them.
  mutating func open() {
    guard let last = opensAfter else { return }
    guard times.hasPassed(last, at: now) else {
      return deadlines.set(.opening, times.passing(last, at: now))
    }
    opensAfter = nil
    let early = grantedEarly
    grantedEarly = []
    for ticket in early { granted(ticket) }
    retrySnapshots()
  }

  // MARK: Ends

  /// Gives up a transaction that nothing was promised to. It is granted nothing any more.
  ///
  /// - Parameter telling: answers the requests that wait.
  mutating func giveUp(_ transaction: TransactionID, _ refusal: Refusal, telling: Bool) {
    let branch = branches[transaction]
    finish(transaction, .dead(refusal))
    guard let branch else { return }
    precondition(branch.isFree, "a transaction that voted is given up")
    remove(transaction, .dead(refusal))
    guard telling else { return }
    for (number, request) in branch.requests.sorted(by: { $0.key < $1.key })
    where request.deadline != nil {
      send(request.from, transaction, .refused(request: number, refusal))
    }
  }

  /// Ends a transaction here: its locks go to those who wait, reads that waited for it go on.
  mutating func remove(_ transaction: TransactionID, _ how: Finish) {
    finish(transaction, how)
    branches[transaction] = nil
    schedule(transaction)
    handle(locks.release(transaction))
    retrySnapshots()
  }

  // MARK: Partitions that are handed over

  /// Why these partitions give no locks, if some do not. Who holds locks of a frozen one gets more: so it
  /// comes to its end, and the partition is drained the sooner.
  func handoverRefusal(_ partitions: [Int], _ transaction: TransactionID) -> Refusal? {
    if let serves, !partitions.allSatisfy(serves) { return .notOwner }
    if frozen.isEmpty { return nil }
    var refusal: Refusal?
    for partition in partitions {
      switch frozen[partition] {
      case .givenUp: return .notOwner
      case .frozen, .drained:
        if !locks.holdsAnything(of: partition, transaction) { refusal = .moving }
      case nil: break
      }
    }
    return refusal
  }

  mutating func freeze(_ partition: Int) {
    if frozen[partition] != nil { return }
    frozen[partition] = .frozen
    for transaction in locks.waiting(partition: partition).sorted()
    where (branches[transaction]?.isFree ?? false)
      && !locks.holdsAnything(of: partition, transaction)
    {
      giveUp(transaction, .moving, telling: true)
    }
  }

  /// Ends reads of a drained partition. What is read later at the next owner is read above this moment, or
  /// sees what was written up to then.
  mutating func giveUp(_ partition: Int) {
    guard frozen[partition] == .drained else { return }
    frozen[partition] = .givenUp(now.timestamp)
    for (request, waiting) in snapshots.sorted(by: { $0.key < $1.key })
    where waiting.read.partitions.contains(partition) {
      snapshots[request] = nil
      deadlines.set(.snapshot(request), nil)
      effects.append(.snapshotFailed(request: request, .notOwner))
    }
  }

  mutating func sayDrained() {
    for partition in frozen.keys.sorted()
    where frozen[partition] == .frozen && locks.isFree(partition: partition)
      && !writes.values.contains(where: { $0.1.concerns(partition) })
    {
      frozen[partition] = .drained
      effects.append(.drained(partition: partition))
    }
  }

  mutating func warn(_ text: String) { effects.append(.warn("store \(member): \(text)")) }
}
