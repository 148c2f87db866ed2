import RoostCausality
package import RoostCluster
import RoostEnvironment

// What carries transactions' messages to other nodes. It promises no more than `Transport` does: a message
// may be lost, doubled, late or overtaken, and the machines at both ends are made for that. They send again,
// with backoff and deadlines; nothing is queued here.
//
// - A participant is where its member is: the directory tells.
// - A member that has left is answered for here: see `answer`.
// - A coordinator is where its messages come from. One that has not been heard of since this process began (a
//   participant in doubt asks it) is asked for at all nodes: the one that has it answers.

/// The transport of a node: calls within the process, messages to other nodes. Thread-safe.
package final class RemoteTransport: Transport, @unchecked Sendable {
  /// How long a message may wait to be sent before it is dropped: it is sent again meanwhile.
  private static let patience: UInt64 = 5_000_000_000
  /// Coordinators whose place is remembered; beyond it all are forgotten, and asked for anew.
  private static let seatLimit = 4_096

  private let node: ClusterNode
  private let clockBoundMilliseconds: UInt64
  private let local: any Transport
  private let lock = Lock()
  // Guarded by `lock`.
  private var endpoints: Set<Endpoint> = []
  private var seats: [CoordinatorID: MemberID] = [:]

  /// - Parameter local: carries messages within the process.
  package init(
    _ node: ClusterNode, clockBoundMilliseconds: UInt64, local: any Transport = LocalTransport()
  ) {
    self.node = node
    self.clockBoundMilliseconds = clockBoundMilliseconds
    self.local = local
  }

  package func attach(_ endpoint: Endpoint, _ receive: @escaping @Sendable (Envelope) -> Void) {
    lock.withLock { _ = endpoints.insert(endpoint) }
    local.attach(endpoint, receive)
  }

  package func detach(_ endpoint: Endpoint) {
    lock.withLock { _ = endpoints.remove(endpoint) }
    local.detach(endpoint)
  }

  /// Whether an endpoint is in this process.
  func isHere(_ endpoint: Endpoint) -> Bool { lock.withLock { endpoints.contains(endpoint) } }

  /// Gives a message of another node to whom it is for; it is lost where they are not here.
  func deliver(_ envelope: Envelope, of member: MemberID) {
    if case .coordinator(let id) = envelope.from {
      lock.withLock {
        if seats.count >= Self.seatLimit { seats = [:] }
        seats[id] = member
      }
    }
    // Who does not have a partition that was asked for knows of a later ring, or will.
    if envelope.message.body.tellsOfMove { node.refreshRingSoon() }
    _ = local.send(envelope)
  }

  package func send(_ envelope: Envelope) -> Bool {
    if isHere(envelope.to) { return local.send(envelope) }
    switch envelope.to {
    case .participant(let member): return send(envelope, to: member)
    case .coordinator(let id):
      // One of a member that is gone is another's by now.
      if let member = lock.withLock({ seats[id] }), !node.hasForgotten(member) {
        return send(envelope, to: member)
      }
      for member in node.otherMembers { _ = send(envelope, to: member) }
      // Where it is not known nobody can say that it is not there.
      return true
    }
  }

  private func send(_ envelope: Envelope, to member: MemberID) -> Bool {
    guard member != node.local.id, node.isServing else { return false }
    if node.hasForgotten(member) { return answer(envelope, for: member) }
    if case .acquire = envelope.message.body, node.isSuspected(member) { return false }
    let deadline = node.core.shared.environment.time.monotonicNanoseconds &+ Self.patience
    let message = RemoteEnvelope(
      fitting(envelope), database: node.core.id, member: node.local.id,
      clockBoundMilliseconds: clockBoundMilliseconds)
    do throws(TransportError) {
      try node.tell(NodeMessageKind.transaction, message.encoded(), to: member, deadline: deadline)
      return true
    } catch {
      // What finds a queue full is lost, and sent again. Else the receiver is not there.
      return error.code == .overloaded || error.code == .deadlineExceeded
    }
  }

  /// Answers a decision that is told to a member which has left. It did not before every node had said that
  /// no unfinished transaction names it: so this one was done there, and its end lost since.
  private func answer(_ envelope: Envelope, for member: MemberID) -> Bool {
    let body: Message.Body
    switch envelope.message.body {
    case .commit: body = .acknowledged
    case .effect(_, let index, _): body = .effectDone(index: index)
    case .forgetEffects, .abort: return true
    default: return false
    }
    return local.send(
      Envelope(
        from: .participant(member), to: envelope.from, timestamp: envelope.timestamp,
        physicalMilliseconds: envelope.physicalMilliseconds, Message(envelope.message.transaction, body)))
  }

  /// What was read may be more than a message takes: then a part of it goes, and its reader goes on behind
  /// it.
  private func fitting(_ envelope: Envelope) -> Envelope {
    guard case .acquired(let request, let epoch, let answer) = envelope.message.body else { return envelope }
    var fitting = envelope
    if let part = answer.fitting(byteCount: node.largestTransactionBody) {
      fitting.message.body = .acquired(request: request, epoch: epoch, part)
    } else {
      fitting.message.body = .refused(request: request, .failed("what was read is more than a message takes"))
    }
    return fitting
  }
}

extension Message.Body {
  /// Whether it says that the sender does not have a partition that was asked for.
  fileprivate var tellsOfMove: Bool {
    switch self {
    case .refused(_, .notOwner), .vote(.no(.notOwner)): true
    default: false
    }
  }
}
