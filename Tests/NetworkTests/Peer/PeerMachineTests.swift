import RoostCluster
import RoostEnvironment
import TestSupport
import Testing

@testable import RoostNetwork

/// The connection that a node dials, rule by rule.
// Budget: 5 s
@Suite struct PeerMachineTests {
  @Test func `answers may come in any order`() throws {
    var bench = try PeerBench()
    bench.connect()
    let numbers = (0..<5).map { _ in bench.request() }
    #expect(bench.frames().map(\.request) == numbers)
    #expect(bench.machine.statistics.inFlight == 5)
    for number in numbers.reversed() {
      bench.receive(.frame(attempt: 1, Frame(kind: .response, request: number, body: [UInt8(number)])))
    }
    let answers = bench.completions()
    for number in numbers { #expect(try answers[number]?.get() == [UInt8(number)]) }
    #expect(bench.machine.statistics.inFlight == 0)
  }

  @Test func `what is left of a deadline travels along`() throws {
    var bench = try PeerBench()
    bench.connect()
    bench.request(milliseconds: 1_000)
    try bench.tell(milliseconds: 2_000)
    bench.now += 300_500_000
    #expect(bench.frames().map(\.deadlineMilliseconds) == [700, 1_700])
  }

  @Test func `a window holds back, and the queue sheds`() throws {
    var bench = try PeerBench { options in
      options.queuedMessages = 3
      options.queuedBytes = 2_000
    }
    bench.connect(window: 2)
    for _ in 0..<2 { bench.request() }
    #expect(bench.frames().count == 2)
    // Nothing more is sent; three wait; the fourth is refused.
    let waiting = (0..<3).map { _ in bench.request() }
    #expect(bench.frames() == [])
    #expect(bench.completions().isEmpty)
    let shed = bench.request()
    #expect(bench.completions()[shed]?.failure?.code == .overloaded)
    #expect(throws: TransportError.self) { try bench.tell() }
    #expect(bench.machine.statistics.shed == 2)
    // An answer lets the first that waits go.
    bench.receive(.frame(attempt: 1, Frame(kind: .response, request: 1)))
    #expect(bench.frames().map(\.request) == [waiting[0]])
    bench.effects = []
    // Bytes count as messages do.
    let long = bench.request(1_990)
    #expect(bench.completions()[long]?.failure?.code == .overloaded)
    bench.request(1_980)
    #expect(bench.completions().isEmpty)
  }

  @Test func `one message may always wait, however long`() throws {
    var bench = try PeerBench { $0.queuedBytes = 1_024 }
    bench.connect()
    bench.request(100_000)
    #expect(bench.frames().count == 1)
  }

  @Test func `a body is checked against what the other side takes`() throws {
    var bench = try PeerBench { $0.largestBody = 5_000 }
    bench.receive(.begin)
    let early = bench.request(3_000)
    let tooLong = bench.request(5_001)
    #expect(bench.completions()[tooLong]?.failure?.code == .tooLarge)
    bench.connect(largestBody: 2_000)
    #expect(bench.completions()[early]?.failure?.code == .tooLarge)
    let late = bench.request(2_001)
    #expect(bench.completions()[late]?.failure?.code == .tooLarge)
    bench.request(2_000)
    #expect(bench.frames().last?.body.count == 2_000)
  }

  @Test func `a deadline ends a request, sent or not, and the other side is told`() throws {
    var bench = try PeerBench()
    bench.connect(window: 1)
    let sent = bench.request(milliseconds: 100)
    #expect(bench.frames().count == 1)
    let waiting = bench.request(milliseconds: 50)
    bench.advance(milliseconds: 60)
    var ended = bench.completions()
    #expect(ended[waiting]?.failure?.code == .deadlineExceeded)
    #expect(ended[waiting]?.failure?.mayHaveArrived == false)
    bench.advance(milliseconds: 60)
    ended = bench.completions()
    #expect(ended[sent]?.failure?.code == .deadlineExceeded)
    #expect(ended[sent]?.failure?.mayHaveArrived == true)
    #expect(bench.frames() == [Frame(kind: .cancel, request: sent)])
    // An answer that comes too late is nobody's.
    bench.receive(.frame(attempt: 1, Frame(kind: .response, request: sent)))
    #expect(bench.completions().isEmpty)
    #expect(bench.closes.isEmpty)
    let past = bench.request(milliseconds: 0)
    #expect(bench.completions()[past]?.failure?.code == .deadlineExceeded)
    #expect(bench.frames() == [])
    #expect(bench.machine.statistics.inFlight + bench.machine.statistics.queuedMessages == 0)
  }

  @Test func `every deadline is asked to be woken for`() throws {
    var bench = try PeerBench()
    bench.connect()
    bench.effects = []
    bench.request(milliseconds: 500)
    bench.request(milliseconds: 200)
    bench.request(milliseconds: 900)
    var wakes: [UInt64] = []
    for case .wake(let time) in bench.effects { wakes.append((time - bench.now) / 1_000_000) }
    #expect(wakes == [500, 200])
    bench.effects = []
    bench.advance(milliseconds: 200)
    for case .wake(let time) in bench.effects { wakes.append((time - bench.now) / 1_000_000) }
    #expect(wakes.last == 300)
  }

  @Test func `a caller takes a request back`() throws {
    var bench = try PeerBench()
    bench.connect(window: 1)
    let sent = bench.request()
    _ = bench.frames()
    let waiting = bench.request()
    bench.receive(.cancel(waiting))
    bench.receive(.cancel(sent))
    bench.receive(.cancel(sent))
    let ended = bench.completions()
    #expect(ended[waiting]?.failure?.mayHaveArrived == false)
    #expect(ended[sent]?.failure?.mayHaveArrived == true)
    #expect(ended.values.allSatisfy { $0.failure?.code == .cancelled })
    #expect(bench.frames() == [Frame(kind: .cancel, request: sent)])
  }

  @Test func `what waits for a first connection is sent, and what finds none is refused at once`() throws {
    var bench = try PeerBench()
    let before = bench.request()
    #expect(bench.completions()[before]?.failure?.code == .unreachable)
    bench.receive(.begin)
    let waiting = bench.request()
    #expect(bench.completions().isEmpty)
    bench.receive(.ended(attempt: 1, TransportError(.unreachable, "connection refused")))
    #expect(bench.completions()[waiting]?.failure?.mayHaveArrived == false)
    let later = bench.request()
    let refusal = bench.completions()[later]?.failure
    #expect(refusal?.code == .unreachable)
    #expect(refusal?.message.contains("connection refused") == true)
    #expect(throws: TransportError.self) { try bench.tell() }
  }

  @Test func `a lost connection ends what was sent, as perhaps done`() throws {
    var bench = try PeerBench()
    bench.connect(window: 1)
    let sent = bench.request()
    _ = bench.frames()
    let waiting = bench.request()
    bench.receive(.ended(attempt: 1, TransportError(.unreachable, "reset")))
    let ended = bench.completions()
    #expect(ended[sent]?.failure?.code == .disconnected)
    #expect(ended[sent]?.failure?.mayHaveArrived == true)
    #expect(ended[waiting]?.failure?.code == .unreachable)
    #expect(ended[waiting]?.failure?.mayHaveArrived == false)
  }

  @Test func `waits grow, are jittered, and begin anew after a good connection`() throws {
    func waits(seed: UInt64, goodAt: Int? = nil) throws -> [UInt64] {
      var bench = try PeerBench(seed: seed) { $0.backoff = .milliseconds(100) ... .milliseconds(1_600) }
      bench.receive(.begin)
      var result: [UInt64] = []
      for attempt in 1...10 {
        if attempt == goodAt {
          bench.connect(attempt: UInt64(attempt))
          bench.now += 2_000_000_000
        }
        bench.effects = []
        bench.receive(.ended(attempt: UInt64(attempt), TransportError(.unreachable, "no")))
        var wake: UInt64?
        for case .wake(let time) in bench.effects { wake = time }
        let time = try #require(wake)
        result.append((time - bench.now) / 1_000)
        bench.now = time - 1
        bench.receive(.tick)
        #expect(bench.dials == [], "not before its time")
        bench.now = time
        bench.receive(.tick)
        #expect(bench.dials == [UInt64(attempt) + 1])
      }
      return result
    }
    let seed = Seeds.of("backoff", count: 1)[0]
    let first = try waits(seed: seed)
    for (index, wait) in first.enumerated() {
      let whole = min(UInt64(100_000) << UInt64(index), 1_600_000)
      #expect((whole / 2...whole).contains(wait))
    }
    #expect(try waits(seed: seed) == first, "a seed gives the same waits")
    #expect(try waits(seed: seed + 1) != first)
    let mended = try waits(seed: seed, goodAt: 6)
    #expect((50_000...100_000).contains(mended[5]))
  }

  @Test func `a silent node is given up, and one that this process did not listen to is not`() throws {
    var bench = try PeerBench { options in
      options.heartbeat = .seconds(1)
      options.silentHeartbeats = 3
    }
    bench.connect()
    // This process stands still for a minute: one heartbeat.
    bench.advance(milliseconds: 60_000)
    #expect(bench.closes.isEmpty)
    let ping = try #require(bench.frames().first)
    #expect(ping.kind == .ping)
    bench.receive(.frame(attempt: 1, try Heartbeat.pong(to: ping, at: bench.moment)))
    for _ in 0..<3 { bench.advance(milliseconds: 1_000) }
    #expect(bench.closes.isEmpty)
    let under = bench.request(milliseconds: 60_000)
    bench.advance(milliseconds: 1_000)
    #expect(bench.closes.count == 1)
    #expect(bench.completions()[under]?.failure?.code == .unreachable)
    #expect(bench.machine.statistics.lastError?.contains("silent") == true)
  }

  @Test func `half a frame has its time`() throws {
    var bench = try PeerBench { $0.frameTimeout = .seconds(10) }
    bench.connect()
    bench.receive(.bytes(attempt: 1, count: 10, isPartial: true))
    for _ in 0..<9 {
      bench.advance(milliseconds: 1_000)
      bench.receive(.bytes(attempt: 1, count: 1, isPartial: true))
    }
    #expect(bench.closes.isEmpty)
    bench.advance(milliseconds: 1_000)
    #expect(bench.closes.count == 1)
    #expect(bench.machine.statistics.lastError?.contains("rest of a frame") == true)
  }

  @Test func `an introduction has its time`() throws {
    for isOpen in [false, true] {
      var bench = try PeerBench { $0.handshakeTimeout = .seconds(2) }
      bench.receive(.begin)
      if isOpen { bench.receive(.opened(attempt: 1)) }
      bench.advance(milliseconds: 1_999)
      #expect(bench.closes.isEmpty)
      bench.advance(milliseconds: 1)
      #expect(bench.closes.count == 1)
      // What comes of it later is nobody's.
      bench.receive(.frame(attempt: 1, Hello.test(node: 2).frame))
      #expect(bench.machine.statistics.state == .waiting)
    }
  }

  @Test func `a refusal reaches the callers`() throws {
    var bench = try PeerBench()
    bench.receive(.begin)
    let waiting = bench.request()
    bench.receive(.opened(attempt: 1))
    let notice = Notice(TransportError(.wrongCluster, "not you"))
    bench.receive(.frame(attempt: 1, Frame(kind: .goodbye, body: notice.encoded)))
    #expect(bench.completions()[waiting]?.failure?.code == .wrongCluster)
    let later = bench.request()
    #expect(bench.completions()[later]?.failure?.message == "not you")
  }

  @Test func `who dials an address alone takes whoever answers`() throws {
    var bench = try PeerBench(node: .anyone)
    bench.receive(.begin)
    bench.receive(.opened(attempt: 1))
    let hello = try #require(bench.frames().first)
    #expect(try Hello(decoding: hello.body).node == TestNode.id(1))
    bench.receive(.frame(attempt: 1, Hello.test(node: 77).frame))
    #expect(bench.machine.statistics.state == .connected)
    var other = Hello.test(node: 78)
    other.cluster = "films"
    bench.receive(.ended(attempt: 1, TransportError(.unreachable, "reset")))
    bench.advance(milliseconds: 1_000)
    bench.receive(.opened(attempt: 2))
    let waiting = bench.request()
    bench.receive(.frame(attempt: 2, other.frame))
    #expect(bench.completions()[waiting]?.failure?.code == .wrongCluster)
  }

  @Test func `a node that leaves is asked nothing more, and answers what it has`() throws {
    var bench = try PeerBench()
    bench.connect(window: 1)
    let sent = bench.request()
    _ = bench.frames()
    let waiting = bench.request()
    bench.receive(.frame(attempt: 1, Frame(kind: .draining)))
    let new = bench.request()
    var ended = bench.completions()
    for number in [waiting, new] {
      #expect(ended[number]?.failure?.code == .unreachable)
      #expect(ended[number]?.failure?.mayHaveArrived == false)
    }
    bench.receive(.frame(attempt: 1, Frame(kind: .response, request: sent, body: [1])))
    ended = bench.completions()
    #expect(try ended[sent]?.get() == [1])
    #expect(bench.machine.statistics.state == .draining)
  }

  @Test func `drained is when nothing is under way`() throws {
    var bench = try PeerBench()
    bench.connect()
    let sent = bench.request()
    _ = bench.frames()
    func isDrained() -> Bool { bench.effects.contains { if case .drained = $0 { true } else { false } } }
    bench.receive(.drain)
    #expect(!isDrained())
    let refused = bench.request()
    bench.receive(.frame(attempt: 1, Frame(kind: .response, request: sent)))
    #expect(isDrained())
    #expect(bench.completions()[refused]?.failure?.code == .closed)
  }

  @Test(arguments: [
    Frame(kind: .request, message: 1, request: 1, deadlineMilliseconds: 5), Frame(kind: .cancel, request: 1),
    Frame(kind: .oneWay, deadlineMilliseconds: 5), Frame(kind: .response, request: 0),
    Frame(kind: .response, request: 77), Frame(kind: .ping, body: [1]), Frame(kind: .pong, request: 9),
    Frame(kind: .failure, request: 1, body: [0xFF]), Hello.test(node: 2).frame,
  ])
  func `what does not belong ends the connection`(frame: Frame) throws {
    var bench = try PeerBench()
    bench.connect()
    bench.request()
    _ = bench.frames()
    bench.receive(.frame(attempt: 1, frame))
    let goodbye = try #require(bench.closes.first ?? nil)
    #expect(try Notice(decoding: goodbye.body).error.code == .rubbish)
  }

  @Test func `what was taken back leaves no memory behind`() throws {
    var bench = try PeerBench()
    bench.connect(window: 1)
    bench.request(milliseconds: 100_000)
    _ = bench.frames()
    for _ in 0..<20_000 {
      let number = bench.request(milliseconds: 100_000)
      bench.receive(.cancel(number))
      bench.effects = []
    }
    #expect(bench.machine.keptCount < 2_000)
  }

  @Test func `deadlines come soonest first`() throws {
    try withSeeds("PeerMachineTests", count: 20) { _, random in
      var queue = DeadlineQueue()
      var expected: [UInt64] = []
      for number in 0..<UInt64(200) {
        let time = random.next() % 1_000
        queue.add(number, at: time)
        expected.append(time)
        queue.tidy(live: 10_000) { _ in true }
      }
      var last: UInt64 = 0
      var count = 0
      while let time = queue.first {
        try #require(time >= last)
        if time > 0 {
          let early = queue.take(until: time - 1)
          try #require(early == nil)
        }
        last = time
        let taken = queue.take(until: time)
        let number = try #require(taken)
        try #require(expected[Int(number)] == time)
        count += 1
      }
      try #require(count == 200)
      for number in 0..<UInt64(1_000) { queue.add(number, at: number) }
      queue.tidy(live: 3) { $0 % 400 == 1 }
      try #require(queue.count == 3)
      let left = (0..<4).map { _ in queue.take(until: 2_000) }
      try #require(left == [1, 401, 801, nil])
    }
  }
}
