import RoostCluster
import RoostEnvironment
import RoostSimulation
import TestSupport

@testable import RoostTransactions

/// What becomes of transactions' messages between the nodes of a ``RemoteWorld``. Used by one thread.
final class Wire: @unchecked Sendable {
  enum Fate { case arrives, lost, doubled, held }

  private struct Held {
    var message: NodeMessage
    var other: NodeID
    var inner: any NodeTransport
  }

  private let nodes: LocalNodes
  private let time: SimulatedTime
  /// What becomes of each message.
  var fate: (Envelope) -> Fate = { _ in .arrives }
  private var held: [Held] = []
  private var ended: Set<NodeID> = []
  /// How many messages were lost, doubled or held.
  private(set) var met = 0

  init(_ nodes: LocalNodes, _ time: SimulatedTime) {
    self.nodes = nodes
    self.time = time
  }

  func transport(of node: NodeID) -> any NodeTransport {
    TappedTransport(nodes.transport(of: node)) { [self] message, other, deadline, reply, inner in
      guard !isOver(other), !isOver(node) else {
        reply(.failure(TransportError(.unreachable, "node \(other) is out of reach")))
        return nil
      }
      return inner.request(message, of: other, deadline: deadline, reply)
    } tell: { [self] (message, other, deadline, inner) throws(TransportError) in
      try tell(message, to: other, deadline: deadline, inner)
    }
  }

  /// Loses messages from now on, doubles some, and holds some: so many of a hundred.
  func disturb(lost: Int, doubled: Int, held: Int, seed: UInt64) {
    var chance = SplitMix64(seed: seed)
    fate = { _ in
      switch chance.below(100) {
      case ..<lost: .lost
      case ..<(lost + doubled): .doubled
      case ..<(lost + doubled + held): .held
      default: .arrives
      }
    }
  }

  /// A process is gone: nothing reaches it, and nothing of it reaches anyone. What is under way does.
  func end(_ node: NodeID) { ended.insert(node) }

  /// How many messages are held.
  var heldCount: Int { held.count }

  /// Delivers one of those that are held.
  func deliver(_ index: Int = 0) -> Bool {
    if held.isEmpty { return false }
    let next = held.remove(at: index % held.count)
    if isOver(next.other) { return true }
    // Its deadline counts for what waits to be sent.
    try? next.inner.tell(
      next.message, to: next.other, deadline: time.monotonicNanoseconds + 1_000_000_000)
    return true
  }

  private func isOver(_ node: NodeID) -> Bool { ended.contains(node) }

  private func tell(
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
    case .held: held.append(Held(message: message, other: other, inner: inner))
    }
  }
}

extension Message.Body {
  /// The name of the case.
  var name: String { String("\(self)".prefix { $0 != "(" }) }
}
