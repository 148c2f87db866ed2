import RoostEnvironment

/// A message from another node, in the hands of its handler.
///
/// It counts against what its sender may have under way until it is answered, or, where it needs no answer,
/// finished: so a handler that is behind holds its senders back. One that is let go of without either is
/// answered with `.failed`, or finished.
///
/// Thread-safe.
package final class ReceivedMessage: @unchecked Sendable {
  package typealias Answer = Result<[UInt8], TransportError>

  package let from: NodeID
  package let message: NodeMessage
  /// When its sender stops waiting: a moment of this node's monotonic clock, in nanoseconds.
  package let deadline: UInt64
  /// Whether an answer is waited for.
  package let isRequest: Bool
  /// Tells the connection that it came over from others of the same receiver; 0 where there are none.
  package let connection: UInt64
  private let lock = Lock()
  // Guarded by `lock`.
  private var finish: (@Sendable (Answer?) -> Void)?
  private var whenCancelled: (@Sendable () -> Void)?
  private var wasCancelled = false

  /// - Parameter finish: called once, with the answer of a request.
  package init(
    from: NodeID, _ message: NodeMessage, deadline: UInt64, isRequest: Bool, connection: UInt64 = 0,
    _ finish: @escaping @Sendable (Answer?) -> Void
  ) {
    self.from = from
    self.message = message
    self.deadline = deadline
    self.isRequest = isRequest
    self.connection = connection
    self.finish = finish
  }

  deinit {
    finish?(
      isRequest
        ? .failure(TransportError(.failed, "the handler gave no answer", mayHaveArrived: true)) : nil)
  }

  /// Answers a request, once: later answers are ignored. A message that needs no answer is finished.
  package func answer(_ answer: Answer) {
    let finish = lock.withLock {
      defer {
        self.finish = nil
        whenCancelled = nil
      }
      return self.finish
    }
    finish?(isRequest ? answer : nil)
  }

  package func answer(_ body: [UInt8]) { answer(.success(body)) }

  /// Says that a message without an answer was handled.
  package func finished() { answer(.success([])) }

  /// Whether nobody waits for the answer any more: the sender took the request back, its deadline passed, or
  /// the connection ended. What was begun may still have to be done.
  package var isCancelled: Bool { lock.withLock { wasCancelled } }

  /// Calls `action` once nobody waits for the answer any more; at once where that is so already, never
  /// after the answer was given. Replaces what was to be called before.
  package func onCancel(_ action: @escaping @Sendable () -> Void) {
    let isNow = lock.withLock {
      if !wasCancelled, finish != nil { whenCancelled = action }
      return wasCancelled
    }
    if isNow { action() }
  }

  /// For the transport: nobody waits for the answer any more.
  package func cancel() {
    let action = lock.withLock {
      defer { whenCancelled = nil }
      wasCancelled = true
      return whenCancelled
    }
    action?()
  }
}
