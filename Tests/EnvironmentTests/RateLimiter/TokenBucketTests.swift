import RoostEnvironment
import TestSupport
import Testing

/// The arithmetic of the token bucket: never more than its promise, never less than it could.
// Budget: 2 s
@Suite struct TokenBucketTests {
  static let second: UInt64 = 1_000_000_000

  static func bucket(_ rate: Int, _ burst: Int, at now: UInt64 = 0) throws -> TokenBucket {
    try TokenBucket(unitsPerSecond: rate, burst: burst, at: now)
  }

  /// A number of any size: small ones as likely as huge ones.
  static func size(_ random: inout SplitMix64) -> Int {
    max(1, Int(truncatingIfNeeded: random.next() >> 1) >> random.below(63))
  }

  /// The most that may be taken in an interval: burst + rate * interval, rounded down.
  static func most(_ rate: Int, _ burst: Int, _ nanoseconds: UInt64) -> Int128 {
    Int128(burst) + Int128(rate) * Int128(nanoseconds) / 1_000_000_000
  }

  @Test func whatIsChargedIsPaidAtTheRate() throws {
    var bucket = try Self.bucket(1_000, 100)
    bucket.charge(1_100, at: 0)
    let (owed, first, delay) = (bucket.owed, bucket.available(at: 0), bucket.delay(for: 1, at: 0))
    #expect(owed == 1_000 && first == 0 && delay == 1_001_000_000)
    // Nobody looked meanwhile: more than a bucket's worth has come, and pays.
    let (early, due) = (bucket.available(at: Self.second), bucket.available(at: 1_001_000_000))
    #expect(early == 0 && due == 1 && bucket.owed == 0)
    let most = bucket.available(at: 60 * Self.second)
    #expect(most == 100)
    bucket.charge(-5, at: 60 * Self.second)
    let after = bucket.available(at: 60 * Self.second)
    #expect(after == 100)
  }

