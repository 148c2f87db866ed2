import TestSupport

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
  private var held: [Held] = []

  private struct Held {
    var deadline: UInt64
    var reply: @Sendable (Result<[UInt8], TransportError>) -> Void
  }

  var heldCount: Int { held.count }

  /// Says of what is held that it could not be sent.
  func release() {
    let replies = held
    held = []
    for held in replies { held.reply(.failure(TransportError(.unreachable, "it was held"))) }
  }

  /// Says of what is held and is due that no answer came in time.
  func expire(at now: UInt64) {
    let due = held.filter { $0.deadline <= now }
    held.removeAll { $0.deadline <= now }
    let error = TransportError(.deadlineExceeded, "it was held", mayHaveArrived: true)
    for held in due { held.reply(.failure(error)) }
  }

  func transport(_ inner: any NodeTransport) -> any NodeTransport {
    TappedTransport(inner) { [self] message, other, deadline, reply, inner in
      switch fate(message, inner.node, other) {
      case .arrives: return inner.request(message, of: other, deadline: deadline, reply)
      case .refused(let error): reply(.success(NodeAnswer.encode(.failure(error))))
      case .held: held.append(Held(deadline: deadline, reply: reply))
      }
      return nil
    }
  }
}
