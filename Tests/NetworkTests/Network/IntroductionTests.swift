import RoostCluster
import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostNetwork

/// Whom a node takes up with, over TCP: refusals and their reasons on both sides, and rubbish.
// Budget: 20 s
@Suite(.endsNodes) struct IntroductionTests {
  /// Dials, and waits until both sides know why not.
  private func refusal(of a: TestNode, by b: TestNode) throws -> (TransportError, TransportError) {
    a.network.setPeers([b.network.node: try #require(b.network.address)])
    return (try a.refused(by: b.network.node), try b.dropped())
  }

  @Test func `a node of another cluster is refused, and both sides know why`() throws {
    let time = still()
    let (dialler, listener) = try refusal(
      of: try TestNode(1, on: time, cluster: "films"), by: try TestNode(2, on: time))
    #expect(dialler.code == .wrongCluster)
    #expect(listener.code == .wrongCluster)
    #expect(dialler.message == listener.message)
    #expect(dialler.message.contains("`films`"))
  }

  @Test func `a node of another database is refused`() throws {
    let time = still()
    let (dialler, listener) = try refusal(
      of: try TestNode(1, on: time, database: DatabaseID(high: 3, low: 4)), by: try TestNode(2, on: time))
    #expect(dialler.code == .wrongDatabase)
    #expect(listener.code == .wrongDatabase)
  }

  @Test func `a node that has yet to learn its database is taken`() throws {
    let time = still()
    let (a, b) = (try TestNode(1, on: time, database: nil), try TestNode(2, on: time))
    try a.meet([b])
    #expect(try a.ask(2, [1]) == [1])
  }

  @Test func `another node than was dialled is told so`() throws {
    let time = still()
    let (a, b) = (try TestNode(1, on: time), try TestNode(2, on: time))
    a.network.setPeers([TestNode.id(3): try #require(b.network.address)])
    #expect(try a.refused(by: TestNode.id(3)).code == .wrongNode)
  }

  @Test func `whoever answers is taken where an address alone was dialled`() throws {
    let time = still()
    let (a, b) = (try TestNode(1, on: time, database: nil), try TestNode(2, on: time))
    a.network.setPeers([.anyone: try #require(b.network.address)])
    try a.connected(to: .anyone)
    #expect(try a.ask(0, [1, 2]) == [2, 1])
    // Nobody in particular was heard of.
    #expect(a.handler.signs.values.isEmpty)
    // All else is looked at as ever.
    let other = try TestNode(3, on: time, cluster: "films")
    a.network.setPeers([.anyone: try #require(other.network.address)])
    let refused = try a.events.wait("a refusal") { events -> TransportError? in
      for case .peer(.anyone, .waiting, let error?) in events { return error }
      return nil
    }
    #expect(refused.code == .wrongCluster)
  }

  @Test func `a node is not taken up with itself, by its address either`() throws {
    let node = try TestNode(1, on: still())
    node.network.setPeers([.anyone: try #require(node.network.address)])
    #expect(try node.refused(by: .anyone).code == .wrongNode)
  }

  @Test func `clocks out of bound are refused`() throws {
    let (early, late) = (still(), still())
    late.setWallClock(nanoseconds: early.wallClockNanoseconds + 2_000_000_000)
    let bound: (inout NetworkOptions) -> Void = { $0.clockBound = .milliseconds(500) }
    let (dialler, listener) = try refusal(
      of: try TestNode(1, on: late, tls: .plainOnLoopback, bound),
      by: try TestNode(2, on: early, tls: .plainOnLoopback, bound))
    #expect(dialler.code == .clockOutOfBound)
    #expect(listener.code == .clockOutOfBound)
  }

  @Test func `a version that is not spoken is refused by name`() throws {
    let node = try TestNode(2, on: still())
    let raw = try RawConnection(to: try #require(node.network.address))
    var hello = Hello.test()
    hello.versions = 7...9
    try raw.send(encoded([hello.frame]))
    let frames = try raw.frames()
    #expect(frames.map(\.kind) == [.goodbye])
    let error = try Notice(decoding: frames[0].body).error
    #expect(error.code == .wrongVersion)
    #expect(error.message.contains("7...9"))
    #expect(try node.dropped().code == .wrongVersion)
  }

  @Test func `too many connections are refused`() throws {
    let node = try TestNode(2, on: still()) { $0.mostConnections = 2 }
    let address = try #require(node.network.address)
    var kept: [RawConnection] = []
    for _ in 0..<2 {
      let raw = try RawConnection(to: address)
      try raw.send(encoded([Hello.test().frame]))
      _ = try raw.frame(.hello)
      kept.append(raw)
    }
    let third = try RawConnection(to: address)
    let goodbye = try third.frame(.goodbye)
    #expect(try Notice(decoding: goodbye.body).error.code == .overloaded)
    for raw in kept { raw.close() }
  }

  enum Rubbish: CaseIterable {
    case http, tls, afterPreamble, zeros

    var bytes: [UInt8] {
      switch self {
      case .http: Array("GET / HTTP/1.1\r\nHost: roost\r\n\r\n".utf8)
      case .tls: [0x16, 3, 1, 0, 5, 1, 2, 3, 4, 5]
      case .afterPreamble: Frame.preamble + [UInt8](repeating: 0xFF, count: 100)
      case .zeros: [UInt8](repeating: 0, count: 10_000)
      }
    }
  }

  @Test(arguments: Rubbish.allCases)
  func `rubbish is dropped with a reason`(rubbish: Rubbish) throws {
    let bytes = rubbish.bytes
    let node = try TestNode(2, on: still())
    let raw = try RawConnection(to: try #require(node.network.address))
    try raw.send(bytes)
    let code: TransportError.Code = bytes[0] == 0x16 ? .tls : .rubbish
    #expect(try node.dropped().code == code)
    let goodbye = try raw.frame(.goodbye)
    #expect(try !Notice(decoding: goodbye.body).text.isEmpty)
    raw.close()
    let statistics = node.network.statistics.listener
    #expect(statistics.dropped == [code.description: 1])
    #expect(statistics.lastDrop != nil)
  }

  @Test func `a length beyond the limit is dropped before its body comes`() throws {
    let node = try TestNode(2, on: still()) { $0.largestBody = 2_000 }
    let raw = try RawConnection(to: try #require(node.network.address))
    let long = Frame(
      kind: .request, request: 1, deadlineMilliseconds: 1_000, body: [UInt8](repeating: 0, count: 2_001))
    let bytes = encoded([Hello.test().frame, long])
    try raw.send(Array(bytes.dropLast(2_001)))
    #expect(try node.dropped().code == .rubbish)
    #expect(try Notice(decoding: raw.frame(.goodbye).body).text.contains("2000"))
  }

  @Test func `damage on the way ends the connection, and no damaged message is handled`() throws {
    let handler = TestHandler()
    let node = try TestNode(2, on: still(), handler)
    let raw = try RawConnection(to: try #require(node.network.address))
    var bytes = encoded([
      Hello.test().frame, Frame(kind: .request, request: 1, deadlineMilliseconds: 1_000, body: [1, 2, 3]),
    ])
    bytes[bytes.count - 1] ^= 1
    let helloCount = encoded([Hello.test().frame]).count
    try raw.send(Array(bytes.prefix(helloCount)))
    _ = try raw.frame(.hello)
    try raw.send(Array(bytes.dropFirst(helloCount)))
    #expect(try node.dropped().message.contains("checksum"))
    #expect(handler.messages.values.isEmpty)
    #expect(try raw.frames().map(\.kind) == [.hello, .goodbye])
  }

  @Test func `who says nothing, or only a part, is dropped in time`() throws {
    let hello = encoded([Hello.test().frame])
    for count in [0, 3, 8, 20, hello.count - 1] {
      let time = still()
      let node = try TestNode(2, on: time)
      let raw = try RawConnection(to: try #require(node.network.address))
      if count > 0 { try raw.send(Array(hello.prefix(count))) }
      // Accepted is when its time begins to run.
      try node.events.wait("a connection") { events in
        events.contains { if case .opened = $0 { true } else { false } } ? true : nil
      }
      time.advance(byNanoseconds: 59_999_999_999)
      #expect(node.network.statistics.listener.dropped == [:])
      time.advance(byNanoseconds: 1)
      #expect(try node.dropped().code == .silent)
      #expect(try Notice(decoding: raw.frame(.goodbye).body).error.code == .silent)
    }
  }

  @Test func `half a frame is dropped in time, also where bytes drip`() throws {
    let time = still()
    let node = try TestNode(2, on: time) { options in
      options.frameTimeout = .seconds(10)
      options.heartbeat = .seconds(3_600)
    }
    let raw = try RawConnection(to: try #require(node.network.address))
    let hello = encoded([Hello.test().frame])
    let frame = Frame(
      kind: .request, request: 1, deadlineMilliseconds: 9, body: [UInt8](repeating: 1, count: 100_000))
    let all = encoded([Hello.test().frame, frame])
    try raw.send(Array(all.prefix(hello.count + 5)))
    _ = try raw.frame(.hello)
    // At most a fraction of the frame, however late the thread runs that keeps the node's time.
    for offset in hello.count + 5..<hello.count + 1_000
    where node.network.statistics.listener.dropped == [:] {
      time.advance(byNanoseconds: 2_000_000_000)
      try? raw.send([all[offset]])
    }
    #expect(try node.dropped().code == .silent)
  }

  @Test func `a listener that is none of ours is not taken for one`() throws {
    let time = still()
    let node = try TestNode(1, on: time)
    // It accepts, and says nothing.
    let silent = try SilentListener()
    node.network.setPeers([TestNode.id(2): silent.address])
    try silent.accepted.wait(count: 1)
    let answers = TestNode.Answers()
    node.ask(2, [1], seconds: 120, into: answers)
    time.advance(byNanoseconds: 60_000_000_000)
    #expect(try node.lost(TestNode.id(2)).code == .silent)
    #expect(try answers.wait(count: 1)[0].failure?.mayHaveArrived == false)
  }
}
