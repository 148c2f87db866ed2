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
  /// How long a call may take, the connection included.
  package let timeout: Duration
  private let network: Network
  private let connection: ClientConnection

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
    network = try Network.start(
      NetworkIdentity(cluster: cluster, database: nil, node: .random(environment.randomness)), at: nil,
      tls: tls, options, environment, logger: logger)
    connection = ClientConnection(
      network, environment.time, Timers(environment.time, environment.makeWorkers()))
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
  /// - Returns: what it came to, partitions that could not be compared among it.
  /// - Throws: as ``key(_:)``.
  package func repair() async throws(DatabaseError) -> RepairReport {
    // What of it was done before a connection is lost need not be taken back: it is asked for again.
    try RepairReport(decoding: await ask(NodeMessageKind.repair, [], isWrite: false))
  }

  func ask(_ kind: UInt16, _ body: [UInt8], isWrite: Bool) async throws(DatabaseError) -> [UInt8] {
    let message = NodeMessage(kind: kind, body: body)
    let nanoseconds = timeout.wholeNanoseconds
    let result = await withCheckedContinuation { continuation in
      connection.ask(message, for: nanoseconds) { continuation.resume(returning: $0) }
    }
    switch result {
    case .success(let answer): return try NodeAnswer.decode(answer)
    case .failure(let error):
      // Said once which node.
      let who = error.message.contains("\(address)") ? "no answer" : "\(address)"
      throw NodeAnswer.failure(error, of: who, isWrite: isWrite)
    }
  }

  /// Ends the connection and the threads; calls under way fail with `.closed` or, where the node may have
  /// acted on them, `.indeterminate`. A client that was made has to be closed.
  package func close() async {
    connection.close()
    await withCheckedContinuation { continuation in network.close { continuation.resume() } }
  }
}
