import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

/// The limiter on one thread, in a simulation whose clock waiting moves on: nothing sleeps.
// Budget: 1 s
@Suite struct RateLimiterTests {
  let time = SimulatedTime(monotonicNanoseconds: 7)

  func limiter(_ rate: Int, _ burst: Int, waiterLimit: Int = 8) throws -> RateLimiter {
    try RateLimiter(unitsPerSecond: rate, burst: burst, waiterLimit: waiterLimit, time: time)
  }

  func error(_ body: () throws -> Void) -> RateLimiterError? {
    do {
      try body()
      return nil
    } catch { return error as? RateLimiterError }
  }

  @Test func waitsAsLongAsItTakes() throws {
    let limiter = try limiter(1000, 100)
    try limiter.acquire(100, within: .zero)
    #expect(time.monotonicNanoseconds == 7)
    try limiter.acquire(50, within: .seconds(1))
    #expect(time.monotonicNanoseconds == 50_000_007)
    try limiter.acquire(100, priority: .low, within: .seconds(1))
    #expect(time.monotonicNanoseconds == 150_000_007)
    let statistics = limiter.statistics
    #expect(statistics.grantedUnits == 250)
    #expect(statistics.waits == 2 && statistics.waitedNanoseconds == 150_000_000)
    #expect(statistics.waiting == 0 && statistics.deadlinesExceeded == 0)
  }

  @Test func aPassedDeadlineSaysWhatItWaitedFor() throws {
    let limiter = try limiter(10, 100)
    try limiter.acquire(100, within: .zero)
    let failure = error {
      try limiter.acquire(30, priority: .high, within: .seconds(2))
    }
    #expect(failure?.code == .deadlineExceeded)
    for part in ["2.0 seconds", "30 units", "high", "0 requests ahead", "10 a second", "100 at once"] {
      #expect(failure?.message.contains(part) == true, "\(part)")
    }
    #expect(time.monotonicNanoseconds == 2_000_000_007)
    // Nothing was taken: what came meanwhile is there.
    #expect(try limiter.tryAcquire(20))
    #expect(try !limiter.tryAcquire(1))
    let statistics = limiter.statistics
    #expect(statistics.deadlinesExceeded == 1 && statistics.waits == 1 && statistics.waiting == 0)
    #expect(statistics.grantedUnits == 120)
    #expect(statistics.waitedNanoseconds == 2_000_000_000)
    // With no time at all it only tries.
    #expect(error { try limiter.acquire(1, within: .zero) }?.code == .deadlineExceeded)
    #expect(error { try limiter.acquire(1, within: .seconds(-5)) }?.code == .deadlineExceeded)
    #expect(time.monotonicNanoseconds == 2_000_000_007)
    // To the nanosecond.
    try limiter.acquire(1, within: .milliseconds(100))
    #expect(time.monotonicNanoseconds == 2_100_000_007)
  }

  @Test func asksWithoutWaiting() throws {
    let limiter = try limiter(100, 10)
    #expect(try limiter.delay(for: 10) == .zero)
    #expect(try limiter.tryAcquire(10))
    #expect(try !limiter.tryAcquire(5))
    let delay = try limiter.delay(for: 5)
    #expect(delay == .milliseconds(50))
    time.advance(byNanoseconds: 49_999_999)
    #expect(try !limiter.tryAcquire(5))
    time.advance(byNanoseconds: 1)
    #expect(try limiter.tryAcquire(5))
    #expect(time.monotonicNanoseconds == 50_000_007)
    // Nobody takes nothing.
    #expect(try limiter.tryAcquire(0))
    try limiter.acquire(0, within: .zero)
    let slow = try self.limiter(1, .max)
    #expect(try slow.tryAcquire(.max))
    #expect(try slow.delay(for: .max) == .nanoseconds(Int64.max))
  }

  @Test func badArguments() throws {
    #expect(error { _ = try self.limiter(0, 1) }?.code == .invalidArgument)
    #expect(error { _ = try self.limiter(1, -1) }?.code == .invalidArgument)
    #expect(error { _ = try self.limiter(1, 1, waiterLimit: 0) }?.code == .invalidArgument)
    let limiter = try limiter(10, 10)
    let calls: [(Int) throws -> Void] = [
      { try limiter.acquire($0, within: .seconds(9)) },
      { _ = try limiter.tryAcquire($0) },
      { _ = try limiter.delay(for: $0) },
    ]
    for call in calls {
      #expect(error { try call(-1) }?.code == .invalidArgument)
      let large = error { try call(11) }
      #expect(large?.code == .exceedsBurst)
      #expect(large?.message.contains("11") == true && large?.message.contains("10 at once") == true)
    }
    #expect(error { try limiter.set(unitsPerSecond: 0, burst: 1) }?.code == .invalidArgument)
    #expect(limiter.unitsPerSecond == 10 && limiter.burst == 10)
    #expect(limiter.statistics.grantedUnits == 0 && time.monotonicNanoseconds == 7)
  }

  @Test func aNewRate() throws {
    let limiter = try limiter(1, 1000)
    try limiter.acquire(1000, within: .zero)
    try limiter.set(unitsPerSecond: 1_000_000, burst: 500)
    #expect(limiter.unitsPerSecond == 1_000_000 && limiter.burst == 500)
    try limiter.acquire(500, within: .seconds(1))
    #expect(time.monotonicNanoseconds == 500_007)
  }

  @Test func afterClosing() throws {
    let limiter = try limiter(10, 10)
    limiter.close()
    limiter.close()
    #expect(error { try limiter.acquire(1, within: .zero) }?.code == .closed)
    #expect(error { try limiter.acquire(0, within: .zero) }?.code == .closed)
    #expect(error { _ = try limiter.tryAcquire(1) }?.code == .closed)
  }

  /// Whatever is asked for, over every interval no more than the promise goes through, and nothing
  /// waits longer than it must.
  @Test func keepsItsPromiseOverEveryInterval() throws {
    try withSeeds("keepsItsPromiseOverEveryInterval", count: TestSize.of(quick: 50, full: 500)) {
      seed, random in
      let time = SimulatedTime()
      let rate = TokenBucketTests.size(&random) >> 20 + 1
      let burst = TokenBucketTests.size(&random) >> 30 + 1
      let limiter = try RateLimiter(unitsPerSecond: rate, burst: burst, time: time)
      var grants: [(at: UInt64, units: Int)] = []
      for _ in 0..<80 {
        let units = 1 + TokenBucketTests.size(&random) % burst
        switch random.below(4) {
        case 0:
          if try limiter.tryAcquire(units) { grants.append((time.monotonicNanoseconds, units)) }
        case 1: time.advance(byNanoseconds: UInt64(random.below(2_000_000_000)))
        default:
          let delay = try limiter.delay(for: units)
          let before = time.monotonicNanoseconds
          if delay > .seconds(60) {
            #expect(throws: RateLimiterError.self) { try limiter.acquire(units, within: .seconds(60)) }
            #expect(time.monotonicNanoseconds - before == 60_000_000_000)
          } else {
            try limiter.acquire(units, within: .seconds(60))
            let now = time.monotonicNanoseconds
            try #require(.nanoseconds(Int64(now - before)) == delay, "seed \(seed)")
            grants.append((now, units))
          }
        }
      }
      for i in grants.indices {
        var sum: Int128 = 0
        for j in i..<grants.count {
          sum += Int128(grants[j].units)
          let most = TokenBucketTests.most(rate, burst, grants[j].at - grants[i].at)
          try #require(sum <= most, "seed \(seed)")
        }
      }
    }
  }
}
