import Foundation
import RoostEnvironment
import RoostSimulation
import Synchronization
import TestSupport
import Testing

/// Many threads at one limiter. The clock is a simulated one that moves only when the test says so,
/// but for the last test; runs under the thread sanitizer too.
// Budget: 3 s
@Suite struct RateLimiterThreadTests {
  let time = SimulatedTime(waiting: .blocks)

  struct Stuck: Error {}

  /// Lets other threads run until `condition` holds, and gives up when it does not in two minutes.
  func spin(until condition: () -> Bool) throws {
    let system = POSIXTime()
    let end = system.monotonicNanoseconds + 120_000_000_000
    while !condition() {
      if system.monotonicNanoseconds > end { throw Stuck() }
      sched_yield()
    }
  }

  /// Moves the clock to a moment that a thread waits for, or is about to, and to those before it.
  func advance(to moment: UInt64) throws {
    try spin {
      guard let next = time.nextWait, next < moment else { return time.nextWait == moment }
      time.advanceToNextWait()
      return false
    }
    time.advanceToNextWait()
  }

  /// Of all threads together no more is let through than the promise, and they all get what they
  /// asked for.
  @Test func manyThreadsShareOneRate() throws {
    let (rate, burst, threads, requests) = (10_000, 50, 8, TestSize.of(quick: 100, full: 500))
    let start = time.monotonicNanoseconds
    let limiter = try RateLimiter(unitsPerSecond: rate, burst: burst, time: time)
    let (wrong, finished) = (Counter(), Counter())
    let granted = Atomic<Int>(0)
    for thread in 0..<threads {
      Thread { [time] in
        defer { finished.add() }
        var random = SplitMix64(seed: UInt64(thread))
        for _ in 0..<requests {
          let units = random.below(burst + 1)
          do {
            let priority = RateLimiter.Priority(rawValue: random.below(3))!
            if random.below(4) == 0 {
              guard try limiter.tryAcquire(units, priority: priority) else { continue }
            } else {
              try limiter.acquire(units, priority: priority, within: .seconds(Int64.max))
            }
          } catch { wrong.add() }
          let sum = granted.add(units, ordering: .acquiringAndReleasing).newValue
          // The clock is read after the grant, so the bound is at its latest; it still holds.
          let now = time.monotonicNanoseconds
          if Int128(sum) > TokenBucketTests.most(rate, burst, now - start) { wrong.add() }
        }
      }.start()
    }
    // Without deadlines, the moments that threads wait for are those when there will be enough. Were
    // one not woken when its turn came, nobody would finish.
    while finished.value < threads {
      do { try spin { time.advanceToNextWait() || finished.value == threads } } catch {
        Issue.record("threads wait, and none for a moment")
        limiter.close()
        try spin { finished.value == threads }
      }
    }
    #expect(wrong.value == 0)
    #expect(limiter.statistics.grantedUnits == UInt64(granted.load(ordering: .acquiring)))
    #expect(limiter.statistics.waiting == 0)
    #expect(limiter.statistics.waits > 100)
  }

  /// Threads that wait are served in the order of priority, then of coming.
  @Test func waitingThreadsAreServedInOrder() throws {
    let limiter = try RateLimiter(unitsPerSecond: 10, burst: 10, time: time)
    try limiter.acquire(10, within: .zero)
    let order = Names()
    func start(_ name: String, _ units: Int, _ priority: RateLimiter.Priority) throws {
      let before = limiter.statistics.waiting
      Thread {
        try? limiter.acquire(units, priority: priority, within: .seconds(3600))
        order.append(name)
      }.start()
      try spin { limiter.statistics.waiting == before + 1 }
    }
    try start("low", 1, .low)
    try start("large", 10, .normal)
    try start("small", 1, .normal)
    try start("high", 5, .high)
    let expected: [(String, UInt64)] = [
      ("high", 1_500_000_000), ("large", 2_500_000_000), ("small", 2_600_000_000), ("low", 2_700_000_000),
    ]
    for (name, moment) in expected {
      try advance(to: moment)
      try spin { order.isLast(name) }
    }
  }

  @Test func aDeadlineEndsAWaitAndMakesWay() throws {
    let limiter = try RateLimiter(unitsPerSecond: 1, burst: 100, time: time)
    try limiter.acquire(100, within: .zero)
    let failures = Guarded<[RateLimiterError]>([])
    let passed = Counter()
    Thread {
      do throws(RateLimiterError) {
        try limiter.acquire(100, priority: .high, within: .seconds(5))
      } catch { failures.withLock { $0.append(error) } }
    }.start()
    try spin { limiter.statistics.waiting == 1 }
    Thread {
      try? limiter.acquire(3, within: .seconds(3600))
      passed.add()
    }.start()
    try spin { time.waitingCount == 2 }
    // At the deadline there are five units: enough for the one behind, as soon as the first has gone.
    time.advance(byNanoseconds: 5_000_000_000)
    try spin { passed.value == 1 }
    try spin { failures.withLock { $0.count } == 1 }
    #expect(failures.withLock { $0[0].code } == .deadlineExceeded)
    #expect(time.monotonicNanoseconds == 6_000_000_000)
    #expect(try limiter.tryAcquire(2))
    #expect(try !limiter.tryAcquire(1))
  }

