import RoostCluster
import RoostEnvironment
import TestSupport
import Testing

// Budget: 1 s
@Suite struct PhiAccrualDetectorTests {
  static let second: UInt64 = 1_000_000_000

  static func beating(_ count: Int, every interval: UInt64) -> (PhiAccrualDetector, last: UInt64) {
    var detector = PhiAccrualDetector()
    for beat in 0..<count { detector.heartbeat(at: UInt64(beat) * interval) }
    return (detector, UInt64(count - 1) * interval)
  }

  /// The figure that Cassandra's users know: 8 is reached after some 18 seconds.
  @Test func `with a heartbeat a second phi is 8 after 18 seconds`() throws {
    let (detector, last) = Self.beating(100, every: Self.second)
    #expect(try #require(detector.phi(at: last + 18 * Self.second)) < 8)
    #expect(try #require(detector.phi(at: last + 19 * Self.second)) > 8)
    #expect(detector.silence(reaching: 8) / 100_000_000 == 184)
  }

  /// Hayashibara et al., section 4.2: phi is minus the decimal logarithm of the probability that a
  /// heartbeat comes later still; 1 is a mistake in ten.
  @Test func `at phi 1 one in ten is wrong`() throws {
    let (detector, last) = Self.beating(1_000, every: Self.second)
    let silence = detector.silence(reaching: 1)
    // e^(-t/m) = 0.1 at t = 2.302585 m.
    #expect(silence == 2_302_585_092 || silence == 2_302_585_093)
    let phi = try #require(detector.phi(at: last + silence))
    #expect(abs(phi - 1) < 1e-6)
  }

  @Test func `it follows the pace of its peer`() throws {
    try withSeeds("PhiAccrualDetectorTests", count: 50) { seed, random in
      var options = PhiAccrualDetector.Options()
      options.window = 1 + random.below(50)
      options.leastMean = 1
      var detector = PhiAccrualDetector(options)
      var now: UInt64 = 0
      var seen: [UInt64] = []
      for beat in 0..<300 {
        let interval = UInt64(1 + random.below(5_000))
        if beat > 0 {
          now += interval
          seen.append(interval)
        }
        detector.heartbeat(at: now)
        let window = seen.suffix(options.window)
        if !window.isEmpty {
          let mean = max(1, window.reduce(0, +) / UInt64(window.count))
          try #require(detector.meanInterval == mean, "seed \(seed)")
        }
        try #require(detector.phi(at: now) == 0)
        let (near, far) = (detector.phi(at: now + 10)!, detector.phi(at: now + 11)!)
        try #require(near < far, "phi rises with silence")
      }
    }
  }

  @Test func `nothing can be said of one never heard of`() {
    var detector = PhiAccrualDetector()
    #expect(detector.phi(at: 5) == nil)
    detector.heartbeat(at: 7)
    #expect(detector.phi(at: 7) == 0 && detector.phi(at: 3) == 0)
    // Before there are intervals, the first is taken to be a second.
    #expect(detector.silence(reaching: 8) / 100_000_000 == 184)
  }

  /// Bursts and long absences must not make it hasty or patient for long; clocks that stand still or go
  /// back must not stop it.
  @Test func `what is out of proportion is bounded`() throws {
    var detector = PhiAccrualDetector()
    for _ in 0..<100 { detector.heartbeat(at: 1_000) }
    detector.heartbeat(at: 500)
    #expect(detector.meanInterval == 100_000_000)
    detector.heartbeat(at: .max)
    #expect(detector.meanInterval <= 60_000_000_000 / 100)
    var options = PhiAccrualDetector.Options()
    options.window = -5
    options.firstInterval = 0
    options.leastMean = 0
    options.longestInterval = .max
    var odd = PhiAccrualDetector(options)
    odd.heartbeat(at: 0)
    odd.heartbeat(at: .max)
    #expect(odd.meanInterval == 1 << 48)
  }
}
