package import RoostCausality

// What the transaction layer above asks of the database.

extension DatabaseShared {
  /// A moment by the database's clock.
  package struct Moment: Sendable {
    package var physicalMilliseconds: UInt64
    /// Above all that were issued or observed before.
    package var timestamp: Timestamp
    /// Durable: after a restart all timestamps lie above it.
    package var bound: Timestamp
  }

  /// - Throws: what writing a higher bound of the clock throws, where one is due.
  package func moment() throws(DatabaseError) -> Moment {
    let physical = clock.physicalMilliseconds
    let timestamp = try clock.now(physical)
    return Moment(physicalMilliseconds: physical, timestamp: timestamp, bound: clock.durableBound)
  }

  /// Makes everything issued from now on lie above `timestamp`.
  ///
  /// - Throws: `.clockOutOfBound` where it is too far in the future; what writing a higher bound throws.
  package func observe(_ timestamp: Timestamp) throws(DatabaseError) {
    try clock.observe(timestamp, maximumOffsetMilliseconds: maximumClockOffsetMilliseconds)
  }

  /// - Throws: `.clockOutOfBound` where ``observe(_:)`` would. Waits for no disk.
  package func check(_ timestamp: Timestamp) throws(DatabaseError) {
    try clock.check(timestamp, maximumOffsetMilliseconds: maximumClockOffsetMilliseconds)
  }

  /// The last timestamp that was issued or observed.
  package var latestTimestamp: Timestamp { clock.latest }

  /// The one store that has a partition's transactional keys: the ring's first replica.
  ///
  /// - Throws: `.unreachable` where it is not open, or where it was giving the partition to another when
  ///   the database was last in use and nobody can tell whether it did; `.closed`.
  package func transactionalOwner(_ partition: Int) throws(DatabaseError) -> Member {
    if !withheld.isEmpty, withheld.contains(partition) {
      throw DatabaseError(
        .unreachable,
        "partition \(partition)'s transactional keys were on their way to another store, and may be there: "
          + "open the database with all its stores")
    }
    return try firstOwner(partition)
  }

  /// The first replica of a partition, whatever became of its transactional keys: effects on its eventual
  /// keys go there.
  ///
  /// - Throws: `.unreachable` where it is not open, `.closed`.
  package func firstOwner(_ partition: Int) throws(DatabaseError) -> Member {
    let slot = routes.owner(partition)
    if slot != Int(RouteTable.none), let member = members[slot] { return member }
    try checkOpen()
    throw DatabaseError(
      .unreachable, "the store that has partition \(partition)'s transactional keys is not open")
  }

  package var partitionCount: Int { routes.partitionCount }

  package func throwIfClosed() throws(DatabaseError) { try checkOpen() }
}
