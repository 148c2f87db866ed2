import RoostCluster
import RoostEnvironment
import RoostSimulation
import TestSupport

@testable import RoostTransactions

/// What becomes of transactions' messages between the nodes of a ``RemoteWorld``. Used by one thread.
final class Wire: @unchecked Sendable {
  enum Fate { case arrives, lost, doubled, held }

  fileprivate let nodes: LocalNodes
  fileprivate let time: SimulatedTime
  /// What becomes of each message.
  var fate: (Envelope) -> Fate = { _ in .arrives }
  private var held: [(text: String, deliver: () -> Void)] = []
  private var ended: Set<NodeID> = []
  /// How many messages were lost, doubled or held.
  private(set) var met = 0

  init(_ nodes: LocalNodes, _ time: SimulatedTime) {
    self.nodes = nodes
    self.time = time
  }

  func transport(of node: NodeID) -> any NodeTransport { WireTransport(nodes.transport(of: node), self) }

  /// A process is gone: nothing reaches it, and nothing of it reaches anyone. What is under way does.
  func end(_ node: NodeID) { ended.insert(node) }

  /// How many messages are held.
  var heldCount: Int { held.count }

  /// Delivers one of those that are held.
  func deliver(_ index: Int = 0) -> Bool {
    if held.isEmpty { return false }
    held.remove(at: index % held.count).deliver()
    return true
  }

  fileprivate func isOver(_ node: NodeID) -> Bool { ended.contains(node) }

  fileprivate func tell(
    _ message: NodeMessage, to other: NodeID, deadline: UInt64, _ inner: any NodeTransport
  ) throws(TransportError) {
    guard !isOver(other), !isOver(inner.node) else {
      throw TransportError(.unreachable, "node \(other) is out of reach")
    }
    guard message.kind == NodeMessageKind.transaction,
      let remote = try? RemoteEnvelope(decoding: message.body)
    else { return try inner.tell(message, to: other, deadline: deadline) }
    let fate = fate(remote.envelope)
    if fate != .arrives { met += 1 }
    switch fate {
    case .lost: return
    case .arrives: try inner.tell(message, to: other, deadline: deadline)
    case .doubled:
      try inner.tell(message, to: other, deadline: deadline)
      try inner.tell(message, to: other, deadline: deadline)
    case .held:
      held.append(
        (
          "\(remote.envelope.message.body)",
          { [self] in
            if isOver(other) { return }
            // Its deadline counts for what waits to be sent.
            try? inner.tell(message, to: other, deadline: time.monotonicNanoseconds + 1_000_000_000)
          }
        ))
    }
  }
}

private final class WireTransport: NodeTransport {
  private let inner: any NodeTransport
  private let wire: Wire

  init(_ inner: any NodeTransport, _ wire: Wire) {
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
    guard !wire.isOver(other), !wire.isOver(node) else {
      reply(.failure(TransportError(.unreachable, "node \(other) is out of reach")))
      return NothingAsked()
    }
    return inner.request(message, of: other, deadline: deadline, reply)
  }

  func tell(_ message: NodeMessage, to other: NodeID, deadline: UInt64) throws(TransportError) {
    try wire.tell(message, to: other, deadline: deadline, inner)
  }
}

private final class NothingAsked: NodeRequest {
  func cancel() {}
}

extension Message.Body {
  /// The name of the case.
  var name: String { String("\(self)".prefix { $0 != "(" }) }
}
