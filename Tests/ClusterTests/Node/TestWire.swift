@testable import RoostCluster

/// What becomes of requests between the nodes of a ``NodeWorld``. Used by one thread.
final class TestWire: @unchecked Sendable {
  enum Fate {
    case arrives
    /// It does not arrive, and is answered with this.
    case refused(DatabaseError)
    /// It neither arrives nor is answered before ``TestWire/release()``.
    case held
  }

  /// What becomes of each request: what it says, and from whom to whom it goes.
  var fate: (NodeMessage, _ from: NodeID, _ to: NodeID) -> Fate = { _, _, _ in .arrives }
  private var held: [@Sendable (Result<[UInt8], TransportError>) -> Void] = []

  var heldCount: Int { held.count }

  /// Says of what is held that it could not be sent.
  func release() {
    let replies = held
    held = []
    for reply in replies { reply(.failure(TransportError(.unreachable, "it was held"))) }
  }

  func transport(_ inner: any NodeTransport) -> any NodeTransport { WiredTransport(inner, self) }

  fileprivate func hold(_ reply: @escaping @Sendable (Result<[UInt8], TransportError>) -> Void) {
    held.append(reply)
  }
}

private final class WiredTransport: NodeTransport {
  private let inner: any NodeTransport
  private let wire: TestWire

  init(_ inner: any NodeTransport, _ wire: TestWire) {
    self.inner = inner
    self.wire = wire
  }

  var node: NodeID { inner.node }
  var largestBody: Int { inner.largestBody }

  func attach(_ handler: any NodeMessageHandler) { inner.attach(handler) }

  func request(
    _ message: NodeMessage, of other: NodeID, deadline: UInt64,
    _ reply: @escaping @Sendable (Result<[UInt8], TransportError>) -> Void
  ) -> any NodeRequest {
    switch wire.fate(message, node, other) {
    case .arrives: return inner.request(message, of: other, deadline: deadline, reply)
    case .refused(let error): reply(.success(NodeAnswer.encode(.failure(error))))
    case .held: wire.hold(reply)
    }
    return NothingSent()
  }

  func tell(_ message: NodeMessage, to other: NodeID, deadline: UInt64) throws(TransportError) {
    try inner.tell(message, to: other, deadline: deadline)
  }
}

private final class NothingSent: NodeRequest {
  func cancel() {}
}
