import NIOCore
import NIOPosix
import NIOSSL
import RoostCluster
import RoostEnvironment
import SystemPackage

/// Runs a ``PeerMachine``: dials, writes and reads for it, and answers its callers. Thread-safe.
final class Peer: @unchecked Sendable {
  typealias Reply = @Sendable (Result<[UInt8], TransportError>) -> Void

  let node: NodeID
  let address: NodeAddress
  private let services: NetworkServices
  private let eventLoop: any EventLoop
  private let lock = Lock()
  // Guarded by `lock`.
  private var machine: PeerMachine
  private var replies: [UInt64: Reply] = [:]
  private var nextNumber: UInt64 = 0
  private var isFlushDue = false
  private var whenDrained: (@Sendable () -> Void)?
  /// Of the event loop.
  private var handler: (attempt: UInt64, FrameHandler)?

  init(_ node: NodeID, at address: NodeAddress, _ services: NetworkServices) {
    self.node = node
    self.address = address
    self.services = services
    eventLoop = services.group.next()
    machine = PeerMachine(
      node: node, address: address, hello: services.hello, services.options, seed: services.randomness.next())
  }

  var statistics: PeerStatistics { lock.withLock { machine.statistics } }

  // MARK: - Calls

  func begin() { run(.begin) }

  func stop() { run(.stop) }

  func request(_ message: NodeMessage, deadline: UInt64, _ reply: @escaping Reply) -> UInt64 {
    let number = lock.withLock {
      nextNumber += 1
      replies[nextNumber] = reply
      return nextNumber
    }
    services.metrics.requests.increment()
    run(.request(number, message, deadline: deadline))
    return number
  }

  func cancel(_ number: UInt64) { run(.cancel(number)) }

  func tell(_ message: NodeMessage, deadline: UInt64) throws(TransportError) {
    let moment = services.moment
    let effects = try lock.withLock { () throws(TransportError) in
      nextNumber += 1
      return try machine.tell(nextNumber, message, deadline: deadline, at: moment)
    }
    for effect in effects { perform(effect, at: moment) }
  }

  /// Takes nothing new, and calls `done` when nothing is under way.
  func drain(_ done: @escaping @Sendable () -> Void) {
    lock.withLock { whenDrained = done }
    run(.drain)
  }

  // MARK: - Events and effects

  func run(_ event: PeerEvent) {
    let moment = services.moment
    let effects = lock.withLock { machine.receive(event, at: moment) }
    for effect in effects { perform(effect, at: moment) }
  }

  func count(received byteCount: Int) { services.metrics.bytesReceived.increment(by: byteCount) }

  func nextFrame(attempt: UInt64) -> Frame? {
    let moment = services.moment
    let frame = lock.withLock { machine.nextFrame(attempt: attempt, at: moment) }
    if let frame { services.metrics.bytesSent.increment(by: frame.encodedCount) }
    return frame
  }

  /// - Parameter moment: of the event.
  private func perform(_ effect: PeerEffect, at moment: Moment) {
    switch effect {
    case .dial(let attempt): dial(attempt)
    case .close(let attempt, let frame):
      services.run(on: eventLoop) { [self] in
        guard let handler, handler.attempt == attempt else { return }
        handler.1.close(frame)
        self.handler = nil
      }
    case .flush: flush()
    case .complete(let number, let result):
      if case .failure = result { services.metrics.failures.increment() }
      lock.withLock { replies.removeValue(forKey: number) }?(result)
    case .wake(let time):
      services.timers.schedule(atMonotonicNanoseconds: time) { [weak self] in self?.run(.tick) }
    case .changed(let state, let error):
      if let error {
        let name = node == .anyone ? "the node" : "node \(node)"
        services.logger.info(
          "the connection to \(name) at \(address) ended", metadata: ["reason": "\(error)"])
      }
      services.tell(.peer(node, state, error))
    case .heard(let milliseconds, let roundTrip):
      // It would be a sign of nobody's life.
      if node == .anyone { return }
      services.heard(
        node, physicalMilliseconds: milliseconds, roundTripNanoseconds: roundTrip, at: moment)
    case .drained:
      let done = lock.withLock {
        defer { whenDrained = nil }
        return whenDrained
      }
      done?()
    }
  }

  /// Sends what waits, once for all that was asked meanwhile.
  private func flush() {
    let isFirst = lock.withLock {
      defer { isFlushDue = true }
      return !isFlushDue
    }
    guard isFirst else { return }
    services.run(on: eventLoop) { [self] in
      lock.withLock { isFlushDue = false }
      handler?.1.pump()
    }
  }

