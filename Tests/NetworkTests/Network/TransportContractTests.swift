import RoostCluster
import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostNetwork

/// What holds of every transport: of the network, and of the one within a process.
// Budget: 5 s
@Suite(.endsNodes) struct TransportContractTests {
  enum Kind: CaseIterable { case local, network }

  /// Two nodes that know each other.
  private final class Pair: Ending {
    let time = still()
    let a: any NodeTransport
    let b: any NodeTransport
    let handler: TestHandler
    let nodes: [TestNode]
    let local: LocalNodes?

    init(_ kind: Kind, _ handler: TestHandler) throws {
      self.handler = handler
      switch kind {
      case .local:
        let local = LocalNodes(time: time, largestBody: 10_000, mostUnderWay: 4)
        a = local.transport(of: TestNode.id(1))
        b = local.transport(of: TestNode.id(2))
        b.attach(handler)
        self.local = local
        nodes = []
      case .network:
        nodes = [
          try TestNode(1, on: time) { options in
            options.largestBody = 10_000
            options.window = 4
            options.queuedMessages = 1
          },
          try TestNode(2, on: time, handler) { $0.window = 4 },
        ]
        try nodes[0].meet([nodes[1]])
        a = nodes[0].network
        b = nodes[1].network
        local = nil
      }
      KeptAlive.keep(self)
    }

    func end() {}

    func ask(_ body: [UInt8] = [], seconds: UInt64 = 10, of node: UInt64 = 2, into answers: TestNode.Answers)
      -> any NodeRequest
    {
      a.request(
        NodeMessage(kind: 3, body: body), of: TestNode.id(node),
        deadline: time.monotonicNanoseconds + seconds * 1_000_000_000
      ) { answers.add($0) }
    }

    /// Lets so much time pass, and ends what is overdue.
    func pass(seconds: UInt64) {
      time.advance(byNanoseconds: seconds * 1_000_000_000)
      local?.expire()
    }
  }

  @Test(arguments: Kind.allCases)
  func `a request is answered`(kind: Kind) throws {
    let pair = try Pair(kind, .reversing())
    let answers = TestNode.Answers()
    _ = pair.ask([1, 2, 3], into: answers)
    #expect(try answers.wait(count: 1)[0].get() == [3, 2, 1])
    #expect(pair.a.node == TestNode.id(1))
  }

  @Test(arguments: Kind.allCases)
  func `what a handler sees is what was sent`(kind: Kind) throws {
    let pair = try Pair(kind, TestHandler())
    let answers = TestNode.Answers()
    _ = pair.ask([9], seconds: 7, into: answers)
    let message = try pair.handler.messages.wait(count: 1)[0]
    #expect(message.from == TestNode.id(1))
    #expect(message.message == NodeMessage(kind: 3, body: [9]))
    #expect(message.isRequest && !message.isCancelled)
    #expect(message.deadline == pair.time.monotonicNanoseconds + 7_000_000_000)
    message.answer(.failure(TransportError(.failed, "no", mayHaveArrived: true)))
    message.answer([1])
    let error = try answers.wait(count: 1)[0].failure
    #expect(error?.code == .failed && error?.message == "no")
  }

