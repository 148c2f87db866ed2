public import RoostCausality
import RoostCluster
import RoostStorage

// Calls at a node of a cluster that say how many replicas are to answer.

extension Keyspace {
  /// Reads a key from so many of its replicas, at a node of a cluster.
  ///
  /// - Parameters:
  ///   - key: 1 to 65,533 bytes.
  ///   - quorum: how many replicas must answer, 1 to their number; `nil` for what the keyspace was made with
  ///     (``KeyspacePolicy/eventual(_:replicas:readQuorum:writeQuorum:)``).
  /// - Throws: as ``get(_:)``; with a number `.invalidArgument` where the database is no node, or there are
  ///   fewer replicas, and `.wrongPolicy` in a transactional keyspace.
  public func get(_ key: some ByteKey & Sendable, quorum: Int?) async throws -> Read {
    guard let quorum else { return try await get(key) }
    _ = try nodeForQuorum()
    return try await getReplicated(key, quorum: quorum)
  }

  /// Writes a value to so many of the key's replicas before it is acknowledged, at a node of a cluster. All
  /// are sent it, however many are waited for.
  ///
  /// - Parameter quorum: how many replicas must have it, 1 to their number; `nil` for what the keyspace was
  ///   made with.
  /// - Throws: as ``put(_:_:context:timeToLive:_:)``, and with a number as ``get(_:quorum:)``.
  @discardableResult
  public func put(
    _ key: some ByteKey & Sendable, _ value: some ByteValue & Sendable, context: CausalContext? = nil,
    timeToLive: Duration? = nil, quorum: Int?, _ durability: Durability? = nil
  ) async throws -> CausalContext {
    guard let quorum else {
      return try await put(key, value, context: context, timeToLive: timeToLive, durability)
    }
    let node = try nodeForQuorum()
    let bytes = value.withValueBytes { [UInt8](copying: $0) }
    return try await put(
      key, bytes, context, timeToLive, durability, isConditional: false, quorum: quorum, at: node)
  }

  /// Deletes a key at so many of its replicas before it is acknowledged, at a node of a cluster. Without a
  /// context as many are read first.
  ///
  /// - Parameter quorum: how many replicas must have it, 1 to their number; `nil` for what the keyspace was
  ///   made with.
  /// - Throws: as ``delete(_:context:_:)``, and with a number as ``get(_:quorum:)``.
  @discardableResult
  public func delete(
    _ key: some ByteKey & Sendable, context: CausalContext? = nil, quorum: Int?,
    _ durability: Durability? = nil
  ) async throws -> CausalContext {
    guard let quorum else { return try await delete(key, context: context, durability) }
    let node = try nodeForQuorum()
    return try await perform(.delete, key, context, durability, quorum: quorum, at: node).context
  }

  private func nodeForQuorum() throws(DatabaseError) -> ClusterNode {
    if isTransactional {
      throw DatabaseError(.wrongPolicy, "the keyspace `\(name)` is transactional: it has no quorums")
    }
    if let node = database.node { return node }
    throw DatabaseError(
      .invalidArgument, "a quorum is asked for at a node of a cluster; this database is none")
  }
}
