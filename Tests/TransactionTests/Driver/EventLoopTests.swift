import Testing

@testable import RoostTransactions

/// Who handles a machine's events, in which order, and for how long.
// Budget: 1 s
@Suite struct EventLoopTests {
  /// A loop that notes what it handles, and keeps what it hands over. Used by one thread.
  private final class Bench: @unchecked Sendable {
    private(set) var handled: [Int] = []
    var handedOver: [@Sendable () -> Void] = []
    /// What handling an event posts.
    var follows: (Int) -> [Int] = { _ in [] }
    private(set) var loop: EventLoop<Int>!

    init(turn: Int) {
      loop = EventLoop(
        turn: turn, handOver: { [unowned self] job in handedOver.append(job) },
        handle: { [unowned self] event in
          handled.append(event)
          for next in follows(event) { loop.post(next) }
        })
    }

    func runHandedOver() {
      let jobs = handedOver
      handedOver = []
      for job in jobs { job() }
    }
  }

  @Test func `who posts to an idle loop handles what comes of it, in order`() {
    let bench = Bench(turn: 100)
    bench.follows = { $0 < 10 ? [2 * $0, 2 * $0 + 1] : [] }
    bench.loop.post(1)
    #expect(bench.handled == Array(1...19))
    #expect(bench.handedOver.isEmpty && bench.loop.isIdle)
  }

  /// Each event leads to another one, for ever: nobody's thread is kept for that.
  @Test func `one thread handles a turn, and hands over the rest`() {
    let bench = Bench(turn: 10)
    bench.follows = { $0 < 1_000 ? [$0 + 1] : [] }
    bench.loop.post(0)
    #expect(bench.handled == Array(0..<10))
    #expect(bench.handedOver.count == 1 && !bench.loop.isIdle)
    // Whoever posts meanwhile handles nothing.
    bench.loop.post(1_000)
    #expect(bench.handled.count == 10)
    bench.runHandedOver()
    #expect(bench.handled == Array(0...10) + [1_000] + Array(11...18))
    #expect(bench.handedOver.count == 1 && !bench.loop.isIdle)
  }

  @Test func `what is handed over keeps its order, and ends where the loop stops`() {
    let bench = Bench(turn: 4)
    bench.follows = { $0 == 0 ? Array(1...13) : [] }
    bench.loop.post(0)
    #expect(bench.handled == Array(0...3))
    bench.loop.post(14)
    bench.runHandedOver()
    #expect(bench.handled == Array(0...7) && !bench.loop.isIdle)
    bench.runHandedOver()
    bench.runHandedOver()
    #expect(bench.handled == Array(0...14) && bench.handedOver.isEmpty && bench.loop.isIdle)
    bench.loop.post(0)
    bench.loop.stop()
    bench.runHandedOver()
    #expect(bench.handled.count == 19 && bench.handedOver.isEmpty && bench.loop.isIdle)
    #expect(!bench.loop.post(1))
  }
}