  /// A queue is refused, not grown.
  @Test func asManyWaitAsMay() throws {
    let limiter = try RateLimiter(unitsPerSecond: 1, burst: 10, waiterLimit: 3, time: time)
    try limiter.acquire(10, within: .zero)
    let passed = Counter()
    for i in 0..<3 {
      Thread {
        try? limiter.acquire(1, within: .seconds(3600))
        passed.add()
      }.start()
      try spin { limiter.statistics.waiting == i + 1 }
    }
    let refusal = Guarded<RateLimiterError?>(nil)
    Thread {
      do throws(RateLimiterError) {
        try limiter.acquire(1, priority: .high, within: .seconds(3600))
      } catch { refusal.withLock { $0 = error } }
    }.start()
    try spin { refusal.withLock { $0 != nil } }
    #expect(refusal.withLock { $0?.code } == .tooManyWaiters)
    #expect(refusal.withLock { $0?.message.contains("3 callers") } == true)
    time.advance(byNanoseconds: 3_000_000_000)
    try spin { passed.value == 3 }
  }

  @Test func aNewRateReachesThoseWhoWait() throws {
    let limiter = try RateLimiter(unitsPerSecond: 1, burst: 1000, time: time)
    try limiter.acquire(1000, within: .zero)
    let passed = Counter()
    let refused = Counter()
    Thread {
      do throws(RateLimiterError) {
        try limiter.acquire(900, within: .seconds(1_000_000))
      } catch { if error.code == .exceedsBurst { refused.add() } }
    }.start()
    try spin { limiter.statistics.waiting == 1 }
    Thread {
      try? limiter.acquire(400, within: .seconds(1_000_000))
      passed.add()
    }.start()
    try spin { time.waitingCount == 2 }
    try limiter.set(unitsPerSecond: 1_000_000, burst: 500)
    try spin { refused.value == 1 }
    // The other sets its alarm anew: 400 microseconds from now.
    try advance(to: 1_000_400_000)
    try spin { passed.value == 1 }
  }

  /// Each tenth grant goes to a lower priority, and that thread learns of its turn though nobody
  /// served it.
  @Test func aTurnThatNewcomersGiveAwayIsNoticed() throws {
    let limiter = try RateLimiter(unitsPerSecond: 10, burst: 100, time: time)
    try limiter.acquire(90, within: .zero)
    let order = Names()
    func start(_ name: String, _ units: Int, _ priority: RateLimiter.Priority) throws {
      let before = time.waitingCount
      Thread {
        try? limiter.acquire(units, priority: priority, within: .seconds(3600))
        order.append(name)
      }.start()
      try spin { time.waitingCount == before + 1 }
    }
    try start("low", 15, .low)
    try start("normal", 100, .normal)
    // The low one's alarm rings before it is its turn; from then on it has none.
    #expect(time.nextWait == 1_500_000_000)
    for _ in 0..<9 { #expect(try limiter.tryAcquire(1, priority: .high)) }
    // One unit is left, and it is the low one's turn: fourteen more take so long.
    try spin { time.nextWait == 2_400_000_000 }
    try advance(to: 2_400_000_000)
    try spin { order.isJust(["low"]) }
    try advance(to: 12_400_000_000)
    try spin { order.isJust(["low", "normal"]) }
  }

  @Test func closingEndsAllWaits() throws {
    let limiter = try RateLimiter(unitsPerSecond: 1, burst: 10, time: time)
    try limiter.acquire(10, within: .zero)
    let closed = Counter()
    for i in 0..<4 {
      Thread {
        do throws(RateLimiterError) {
          try limiter.acquire(5, priority: i == 2 ? .low : .high, within: .seconds(3600))
        } catch { if error.code == .closed { closed.add() } }
      }.start()
    }
    try spin { limiter.statistics.waiting == 4 }
    limiter.close()
    try spin { closed.value == 4 }
    #expect(limiter.statistics.waiting == 0)
    #expect(time.monotonicNanoseconds == 1_000_000_000)
  }

  /// On the system's clock: it waits no less than it must.
  @Test func realTimePasses() throws {
    let time = POSIXTime()
    let limiter = try RateLimiter(unitsPerSecond: 1_000_000, burst: 1000, time: time)
    let start = time.monotonicNanoseconds
    for _ in 0..<5 { try limiter.acquire(1000, within: .seconds(600)) }
    #expect(time.monotonicNanoseconds - start >= 4_000_000)
    #expect(limiter.statistics.grantedUnits == 5000)
  }
}

/// Names in the order in which threads gave them. Under a lock that the thread sanitizer knows of, and
/// looked at under it: a copy would share memory whose counts of references it does not see.
private final class Names: @unchecked Sendable {
  private let lock = Lock()
  // Guarded by `lock`.
  private var names: [String] = []

  func isLast(_ name: String) -> Bool { lock.withLock { names.last == name } }

  func isJust(_ expected: [String]) -> Bool { lock.withLock { names == expected } }

  func append(_ name: String) { lock.withLock { names.append(name) } }
}
