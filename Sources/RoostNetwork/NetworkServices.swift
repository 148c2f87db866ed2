import Logging
import Metrics
import NIOCore
import NIOPosix
import RoostCluster
import RoostEnvironment

/// What the connections of one node share. Thread-safe.
final class NetworkServices: @unchecked Sendable {
  let identity: NetworkIdentity
  let options: NetworkOptions
  let security: TLSOptions
  let contexts: TLSContexts
  let time: any TimeSource
  let randomness: any Randomness
  let timers: Timers
  let group: MultiThreadedEventLoopGroup
  let logger: Logger
  let metrics = NetworkMetrics()
  private let lock = Lock()
  // Guarded by `lock`.
  private weak var handler: (any NodeMessageHandler)?
  private var address: NodeAddress?
  private var observer: (@Sendable (NetworkEvent) -> Void)?
  private let threads = Lock()
  /// Guarded by `threads`: nothing more is given to them.
  private var haveThreadsEnded = false

  init(
    _ identity: NetworkIdentity, _ options: NetworkOptions, _ security: TLSOptions, _ contexts: TLSContexts,
    _ environment: Environment, _ logger: Logger
  ) {
    self.identity = identity
    self.options = options
    self.security = security
    self.contexts = contexts
    time = environment.time
    randomness = environment.randomness
    timers = Timers(environment.time, environment.makeWorkers())
    group = MultiThreadedEventLoopGroup(numberOfThreads: options.threads)
    self.logger = logger
  }

  /// Runs `body` on a thread of the network's; not at all, once they have been ended.
  func run(on eventLoop: any EventLoop, _ body: @escaping @Sendable () -> Void) {
    threads.withLock { if !haveThreadsEnded { eventLoop.execute(body) } }
  }

  /// Ends the threads, and calls `done` when all sockets are closed.
  func end(_ done: @escaping @Sendable () -> Void) {
    threads.withLock { haveThreadsEnded = true }
    timers.stop()
    group.shutdownGracefully { [timers] _ in
      timers.shutdown()
      done()
    }
  }

  /// A thread that stands still between the two readings makes the round trip of a sign look longer, and so
  /// the other's reading older: never its clock wrong.
  var moment: Moment {
    let physicalMilliseconds = time.wallClockNanoseconds / 1_000_000
    return Moment(nanoseconds: time.monotonicNanoseconds, physicalMilliseconds: physicalMilliseconds)
  }

  /// What this node says of itself, but for its clock.
  var hello: Hello {
    Hello(
      node: identity.node, database: identity.database, physicalMilliseconds: 0,
      largestBody: options.largestBody, window: options.window, cluster: identity.cluster,
      address: (lock.withLock { address })?.description ?? "")
  }

  func listens(at address: NodeAddress) { lock.withLock { self.address = address } }

  func attach(_ handler: any NodeMessageHandler) { lock.withLock { self.handler = handler } }

  func observe(_ observer: @escaping @Sendable (NetworkEvent) -> Void) {
    lock.withLock { self.observer = observer }
  }

  /// Tells what became of a connection.
  func tell(_ event: NetworkEvent) {
    let observer = lock.withLock { self.observer }
    observer?(event)
  }

  func deliver(_ message: ReceivedMessage) {
    guard let handler = lock.withLock({ self.handler }) else {
      return message.answer(
        .failure(TransportError(.unreachable, "node \(identity.node) does not handle messages yet")))
    }
    handler.receive(message)
  }

  /// A connection that was accepted has ended.
  func ended(_ connection: UInt64, of node: NodeID) {
    lock.withLock { handler }?.ended(connection, of: node)
  }

  /// - Parameter moment: when it was heard; what took until this call is no part of the round trip, and must
  ///   be none of what the clocks differ by.
  func heard(
    _ node: NodeID, physicalMilliseconds: UInt64, roundTripNanoseconds: UInt64, at moment: Moment
  ) {
    guard let handler = lock.withLock({ self.handler }) else { return }
    handler.heard(
      NodeSign(
        node: node, physicalMilliseconds: physicalMilliseconds,
        localPhysicalMilliseconds: moment.physicalMilliseconds, roundTripNanoseconds: roundTripNanoseconds,
        heardNanoseconds: moment.nanoseconds))
  }
}

/// Counters of all connections of a process, for swift-metrics.
struct NetworkMetrics: Sendable {
  let bytesSent = Counter(label: "roost_network_sent_bytes")
  let bytesReceived = Counter(label: "roost_network_received_bytes")
  let requests = Counter(label: "roost_network_requests")
  let messages = Counter(label: "roost_network_messages_received")
  let failures = Counter(label: "roost_network_failed_requests")
  let connections = Counter(label: "roost_network_connections")
  let drops = Counter(label: "roost_network_dropped_connections")
}
