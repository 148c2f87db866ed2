import RoostCausality
import RoostCluster
import RoostStorage

// What reads and writes do in a database of a cluster: they go through the node.

extension Keyspace {
  @usableFromInline
  func getReplicated(_ key: some ByteKey & Sendable) async throws -> Read {
    guard let node = database.node else { throw DatabaseError(.closed, "the node is closed") }
    let record = try await perform(.get, key, at: node).record
    return key.withKeyBytes { bytes in
      core.read(record.map { .whole($0) } ?? .absent, binding: core.binding(bytes))
    }
  }

  func put(
    _ key: some ByteKey & Sendable, _ value: [UInt8], _ context: CausalContext?, _ timeToLive: Duration?,
    _ durability: Durability?, isConditional: Bool, at node: ClusterNode
  ) async throws(DatabaseError) -> CausalContext {
    let lifetime = try KeyspaceCore.milliseconds(timeToLive)
    return try await perform(
      .put(value, timeToLiveMilliseconds: lifetime), key, context, durability, isConditional: isConditional,
      at: node
    ).context
  }

  /// Has the node do what is asked, here or at a replica.
  func perform(
    _ operation: KeyRequest.Operation, _ key: some ByteKey & Sendable, _ context: CausalContext? = nil,
    _ durability: Durability? = nil, isConditional: Bool = false, at node: ClusterNode
  ) async throws(DatabaseError) -> KeyAnswer {
    var request = KeyRequest(operation, key.withKeyBytes { [UInt8](copying: $0) }, in: name)
    request.context = context
    request.isConditional = isConditional
    request.isSynced = (durability ?? core.shared.options.durability) == .synced
    let use = use(key)
    request.session = use?.demand
    let asked = request
    let result: Result<KeyAnswer, DatabaseError> = await handedOver { handOver in
      node.perform(asked, deadline: node.requestDeadline, handOver)
    }
    let answer = try result.get()
    if let session, let use { try session.note(use, answer) }
    return answer
  }

  /// Has this node hold what a session saw of a key.
  func hold(
    _ session: SessionDemand, _ key: some ByteKey & Sendable, at node: ClusterNode
  ) async throws(DatabaseError) {
    let bytes = key.withKeyBytes { [UInt8](copying: $0) }
    let core = core
    let result: Result<Void, DatabaseError> = await handedOver { handOver in
      node.hold(session, bytes, of: core, deadline: node.requestDeadline, handOver)
    }
    try result.get()
  }

  /// Has this node hold all of a key that a quorum of its replicas holds.
  func catchUp(_ key: some ByteKey & Sendable, at node: ClusterNode) async throws(DatabaseError) {
    let bytes = key.withKeyBytes { [UInt8](copying: $0) }
    let core = core
    let result: Result<Void, DatabaseError> = await handedOver { handOver in
      node.catchUp(bytes, of: core, deadline: node.requestDeadline, handOver)
    }
    try result.get()
  }

  /// Sends what was changed here to the other replicas.
  func replicate(
    _ key: some ByteKey & Sendable, _ durability: Durability?, from node: ClusterNode
  ) async throws(DatabaseError) {
    let bytes = key.withKeyBytes { [UInt8](copying: $0) }
    let isSynced = (durability ?? core.shared.options.durability) == .synced
    let core = core
    let result: Result<Void, DatabaseError> = await handedOver { handOver in
      node.replicate(bytes, of: core, isSynced: isSynced, deadline: node.requestDeadline, handOver)
    }
    try result.get()
  }
}
