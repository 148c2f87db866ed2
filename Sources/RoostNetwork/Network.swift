package import Logging
import NIOCore
import NIOPosix
package import RoostCluster
package import RoostEnvironment

/// Who a node is.
package struct NetworkIdentity: Hashable, Sendable {
  /// 1 to 255 bytes; nodes of other clusters are refused.
  package var cluster: String
  /// Nodes of another database are refused; `nil` for a node that has yet to learn its own.
  package var database: DatabaseID?
  package var node: NodeID

  package init(cluster: String, database: DatabaseID?, node: NodeID) {
    self.cluster = cluster
    self.database = database
    self.node = node
  }
}

extension NodeID {
  /// Where a node is dialled: whoever answers at the address. For clients, which need no directory to find
  /// one node; nodes name each other, so that a directory that is old cannot lead one astray.
  package static let anyone = NodeID(rawValue: 0)

  /// One that no other node has, or is as good as certain not to have.
  package static func random(_ randomness: any Randomness) -> NodeID {
    while true {
      let number = randomness.next()
      if number != anyone.rawValue { return NodeID(rawValue: number) }
    }
  }
}

/// What became of a connection.
package enum NetworkEvent: Sendable {
  /// Of a node that this one dials; the reason, where it was lost.
  case peer(NodeID, PeerStatistics.State, TransportError?)
  /// Somebody has dialled this node, and has yet to say who it is.
  case opened
  /// Another node has introduced itself.
  case accepted(NodeID)
  /// A connection that was accepted was ended by this side.
  case dropped(TransportError)
}

/// A node's connections, as counted since it was started.
public struct NetworkStatistics: Sendable, Hashable {
  /// Those that this node dials, in order of their numbers.
  public var peers: [PeerStatistics]
  public var listener: ListenerStatistics
}

/// The messages of a node over TCP, with TLS: the real ``NodeTransport``.
///
/// - A node has one connection to each other node that it knows, which it dials itself, and sends its
///   requests over; the other's requests come over the one that the other dials. Both are kept up, and
///   dialled again with growing waits when they are lost.
/// - Requests share the connection and are answered in any order.
/// - Every queue is bounded, in messages and in bytes; what finds one full is refused with `.overloaded`.
/// - A connection whose other side breaks the rules, falls silent or is of another cluster is ended, and
///   both sides are told why.
///
/// Handlers and replies are called on the network's threads, and must not wait for long. Thread-safe.
package final class Network: NodeTransport {
  private let services: NetworkServices
  private let listener: Listener
  private let state: NetworkState

  /// Where this node listens; `nil` where it does not.
  package let address: NodeAddress?
  package var node: NodeID { services.identity.node }
  package var largestBody: Int { services.options.largestBody }

  /// Starts a node's network. Waits for the system to listen, and for the name server where `address` is
  /// a name.
  ///
  /// - Parameters:
  ///   - identity: who this node is.
  ///   - address: where to listen; port 0 for any that is free, `nil` for nowhere.
  ///   - tls: how connections are secured.
  ///   - environment: time, randomness, the certificates' files, and a worker that keeps time.
  /// - Throws: ``TransportError`` with `.invalidOption`, `.certificate` (naming the file), `.notSecure`
  ///   (plain TCP off loopback), `.listen`.
  package static func start(
    _ identity: NetworkIdentity, at address: NodeAddress?, tls: TLSOptions,
    _ options: NetworkOptions = NetworkOptions(), _ environment: Environment,
    logger: Logger = Logger(label: "roost.network")
  ) throws(TransportError) -> Network {
    try options.validate()
    guard (1...255).contains(identity.cluster.utf8.count), identity.node.rawValue != 0 else {
      throw TransportError(.invalidOption, "a cluster's name has 1 to 255 bytes, and a node is not 0")
    }
    if let address { try tls.check(address) }
    let contexts = try TLSContexts(tls, environment.fileSystem)
    let services = NetworkServices(identity, options, tls, contexts, environment, logger)
    let listener = Listener(services)
    var bound: NodeAddress?
    if let address {
      do throws(TransportError) {
        bound = try listener.listen(at: address)
      } catch {
        services.end {}
        throw error
      }
    }
    return Network(services, listener, bound)
  }

  private init(_ services: NetworkServices, _ listener: Listener, _ address: NodeAddress?) {
    self.services = services
    self.listener = listener
    self.address = address
    state = NetworkState()
    if let address { services.listens(at: address) }
  }

  // MARK: - Nodes

  /// Says which other nodes there are, and where: dials those that are new, or have moved, and ends the
  /// connections to those that are gone. This node itself may be among them. ``NodeID/anyone`` takes whoever
  /// answers at its address.
  package func setPeers(_ addresses: [NodeID: NodeAddress]) {
    let (old, new) = state.replace { peers in
      var result: [NodeID: Peer] = [:]
      for (other, address) in addresses where other != node {
        let known = peers[other].flatMap { $0.address == address ? $0 : nil }
        result[other] = known ?? Peer(other, at: address, services)
      }
      return result
    }
    for (node, peer) in old where new[node] !== peer { peer.stop() }
    for (node, peer) in new where old[node] !== peer { peer.begin() }
  }

  package var statistics: NetworkStatistics {
    NetworkStatistics(
      peers: state.peers.values.map(\.statistics).sorted { $0.node < $1.node }, listener: listener.statistics)
  }

  /// Calls `observer` from now on with what becomes of connections, on the network's threads.
  package func observe(_ observer: @escaping @Sendable (NetworkEvent) -> Void) { services.observe(observer) }

  /// Reads certificate, key and authority again: connections made from now on use them. Those that stand
  /// stay as they are.
  ///
  /// - Throws: ``TransportError`` with `.certificate`, naming the file: what was in use stays in use.
  package func reloadCertificates() throws(TransportError) { try services.contexts.reload() }

  // MARK: - NodeTransport

  @discardableResult
  package func request(
    _ message: NodeMessage, of node: NodeID, deadline: UInt64,
    _ reply: @escaping @Sendable (Result<[UInt8], TransportError>) -> Void
  ) -> any NodeRequest {
    guard let peer = state.peers[node] else {
      reply(.failure(unknown(node)))
      return SentRequest(nil, 0)
    }
    return SentRequest(peer, peer.request(message, deadline: deadline, reply))
  }

  package func tell(_ message: NodeMessage, to node: NodeID, deadline: UInt64) throws(TransportError) {
    guard let peer = state.peers[node] else { throw unknown(node) }
    try peer.tell(message, deadline: deadline)
  }

  package func attach(_ handler: any NodeMessageHandler) { services.attach(handler) }

  private func unknown(_ node: NodeID) -> TransportError {
    state.isClosed
      ? TransportError(.closed, "the network was closed")
      : TransportError(.unreachable, "nobody said where node \(node) listens")
  }

  // MARK: - The end

  /// Takes nothing new, from others or from here, lets what is under way end, and ends the connections
  /// that others have dialled. Others are told, and turn elsewhere.
  ///
  /// - Parameters:
  ///   - deadline: a moment of the monotonic clock, in nanoseconds, at which what is still under way is
  ///     given up.
  ///   - done: called once, with whether everything ended in time. ``close(_:)`` is still to come.
  package func drain(until deadline: UInt64, _ done: @escaping @Sendable (Bool) -> Void) {
    let peers = Array(state.peers.values)
    let gathered = Gathered(peers.count + 1, done)
    let time = services.time
    services.timers.schedule(atMonotonicNanoseconds: deadline) { gathered.giveUp() }
    // What ends at the deadline was cut off.
    listener.drain(until: deadline) { gathered.count(isWhole: time.monotonicNanoseconds < deadline) }
    for peer in peers {
      peer.drain { gathered.count(isWhole: time.monotonicNanoseconds < deadline) }
    }
  }

  /// Ends all connections and threads; a network that was started has to be closed. Requests under way
  /// end with `.disconnected` or `.closed`. Later calls are refused with `.closed`.
  ///
  /// - Parameter done: called when all sockets are closed; not on one of the network's threads.
  package func close(_ done: @escaping @Sendable () -> Void = {}) {
    guard let peers = state.close() else { return done() }
    for peer in peers { peer.stop() }
    listener.close()
    services.end(done)
  }
}