  /// On the event loop: the connection of this attempt is closed.
  fileprivate func forget(_ attempt: UInt64) {
    if handler?.attempt == attempt { handler = nil }
  }

  // MARK: - Dialling

  private func dial(_ attempt: UInt64) {
    services.run(on: eventLoop) { [self] in
      do throws(TransportError) {
        try services.security.check(address)
      } catch {
        return run(.ended(attempt: attempt, error))
      }
      connect(attempt)
    }
  }

  /// On the event loop.
  private func connect(_ attempt: UInt64) {
    services.metrics.connections.increment()
    let bootstrap = ClientBootstrap(group: eventLoop)
      .channelOption(.tcpOption(.tcp_nodelay), value: 1)
      .channelOption(.socketOption(.so_keepalive), value: 1)
      .connectTimeout(.nanoseconds(Int64(services.options.handshakeTimeout.wholeNanoseconds)))
      .channelInitializer { [self] channel in
        channel.eventLoop.makeCompletedFuture { try install(on: channel, attempt) }
      }
    bootstrap.connect(host: address.host, port: address.port).whenFailure { [self] error in
      run(.ended(attempt: attempt, TransportError(dialling: address, error)))
    }
  }

  /// On the event loop.
  private func install(on channel: any Channel, _ attempt: UInt64) throws {
    // It took long, and was given up.
    guard lock.withLock({ machine.isCurrent(attempt) }) else {
      throw TransportError(.cancelled, "the attempt was given up")
    }
    let link = PeerLink(self, attempt)
    let frames = FrameHandler(
      link, largestBody: services.options.largestBody, isSecure: services.security.isSecure)
    if let contexts = services.contexts.current {
      let name = services.security.serverName(of: address)
      try channel.pipeline.syncOperations.addHandler(
        NIOSSLClientHandler(context: contexts.client, serverHostname: name))
    }
    try channel.pipeline.syncOperations.addHandler(frames)
    handler = (attempt, frames)
  }
}

/// One attempt of a peer to have a connection.
private final class PeerLink: FrameSink {
  private let peer: Peer
  private let attempt: UInt64

  init(_ peer: Peer, _ attempt: UInt64) {
    self.peer = peer
    self.attempt = attempt
  }

  func opened() { peer.run(.opened(attempt: attempt)) }
  func received(_ frame: Frame) { peer.run(.frame(attempt: attempt, frame)) }
  func received(byteCount: Int, isPartial: Bool) {
    peer.count(received: byteCount)
    peer.run(.bytes(attempt: attempt, count: byteCount, isPartial: isPartial))
  }
  func broke(_ error: TransportError) { peer.run(.broke(attempt: attempt, error)) }
  func ended() {
    peer.forget(attempt)
    let error = TransportError(.unreachable, "the other side ended the connection")
    peer.run(.ended(attempt: attempt, error))
  }
  func nextFrame() -> Frame? { peer.nextFrame(attempt: attempt) }
  func wrote(_ byteCount: Int) {}
}

extension TransportError {
  /// What NIO says of a connection that did not come about.
  init(dialling address: NodeAddress, _ error: any Error) {
    if let error = error as? TransportError {
      self = error
    } else if let error = error as? NIOConnectionError {
      let words = error.connectionErrors.first.map { Self.words(for: $0.error) } ?? "the name has no address"
      self.init(.unreachable, "\(address) cannot be reached: \(words)")
    } else {
      self.init(.unreachable, "\(address) cannot be reached: \(Self.words(for: error))")
    }
  }

  /// Of the system's errors their own words: NIO calls a connection that was refused one that was reset.
  private static func words(for error: any Error) -> String {
    guard let error = error as? IOError else { return "\(error)" }
    return Errno(rawValue: error.errnoCode).description.lowercased()
  }
}

extension TLSOptions {
  /// - Throws: `.notSecure` for plain TCP off loopback.
  func check(_ address: NodeAddress) throws(TransportError) {
    guard !isSecure else { return }
    if address.host == "localhost" { return }
    let socket = try? SocketAddress(ipAddress: address.host, port: address.port)
    if socket?.isLoopback == true { return }
    throw TransportError(
      .notSecure, "\(address) is not on loopback, and plain TCP goes no further: use TLS (TLSOptions.mutual)")
  }

  /// What the other side's certificate is for, where it has a name; an address is taken from the connection.
  func serverName(of address: NodeAddress) -> String? {
    (try? SocketAddress(ipAddress: address.host, port: address.port)) == nil ? address.host : nil
  }
}

extension SocketAddress {
  /// 127.0.0.0/8 or ::1.
  var isLoopback: Bool {
    guard let text = ipAddress else { return false }
    return text == "::1" || (text.hasPrefix("127.") && !text.contains(":"))
  }
}
