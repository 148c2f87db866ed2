import RoostEnvironment
import TestSupport
import Testing

@testable import RoostCluster

/// The pace of background work as a value: what is owed is paid back before anything else goes.
// Budget: 2 s
@Suite struct BytePaceTests {
  private static let second: UInt64 = 1_000_000_000

  @Test func `what is larger than the bucket goes, and is owed`() throws {
    var pace = try PacedBytes(bytesPerSecond: 1_000, burst: 100, at: 0)
    #expect(pace.ready(at: 0) == 100 && pace.wait(at: 0) == 0)
    pace.note(40, at: 0)
    #expect(pace.ready(at: 0) == 60 && pace.owed == 0)
    pace.note(1_060, at: 0)
    #expect(pace.ready(at: 0) == 0 && pace.owed == 1_000 && pace.noted == 1_100)
    // A second for what is owed, and a millisecond for the next byte.
    #expect(pace.wait(at: 0) == 1_001_000_000)
    #expect(pace.ready(at: 1_000_999_999) == 0 && pace.ready(at: 1_001_000_000) == 1)
    #expect(pace.ready(at: 60 * Self.second) == 100, "no more is saved up than the burst")
  }

  @Test func `a rate or a burst of zero is refused`() {
    for (rate, burst) in [(0, nil), (-1, nil), (0, 10), (10, 0)] as [(Int, Int?)] {
      #expect(code { _ = try PacedBytes(bytesPerSecond: rate, burst: burst, at: 0) } == .invalidOption)
    }
    var options = ClusterOptions(cluster: "c")
    options.moveBytesPerSecond = 0
    #expect(code { _ = try NodePaces(options, at: 0) } == .invalidOption)
  }

  @Test func `the burst is an eighth of a second's bytes, or 4 KiB`() throws {
    for (rate, burst) in [(1_024, 4_096), (32_768, 4_096), (8 << 20, 1 << 20)] {
      var pace = try PacedBytes(bytesPerSecond: rate, at: 7)
      #expect(pace.ready(at: 7) == burst)
    }
  }

  /// Work that begins when it may, and notes what it was: over no interval it is more than burst and rate
  /// give, and the last thing that was begun; and it never waits in vain.
  @Test func `over no interval more goes than the rate allows`() throws {
    try withSeeds("overNoIntervalMoreGoes", count: TestSize.of(quick: 50, full: 1_000)) { seed, random in
      let (rate, burst) = (1 + random.below(1 << 20), 1 + random.below(1 << 16))
      let largest = 1 + random.below(1 << 18)
      var now = UInt64(random.below(1 << 40))
      var pace = try PacedBytes(bytesPerSecond: rate, burst: burst, at: now)
      var gone: [(at: UInt64, bytes: Int)] = []
      for _ in 0..<200 {
        let wait = pace.wait(at: now)
        try #require((wait == 0) == (pace.ready(at: now) > 0), "seed \(seed)")
        if wait > 0 {
          if wait > 1, random.below(2) == 0 {
            try #require(pace.ready(at: now + wait - 1) == 0, "seed \(seed)")
          }
          now += wait
          try #require(pace.ready(at: now) > 0, "seed \(seed): it waited in vain")
        }
        if random.below(10) == 0 { now += UInt64(random.below(1 << 32)) }
        let bytes = random.below(largest + 1)
        pace.note(bytes, at: now)
        gone.append((now, bytes))
      }
      try #require(pace.noted == UInt64(gone.reduce(0) { $0 + $1.bytes }), "seed \(seed)")
      for i in gone.indices {
        var sum = 0
        for j in i..<gone.count {
          sum += gone[j].bytes
          let most = burst + largest + Int(Double(rate) * Double(gone[j].at - gone[i].at) / 1e9) + 1
          try #require(sum <= most, "seed \(seed): \(i) to \(j)")
        }
      }
    }
  }
}
