import RoostCausality
public import RoostCluster
public import RoostStorage

extension Keyspace {
  /// The keyspace as a session uses it: reads, writes and handles made from it show what the session wrote
  /// and read before, and are remembered by it. Scans, queries and changes take no notice of it, nor does a
  /// transactional keyspace. See ``DatabaseSession``.
  ///
  /// Where the session is another database's, its operations throw `.foreignToken`; where the replicas within
  /// reach hold less than it saw, `.behindSession`.
  public func within(_ session: DatabaseSession) -> Keyspace {
    var keyspace = self
    keyspace.session = session
    keyspace.isInSession = true
    return keyspace
  }

  /// What an operation on a key begins with; `nil` outside a session.
  func use(_ key: some ByteKey & Sendable) -> SessionMemory.Use? {
    session?.use(name, key.withKeyBytes { [UInt8](copying: $0) })
  }

  /// A read where all replicas are stores of this process.
  @usableFromInline
  func getInSession(_ key: some ByteKey & Sendable) throws(DatabaseError) -> Read {
    // Before the read: what is remembered while it runs it need not show.
    let use = use(key)
    return try key.withKeyBytes { bytes throws(DatabaseError) in
      let found = try core.find(bytes)
      if let session, let use {
        try core.check(use.demand, bytes, found.context)
        try session.note(use, core.mark(bytes, found.context))
      }
      return core.read(found, binding: core.binding(bytes))
    }
  }

  /// Sees to it that a write which is made here is made on what the session saw.
  func beginInSession(_ key: some ByteKey & Sendable) throws(DatabaseError) -> SessionMemory.Use? {
    guard let use = use(key) else { return nil }
    try key.withKeyBytes { bytes throws(DatabaseError) in
      try core.check(use.demand, bytes, try core.find(bytes).context)
    }
    return use
  }

  /// Has the session remember a write that was made here.
  func remember(_ use: SessionMemory.Use?, _ key: some ByteKey & Sendable) throws(DatabaseError) {
    guard let session, let use else { return }
    let bytes = key.withKeyBytes { [UInt8](copying: $0) }
    do throws(DatabaseError) {
      // Whoever has the write has all that is here with it.
      let seen = try core.held(bytes)?.context ?? VersionVector()
      try session.note(use, core.mark(bytes.rawSpan, seen))
    } catch {
      throw DatabaseError(
        .indeterminate, "the write was applied, and could not be read for the session: \(error.message)",
        cause: error.cause)
    }
  }
}
