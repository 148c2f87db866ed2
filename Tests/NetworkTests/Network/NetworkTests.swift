import NIOCore
import RoostCluster
import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostNetwork

/// Nodes over TCP on loopback, on clocks that stand still until a test moves them.
// Budget: 20 s
@Suite(.endsNodes) struct NetworkTests {
  @Test func `nodes ask each other over one connection each way`() throws {
    let time = still()
    let nodes = try (1...3).map { try TestNode($0, on: time) }
    for node in nodes { try node.meet(nodes) }
    for (index, node) in nodes.enumerated() {
      for other in 1...3 where other != index + 1 {
        #expect(try node.ask(UInt64(other), [1, 2, 3]) == [3, 2, 1])
      }
    }
    let body = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    #expect(try nodes[0].ask(2, body) == body.reversed())
    let statistics = nodes[0].network.statistics
    #expect(statistics.peers.map(\.node) == [TestNode.id(2), TestNode.id(3)])
    #expect(statistics.peers.allSatisfy { $0.state == .connected && $0.inFlight == 0 && $0.reconnects == 0 })
    #expect(statistics.peers[0].bytesSent > 3_000_000)
    #expect(statistics.listener.connections == 2)
    #expect(statistics.listener.messagesReceived == 2)
  }

  @Test func `a node of the other's number is no peer of itself`() throws {
    let node = try TestNode(1, on: still())
    node.network.setPeers([TestNode.id(1): try #require(node.network.address)])
    #expect(node.network.statistics.peers == [])
    let answers = TestNode.Answers()
    node.ask(1, [], into: answers)
    #expect(answers.values.first?.failure?.code == .unreachable)
  }

  @Test func `answers come in the handler's order`() throws {
    let time = still()
    let handler = TestHandler()
    let (a, b) = (try TestNode(1, on: time), try TestNode(2, on: time, handler))
    try a.meet([b])
    let answers = Seen<Int>()
    for number in 0..<10 {
      a.network.request(
        NodeMessage(kind: 1, body: [UInt8(number)]), of: b.network.node, deadline: a.deadline()
      ) { if (try? $0.get()) != nil { answers.add(number) } }
    }
    let messages = try handler.messages.wait(count: 10)
    #expect(messages.map(\.from) == [NodeID](repeating: a.network.node, count: 10))
    for message in messages.reversed() { message.answer([]) }
    #expect(try answers.wait(count: 10) == Array((0..<10).reversed()))
  }

  @Test func `a message without an answer arrives`() throws {
    let time = still()
    let handler = TestHandler()
    let (a, b) = (try TestNode(1, on: time), try TestNode(2, on: time, handler))
    try a.meet([b])
    try a.tell(2, [7])
    let message = try handler.messages.wait(count: 1)[0]
    #expect(message.message == NodeMessage(kind: 2, body: [7]))
    #expect(!message.isRequest)
  }

  @Test func `a handler is told that a connection has ended, once its messages are cancelled`() throws {
    let time = still()
    let handler = TestHandler()
    let b = try TestNode(2, on: time, handler)
    for number in [1, 3] as [UInt64] {
      let a = try TestNode(number, on: time)
      try a.meet([b])
      a.ask(2, [], into: TestNode.Answers())
      let message = try handler.messages.wait(count: number == 1 ? 1 : 2).last!
      try a.close()
      let ends = try handler.ends.wait(count: number == 1 ? 1 : 2)
      #expect(ends.last == message.connection)
      #expect(message.isCancelled)
    }
    #expect(Set(handler.ends.values).count == 2)
  }

  @Test func `deadlines end requests on both sides`() throws {
    let time = still()
    let handler = TestHandler()
    let (a, b) = (try TestNode(1, on: time), try TestNode(2, on: time, handler))
    try a.meet([b])
    let answers = TestNode.Answers()
    a.ask(2, [], seconds: 3, into: answers)
    let message = try handler.messages.wait(count: 1)[0]
    let cancelled = Seen<Bool>()
    message.onCancel { cancelled.add(true) }
    #expect(message.deadline == time.monotonicNanoseconds + 3_000_000_000)
    time.advance(byNanoseconds: 3_000_000_000)
    let error = try answers.wait(count: 1)[0].failure
    #expect(error?.code == .deadlineExceeded)
    #expect(error?.mayHaveArrived == true)
    try cancelled.wait(count: 1)
    #expect(message.isCancelled)
  }

  @Test func `a request that is taken back is taken back on the other side`() throws {
    let time = still()
    let handler = TestHandler()
    let (a, b) = (try TestNode(1, on: time), try TestNode(2, on: time, handler))
    try a.meet([b])
    let answers = TestNode.Answers()
    let request = a.ask(2, [], into: answers)
    let message = try handler.messages.wait(count: 1)[0]
    let cancelled = Seen<Bool>()
    message.onCancel { cancelled.add(true) }
    request.cancel()
    #expect(answers.values.map { $0.failure?.code } == [.cancelled])
    try cancelled.wait(count: 1)
    // The connection goes on.
    message.answer([])
    a.ask(2, [1], into: answers)
    try handler.messages.wait(count: 2)[1].answer([9])
    #expect(try answers.wait(count: 2)[1].get() == [9])
  }

  /// The handler takes nothing: the sender's memory and the receiver's are bounded, and the sender is told.
  @Test func `a handler that is behind holds its senders back`() throws {
    let time = still()
    let handler = TestHandler()
    let b = try TestNode(2, on: time, handler) { options in
      options.window = 8
      options.bytesInHand = 1 << 20
    }
    let a = try TestNode(1, on: time) { options in
      options.queuedMessages = 50
      options.queuedBytes = 1 << 20
    }
    try a.meet([b])
    let body = [UInt8](repeating: 1, count: 60_000)
    var shed = 0
    for _ in 0..<2_000 {
      do throws(TransportError) { try a.tell(2, body) } catch {
        #expect(error.code == .overloaded)
        #expect(!error.mayHaveArrived)
        shed += 1
      }
      let statistics = a.network.statistics.peers[0]
      #expect(statistics.queuedMessages <= 50)
      #expect(statistics.queuedBytes <= 1 << 20)
      if shed > 100 { break }
    }
    #expect(shed > 0)
    try handler.messages.wait(count: 8)
    let listener = b.network.statistics.listener
    #expect(listener.inHand <= 8)
    #expect(listener.bytesInHand < 2 << 20)
    // Requests behind them are told as well.
    let answers = TestNode.Answers()
    for _ in 0..<2_000 where answers.values.isEmpty { a.ask(2, body, into: answers) }
    #expect(answers.values.first?.failure?.code == .overloaded)
    // Once the handler goes on, so does all that waited.
    let peer = a.network.statistics.peers[0]
    let waiting = Int(peer.messagesSent) + peer.queuedMessages
    var handled = 0
    while handled < waiting {
      for message in try handler.messages.wait(count: handled + 1)[handled...] {
        message.finished()
        handled += 1
      }
    }
    #expect(a.network.statistics.peers[0].queuedMessages == 0)
  }

  /// What came in one piece with what the handler has in hand is handed over once it goes on, though nothing
  /// more comes.
  @Test func `what has come is not forgotten while nothing is read`() throws {
    let handler = TestHandler()
    let node = try TestNode(2, on: still(), handler) { $0.window = 4 }
    let raw = try RawConnection(to: try #require(node.network.address))
    let messages = (0..<10).map { Frame(kind: .oneWay, message: $0, deadlineMilliseconds: 1_000) }
    try raw.send(encoded([Hello.test().frame] + messages))
    for number in 0..<10 {
      let message = try handler.messages.wait(count: number + 1)[number]
      #expect(message.message.kind == UInt16(number))
      #expect(handler.messages.values.count <= number + 4)
      message.finished()
    }
  }

  @Test func `a handler that lets go of a message answers it`() throws {
    let time = still()
    let (a, b) = (try TestNode(1, on: time), try TestNode(2, on: time, TestHandler { _ in false }))
    try a.meet([b])
    #expect { try a.ask(2, []) } throws: { ($0 as? TransportError)?.code == .failed }
    #expect(b.network.statistics.listener.inHand == 0)
  }

  @Test func `a connection comes back when the other side does`() throws {
    let time = still()
    let a = try TestNode(1, on: time)
    var b = try TestNode(2, on: time)
    try a.meet([b])
    let address = try #require(b.network.address)
    try b.close()
    _ = try a.lost(TestNode.id(2))
    let answers = TestNode.Answers()
    a.ask(2, [], into: answers)
    #expect(answers.values.first?.failure?.code == .unreachable)
    b = try TestNode(2, on: time, at: address.description)
    try advance(time, until: a, connected: 2)
    #expect(try a.ask(2, [1, 2]) == [2, 1])
    #expect(a.network.statistics.peers[0].reconnects == 1)
  }

  /// Moves the clock on, wait by wait, until a connection stands.
  private func advance(_ time: SimulatedTime, until node: TestNode, connected times: Int) throws {
    func count(_ wish: (PeerStatistics.State) -> Bool) -> Int {
      node.events.values.count { if case .peer(_, let state, _) = $0 { wish(state) } else { false } }
    }
    while true {
      let seen = node.events.values.count
      if count({ $0 == .connected }) >= times { return }
      // The wait before the next attempt, and then what comes of it.
      time.advance(byNanoseconds: 5_000_000_000)
      try node.events.wait("an attempt") { $0.count > seen ? true : nil }
    }
  }

  @Test func `a request under way is told that its connection was lost`() throws {
    let time = still()
    let handler = TestHandler()
    let (a, b) = (try TestNode(1, on: time), try TestNode(2, on: time, handler))
    try a.meet([b])
    let answers = TestNode.Answers()
    a.ask(2, [], into: answers)
    let message = try handler.messages.wait(count: 1)[0]
    try b.close()
    let error = try answers.wait(count: 1)[0].failure
    #expect(error?.code == .disconnected)
    #expect(error?.mayHaveArrived == true)
    #expect(message.isCancelled)
    message.answer([])
  }

  @Test func `draining ends what is under way, and refuses the rest`() throws {
    let time = still()
    let handler = TestHandler()
    let (a, b) = (try TestNode(1, on: time), try TestNode(2, on: time, handler))
    try a.meet([b])
    try b.meet([a])
    let answers = TestNode.Answers()
    a.ask(2, [1], into: answers)
    let message = try handler.messages.wait(count: 1)[0]
    let drained = b.drain(seconds: 10)
    try a.events.wait("draining") { events in
      events.contains { if case .peer(_, .draining, _) = $0 { true } else { false } } ? true : nil
    }
    // New requests find nobody, both ways.
    let late = TestNode.Answers()
    a.ask(2, [], into: late)
    b.ask(1, [], into: late)
    #expect(late.values.map { $0.failure?.code } == [.unreachable, .closed])
    #expect(drained.values == [])
    message.answer([5])
    #expect(try answers.wait(count: 1)[0].get() == [5])
    #expect(try drained.wait(count: 1) == [true])
    // Nobody is listening any more.
    #expect(throws: (any Error).self) { try RawConnection(to: try #require(b.network.address)) }
  }

  @Test func `draining gives up at its deadline`() throws {
    let time = still()
    let handler = TestHandler()
    let (a, b) = (try TestNode(1, on: time), try TestNode(2, on: time, handler))
    try a.meet([b])
    let answers = TestNode.Answers()
    a.ask(2, [1], into: answers)
    try handler.messages.wait(count: 1)
    let drained = b.drain(seconds: 10)
    time.advance(byNanoseconds: 10_000_000_000)
    #expect(try drained.wait(count: 1) == [false])
    #expect(try answers.wait(count: 1)[0].failure?.code == .disconnected)
  }

  @Test func `a closed network refuses`() throws {
    let time = still()
    let (a, b) = (try TestNode(1, on: time), try TestNode(2, on: time))
    try a.meet([b])
    try a.close()
    let answers = TestNode.Answers()
    a.ask(2, [], into: answers)
    #expect(answers.values.first?.failure?.code == .closed)
    #expect(throws: TransportError.self) { try a.tell(2, []) }
    try a.close()
  }

  @Test func `signs of life carry the clock and the round trip`() throws {
    let time = still()
    let (a, b) = (try TestNode(1, on: time), try TestNode(2, on: time))
    try a.meet([b])
    let first = try a.handler.signs.wait(count: 1)[0]
    #expect(first.node == b.network.node)
    #expect(first.physicalMilliseconds == 1_735_689_600_000)
    time.advance(byNanoseconds: 1_000_000_000)
    let second = try a.handler.signs.wait(count: 2)[1]
    #expect(second.physicalMilliseconds == 1_735_689_601_000)
    #expect(second.localPhysicalMilliseconds == 1_735_689_601_000)
    // The side that was dialled hears as well.
    try b.handler.signs.wait(count: 1)
  }

  /// Else a busy machine's clocks would seem to differ by what it is busy for.
  @Test func `what comes between a sign and its being told is no difference of clocks`() throws {
    let time = still()
    let (a, b) = (try TestNode(1, on: time), try TestNode(2, on: time))
    // On the thread that is about to tell it.
    a.network.observe { event in
      if case .peer(_, .connected, _) = event { time.advance(byNanoseconds: 20_000_000) }
    }
    a.network.setPeers([b.network.node: try #require(b.network.address)])
    let sign = try a.handler.signs.wait(count: 1)[0]
    #expect(time.monotonicNanoseconds == 1_020_000_000)
    #expect(sign.heardNanoseconds == 1_000_000_000)
    let difference = sign.localPhysicalMilliseconds - sign.physicalMilliseconds
    #expect(difference <= sign.roundTripNanoseconds / 1_000_000)
  }

  @Test func `options outside their limits are refused by name`() throws {
    let changes: [(String, (inout NetworkOptions) -> Void)] = [
      ("largestBody", { $0.largestBody = 0 }), ("window", { $0.window = 0 }),
      ("bytesInHand", { $0.bytesInHand = 1 }), ("queuedMessages", { $0.queuedMessages = 0 }),
      ("queuedBytes", { $0.queuedBytes = 0 }), ("heartbeat", { $0.heartbeat = .zero }),
      ("silentHeartbeats", { $0.silentHeartbeats = 1 }),
      ("handshakeTimeout", { $0.handshakeTimeout = .zero }),
      ("frameTimeout", { $0.frameTimeout = .zero }), ("backoff", { $0.backoff = .zero ... .seconds(1) }),
      ("mostConnections", { $0.mostConnections = 0 }), ("clockBound", { $0.clockBound = .seconds(-1) }),
      ("threads", { $0.threads = 0 }),
    ]
    for (name, change) in changes {
      #expect {
        try TestNode(1, on: still(), tls: .plainOnLoopback, change)
      } throws: { error in
        guard let error = error as? TransportError else { return false }
        return error.code == .invalidOption && error.message.contains(name)
      }
    }
  }

  @Test func `plain TCP stays on loopback`() throws {
    for address in ["0.0.0.0:0", "10.1.2.3:7420", "[::]:0", "example.org:80"] {
      #expect { try TestNode(1, on: still(), at: address) } throws: {
        ($0 as? TransportError)?.code == .notSecure
      }
    }
    let node = try TestNode(1, on: still())
    node.network.setPeers([TestNode.id(2): try NodeAddress("192.0.2.1:7420")])
    #expect(try node.lost(TestNode.id(2)).code == .notSecure)
    let answers = TestNode.Answers()
    node.ask(2, [], into: answers)
    #expect(answers.values.first?.failure?.code == .notSecure)
  }

  @Test func `two nodes cannot listen in one place`() throws {
    let time = still()
    let node = try TestNode(1, on: time)
    let address = try #require(node.network.address)
    #expect { try TestNode(2, on: time, at: address.description) } throws: {
      ($0 as? TransportError)?.code == .listen
    }
  }
}
