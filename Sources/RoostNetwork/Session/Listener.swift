import NIOCore
import NIOPosix
import NIOSSL
import RoostCluster
import RoostEnvironment

/// Accepts the connections of other nodes. Thread-safe.
final class Listener: @unchecked Sendable {
  private let services: NetworkServices
  private let lock = Lock()
  // Guarded by `lock`.
  private var channel: (any Channel)?
  private var sessions: [UInt64: Session] = [:]
  private var nextNumber: UInt64 = 0
  /// Counted by sessions that have ended.
  private var counts = ListenerStatistics()
  private var drainUntil: UInt64?
  private var whenEmpty: (@Sendable () -> Void)?

  init(_ services: NetworkServices) { self.services = services }

  /// Begins to listen. Waits for the system, and for the name server where the host is a name.
  ///
  /// - Returns: where it listens; with the port that the system chose, where any was asked for.
  /// - Throws: `.listen`, `.notSecure`.
  func listen(at address: NodeAddress) throws(TransportError) -> NodeAddress {
    try services.security.check(address)
    let bootstrap = ServerBootstrap(group: services.group)
      .serverChannelOption(.backlog, value: 256)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
      .childChannelOption(.socketOption(.so_keepalive), value: 1)
      .childChannelInitializer { [self] channel in
        channel.eventLoop.makeCompletedFuture { try accept(channel) }
      }
    do {
      let channel = try bootstrap.bind(host: address.host, port: address.port).wait()
      guard let local = channel.localAddress, let port = local.port else {
        throw TransportError(.listen, "the system does not say where it listens")
      }
      if !services.security.isSecure, !local.isLoopback {
        channel.close(promise: nil)
        throw TransportError(.notSecure, "\(address) is not on loopback")
      }
      lock.withLock { self.channel = channel }
      return try NodeAddress(host: address.host, port: port)
    } catch let error as TransportError {
      throw error
    } catch {
      throw TransportError(.listen, "\(address) cannot be listened on: \(error)")
    }
  }

  var statistics: ListenerStatistics {
    let (counts, sessions) = lock.withLock { (self.counts, Array(self.sessions.values)) }
    var result = counts
    result.connections = sessions.count
    for session in sessions { session.add(to: &result) }
    return result
  }

  /// On the channel's event loop.
  private func accept(_ channel: any Channel) throws {
    let (session, refusal) = lock.withLock { () -> (Session, TransportError?) in
      nextNumber += 1
      counts.accepted += 1
      let session = Session(
        nextNumber, services, on: channel.eventLoop,
        whenDropped: { [weak self] error in self?.dropped(error) },
        whenEnded: { [weak self] session in self?.ended(session) })
      var refusal: TransportError?
      if drainUntil != nil {
        refusal = TransportError(.unreachable, "node \(services.identity.node) is about to leave")
      } else if sessions.count >= services.options.mostConnections {
        refusal = TransportError(
          .overloaded,
          "node \(services.identity.node) has \(services.options.mostConnections) connections already")
      }
      sessions[nextNumber] = session
      return (session, refusal)
    }
    services.metrics.connections.increment()
    do { try install(session, on: channel) } catch {
      ended(session)
      throw error
    }
    services.tell(.opened)
    if let refusal { session.refuse(refusal) }
  }

  private func install(_ session: Session, on channel: any Channel) throws {
    let frames = FrameHandler(
      session, largestBody: services.options.largestBody, isSecure: services.security.isSecure)
    if let contexts = services.contexts.current {
      try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: contexts.server))
    }
    try channel.pipeline.syncOperations.addHandler(frames)
    session.attach(frames)
  }

  private func dropped(_ error: TransportError) {
    services.metrics.drops.increment()
    // When this node leaves, all are.
    services.logger.log(
      level: error.code == .unreachable ? .debug : .warning, "a connection was dropped",
      metadata: ["reason": "\(error)"])
    lock.withLock {
      counts.dropped[error.code.description, default: 0] += 1
      counts.lastDrop = error.description
    }
    services.tell(.dropped(error))
  }

  private func ended(_ session: Session) {
    let done = lock.withLock { () -> (@Sendable () -> Void)? in
      guard sessions.removeValue(forKey: session.number) != nil else { return nil }
      session.add(to: &counts)
      // What its handlers still have counts no more.
      counts.inHand = 0
      counts.bytesInHand = 0
      guard drainUntil != nil, sessions.isEmpty else { return nil }
      defer { whenEmpty = nil }
      return whenEmpty
    }
    done?()
  }

  /// Accepts nothing more, lets what is in hand end until `deadline`, and calls `done` when all
  /// connections are closed.
  func drain(until deadline: UInt64, _ done: @escaping @Sendable () -> Void) {
    let (channel, sessions) = lock.withLock {
      drainUntil = min(deadline, drainUntil ?? .max)
      whenEmpty = self.sessions.isEmpty ? nil : done
      return (self.channel, Array(self.sessions.values))
    }
    channel?.close(promise: nil)
    for session in sessions { session.drain(until: deadline) }
    if sessions.isEmpty { done() }
  }

  /// Ends all at once.
  func close() {
    let (channel, sessions) = lock.withLock {
      drainUntil = 0
      return (self.channel, Array(self.sessions.values))
    }
    channel?.close(promise: nil)
    let error = TransportError(
      .closed, "node \(services.identity.node) was closed", mayHaveArrived: true)
    for session in sessions { session.refuse(error) }
  }
}
