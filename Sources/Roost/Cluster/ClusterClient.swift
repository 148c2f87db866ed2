public import RoostCausality
public import RoostCluster
public import RoostEnvironment
public import RoostNetwork
public import RoostStorage

/// A program that is no node of a cluster, and reads and writes its keys through one of its nodes.
///
/// ```swift
/// let client = try ClusterClient(to: "10.0.0.1:7420", cluster: "music", tls: tls)
/// try await client.put("u:1", "Ada", in: "users")
/// let name = try await client.get("u:1", in: "users").text
/// await client.close()
/// ```
///
/// It keeps one connection to that node, over which any number of calls may be under way; a call that finds
/// none waits for it, up to its deadline. Nothing is asked twice. The node does what is asked itself, or
/// hands it on to a replica of the key.
///
/// Thread-safe. Has to be closed.
public final class ClusterClient: Sendable {
  package let client: NetworkClient
  /// Values of transactional keyspaces as bytes.
  let codec: any Codec
  private let transactional = KnownNames()
  /// Of the transactions that write many keys.
  let transactionSize = BatchSize()

  /// Begins to dial; waits for nothing.
  ///
  /// - Parameters:
  ///   - address: of any node of the cluster, `host:port`.
  ///   - cluster: its name; a node of another one refuses.
  ///   - tls: how the connection is secured: the certificate is one of the cluster's authority.
  ///   - timeout: of a call, the connection included: 1 ms to an hour. A transaction's calls have seven
  ///     seconds at least, and its commit twelve, since they may wait for locks at the node.
  ///   - network: limits and times of the connection.
  ///   - codec: encodes and decodes the values of typed calls.
  /// - Throws: ``TransportError`` with `.invalidAddress`, `.invalidOption`, `.certificate` (naming the file),
  ///   `.notSecure` (plain TCP off loopback).
  public init(
    to address: String, cluster: String, tls: TLSOptions, timeout: Duration = .seconds(5),
    network: NetworkOptions = NetworkOptions(), environment: Environment = .posix(),
    codec: any Codec = .json
  ) throws {
    self.codec = codec
    client = try NetworkClient(
      to: NodeAddress(address), cluster: cluster, tls: tls, timeout: timeout, network,
      environment: environment)
  }

  /// The same calls over a client that somebody else closes.
  package init(_ client: NetworkClient) {
    self.client = client
    codec = .json
  }

  /// What a quorum of the key's replicas holds together.
  ///
  /// Where several writes stand beside each other, the node is asked once more which of them the keyspace's
  /// policy shows; one that is resolved on read shows them all, since the resolver is the nodes'.
  ///
  /// - Parameters:
  ///   - key: 1 to 65,533 bytes.
  ///   - keyspace: its name. Of a transactional one the key is read as it is now, and the other parameters
  ///     do not count.
  ///   - quorum: how many replicas must answer; as the keyspace says when `nil`.
  ///   - session: whose earlier writes and reads are shown; see ``DatabaseSession``.
  /// - Throws: ``DatabaseError``: what the node answers (`.unknownKeyspace`, `.unreachable`, `.busy`,
  ///   `.behindSession`, …);
  ///   `.unreachable` (no connection came about in time), `.deadlineExceeded`, `.closed`.
  public func get(
    _ key: some ByteKey & Sendable, in keyspace: String, quorum: Int? = nil, session: DatabaseSession? = nil
  ) async throws -> Read {
    guard let answer = try await perform(.get, key, in: keyspace, quorum: quorum, session: session) else {
      let (value, time) = try await snapshot().entry(key, in: keyspace)
      transactional.insert(keyspace)
      guard let value else { return Read(.absent, shown: [], binding: 0) }
      return Read(.sole(SoleRecord(committedAt: time, value)), shown: [], binding: 0)
    }
    guard let record = answer.record else { return Read(.absent, shown: [], binding: answer.context.binding) }
    var shown = record.siblings.elements
    if shown.count > 1, let latest = record.siblings.latest {
      let kind = try await client.status().keyspaces.first { $0.name == keyspace }?.kind
      if kind == .lastWriterWins { shown = [latest] }
    }
    return Read(.whole(record), shown: shown, binding: answer.context.binding)
  }

