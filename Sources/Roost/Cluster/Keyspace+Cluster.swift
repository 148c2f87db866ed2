import RoostCausality
import RoostCluster
import RoostStorage

// What reads and writes do in a database of a cluster: they go through the node.

extension Keyspace {
  @usableFromInline
  func getReplicated(_ key: some ByteKey & Sendable, quorum: Int? = nil) async throws -> Read {
    guard let node = database.node else { throw DatabaseError(.closed, "the node is closed") }
    let record = try await perform(.get, key, quorum: quorum, at: node).record
    return key.withKeyBytes { bytes in
      core.read(record.map { .whole($0) } ?? .absent, binding: core.binding(bytes))
    }
  }

  /// How many keys of a ``multiGet(_:)`` are asked for at a time.
  private static var keysAtOnce: Int { 16 }

  func multiGetReplicated(_ keys: [some ByteKey & Sendable]) async throws -> [Read] {
    var reads = [Read?](repeating: nil, count: keys.count)
    try await withThrowingTaskGroup(of: (Int, Read).self) { group in
      var next = 0
      while next < keys.count {
        if next >= Self.keysAtOnce, let (index, read) = try await group.next() { reads[index] = read }
        let (index, key) = (next, keys[next])
        group.addTask { (index, try await getReplicated(key)) }
        next += 1
      }
      while let (index, read) = try await group.next() { reads[index] = read }
    }
    // Each has been answered, or the group has thrown.
    return reads.map { $0! }
  }

  /// One page of a range, over all nodes.
  func scanReplicated(
    _ range: ScanRange, _ order: ScanOrder, limit: Int, after token: ScanToken?
  ) async throws -> ScanPage {
    guard let node = database.node else { throw DatabaseError(.closed, "the node is closed") }
    let request = ScanRequest(range, order, in: name, limit: limit, after: token)
    let result: Result<ScanAnswer, DatabaseError> = await handedOver { handOver in
      node.scan(request, deadline: node.requestDeadline, handOver)
    }
    let answer = try result.get()
    return ScanPage(entries: ScanEntries(core, answer.entries), token: answer.token)
  }

  /// One page of changes, over all nodes.
  ///
  /// - Parameter bounds: see ``ClusterNode/changes(of:since:limit:_:deadline:_:)``.
  func changesReplicated(
    since token: ChangeToken?, _ bounds: FeedBounds?, at node: ClusterNode
  ) async throws(DatabaseError) -> (page: ChangePage, bounds: FeedBounds?) {
    let core = core
    let result: Result<(page: ChangePage, bounds: FeedBounds?), DatabaseError> = await handedOver {
      handOver in
      node.changes(of: core, since: token, limit: 256, bounds, deadline: node.requestDeadline, handOver)
    }
    return try result.get()
  }

  func put(
    _ key: some ByteKey & Sendable, _ value: [UInt8], _ context: CausalContext?, _ timeToLive: Duration?,
    _ durability: Durability?, isConditional: Bool, quorum: Int? = nil, at node: ClusterNode
  ) async throws(DatabaseError) -> CausalContext {
    let lifetime = try KeyspaceCore.milliseconds(timeToLive)
    return try await perform(
      .put(value, timeToLiveMilliseconds: lifetime), key, context, durability, isConditional: isConditional,
      quorum: quorum, at: node
    ).context
  }

  /// Has the node do what is asked, here or at a replica.
  func perform(
    _ operation: KeyRequest.Operation, _ key: some ByteKey & Sendable, _ context: CausalContext? = nil,
    _ durability: Durability? = nil, isConditional: Bool = false, quorum: Int? = nil, at node: ClusterNode
  ) async throws(DatabaseError) -> KeyAnswer {
    var request = KeyRequest(operation, key.withKeyBytes { [UInt8](copying: $0) }, in: name)
    request.context = context
    request.isConditional = isConditional
    request.quorum = quorum
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
}
