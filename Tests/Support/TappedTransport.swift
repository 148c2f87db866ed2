import RoostCluster

/// A node's transport as a test has it in hand: what the node sends goes through the test's closures, which
/// pass it on to the transport within, answer in its place, or keep it.
package final class TappedTransport: NodeTransport {
  package typealias Reply = @Sendable (Result<[UInt8], TransportError>) -> Void
  /// - Returns: `nil` where nothing was sent.
  package typealias Request = @Sendable (
    _ message: NodeMessage, _ other: NodeID, _ deadline: UInt64, _ reply: @escaping Reply,
    _ inner: any NodeTransport
  ) -> (any NodeRequest)?
  package typealias Tell = @Sendable (
    _ message: NodeMessage, _ other: NodeID, _ deadline: UInt64, _ inner: any NodeTransport
  ) throws(TransportError) -> Void

  private let inner: any NodeTransport
  private let whenAsked: Request
  private let whenTold: Tell

  /// - Parameters:
  ///   - request: what becomes of a request.
  ///   - tell: what becomes of a message that needs no answer.
  package init(
    _ inner: any NodeTransport, request: @escaping Request,
    tell: @escaping Tell = { (message, other, deadline, inner) throws(TransportError) in
      try inner.tell(message, to: other, deadline: deadline)
    }
  ) {
    self.inner = inner
    whenAsked = request
    whenTold = tell
  }

  package var node: NodeID { inner.node }
  package var largestBody: Int { inner.largestBody }

  package func attach(_ handler: any NodeMessageHandler) { inner.attach(handler) }

  package func request(
    _ message: NodeMessage, of other: NodeID, deadline: UInt64, _ reply: @escaping Reply
  ) -> any NodeRequest {
    whenAsked(message, other, deadline, reply, inner) ?? NothingSent()
  }

  package func tell(
    _ message: NodeMessage, to other: NodeID, deadline: UInt64
  ) throws(TransportError) {
    try whenTold(message, other, deadline, inner)
  }
}

/// A request that never left: there is nothing to take back.
private final class NothingSent: NodeRequest {
  func cancel() {}
}
