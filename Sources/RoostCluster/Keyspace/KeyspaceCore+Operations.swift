package import RoostCausality
import RoostEnvironment
import RoostStorage

// Increments that are tried again and count once. What a counter remembers of them, and how joins keep each
// id to one count, is in RoostCausality (`PNCounter+Operations.swift`). Here is who takes an attempt, when:
//
// 1. The coordinator first joins what the other replicas hold (all of this process; in a cluster a quorum, by
//    the node). An increment that is remembered anywhere there is not counted again, however old.
// 2. One that is not remembered is taken while its id is younger than the window, by this machine's clock. So
//    nobody takes an attempt at an older one: it is refused, and not counted.
// 3. Ids of twice that age are forgotten by the replica that took them first, and only with the states of all
//    replicas at hand, which were read when no attempt could be taken any more.

/// For how long increments are recognised by their ids.
package enum OperationWindow {
  /// From the time in an id until no attempt is taken any more, in milliseconds.
  package static let milliseconds: UInt64 = 300_000
  /// From then on it may be forgotten: the second half is for clocks that differ, and for attempts that were
  /// taken in time and written late.
  static let kept: UInt64 = 2 * milliseconds
  /// How many must be due before a cluster's node asks all replicas, and not just a quorum.
  static let dueAtLeast = 64
}

extension KeyspaceCore {
  /// Adds to a counter, unless it has counted that increment already.
  ///
  /// - Parameters:
  ///   - field: of the map under the key; `nil` for the key's own counter.
  ///   - operation: names the increment; a retry says the same, and the same amount.
  ///   - hasSeenAll: whether this process joined the states of all replicas just now: then ids may be
  ///     forgotten.
  /// - Returns: whether it counted now; where not, it has before.
  /// - Throws: `.operationExpired` (it may or may not have counted), `.clockOutOfBound` (the id's time lies
  ///   in the future), `.busy` (the counter remembers too many), `.wrongKind`, `.counterOverflow`, and as
  ///   ``update(_:context:_:)``.
  @discardableResult
  package func increment(
    _ key: RawSpan, field: [UInt8]? = nil, by amount: Int64, operation: OperationID,
    hasSeenAll: Bool = false
  ) throws(DatabaseError) -> Bool {
    let place = try locate(key)
    return try withStripe(place, key, nil) { stripe, part throws(DatabaseError) in
      StoredKey.make(place.partition, key, into: &stripe.key)
      var isWhole = hasSeenAll || replicas == 1
      if replicas > 1, try joinReplicas(stripe, place.partition).isWhole { isWhole = true }
      let old = try part.load(stripe.key)
      let now = shared.clock.physicalMilliseconds
      return try change(stripe, place.partition, part, old, at: now) { record, stamp throws(DatabaseError) in
        if try counter(in: record, field).remembers(operation) { return (false, false) }
        try checkAge(operation, at: now)
        let forgotten = now > OperationWindow.kept ? now - OperationWindow.kept : 0
        func count(_ counter: inout PNCounter, _ stamp: Stamp) throws(CausalityError) {
          if isWhole { counter.fold(before: forgotten, dot: stamp.dot) }
          try counter.increment(by: amount, operation: operation, dot: stamp.dot)
        }
        if let field {
          try Self.apply(&record, stamp) { (map: inout ORMap, stamp) throws(CausalityError) in
            var counter = map.field(field, as: PNCounter.self)
            try count(&counter, stamp)
            map.update(field, as: PNCounter.self) { $0 = counter }
          }
        } else {
          try Self.apply(&record, stamp) { (counter: inout PNCounter, stamp) throws(CausalityError) in
            try count(&counter, stamp)
          }
        }
        return (true, true)
      }
    }
  }

  private func counter(in record: Record, _ field: [UInt8]?) throws(DatabaseError) -> PNCounter {
    guard let field else {
      try Self.check(record, is: PNCounter.kind)
      return record.state(as: PNCounter.self)
    }
    try Self.check(record, is: ORMap.kind)
    return record.state(as: ORMap.self).field(field, as: PNCounter.self)
  }

  private func checkAge(_ operation: OperationID, at now: UInt64) throws(DatabaseError) {
    let begun = operation.milliseconds
    guard begun <= now &+ shared.maximumClockOffsetMilliseconds else {
      throw DatabaseError(
        .clockOutOfBound,
        "the operation \(operation) was begun \(begun - now) ms in the future by this clock")
    }
    guard now < begun &+ OperationWindow.milliseconds else {
      throw DatabaseError(
        .operationExpired,
        "the operation \(operation) was begun \(now - begun) ms ago: it may have been counted and forgotten; "
          + "it is recognised for \(OperationWindow.milliseconds) ms")
    }
  }

  /// Whether so many increments are remembered here that could be forgotten that it is worth asking all
  /// replicas.
  ///
  /// - Throws: as ``held(_:)``.
  package func hasOperationsToForget(_ key: [UInt8]) throws(DatabaseError) -> Bool {
    guard let record = try held(key) else { return false }
    let now = shared.clock.physicalMilliseconds
    guard now > OperationWindow.kept else { return false }
    let replica = try firstPart(try partition(of: key)).member.replica
    var count = 0
    for state in record.states {
      state.forEachCounter { count += $0.foldableCount(of: replica, before: now - OperationWindow.kept) }
    }
    return count >= OperationWindow.dueAtLeast
  }
}

extension DatabaseShared {
  /// An id for an increment that is begun now.
  package func newOperation() -> OperationID {
    var bits = EnvironmentBits(randomness: environment.randomness)
    return OperationID(milliseconds: clock.physicalMilliseconds, using: &bits)
  }
}

private struct EnvironmentBits: RandomNumberGenerator {
  let randomness: any Randomness
  mutating func next() -> UInt64 { randomness.next() }
}
