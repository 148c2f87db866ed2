package import RoostEnvironment

/// The nodes of one process, for tests and simulations: a message is a call of the other's handler, made
/// before the sending call returns.
///
/// Deadlines count on one clock for all. Nobody watches it: ``expire()`` ends what is overdue. Thread-safe.
package final class LocalNodes: Sendable {
  fileprivate struct Pair: Hashable {
    var from: NodeID
    var to: NodeID
  }

  fileprivate struct Waiting {
    var deadline: UInt64
    var request: LocalRequest
  }

  fileprivate struct State {
    var handlers: [NodeID: WeakHandler] = [:]
    var cut: Set<Pair> = []
    var waiting: [UInt64: Waiting] = [:]
    var underWay: [Pair: Int] = [:]
    var nextNumber: UInt64 = 0
  }

  fileprivate let time: any TimeSource
  fileprivate let largestBody: Int
  fileprivate let mostUnderWay: Int
  private let guarded: Guarded<State>

  /// - Parameters:
  ///   - time: whose monotonic clock deadlines count on.
  ///   - largestBody: in bytes; longer ones are `.tooLarge`.
  ///   - mostUnderWay: messages of one node that another may have in hand; more are `.overloaded`.
  package init(time: any TimeSource, largestBody: Int = 16 << 20, mostUnderWay: Int = 1_024) {
    self.time = time
    self.largestBody = largestBody
    self.mostUnderWay = mostUnderWay
    guarded = Guarded(State())
  }

  /// The transport of one node.
  package func transport(of node: NodeID) -> any NodeTransport { LocalNodeTransport(node, self) }

  /// From now on messages from `a` to `b` do not leave; the other way they do. Answers under way arrive.
  package func cut(from a: NodeID, to b: NodeID) {
    _ = guarded.with { $0.cut.insert(Pair(from: a, to: b)) }
  }

  package func mend(from a: NodeID, to b: NodeID) {
    _ = guarded.with { $0.cut.remove(Pair(from: a, to: b)) }
  }

  /// Ends the requests whose deadline has passed, the oldest first.
  package func expire() {
    let now = time.monotonicNanoseconds
    let due = guarded.with { state in
      state.waiting.filter { $0.value.deadline <= now }.sorted { $0.key < $1.key }.map(\.value.request)
    }
    for request in due {
      request.end(.failure(TransportError(.deadlineExceeded, "no answer in time", mayHaveArrived: true)))
    }
  }

  // MARK: - For the transports

  fileprivate func attach(_ node: NodeID, _ handler: any NodeMessageHandler) {
    guarded.with { $0.handlers[node] = WeakHandler(handler) }
  }

  /// Counts the message in.
  ///
  /// - Throws: why it does not leave.
  fileprivate func admit(
    _ message: NodeMessage, from: NodeID, to: NodeID, deadline: UInt64
  ) throws(TransportError) -> any NodeMessageHandler {
    guard message.body.count <= largestBody else {
      throw TransportError(.tooLarge, "\(message.body.count) bytes; \(largestBody) are the most")
    }
    guard deadline > time.monotonicNanoseconds else {
      throw TransportError(.deadlineExceeded, "the deadline had passed already")
    }
    let pair = Pair(from: from, to: to)
    return try guarded.with { state throws(TransportError) in
      guard let handler = state.handlers[to]?.handler, !state.cut.contains(pair) else {
        throw TransportError(.unreachable, "node \(to) is out of reach")
      }
      guard state.underWay[pair, default: 0] < mostUnderWay else {
        throw TransportError(.overloaded, "node \(to) has \(mostUnderWay) messages of \(from) in hand")
      }
      state.underWay[pair, default: 0] += 1
      return handler
    }
  }

  fileprivate func handled(from: NodeID, to: NodeID) {
    guarded.with { $0.underWay[Pair(from: from, to: to), default: 1] -= 1 }
  }

  fileprivate func enlist(_ request: LocalRequest, deadline: UInt64) -> UInt64 {
    guarded.with { state in
      state.nextNumber += 1
      state.waiting[state.nextNumber] = Waiting(deadline: deadline, request: request)
      return state.nextNumber
    }
  }

  fileprivate func strike(_ number: UInt64) { guarded.with { $0.waiting[number] = nil } }
}

private struct WeakHandler {
  weak var handler: (any NodeMessageHandler)?
  init(_ handler: any NodeMessageHandler) { self.handler = handler }
}

/// A value behind a lock. Thread-safe.
private final class Guarded<Value>: @unchecked Sendable {
  private let lock = Lock()
  private var value: Value

  init(_ value: Value) { self.value = value }

  func with<R, E: Error>(_ body: (inout Value) throws(E) -> R) throws(E) -> R {
    lock.lock()
    defer { lock.unlock() }
    return try body(&value)
  }
}

private final class LocalRequest: NodeRequest, @unchecked Sendable {
  private let nodes: LocalNodes
  private let lock = Lock()
  // Guarded by `lock`.
  private var reply: (@Sendable (Result<[UInt8], TransportError>) -> Void)?
  /// Not held: who has it in hand may let go of it.
  private weak var received: ReceivedMessage?
  private var number: UInt64?

  init(_ nodes: LocalNodes, _ reply: @escaping @Sendable (Result<[UInt8], TransportError>) -> Void) {
    self.nodes = nodes
    self.reply = reply
  }

  func begin(_ message: ReceivedMessage, deadline: UInt64) {
    let number = nodes.enlist(self, deadline: deadline)
    lock.withLock {
      self.number = number
      received = message
    }
  }

  /// Replies, where nobody did yet.
  func end(_ result: Result<[UInt8], TransportError>) {
    let (reply, received, number) = lock.withLock {
      defer {
        self.reply = nil
        self.received = nil
      }
      return (self.reply, self.received, self.number)
    }
    if let number { nodes.strike(number) }
    if case .failure = result { received?.cancel() }
    reply?(result)
  }

  func cancel() {
    end(.failure(TransportError(.cancelled, "the caller took it back", mayHaveArrived: true)))
  }
}

private final class LocalNodeTransport: NodeTransport {
  let node: NodeID
  private let nodes: LocalNodes

  var largestBody: Int { nodes.largestBody }

  init(_ node: NodeID, _ nodes: LocalNodes) {
    self.node = node
    self.nodes = nodes
  }

  func attach(_ handler: any NodeMessageHandler) { nodes.attach(node, handler) }

  func request(
    _ message: NodeMessage, of other: NodeID, deadline: UInt64,
    _ reply: @escaping @Sendable (Result<[UInt8], TransportError>) -> Void
  ) -> any NodeRequest {
    let request = LocalRequest(nodes, reply)
    do throws(TransportError) {
      let handler = try nodes.admit(message, from: node, to: other, deadline: deadline)
      let received = ReceivedMessage(from: node, message, deadline: deadline, isRequest: true) {
        [nodes, node, request] answer in
        nodes.handled(from: node, to: other)
        if let answer { request.end(answer) }
      }
      request.begin(received, deadline: deadline)
      handler.receive(received)
    } catch {
      request.end(.failure(error))
    }
    return request
  }

  func tell(_ message: NodeMessage, to other: NodeID, deadline: UInt64) throws(TransportError) {
    let handler = try nodes.admit(message, from: node, to: other, deadline: deadline)
    handler.receive(
      ReceivedMessage(from: node, message, deadline: deadline, isRequest: false) { [nodes, node] _ in
        nodes.handled(from: node, to: other)
      })
  }
}
