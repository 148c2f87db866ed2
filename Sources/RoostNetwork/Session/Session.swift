import NIOCore
import RoostCluster
import RoostEnvironment

/// Runs a ``SessionMachine``: reads and writes for it, and hands messages to the node's handler. Thread-safe.
final class Session: FrameSink, @unchecked Sendable {
  let number: UInt64
  private let services: NetworkServices
  private let eventLoop: any EventLoop
  private let whenEnded: @Sendable (Session) -> Void
  private let whenDropped: @Sendable (TransportError) -> Void
  private let lock = Lock()
  // Guarded by `lock`.
  private var machine: SessionMachine
  /// Not held: the handler has them, and what it lets go of is answered by that.
  private var inHand: [UInt64: WeakMessage] = [:]
  private var isFlushDue = false
  /// Who has introduced itself.
  private var peer: NodeID?
  /// Of the event loop.
  private weak var handler: FrameHandler?

  private struct WeakMessage {
    weak var message: ReceivedMessage?
  }

  init(
    _ number: UInt64, _ services: NetworkServices, on eventLoop: any EventLoop,
    whenDropped: @escaping @Sendable (TransportError) -> Void,
    whenEnded: @escaping @Sendable (Session) -> Void
  ) {
    self.number = number
    self.services = services
    self.eventLoop = eventLoop
    self.whenDropped = whenDropped
    self.whenEnded = whenEnded
    machine = SessionMachine(hello: services.hello, services.options, at: services.moment.nanoseconds)
  }

  /// On the event loop, before anything is received.
  func attach(_ handler: FrameHandler) {
    self.handler = handler
    // Its time runs from now.
    run(.tick)
  }

  func refuse(_ error: TransportError) { run(.refuse(error)) }

  func drain(until deadline: UInt64) { run(.drain(until: deadline)) }

  /// Adds what it has counted.
  func add(to statistics: inout ListenerStatistics) {
    lock.withLock {
      statistics.bytesReceived += machine.bytesReceived
      statistics.bytesSent += machine.bytesSent
      statistics.messagesReceived += machine.messagesReceived
      statistics.shed += machine.shed
      statistics.inHand += machine.inHandCount
      statistics.bytesInHand += machine.bytesInHand
    }
  }

  private var isPaused: Bool { lock.withLock { machine.isPaused } }

  // MARK: - FrameSink

  func opened() {}
  func received(_ frame: Frame) { run(.frame(frame)) }

  func received(byteCount: Int, isPartial: Bool) {
    services.metrics.bytesReceived.increment(by: byteCount)
    run(.bytes(count: byteCount, isPartial: isPartial))
  }

  func broke(_ error: TransportError) { run(.broken(error)) }

  func ended() {
    run(.ended)
    // Whatever ended it may not have come to its cancellations yet: it does so on another thread, or closes
    // first. The handler is told once nothing of the connection goes on.
    let left = lock.withLock { inHand.values.compactMap(\.message) }
    for message in left { message.cancel() }
    if let peer = lock.withLock({ peer }) { services.ended(number, of: peer) }
    whenEnded(self)
  }

  func nextFrame() -> Frame? {
    let now = services.time.monotonicNanoseconds
    let frame = lock.withLock { machine.nextFrame(at: now) }
    if let frame { services.metrics.bytesSent.increment(by: frame.encodedCount) }
    return frame
  }

  func wrote(_ byteCount: Int) { run(.wrote(byteCount)) }

  // MARK: - Effects

  private func run(_ event: SessionEvent) {
    let moment = services.moment
    let effects = lock.withLock { machine.receive(event, at: moment) }
    for effect in effects { perform(effect, at: moment) }
  }

  /// - Parameter moment: of the event.
  private func perform(_ effect: SessionEffect, at moment: Moment) {
    switch effect {
    case .deliver(let number, let node, let frame, let deadline): deliver(number, node, frame, deadline)
    case .cancelled(let number): lock.withLock { inHand[number]?.message }?.cancel()
    case .flush: flush()
    // As it is then: another thread may have changed it meanwhile.
    case .pause: onLoop { session in session.handler?.pause(session.isPaused) }
    case .wake(let time):
      services.timers.schedule(atMonotonicNanoseconds: time) { [weak self] in self?.run(.tick) }
    case .established(let node):
      lock.withLock { peer = node }
      services.tell(.accepted(node))
    case .heard(let node, let milliseconds, let roundTrip):
      services.heard(
        node, physicalMilliseconds: milliseconds, roundTripNanoseconds: roundTrip, at: moment)
    case .close(let frame, let error):
      if let error { whenDropped(error) }
      onLoop { $0.handler?.close(frame) }
    }
  }

  private func deliver(_ number: UInt64, _ node: NodeID, _ frame: Frame, _ deadline: UInt64) {
    services.metrics.messages.increment()
    let message = ReceivedMessage(
      from: node, NodeMessage(kind: frame.message, body: frame.body), deadline: deadline,
      isRequest: frame.kind == .request, connection: self.number
    ) { [weak self] answer in
      guard let self else { return }
      lock.withLock { inHand[number] = nil }
      run(.handled(number, answer))
    }
    lock.withLock { inHand[number] = WeakMessage(message: message) }
    services.deliver(message)
  }

  /// At once on the event loop, so that what is said is done before the next frame is read.
  private func onLoop(_ body: @escaping @Sendable (Session) -> Void) {
    if eventLoop.inEventLoop { body(self) } else { services.run(on: eventLoop) { [self] in body(self) } }
  }

  private func flush() {
    let isFirst = lock.withLock {
      defer { isFlushDue = true }
      return !isFlushDue
    }
    guard isFirst else { return }
    services.run(on: eventLoop) { [self] in
      lock.withLock { isFlushDue = false }
      handler?.pump()
    }
  }
}
