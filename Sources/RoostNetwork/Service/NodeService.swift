package import Logging
package import RoostCluster
package import RoostEnvironment

/// A node of a cluster as a process runs it: its network, the cluster's directory, and the node between them.
///
/// 1. ``listen(as:at:tls:_:environment:logger:)`` takes the port: from then on it is known where the node is
///    reached.
/// 2. ``join(at:_:_:directory:)`` opens the store and takes part; it returns when the cluster is founded.
/// 3. ``stop(drainingFor:)`` lets what is under way end, and closes all.
///
/// Thread-safe; ``join(at:_:_:directory:)`` once.
package final class NodeService: @unchecked Sendable {
  /// Where the nodes of the cluster agree.
  package enum Records: Sendable {
    /// In a folder that all nodes of one machine can reach: ``FileDirectory``.
    case file(String)
    /// Somewhere else; whoever made it closes it.
    case given(any ClusterDirectory)
  }

  package let network: Network
  /// Where others reach it, with the port that was taken.
  package let address: NodeAddress
  package var nodeID: NodeID { network.node }
  private let environment: Environment
  private let metrics = NodeMetrics()
  private let stopped = Latch<Bool>()
  private let lock = Lock()
  // Guarded by `lock`.
  private var founding: ClusterFounding?
  private var node: ClusterNode?
  private var records: FileDirectory?
  private var isStopped = false

  private init(_ network: Network, at address: NodeAddress, _ environment: Environment) {
    self.network = network
    self.address = address
    self.environment = environment
  }

  /// Let go of without ``stop(drainingFor:)``: others must not take a node for alive whose store is closed.
  deinit { network.close() }

  /// Begins to listen, under a number that was never used before: a process that comes back is another node
  /// with the same store. Until it has joined, requests are refused as `.unreachable`.
  ///
  /// - Parameters:
  ///   - cluster: its name; nodes and clients of others are refused.
  ///   - address: where to listen; port 0 for any that is free. Others are told this host, so it must lead
  ///     them here.
  ///   - environment: the outside world.
  /// - Throws: ``TransportError`` with `.invalidOption`, `.certificate` (naming the file), `.notSecure`
  ///   (plain TCP off loopback), `.listen`.
  package static func listen(
    as cluster: String, at address: NodeAddress, tls: TLSOptions,
    _ options: NetworkOptions = NetworkOptions(), environment: Environment,
    logger: Logger = Logger(label: "roost.network")
  ) throws(TransportError) -> NodeService {
    // Which database it is of, it learns from its store or from the founding.
    let network = try Network.start(
      NetworkIdentity(cluster: cluster, database: nil, node: .random(environment.randomness)), at: address,
      tls: tls, options, environment, logger: logger)
    guard let bound = network.address else {
      network.close()
      throw TransportError(.listen, "\(address) cannot be listened on")
    }
    return NodeService(network, at: bound, environment)
  }

  /// Takes part in the cluster. Waits for recovery, and, the first time, for the other founders, as long as
  /// the options say: not for the threads of asynchronous code.
  ///
  /// - Parameters:
  ///   - directory: of the node's store.
  ///   - cluster: with the name that the network was started with.
  ///   - records: the cluster's directory.
  /// - Returns: the node; ``stop(drainingFor:)`` closes it.
  /// - Throws: ``DatabaseError``: what opening the directory and the store throws; `.deadlineExceeded` where
  ///   too few founders came in time; `.closed` where the service was stopped meanwhile.
  @discardableResult
  package func join(
    at directory: String, _ options: DatabaseOptions, _ cluster: ClusterOptions, directory records: Records
  ) throws(DatabaseError) -> ClusterNode {
    let (found, own) = try open(records)
    let isFirst = lock.withLock {
      if self.isStopped || self.records != nil || self.node != nil { return false }
      self.records = own
      return true
    }
    guard isFirst else {
      own?.close()
      throw DatabaseError(.closed, "the node was stopped, or has joined already")
    }
    let founding = try ClusterFounding(
      at: directory, options, cluster, directory: found, address: address, environment)
    let mustGo = lock.withLock {
      self.founding = founding
      return self.isStopped
    }
    if mustGo { founding.cancel() }
    defer { lock.withLock { self.founding = nil } }
    let isNew = !founding.isMember
    let node = try ClusterNode.start(
      founding, transport: network, address: address, observer: metrics
    ) { [network] peers in network.setPeers(peers) }
    let isStopped = lock.withLock {
      if !self.isStopped { self.node = node }
      return self.isStopped
    }
    guard !isStopped else {
      try node.close()
      throw DatabaseError(.closed, "the node was stopped")
    }
    // The other founders, or those that are started with this one, are about to be there too: whoever writes
    // now should find them.
    let patience = isNew ? Self.foundersPatience : Self.patience
    node.waitForOthers(until: environment.time.monotonicNanoseconds &+ patience)
    return node
  }

  /// After it the node goes on without those that are not there. In nanoseconds.
  private static let foundersPatience: UInt64 = 10_000_000_000
  private static let patience: UInt64 = 2_000_000_000

  private func open(
    _ records: Records
  ) throws(DatabaseError) -> (any ClusterDirectory, own: FileDirectory?) {
    switch records {
    case .given(let directory): return (directory, nil)
    case .file(let path):
      let directory = try FileDirectory(at: path, environment: environment)
      return (directory, directory)
    }
  }

  /// Reads certificate, key and authority again; see ``Network/reloadCertificates()``.
  ///
  /// - Throws: ``TransportError`` with `.certificate`, naming the file: what was in use stays in use.
  package func reloadCertificates() throws(TransportError) { try network.reloadCertificates() }

  /// Leaves: takes nothing new, lets what is under way end, and closes node, network and directory. Waits
  /// for all of it, so not to be called on the network's threads. Later calls wait for the first.
  ///
  /// - Parameter duration: how long what is under way may take: 0 to an hour.
  /// - Returns: whether all of it ended in time.
  /// - Throws: ``DatabaseError``: what closing the store throws. The rest is closed then as well.
  @discardableResult
  package func stop(drainingFor duration: Duration) throws(DatabaseError) -> Bool {
    let (founding, node, records, wasStopped) = lock.withLock {
      () -> (ClusterFounding?, ClusterNode?, FileDirectory?, Bool) in
      defer { self.isStopped = true }
      return (self.founding, self.node, self.records, self.isStopped)
    }
    if wasStopped {
      // Whoever ends the process after this must not end it in the middle.
      _ = stopped.wait()
      return true
    }
    defer { stopped.set(true) }
    founding?.cancel()
    let deadline = environment.time.monotonicNanoseconds &+ duration.wholeNanoseconds
    // What clients have asked for needs the other replicas: the network ends after it.
    let answered = Latch<Bool>()
    node?.drain { answered.set(true) }
    let isAnswered = node == nil || answered.wait(until: deadline, environment.time) != nil
    let drained = Latch<Bool>()
    network.drain(until: deadline) { drained.set($0) }
    let isWhole = drained.wait() && isAnswered
    var failure: DatabaseError?
    do throws(DatabaseError) { try node?.close() } catch { failure = error }
    let closed = Latch<Bool>()
    network.close { closed.set(true) }
    _ = closed.wait()
    // After the node, which takes its record out of it.
    records?.close()
    if let failure { throw failure }
    return isWhole
  }
}

/// One value that a thread waits for. Thread-safe.
private final class Latch<Value: Sendable>: @unchecked Sendable {
  private let lock = Lock()
  private let changed: Condition
  // Guarded by `lock`.
  private var value: Value?

  init() { changed = Condition(lock) }

  func set(_ value: Value) {
    lock.withLock {
      self.value = value
      changed.broadcast()
    }
  }

  /// - Returns: `nil` where it did not come by the deadline, of the monotonic clock.
  func wait(until deadline: UInt64, _ time: any TimeSource) -> Value? {
    lock.withLock {
      while value == nil, time.monotonicNanoseconds < deadline {
        _ = time.wait(on: changed, untilMonotonicNanoseconds: deadline)
      }
      return value
    }
  }

  func wait() -> Value {
    lock.lock()
    defer { lock.unlock() }
    while true {
      if let value { return value }
      changed.wait()
    }
  }
}
