public import RoostCluster
public import RoostStorage

// Databases that exchange states by hand.

extension Database {
  /// The states of a keyspace's keys that changed after a token, for another database to ``join(_:_:)``.
  ///
  /// An export tells what was written before its first page, in so many pages: it ends beside writers
  /// who are faster than its reader. What is written meanwhile comes with the next one.
  ///
  /// ```swift
  /// var token: ChangeToken?
  /// while true {
  ///   let page = try await here.export(posts, since: token)
  ///   _ = try await there.join(page)
  ///   token = page.token
  ///   if page.isComplete { break }
  /// }
  /// ```
  ///
  /// - Parameters:
  ///   - keyspace: one of this database.
  ///   - token: the ``ExportPage/token`` after which to go on, or a ``Change/token``; everything where
  ///     `nil`. After a page that was not the last it goes on with the same export, else it begins one.
  ///   - byteLimit: keys and records a page, in bytes; one state may exceed it.
  /// - Returns: a page of whole records. Where a partition has moved to another store since the first
  ///   page, the export ends with what was written before this one.
  /// - Throws: `.invalidArgument` (the keyspace is another database's); `.foreignContext` (the token
  ///   is); `.unreachable` where no open store holds some partition; `.corruption`, `.storage`,
  ///   `.closed`.
  public func export(
    _ keyspace: Keyspace, since token: ChangeToken? = nil, byteLimit: Int = 1 << 20
  ) async throws -> ExportPage {
    guard keyspace.database === self else {
      throw DatabaseError(.invalidArgument, "the keyspace `\(keyspace.name)` is another database's")
    }
    let core = keyspace.core
    return try await blocking { () throws(DatabaseError) in
      try core.export(since: token, byteLimit: byteLimit)
    }
  }

  /// Joins the states of an export of another database into the keyspace of the same name: what either
  /// has seen replaced is gone, all else stays.
  ///
  /// Pages may be joined in any order, and again.
  ///
  /// - Parameters:
  ///   - page: as it was exported, or made of its bytes.
  ///   - durability: what the join must survive; the database's default when `nil`.
  /// - Returns: how many states there were, and how many brought something new.
  /// - Throws: `.unknownKeyspace`; `.wrongPolicy` (here it has another, or this is a node of a cluster,
  ///   which takes no states by hand); `.clockOutOfBound` (a state is from further in the future than clocks
  ///   may differ; nothing was joined); `.unreachable`,
  ///   `.indeterminate`, `.storage`, `.closed`: then some states are joined, and joining again is
  ///   no harm.
  @discardableResult
  public func join(
    _ page: ExportPage, _ durability: Durability? = nil
  ) async throws -> JoinSummary {
    try refuseInCluster("take states in by hand")
    let core = core
    let summary = try await blocking { () throws(DatabaseError) in try core.join(page) }
    if (durability ?? core.options.durability) == .synced {
      for member in core.presentMembers {
        do throws(DatabaseError) { try await member.syncing() } catch {
          // A store that has left the database meanwhile has given all it held to others.
          if error.code == .closed, !core.shared.isClosed { continue }
          throw DatabaseError(
            .indeterminate, "the states were joined, and could not be made durable: \(error.message)",
            cause: error.cause)
        }
      }
    }
    return summary
  }
}
