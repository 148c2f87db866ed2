import RoostCluster
import TestSupport
import Testing

@testable import RoostNetwork

/// The connection that another node dialled, rule by rule.
// Budget: 5 s
@Suite struct SessionMachineTests {
  private func pauses(_ bench: SessionBench) -> [Bool] {
    bench.effects.compactMap { if case .pause(let isPaused) = $0 { isPaused } else { nil } }
  }

  private func errors(_ frames: [Frame]) throws -> [TransportError.Code] {
    try frames.filter { $0.kind == .failure }.map { try Notice(decoding: $0.body).error.code }
  }

  @Test func `requests are answered in the order of the answers`() {
    var bench = SessionBench()
    bench.connect()
    for number in 1...3 { bench.request(UInt64(number)) }
    #expect(bench.delivered == [1, 2, 3])
    bench.receive(.handled(2, .success([2])))
    bench.receive(.handled(3, .success([3])))
    bench.receive(.handled(1, .success([1])))
    let frames = bench.frames()
    #expect(frames.map(\.request) == [2, 3, 1])
    #expect(frames.map(\.body) == [[2], [3], [1]])
    #expect(bench.machine.inHandCount == 0)
  }

  @Test func `the deadline is what was left of the sender's`() {
    var bench = SessionBench()
    bench.connect()
    bench.request(1, milliseconds: 250)
    for case .deliver(_, _, _, let deadline) in bench.effects { #expect(deadline == bench.now + 250_000_000) }
    bench.advance(milliseconds: 249)
    #expect(bench.cancelled == [])
    bench.advance(milliseconds: 1)
    #expect(bench.cancelled == [1])
    // It stays in hand until the handler lets go, and is not answered.
    #expect(bench.machine.inHandCount == 1)
    bench.receive(.handled(1, .success([1])))
    #expect(bench.frames() == [])
    #expect(bench.machine.inHandCount == 0)
  }

  @Test func `more requests than the window are refused, and say that they were not done`() throws {
    var bench = SessionBench { $0.window = 2 }
    bench.connect()
    for number in 1...4 { bench.request(UInt64(number)) }
    #expect(bench.delivered == [1, 2])
    let frames = bench.frames()
    #expect(try errors(frames) == [.overloaded, .overloaded])
    #expect(try frames.allSatisfy { try !Notice(decoding: $0.body).mayHaveArrived })
    #expect(bench.machine.shed == 2)
    #expect(pauses(bench) == [], "cancels must still be read")
    bench.receive(.handled(1, .success([])))
    bench.request(5)
    #expect(bench.delivered.count == 3)
  }

  @Test func `messages without an answer hold back their sender`() {
    var bench = SessionBench { $0.window = 4 }
    bench.connect()
    for _ in 0..<4 { bench.oneWay() }
    #expect(pauses(bench) == [true])
    bench.receive(.handled(1, nil))
    #expect(pauses(bench) == [true])
    bench.receive(.handled(2, nil))
    #expect(pauses(bench) == [true, false])
  }

  @Test func `bytes in hand hold back their sender`() {
    var bench = SessionBench { $0.bytesInHand = 4_000 }
    bench.connect()
    bench.request(1, 3_000)
    #expect(pauses(bench) == [])
    bench.request(2, 1_000)
    #expect(pauses(bench) == [true])
    bench.receive(.handled(1, .success([])))
    #expect(pauses(bench) == [true, false])
    #expect(bench.machine.bytesInHand == 1_000)
  }

  @Test func `answers that are not fetched hold back, and then end the connection`() {
    var bench = SessionBench { options in
      options.queuedBytes = 10_000
      options.frameTimeout = .seconds(20)
    }
    bench.connect()
    bench.request(1)
    bench.request(2)
    bench.receive(.handled(1, .success([UInt8](repeating: 0, count: 10_000))))
    #expect(pauses(bench) == [true])
    _ = bench.frames(leave: false)
    bench.advance(milliseconds: 19_999)
    #expect(!bench.isClosed)
    bench.advance(milliseconds: 1)
    #expect(bench.drop?.code == .silent)
    #expect(bench.cancelled == [2])
  }

  @Test func `answers that are fetched let go on`() {
    var bench = SessionBench { $0.queuedBytes = 10_000 }
    bench.connect()
    bench.request(1)
    bench.receive(.handled(1, .success([UInt8](repeating: 0, count: 10_000))))
    _ = bench.frames()
    #expect(pauses(bench) == [true, false])
  }

  @Test func `silence does not count while nothing is read`() {
    var bench = SessionBench { options in
      options.heartbeat = .seconds(1)
      options.silentHeartbeats = 3
      options.bytesInHand = 1_024
    }
    bench.connect()
    bench.request(1, 2_000)
    for _ in 0..<20 {
      bench.advance(milliseconds: 1_000)
      #expect(bench.frames().map(\.kind) == [.ping], "the other side is still told that this one lives")
    }
    #expect(!bench.isClosed)
    bench.receive(.handled(1, .success([])))
    _ = bench.frames()
    for _ in 0..<3 { bench.advance(milliseconds: 1_000) }
    #expect(!bench.isClosed)
    bench.advance(milliseconds: 1_000)
    #expect(bench.drop?.code == .silent)
  }

  @Test func `who does not introduce itself in time is dropped, and told`() throws {
    var bench = SessionBench { $0.handshakeTimeout = .seconds(2) }
    bench.receive(.tick)
    for case .wake(let time) in bench.effects { #expect(time == bench.now + 2_000_000_000) }
    bench.receive(.bytes(count: 10, isPartial: true))
    bench.advance(milliseconds: 2_000)
    #expect(bench.drop?.code == .silent)
    guard
      case .close(let frame?, _)? = bench.effects.first(where: { if case .close = $0 { true } else { false } }
      )
    else { throw Seen<Int>.NeverCame(description: "a goodbye") }
    #expect(try Notice(decoding: frame.body).error.code == .silent)
  }

  @Test func `a request that is taken back is not answered`() {
    var bench = SessionBench()
    bench.connect()
    bench.request(7)
    bench.receive(.frame(Frame(kind: .cancel, request: 7)))
    bench.receive(.frame(Frame(kind: .cancel, request: 7)))
    bench.receive(.frame(Frame(kind: .cancel, request: 8)))
    #expect(bench.cancelled == [1])
    bench.receive(.handled(1, .success([1])))
    #expect(bench.frames() == [])
  }

  /// Whoever closes tells the handler that the connection has ended.
  @Test func `what is in hand is cancelled before the connection is closed`() {
    var bench = SessionBench()
    bench.connect()
    bench.request(1)
    bench.request(2)
    bench.receive(.broken(TransportError(.rubbish, "no frame")))
    let last = bench.effects.suffix(3).map { effect in
      switch effect {
      case .cancelled(let number): "cancelled \(number)"
      case .close: "close"
      default: "other"
      }
    }
    #expect(last == ["cancelled 1", "cancelled 2", "close"])
  }

  @Test func `draining answers what is in hand, and refuses the rest`() throws {
    var bench = SessionBench()
    bench.connect()
    bench.request(1)
    bench.receive(.drain(until: bench.now + 5_000_000_000))
    #expect(bench.frames().map(\.kind) == [.draining])
    bench.request(2)
    #expect(try errors(bench.frames()) == [.unreachable])
    #expect(!bench.isClosed)
    bench.receive(.handled(1, .success([1])))
    #expect(!bench.isClosed, "its answer has not left")
    #expect(bench.frames().map(\.request) == [1])
    #expect(bench.isClosed)
    #expect(bench.drop?.code == .unreachable)
  }

  @Test func `draining ends at its deadline`() {
    var bench = SessionBench()
    bench.connect()
    bench.request(1, milliseconds: 60_000)
    bench.receive(.drain(until: bench.now + 5_000_000_000))
    _ = bench.frames()
    bench.advance(milliseconds: 4_999)
    #expect(!bench.isClosed)
    bench.advance(milliseconds: 1)
    #expect(bench.isClosed)
    #expect(bench.cancelled == [1])
  }

  /// Whoever takes less, this side or the one that asks.
  @Test(arguments: [(1_024, 2_000), (2_000, 1_024)])
  func `an answer that is too long is told as that`(mine: Int, theirs: Int) throws {
    var bench = SessionBench { $0.largestBody = mine }
    var hello = Hello.test(node: 1)
    hello.largestBody = theirs
    bench.receive(.frame(hello.frame))
    _ = bench.frames()
    for (number, count) in [(UInt64(1), 1_025), (2, 1_024)] {
      bench.request(number)
      bench.receive(.handled(number, .success([UInt8](repeating: 0, count: count))))
    }
    let frames = bench.frames()
    #expect(frames.map(\.kind) == [.failure, .response])
    #expect(try errors(frames) == [.tooLarge])
  }

  @Test func `a handler's own failure travels as it is`() throws {
    var bench = SessionBench()
    bench.connect()
    bench.request(1)
    bench.receive(.handled(1, .failure(TransportError(.failed, "no such key", mayHaveArrived: true))))
    let frame = try #require(bench.frames().first)
    let error = try Notice(decoding: frame.body).error
    #expect(error.code == .failed && error.message == "no such key" && error.mayHaveArrived)
  }

  @Test(arguments: [
    Frame(kind: .response, request: 1), Frame(kind: .failure, request: 1), Frame(kind: .draining),
    Frame(kind: .request, request: 0, deadlineMilliseconds: 5), Frame(kind: .request, request: 9),
    Frame(kind: .request, request: 1, deadlineMilliseconds: 5), Frame(kind: .ping, body: []),
    Frame(kind: .oneWay, request: 4, deadlineMilliseconds: 5), Frame(kind: .pong, request: 9, body: [1]),
  ])
  func `what does not belong ends the connection`(frame: Frame) {
    var bench = SessionBench()
    bench.connect()
    bench.request(1)
    bench.receive(.frame(frame))
    #expect(bench.drop?.code == .rubbish)
  }

  @Test func `nothing comes before the introduction`() {
    for frame in [
      Frame(kind: .ping, body: [UInt8](repeating: 0, count: 8)), Frame(kind: .cancel, request: 1),
    ] {
      var bench = SessionBench()
      bench.receive(.frame(frame))
      #expect(bench.drop?.code == .rubbish)
    }
  }

  /// Whatever one connection sends, what is kept for it stays in its bounds.
  @Test func `what a flood leaves behind is bounded`() throws {
    try withSeeds("SessionMachineTests", count: TestSize.of(quick: 20, full: 200)) { _, random in
      var bench = SessionBench { options in
        options.window = 8
        options.bytesInHand = 20_000
        options.queuedBytes = 20_000
      }
      bench.connect()
      var number: UInt64 = 0
      var isPaused = false
      for _ in 0..<2_000 {
        bench.effects = []
        switch random.below(10) {
        case 0..<5 where !isPaused:
          number += 1
          bench.request(number, random.below(3_000))
        case 5 where !isPaused: bench.oneWay(random.below(3_000))
        case 6 where !isPaused && number > 0:
          bench.receive(.frame(Frame(kind: .cancel, request: 1 + random.next() % number)))
        case 7:
          bench.receive(.handled(1 + random.next() % (number + 1), .success(random.bytes(random.below(100)))))
        case 8: _ = bench.frames()
        default: bench.advance(milliseconds: UInt64(random.below(100)))
        }
        for case .pause(let paused) in bench.effects { isPaused = paused }
        try #require(bench.machine.isPaused == isPaused)
        try #require(bench.machine.inHandCount <= 16)
        try #require(bench.machine.bytesInHand < 20_000 + 3_000)
        if bench.isClosed { break }
      }
    }
  }
}
