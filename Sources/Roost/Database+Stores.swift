import RoostCluster
import RoostEnvironment

// Stores come, go and are weighed anew while the database is in use.

extension Database {
  /// Makes a store of a directory, and has its share of the partitions move there in the background.
  ///
  /// Reads and writes go on meanwhile; see ``rebalance`` for how far it is. Calls that change the ring
  /// may follow each other at once: what has not moved yet is planned anew. Where the process ends
  /// before this returns, the directory is a member or is not: opening tells, and adding it again
  /// works where it is not.
  ///
  /// - Parameters:
  ///   - directory: empty or missing, or of a store that has left this database: what that holds is
  ///     deleted. To be given to later opens with the others.
  ///   - weight: its share of the partitions beside the others', 1 to 1000.
  ///   - zone: what it fails together with; replicas of a partition go to distinct zones where
  ///     possible. At most 255 bytes; empty for none.
  /// - Returns: the store's id.
  /// - Throws: ``DatabaseError`` with `.invalidArgument` (weight or zone, or the directory is a store
  ///   of the database already), `.foreignStore` (it belongs to another database), `.invalidMembers`
  ///   (it is a copy of a member; too many members), `.missingStore` (the database was opened without
  ///   some of its stores), `.storage` (it cannot be created),
  ///   `.closed`.
  /// - Complexity: opens the store, plans (``Ring/plan(to:)``) and syncs each store once.
  @discardableResult
  public func addStore(
    at directory: String, weight: Int = 100, zone: String = ""
  ) async throws -> MemberID {
    try await changingRing { core throws(DatabaseError) in
      try core.addStore(directory, weight: weight, zone: zone)
    }
  }

  /// Has a store's partitions move to the others in the background. When the last has moved, the store
  /// is closed, and its directory no longer opens as part of the database.
  ///
  /// A store that is leaving already goes on leaving. Adding, removing or re-weighting another store
  /// meanwhile is fine.
  ///
  /// - Throws: ``DatabaseError`` with `.tooManyReplicas` (fewer stores than replicas would be left, or
  ///   none), `.notAMember`, `.missingStore`, `.closed`; `.storage`.
  public func removeStore(_ member: MemberID) async throws {
    try await changingRing { core throws(DatabaseError) in
      try core.checkMember(member)
      try core.removeStore(member)
    }
  }

  /// Removes the store in a directory; see ``removeStore(_:)-(MemberID)``.
  public func removeStore(at directory: String) async throws {
    try await changingRing { core throws(DatabaseError) in
      try core.removeStore(try core.memberID(at: directory))
    }
  }

  /// Gives a store another weight, and has partitions move accordingly.
  ///
  /// - Parameter weight: its share of the partitions beside the others', 1 to 1000.
  /// - Throws: ``DatabaseError`` with `.invalidArgument`, `.notAMember`, `.missingStore`, `.closed`;
  ///   `.storage`.
  public func setWeight(_ weight: Int, of member: MemberID) async throws {
    try await changingRing { core throws(DatabaseError) in
      try core.checkMember(member)
      try core.changeStore(member, weight: weight, zone: nil)
    }
  }

  /// Gives the store in a directory another weight; see ``setWeight(_:of:)-(_,MemberID)``.
  public func setWeight(_ weight: Int, of directory: String) async throws {
    try await changingRing { core throws(DatabaseError) in
      try core.changeStore(try core.memberID(at: directory), weight: weight, zone: nil)
    }
  }

  /// Puts a store into another zone, and has partitions move accordingly.
  ///
  /// - Parameter zone: at most 255 bytes; empty for none.
  /// - Throws: as ``setWeight(_:of:)-(_,MemberID)``.
  public func setZone(_ zone: String, of member: MemberID) async throws {
    try await changingRing { core throws(DatabaseError) in
      try core.checkMember(member)
      try core.changeStore(member, weight: nil, zone: zone)
    }
  }

  /// The ring and where its stores are, at this moment. O(partitions · replicas).
  public var ring: RingSnapshot { core.ringSnapshot }

  /// How far the moving of partitions is. O(partitions).
  public var rebalance: Rebalance { core.rebalance }

  /// Waits until no partition moves any more, and nothing of what moved is left where it was.
  ///
  /// - Throws: ``DatabaseError`` with `.deadlineExceeded` (the message names what is on its way and what
  ///   it waits for; the moves go on), `.missingStore` (moves do not go on while stores are missing),
  ///   `.closed`.
  public func waitUntilBalanced(timeout: Duration) async throws {
    try await onOwnWorkers { core throws(DatabaseError) in try core.waitUntilBalanced(timeout) }
  }

  /// Tries moves that failed again at once, instead of after their pause.
  public func retryMoves() { core.retryMoves() }

  /// Changes how many bytes a second moves may take, for those under way too; `nil` for no limit. The
  /// next open goes by ``DatabaseOptions/transferBytesPerSecond`` again.
  ///
  /// - Throws: ``DatabaseError`` with `.invalidOption` for less than 1024.
  public func setTransferRate(bytesPerSecond: Int?) throws {
    try core.setTransferRate(bytesPerSecond)
  }

  private func changingRing<R: Sendable>(
    _ body: @escaping @Sendable (DatabaseCore) throws(DatabaseError) -> R
  ) async throws(DatabaseError) -> R {
    try refuseInCluster("change its stores")
    return try await onOwnWorkers(body)
  }
}
