package import Logging
package import RoostCluster
package import RoostEnvironment

/// A program that is no node of a cluster, and asks one of its nodes.
///
/// It needs the node's address and the cluster's name, and no directory. The connection is made when the
/// client begins and kept up; a request that finds none waits for it, up to its deadline. Nothing is asked
/// twice: a request whose connection is lost under it fails.
///
/// Thread-safe.
package final class NetworkClient: Sendable {
  /// Whom it asks.
  package let address: NodeAddress
  /// How long a call may take, the connection included; a statement of a transaction may take longer.
  package let timeout: Duration
  private let network: Network
  private let connection: ClientConnection
  private let time: any TimeSource
  private let randomness: any Randomness

  /// Begins to dial; waits for nothing.
  ///
  /// - Parameters:
  ///   - address: of any node of the cluster.
  ///   - timeout: of a call: 1 ms to an hour.
  ///   - environment: time, randomness, the certificates' files, and workers that keep time.
  /// - Throws: ``TransportError`` with `.invalidOption`, `.certificate` (naming the file), `.notSecure`
  ///   (plain TCP off loopback).
  package init(
    to address: NodeAddress, cluster: String, tls: TLSOptions, timeout: Duration = .seconds(5),
    _ options: NetworkOptions = NetworkOptions(), environment: Environment,
    logger: Logger = Logger(label: "roost.client") { _ in SwiftLogNoOpLogHandler() }
  ) throws(TransportError) {
    guard (.milliseconds(1) ... .seconds(3_600)).contains(timeout) else {
      throw TransportError(.invalidOption, "a timeout of \(timeout): it must be 1 ms to an hour")
    }
    try tls.check(address)
    self.address = address
    self.timeout = timeout
    time = environment.time
    randomness = environment.randomness
    network = try Network.start(
      NetworkIdentity(cluster: cluster, database: nil, node: .random(environment.randomness)), at: nil,
      tls: tls, options, environment, logger: logger)
    connection = ClientConnection(
      network, environment.time, Timers(environment.time, environment.makeWorkers()), options)
    network.observe { [weak connection] event in connection?.saw(event) }
    network.setPeers([.anyone: address])
  }

  // MARK: - Calls

  /// Reads or writes a key.
  ///
  /// - Throws: ``DatabaseError``: what the node answers; `.unreachable` (no connection came about in time, or
  ///   the node is of another cluster), `.deadlineExceeded`, `.busy`, `.closed`, `.invalidArgument` (longer
  ///   than the node takes); `.indeterminate` where a write was sent and no answer came: it may still appear.
  package func key(_ request: KeyRequest) async throws(DatabaseError) -> KeyAnswer {
    try KeyAnswer(
      decoding: await ask(NodeMessageKind.key, request.encoded(), isWrite: request.isWrite))
  }

  /// One page of a keyspace's keys, in order, over all nodes.
  ///
  /// - Throws: as ``key(_:)``; `.foreignToken`; `.unreachable` naming a partition of which too few replicas
  ///   are within the node's reach.
  package func scan(_ request: ScanRequest) async throws(DatabaseError) -> ScanAnswer {
    try ScanAnswer(decoding: await ask(NodeMessageKind.scan, request.encoded(), isWrite: false))
  }

  /// One page of a keyspace's changes, over all nodes.
  ///
  /// - Throws: as ``scan(_:)``; `.foreignContext` for a token of another keyspace or cluster.
  package func changes(_ request: ChangesRequest) async throws(DatabaseError) -> ChangesAnswer {
    try ChangesAnswer(decoding: await ask(NodeMessageKind.changes, request.encoded(), isWrite: false))
  }

  /// The same within a session: on what it saw of the key, and remembered by it.
  ///
  /// - Throws: as ``key(_:)``; `.behindSession`, `.foreignToken`, `.foreignContext`.
  package func key(
    _ request: KeyRequest, within session: DatabaseSession?
  ) async throws(DatabaseError) -> KeyAnswer {
    guard let session else { return try await key(request) }
    let use = session.use(request.keyspace, request.key)
    var request = request
    request.session = use.demand
    let answer = try await key(request)
    try session.note(use, answer)
    return answer
  }

  /// Makes a keyspace in the whole cluster, or finds that it is there.
  ///
  /// - Throws: as ``key(_:)``; `.wrongPolicy` where it is there with another policy.
  package func makeKeyspace(_ request: KeyspaceRequest) async throws(DatabaseError) {
    _ = try await ask(NodeMessageKind.makeKeyspace, request.encoded(), isWrite: true)
  }

  /// What the node says of itself and of the cluster.
  ///
  /// - Throws: as ``key(_:)``.
  package func status() async throws(DatabaseError) -> NodeStatus {
    try NodeStatus(decoding: await ask(NodeMessageKind.status, [], isWrite: false))
  }

  /// Has the node compare what it holds with the other replicas, and mend what differs.
  ///
  /// - Parameter isFull: whether all records are read for it, and the leaves that nodes keep are checked.
  /// - Returns: what it came to, partitions that could not be compared among it.
  /// - Throws: as ``key(_:)``.
  package func repair(isFull: Bool = false) async throws(DatabaseError) -> RepairReport {
    // What of it was done before a connection is lost need not be taken back: it is asked for again.
    let request = RepairRequest(isFull: isFull).encoded()
    return try RepairReport(decoding: await ask(NodeMessageKind.repair, request, isWrite: false))
  }

  /// Sends a request, and returns what was asked for.
  ///
  /// - Parameter isWrite: whether the request changes anything.
  /// - Throws: as ``key(_:)``.
  package func ask(_ kind: UInt16, _ body: [UInt8], isWrite: Bool) async throws(DatabaseError) -> [UInt8] {
    switch await send(kind, body) {
    case .success(let answer): return try NodeAnswer.decode(answer)
    case .failure(let error): throw failure(error, isWrite: isWrite)
    }
  }

  /// Sends a request of a kind that a layer above knows.
  ///
  /// - Parameter shortest: for how long an answer is waited for where a call's timeout is shorter: for what
  ///   the node itself may have to wait.
  /// - Returns: what the node answered, a failure of its own among it (`NodeAnswer.decode`); or why no answer
  ///   came.
  package func send(
    _ kind: UInt16, _ body: [UInt8], atLeast shortest: Duration = .zero
  ) async -> Result<[UInt8], TransportError> {
    let message = NodeMessage(kind: kind, body: body)
    let nanoseconds = max(timeout, shortest).wholeNanoseconds
    return await withCheckedContinuation { continuation in
      connection.ask(message, for: nanoseconds) { continuation.resume(returning: $0) }
    }
  }

  /// Sends a request, and waits for no answer. It may be lost.
  package func post(_ kind: UInt16, _ body: [UInt8]) {
    connection.ask(NodeMessage(kind: kind, body: body), for: timeout.wholeNanoseconds) { _ in }
  }

  /// What it comes to that no answer came.
  ///
  /// - Parameter isWrite: whether the request would have changed anything.
  package func failure(_ error: TransportError, isWrite: Bool) -> DatabaseError {
    // Said once which node.
    let who = error.message.contains("\(address)") ? "no answer" : "\(address)"
    return NodeAnswer.failure(error, of: who, isWrite: isWrite)
  }

  /// Waits some time; less where the client is closed meanwhile.
  package func pause(milliseconds: UInt64) async {
    await withCheckedContinuation { continuation in
      connection.later(milliseconds &* 1_000_000) { continuation.resume() }
    }
  }

  package func randomNumber() -> UInt64 { randomness.next() }

  /// The monotonic clock, in milliseconds.
  package var monotonicMilliseconds: UInt64 { time.monotonicNanoseconds / 1_000_000 }

  /// Reads certificate, key and authority again; see ``Network/reloadCertificates()``.
  ///
  /// - Throws: ``TransportError`` with `.certificate`, naming the file: what was in use stays in use.
  package func reloadCertificates() throws(TransportError) { try network.reloadCertificates() }

  /// Ends the connection and the threads; calls under way fail with `.closed` or, where the node may have
  /// acted on them, `.indeterminate`. A client that was made has to be closed.
  package func close() async {
    connection.close()
    await withCheckedContinuation { continuation in network.close { continuation.resume() } }
  }
}
