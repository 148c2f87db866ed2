public import RoostCluster

extension Database {
  /// Begins a session: reads through it show what it wrote and read before. See ``DatabaseSession``.
  ///
  /// - Parameter capacity: how many keys it remembers, 1 to 65,536: some 100 bytes each.
  /// - Throws: `.invalidOption`.
  public func session(
    capacity: Int = DatabaseSession.defaultCapacity
  ) throws(DatabaseError) -> DatabaseSession {
    DatabaseSession(try SessionMemory(capacity: capacity, database: core.id))
  }

  /// Goes on with a session of this database that was begun here or elsewhere.
  ///
  /// What the other goes on to do is not seen here, nor the reverse: a session in two places is two.
  ///
  /// - Parameters:
  ///   - token: what ``DatabaseSession/token`` gave.
  ///   - capacity: how many keys it remembers, 1 to 65,536; those in the token that are too many are
  ///     forgotten.
  /// - Throws: `.damagedToken`, `.newerFormat`, `.foreignToken` (it is of another database),
  ///   `.invalidOption`.
  public func session(
    resuming token: [UInt8], capacity: Int = DatabaseSession.defaultCapacity
  ) throws(DatabaseError) -> DatabaseSession {
    DatabaseSession(try SessionMemory(token: token, capacity: capacity, for: core.id))
  }
}

extension ClusterClient {
  /// Begins a session: reads through it show what it wrote and read before. See ``DatabaseSession``.
  ///
  /// - Parameter capacity: how many keys it remembers, 1 to 65,536: some 100 bytes each.
  /// - Throws: ``DatabaseError`` with `.invalidOption`.
  public func session(
    capacity: Int = DatabaseSession.defaultCapacity
  ) throws(DatabaseError) -> DatabaseSession {
    DatabaseSession(try SessionMemory(capacity: capacity))
  }

  /// Goes on with a session that was begun here or elsewhere. That it is of the cluster's database the first
  /// call finds out, which throws `.foreignToken` where it is not.
  ///
  /// - Parameters:
  ///   - token: what ``DatabaseSession/token`` gave.
  ///   - capacity: how many keys it remembers, 1 to 65,536; those in the token that are too many are
  ///     forgotten.
  /// - Throws: ``DatabaseError`` with `.damagedToken`, `.newerFormat`, `.invalidOption`.
  public func session(
    resuming token: [UInt8], capacity: Int = DatabaseSession.defaultCapacity
  ) throws(DatabaseError) -> DatabaseSession {
    DatabaseSession(try SessionMemory(token: token, capacity: capacity))
  }
}