/// The peers of a network. Thread-safe.
private final class NetworkState: @unchecked Sendable {
  private let lock = Lock()
  // Guarded by `lock`.
  private var all: [NodeID: Peer] = [:]
  private var wasClosed = false

  var peers: [NodeID: Peer] { lock.withLock { all } }
  var isClosed: Bool { lock.withLock { wasClosed } }

  /// - Returns: what was there before, and what is there now.
  func replace(
    _ body: ([NodeID: Peer]) -> [NodeID: Peer]
  ) -> (old: [NodeID: Peer], new: [NodeID: Peer]) {
    lock.withLock {
      let old = all
      if !wasClosed { all = body(old) }
      return (old, all)
    }
  }

  /// - Returns: the peers to stop; `nil` where it was closed before.
  func close() -> [Peer]? {
    lock.withLock {
      if wasClosed { return nil }
      wasClosed = true
      defer { all = [:] }
      return Array(all.values)
    }
  }
}

/// A request that was sent to a peer.
private final class SentRequest: NodeRequest {
  private let peer: Peer?
  private let number: UInt64

  init(_ peer: Peer?, _ number: UInt64) {
    self.peer = peer
    self.number = number
  }

  func cancel() { peer?.cancel(number) }
}

/// Waits for several ends, and calls back once. Thread-safe.
private final class Gathered: @unchecked Sendable {
  private let lock = Lock()
  // Guarded by `lock`.
  private var left: Int
  private var done: (@Sendable (Bool) -> Void)?

  init(_ count: Int, _ done: @escaping @Sendable (Bool) -> Void) {
    left = count
    self.done = done
  }

  func count(isWhole: Bool) { end(isWhole) { $0 - 1 } }
  func giveUp() { end(false) { _ in 0 } }

  private func end(_ isWhole: Bool, _ change: (Int) -> Int) {
    let done = lock.withLock { () -> (@Sendable (Bool) -> Void)? in
      left = change(left)
      guard left <= 0 else { return nil }
      defer { self.done = nil }
      return self.done
    }
    done?(isWhole)
  }
}