  /// Writes a value, as ``Keyspace/put(_:_:context:timeToLive:_:)`` does at a node; in a transactional
  /// keyspace in a transaction of its own.
  ///
  /// - Parameters:
  ///   - value: as long as the node takes: ``NetworkOptions/largestBody``, less 64 KiB and the key.
  ///   - context: from a read of the same key: what that read saw is replaced.
  ///   - quorum: how many replicas must have it; as the keyspace says when `nil`.
  ///   - durability: what the write must survive at each of these replicas.
  ///   - session: is to see this write; see ``DatabaseSession``.
  /// - Returns: a context that has seen this write; of a transactional keyspace's key one that has seen
  ///   nothing.
  /// - Throws: ``DatabaseError``: as ``get(_:in:quorum:session:)``; `.invalidArgument`, `.foreignContext`,
  ///   `.wrongKind`; `.indeterminate` where it was sent and no answer came, or fewer replicas acknowledged
  ///   it: it may still appear. Of a transactional keyspace: `.wrongPolicy` (it takes no context), and as
  ///   ``transaction(_:_:)``.
  @discardableResult
  public func put(
    _ key: some ByteKey & Sendable, _ value: some ByteValue & Sendable, in keyspace: String,
    context: CausalContext? = nil, quorum: Int? = nil, _ durability: Durability = .applied,
    session: DatabaseSession? = nil
  ) async throws -> CausalContext {
    let bytes = value.withValueBytes { [UInt8](copying: $0) }
    let answer = try await perform(
      .put(bytes, timeToLiveMilliseconds: nil), key, in: keyspace, context, quorum: quorum, durability,
      session: session)
    if let answer { return answer.context }
    return try await commit(key, bytes, in: keyspace, durability)
  }

  /// Deletes a key: what the context's read saw, or, without one, what a read would show now.
  ///
  /// - Throws: as ``put(_:_:in:context:quorum:_:session:)``.
  @discardableResult
  public func delete(
    _ key: some ByteKey & Sendable, in keyspace: String, context: CausalContext? = nil, quorum: Int? = nil,
    _ durability: Durability = .applied, session: DatabaseSession? = nil
  ) async throws -> CausalContext {
    let answer = try await perform(
      .delete, key, in: keyspace, context, quorum: quorum, durability, session: session)
    if let answer { return answer.context }
    return try await commit(key, nil, in: keyspace, durability)
  }

  /// Writes or deletes a key of a transactional keyspace, in a transaction of its own.
  private func commit(
    _ key: some ByteKey & Sendable, _ value: [UInt8]?, in keyspace: String, _ durability: Durability
  ) async throws -> CausalContext {
    let bytes = key.withKeyBytes { [UInt8](copying: $0) }
    try await transaction(durability) { txn in
      if let value {
        try await txn.put(bytes, value, in: keyspace)
      } else {
        try await txn.delete(bytes, in: keyspace)
      }
    }
    transactional.insert(keyspace)
    return CausalContext(binding: 0, vector: VersionVector())
  }

  /// Notes that a keyspace is transactional, as the node has said: it need not be asked again.
  func remember(transactional keyspace: String) { transactional.insert(keyspace) }

  /// Asks for one key of an eventual keyspace.
  ///
  /// - Returns: `nil` where the keyspace is transactional; nothing was done then.
  func perform(
    _ operation: KeyRequest.Operation, _ key: some ByteKey & Sendable, in keyspace: String,
    _ context: CausalContext? = nil, quorum: Int?, _ durability: Durability = .applied,
    session: DatabaseSession?
  ) async throws(DatabaseError) -> KeyAnswer? {
    if transactional.contains(keyspace), context == nil { return nil }
    // What the message says with 0 is what the keyspace goes by: nobody must mean that with another number.
    if let quorum, !(1...16).contains(quorum) {
      throw DatabaseError(.invalidArgument, "a quorum of \(quorum): it must be 1 to 16")
    }
    var request = KeyRequest(operation, key.withKeyBytes { [UInt8](copying: $0) }, in: keyspace)
    request.context = context
    request.quorum = quorum
    request.isSynced = durability == .synced
    do throws(DatabaseError) { return try await client.key(request, within: session) } catch {
      // With a context it is no write that such a keyspace knows.
      if error.code == .wrongPolicy, context == nil { return nil }
      throw error
    }
  }

  /// Reads certificate, key and authority again, from the files that
  /// ``TLSOptions/mutual(certificate:key:authority:)`` named: the next connection uses them, and one that
  /// stands stays as it is. With plain TCP nothing happens.
  ///
  /// Waits for the file system.
  ///
  /// - Throws: ``TransportError`` with `.certificate`, naming the file: what was in use stays in use.
  public func reloadCertificates() throws { try client.reloadCertificates() }

  /// Ends the connection; calls under way fail with `.closed` or, where the node may have acted on them,
  /// `.indeterminate`.
  public func close() async { await client.close() }
}

/// Keyspaces that are known to be transactional: they stay so. Thread-safe.
private final class KnownNames: @unchecked Sendable {
  /// More are asked about anew each time.
  private static let most = 1_000

  private let lock = Lock()
  // Guarded by `lock`.
  private var names: Set<String> = []

  func contains(_ name: String) -> Bool { lock.withLock { names.contains(name) } }

  func insert(_ name: String) {
    lock.withLock { if names.count < Self.most { names.insert(name) } }
  }
}