  @Test(arguments: Kind.allCases)
  func `a deadline ends it on both sides`(kind: Kind) throws {
    let pair = try Pair(kind, TestHandler())
    let answers = TestNode.Answers()
    _ = pair.ask(seconds: 5, into: answers)
    let message = try pair.handler.messages.wait(count: 1)[0]
    let cancelled = Seen<Bool>()
    message.onCancel { cancelled.add(true) }
    pair.pass(seconds: 5)
    let error = try answers.wait(count: 1)[0].failure
    #expect(error?.code == .deadlineExceeded && error?.mayHaveArrived == true)
    try cancelled.wait(count: 1)
    message.answer([1])
    let past = TestNode.Answers()
    _ = pair.ask(seconds: 0, into: past)
    #expect(past.values.first?.failure?.code == .deadlineExceeded)
    #expect(past.values.first?.failure?.mayHaveArrived == false)
    #expect(throws: TransportError.self) {
      try pair.a.tell(NodeMessage(kind: 1, body: []), to: TestNode.id(2), deadline: 0)
    }
    #expect(answers.values.count == 1)
  }

  @Test(arguments: Kind.allCases)
  func `a caller takes it back`(kind: Kind) throws {
    let pair = try Pair(kind, TestHandler())
    let answers = TestNode.Answers()
    let request = pair.ask(into: answers)
    let message = try pair.handler.messages.wait(count: 1)[0]
    let cancelled = Seen<Bool>()
    message.onCancel { cancelled.add(true) }
    request.cancel()
    request.cancel()
    #expect(answers.values.map { $0.failure?.code } == [.cancelled])
    try cancelled.wait(count: 1)
    message.answer([1])
    #expect(answers.values.count == 1)
  }

  @Test(arguments: Kind.allCases)
  func `a handler that lets go answers`(kind: Kind) throws {
    let pair = try Pair(kind, TestHandler { _ in false })
    let answers = TestNode.Answers()
    _ = pair.ask(into: answers)
    let error = try answers.wait(count: 1)[0].failure
    #expect(error?.code == .failed && error?.mayHaveArrived == true)
  }

  @Test(arguments: Kind.allCases)
  func `nobody, too much, and too many are refused`(kind: Kind) throws {
    let pair = try Pair(kind, TestHandler())
    let answers = TestNode.Answers()
    _ = pair.ask(of: 77, into: answers)
    _ = pair.ask([UInt8](repeating: 0, count: 10_001), into: answers)
    #expect(answers.values.map { $0.failure?.code } == [.unreachable, .tooLarge])
    let more = TestNode.Answers()
    for count in 1...4 {
      _ = pair.ask(into: more)
      try pair.handler.messages.wait(count: count)
    }
    for _ in 0..<2 { _ = pair.ask(into: more) }
    #expect(more.values.contains { $0.failure?.code == .overloaded })
    #expect(more.values.allSatisfy { $0.failure?.mayHaveArrived == false })
    // Once one is answered, there is room.
    try pair.handler.messages.wait(count: 4)[0].answer([5])
    try more.wait("an answer") { $0.contains { (try? $0.get()) == [5] } ? true : nil }
  }

  @Test(arguments: Kind.allCases)
  func `without a handler requests fail`(kind: Kind) throws {
    var handler: TestHandler? = TestHandler()
    let time = still()
    let local = LocalNodes(time: time)
    let answers = TestNode.Answers()
    let message = NodeMessage(kind: 1, body: [])
    switch kind {
    case .local:
      local.transport(of: TestNode.id(2)).attach(handler!)
      handler = nil
      local.transport(of: TestNode.id(1)).request(
        message, of: TestNode.id(2), deadline: time.monotonicNanoseconds + 1_000_000_000
      ) { answers.add($0) }
    case .network:
      let (a, b) = (try TestNode(1, on: time), try TestNode(2, on: time))
      try a.meet([b])
      b.network.attach(handler!)
      handler = nil
      a.ask(2, [], into: answers)
      try answers.wait(count: 1)
    }
    #expect(answers.values.map { $0.failure?.code } == [.unreachable])
    #expect(answers.values.first?.failure?.mayHaveArrived == false)
  }

  @Test func `a cut within a process is one way`() throws {
    let time = still()
    let local = LocalNodes(time: time)
    let (a, b) = (local.transport(of: TestNode.id(1)), local.transport(of: TestNode.id(2)))
    let (handlerA, handlerB) = (TestHandler.reversing(), TestHandler.reversing())
    a.attach(handlerA)
    b.attach(handlerB)
    defer { withExtendedLifetime((handlerA, handlerB)) {} }
    local.cut(from: a.node, to: b.node)
    let deadline = time.monotonicNanoseconds + 1
    #expect(throws: TransportError.self) {
      try a.tell(NodeMessage(kind: 1, body: []), to: b.node, deadline: deadline)
    }
    try b.tell(NodeMessage(kind: 1, body: []), to: a.node, deadline: deadline)
    local.mend(from: a.node, to: b.node)
    try a.tell(NodeMessage(kind: 1, body: []), to: b.node, deadline: deadline)
  }
}
