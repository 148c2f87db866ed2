public import RoostCausality
import RoostCluster
import RoostNetwork
public import RoostStorage
import RoostTransactions

/// The transactional keyspaces of a cluster as they were at one moment: see ``DatabaseSnapshot``. Copies are
/// of the same moment.
///
/// No node keeps it for the client: it can be read for as long as old versions are kept
/// (``TransactionOptions/versionRetention``).
///
/// The moment of a snapshot of now becomes fixed with the first read, or look at its timestamp: a node that
/// was started again keeps nothing from before that. A snapshot of which nothing was read then moves above
/// it.
public struct ClientSnapshot: Sendable {
  private let client: NetworkClient
  private let moment: SnapshotMoment
  private let codec: any Codec

  /// - Parameter isFixed: whether its holder chose the time.
  init(_ time: Timestamp, isFixed: Bool, _ client: NetworkClient, _ codec: any Codec) {
    self.client = client
    self.codec = codec
    moment = SnapshotMoment(time, isFixed: isFixed, hold: nil)
  }

  /// The moment. From now on it is this one, whatever was read so far.
  public var timestamp: Timestamp { moment.fix() }

  /// Reads a key.
  ///
  /// - Returns: `nil` where it was absent.
  /// - Throws: `.invalidArgument`, `.unknownKeyspace`, `.wrongPolicy`, `.unreachable`, `.busy`,
  ///   `.corruption`, `.closed`; `.snapshotTooOld` (its versions may be gone, and the snapshot was read
  ///   before or is of a given time); `.deadlineExceeded`.
  public func get(_ key: some ByteKey & Sendable, in keyspace: String) async throws -> [UInt8]? {
    try await entry(key, in: keyspace).value
  }

  /// The value, and the time that it was read at.
  func entry(
    _ key: some ByteKey & Sendable, in keyspace: String
  ) async throws -> (value: [UInt8]?, time: Timestamp) {
    let bytes = key.withKeyBytes { [UInt8](copying: $0) }
    return try await reading { time in
      let answer = try await read(.keys([bytes]), keyspace, time)
      guard case .values(let values) = answer, values.count == 1 else { throw unexpected() }
      return (values[0], time)
    }
  }

  /// Reads a key's value, decoded by the client's codec. As ``get(_:in:)``, and throws `.codec`.
  // Not inlined: the optimiser of Swift 6.3 fails on the like in its caller's loop.
  @inline(never)
  public func get<Value: Decodable>(
    _ key: some ByteKey & Sendable, _ type: Value.Type, in keyspace: String
  ) async throws -> Value? {
    guard let bytes = try await get(key, in: keyspace) else { return nil }
    return try codec.decoded(type, bytes)
  }

  /// Reads several keys, in their order, in one message: up to 10,000, and as many bytes of values as a
  /// message takes. As ``get(_:in:)``.
  public func multiGet(_ keys: [some ByteKey & Sendable], in keyspace: String) async throws -> [[UInt8]?] {
    let keys = keys.map { key in key.withKeyBytes { [UInt8](copying: $0) } }
    return try await reading { time in
      guard case .values(let values) = try await read(.keys(keys), keyspace, time),
        values.count == keys.count
      else { throw unexpected() }
      return values
    }
  }

  /// Reads keys in order.
  ///
  /// - Parameters:
  ///   - start: the first key; empty for the keyspace's first.
  ///   - end: the key behind the last; `nil` for the keyspace's end.
  ///   - limit: how many entries at most: 1 to 10,000. Go on from the last key and a zero byte.
  /// - Throws: as ``get(_:in:)``.
  /// - Complexity: a message for each MiB of entries.
  public func scan(
    from start: [UInt8] = [], to end: [UInt8]? = nil, limit: Int = 1_000, in keyspace: String
  ) async throws -> [(key: [UInt8], value: [UInt8])] {
    try await reading { time in
      try await allPages(from: start, limit: limit) { start, limit in
        let range = ClientRead.What.range(from: start, to: end, limit: limit)
        guard case .entries(let page) = try await read(range, keyspace, time) else { throw unexpected() }
        return page
      }
    }
  }

  /// Reads as many of a range's keys, in order, as one message takes: for callers that go over more than they
  /// can have in memory.
  ///
  /// - Parameter limit: how many entries at most: 1 to 10,000.
  /// - Returns: the entries; and the start of the next page, `nil` where there is nothing behind these.
  /// - Throws: as ``get(_:in:)``.
  package func page(
    from start: [UInt8], to end: [UInt8]?, limit: Int, in keyspace: String
  ) async throws -> (entries: [(key: [UInt8], value: [UInt8])], next: [UInt8]?) {
    try await reading { time in
      let range = ClientRead.What.range(from: start, to: end, limit: limit)
      guard case .entries(let page) = try await read(range, keyspace, time) else { throw unexpected() }
      // Each page goes on behind the one before, or the node is at fault.
      if let next = page.next, !start.lexicographicallyPrecedes(next) { throw unexpected() }
      var next = page.next
      if next == nil, page.entries.count >= limit, let last = page.entries.last { next = last.key + [0] }
      return (entries: page.entries.map { (key: $0.key, value: $0.value) }, next: next)
    }
  }

  /// Reads the keys that begin with `prefix`, in order. As ``scan(from:to:limit:in:)``.
  public func scan(
    prefix: some ByteKey & Sendable, limit: Int = 1_000, in keyspace: String
  ) async throws -> [(key: [UInt8], value: [UInt8])] {
    let start = prefix.withKeyBytes { [UInt8](copying: $0) }
    return try await scan(from: start, to: start.successorOfPrefix, limit: limit, in: keyspace)
  }

  private func reading<R>(_ body: (Timestamp) async throws -> R) async throws -> R {
    try await moment.reading(
      // The node has heard how far ahead whoever refused is.
      later: { (time: try await client.moment(nil), hold: nil) }, body)
  }

  private func read(
    _ what: ClientRead.What, _ keyspace: String, _ time: Timestamp
  ) async throws(DatabaseError) -> ClientAnswer {
    let body = ClientRead(what, in: keyspace, at: time).encoded()
    return try ClientAnswer(
      decoding: await client.ask(NodeMessageKind.clientRead, body, isWrite: false), of: nil)
  }
}

extension NetworkClient {
  /// The time of a snapshot that is taken at the node now, or of a given one.
  func moment(_ wish: Timestamp?) async throws(DatabaseError) -> Timestamp {
    try ClientMoment.answer(
      await ask(NodeMessageKind.clientMoment, ClientMoment(wish).encoded(), isWrite: false))
  }
}
