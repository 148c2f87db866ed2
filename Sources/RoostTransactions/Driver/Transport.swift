import RoostEnvironment

/// Carries messages between coordinators and participants: within a process, over a network, or in
/// a simulation.
///
/// A message may be lost, doubled, delayed and overtaken; what it carries is never changed.
package protocol Transport: AnyObject, Sendable {
  /// Sends a message on its way. Never waits. It may be received before this returns.
  ///
  /// - Returns: `false` where it is known that the receiver is not there: nothing was sent.
  func send(_ envelope: Envelope) -> Bool

  /// From now on messages to `endpoint` go to `receive`, which must not wait for long.
  func attach(_ endpoint: Endpoint, _ receive: @escaping @Sendable (Envelope) -> Void)

  func detach(_ endpoint: Endpoint)
}

/// The transport of one process: a message is a call. Thread-safe.
package final class LocalTransport: Transport, @unchecked Sendable {
  private let lock = Lock()
  // Guarded by `lock`.
  private var receivers: [Endpoint: @Sendable (Envelope) -> Void] = [:]

  package init() {}

  package func send(_ envelope: Envelope) -> Bool {
    guard let receive = lock.withLock({ receivers[envelope.to] }) else { return false }
    receive(envelope)
    return true
  }

  package func attach(_ endpoint: Endpoint, _ receive: @escaping @Sendable (Envelope) -> Void) {
    lock.withLock { receivers[endpoint] = receive }
  }

  package func detach(_ endpoint: Endpoint) { lock.withLock { receivers[endpoint] = nil } }
}