  @Test func overNoIntervalMoreThanBurstAndRate() throws {
    var taken = 0
    try withSeeds("overNoIntervalMoreThanBurstAndRate", count: TestSize.of(quick: 200, full: 2000)) {
      seed, random in
      let (rate, burst) = (Self.size(&random), Self.size(&random))
      var now = random.next() >> UInt64(random.below(64))
      var bucket = try Self.bucket(rate, burst, at: now)
      // Where the clock goes back, its latest reading counts.
      var latest = now
      var grants: [(at: UInt64, units: Int)] = []
      for _ in 0..<100 {
        switch random.below(8) {
        case 0: break
        case 1: now &-= min(now, UInt64(Self.size(&random)))
        default:
          let step = UInt64(Self.size(&random)) >> UInt64(random.below(2) * 32)
          let (sum, overflow) = now.addingReportingOverflow(step)
          now = overflow ? .max : sum
        }
        latest = max(latest, now)
        let units = random.below(3) == 0 ? Self.size(&random) : 1 + Self.size(&random) % burst
        if bucket.take(units, at: now) == .taken { grants.append((latest, units)) }
      }
      taken += grants.count
      for i in grants.indices {
        var sum: Int128 = 0
        for j in i..<grants.count {
          sum += Int128(grants[j].units)
          try #require(
            sum <= Self.most(rate, burst, grants[j].at - grants[i].at),
            "seed \(seed): grants \(i) to \(j)")
        }
      }
    }
    #expect(taken > 1000)
  }

  /// What it refuses it gives at the moment that it names, and not a nanosecond earlier.
  @Test func theDelayIsExact() throws {
    var waits = 0
    try withSeeds("theDelayIsExact", count: TestSize.of(quick: 2000, full: 20_000)) { _, random in
      let (rate, burst) = (Self.size(&random), Self.size(&random))
      let start = random.next() >> 2
      var bucket = try Self.bucket(rate, burst, at: start)
      #expect(bucket.take(burst, at: start) == .taken)
      let now = start + random.next() >> UInt64(2 + random.below(62))
      let units = 1 + Self.size(&random) % burst
      let delay = bucket.delay(for: units, at: now)
      let outcome = bucket.take(units, at: now)
      guard delay > 0 else {
        try #require(outcome == .taken)
        return
      }
      try #require(outcome == .short(nanoseconds: delay))
      guard delay < UInt64.max - now else { return }
      waits += 1
      var early = bucket
      try #require(early.take(units, at: now + delay - 1) == .short(nanoseconds: 1))
      try #require(bucket.take(units, at: now + delay) == .taken)
    }
    #expect(waits > 200)
  }

  /// Nothing is lost or won by asking often.
  @Test func askingChangesNothing() throws {
    var often = try Self.bucket(3, 1000)
    #expect(often.take(1000, at: 0) == .taken)
    var seldom = often
    for now in stride(from: UInt64(0), to: 7 * Self.second, by: 1_234_567) {
      _ = often.available(at: now)
      _ = often.take(1001, at: now)
      _ = often.take(999, at: now)
      _ = often.delay(for: 5, at: now)
    }
    #expect(often.available(at: 7 * Self.second) == 21)
    #expect(seldom.available(at: 7 * Self.second) == 21)
    #expect(often == seldom)
  }

  @Test func excessIsDiscarded() throws {
    var bucket = try Self.bucket(100, 10)
    #expect(bucket.available(at: 0) == 10)
    #expect(bucket.available(at: 3600 * Self.second) == 10)
    #expect(bucket.take(10, at: 3600 * Self.second) == .taken)
    #expect(bucket.take(1, at: 3600 * Self.second) == .short(nanoseconds: 10_000_000))
    #expect(bucket.take(2, at: 3600 * Self.second + 20_000_000) == .taken)
  }

  @Test func allOrNothing() throws {
    var bucket = try Self.bucket(1, 10)
    #expect(bucket.take(6, at: 0) == .taken)
    #expect(bucket.take(5, at: 0) == .short(nanoseconds: Self.second))
    #expect(bucket.take(4, at: 0) == .taken)
    #expect(bucket.take(0, at: 0) == .taken)
    #expect(bucket.take(-5, at: 0) == .taken)
    #expect(bucket.available(at: 0) == 0)
    // More than the burst never comes; in how long it would come in parts is known.
    #expect(bucket.take(11, at: 100 * Self.second) == .exceedsBurst)
    #expect(bucket.delay(for: 11, at: 100 * Self.second) == Self.second)
  }

  @Test func aClockThatStandsOrGoesBackGainsNothing() throws {
    var bucket = try Self.bucket(1000, 10, at: 5 * Self.second)
    #expect(bucket.take(10, at: 5 * Self.second) == .taken)
    for _ in 0..<100 {
      #expect(bucket.available(at: 5 * Self.second) == 0)
      #expect(bucket.available(at: 0) == 0)
      #expect(bucket.available(at: 4 * Self.second) == 0)
    }
    #expect(bucket.available(at: 5 * Self.second + 2_000_000) == 2)
    // One that jumps ahead gains the burst, once.
    #expect(bucket.available(at: .max) == 10)
    #expect(bucket.take(10, at: .max) == .taken)
    #expect(bucket.take(1, at: .max) == .short(nanoseconds: 1_000_000))
  }

  @Test func extremesDoNotOverflow() throws {
    var fast = try Self.bucket(.max, .max)
    #expect(fast.take(.max, at: 0) == .taken)
    #expect(fast.available(at: 0) == 0)
    #expect(fast.delay(for: .max, at: 0) == Self.second)
    #expect(fast.available(at: .max) == .max)
    #expect(fast.take(.max, at: .max) == .taken)
    #expect(fast.take(.max, at: .max) == .short(nanoseconds: Self.second))
    var slow = try Self.bucket(1, .max)
    #expect(slow.take(.max, at: 0) == .taken)
    #expect(slow.take(.max, at: 0) == .short(nanoseconds: .max))
    #expect(slow.available(at: .max) == Int(UInt64.max / Self.second))
    try slow.set(unitsPerSecond: .max, burst: 1, at: .max)
    #expect(slow.available(at: .max) == 1)
  }

  @Test func badRatesAndBurstsAreRefused() throws {
    let bad = [(0, 1, "rate"), (-1, 1, "rate"), (.min, 1, "rate"), (1, 0, "burst"), (1, -7, "burst")]
    for (rate, burst, name) in bad {
      do throws(RateLimiterError) {
        _ = try TokenBucket(unitsPerSecond: rate, burst: burst, at: 0)
        Issue.record("\(rate), \(burst) was taken")
      } catch {
        #expect(error.code == .invalidArgument)
        #expect(error.message.contains(name) && error.message.contains("\(min(rate, burst))"))
      }
    }
    var bucket = try Self.bucket(5, 5)
    let before = bucket
    #expect(throws: RateLimiterError.self) { try bucket.set(unitsPerSecond: 0, burst: 9, at: 1) }
    #expect(throws: RateLimiterError.self) { try bucket.set(unitsPerSecond: 9, burst: 0, at: 1) }
    #expect(bucket == before)
  }

  /// Over intervals in which the rate changes the promise is that of its pieces.
  @Test func aChangedRateCountsFromThenOn() throws {
    var bucket = try Self.bucket(10, 100)
    #expect(bucket.take(100, at: 0) == .taken)
    try bucket.set(unitsPerSecond: 1000, burst: 100, at: 2 * Self.second)
    #expect(bucket.available(at: 2 * Self.second) == 20)
    #expect(bucket.available(at: 2 * Self.second + 30_000_000) == 50)
    // A smaller burst takes effect at once, a larger one is not filled by that.
    try bucket.set(unitsPerSecond: 1, burst: 5, at: 2 * Self.second + 30_000_000)
    #expect(bucket.available(at: 2 * Self.second + 30_000_000) == 5)
    try bucket.set(unitsPerSecond: 1, burst: 50, at: 2 * Self.second + 30_000_000)
    #expect(bucket.available(at: 2 * Self.second + 30_000_000) == 5)
    #expect(bucket.unitsPerSecond == 1 && bucket.burst == 50)
  }
}
