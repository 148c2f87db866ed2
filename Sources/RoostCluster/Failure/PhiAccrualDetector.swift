// The phi accrual failure detector (Hayashibara, Défago, Yared, Katayama: "The phi accrual failure
// detector", SRDS 2004), with the exponential distribution that Cassandra takes for the time between two
// heartbeats: the probability that the next one comes later than t after the last is e^(-t/m), where m is
// the mean of the intervals seen. Phi is minus its decimal logarithm, t / (m · ln 10): at phi 1 one
// suspicion in ten is wrong, at phi 8 one in 10^8. With a heartbeat a second, phi reaches 8 after 18.4 s.

/// Says how strongly a peer is to be suspected of having failed, from when its heartbeats came.
///
/// It decides whom to ask first, never who owns what. A value; the time is passed in.
public struct PhiAccrualDetector: Sendable, Equatable {
  public struct Options: Sendable, Equatable {
    /// How many of the last intervals the mean is of: 1 to 10,000.
    public var window = 1_000
    /// What the first interval is taken to be, before there is one: at least 1.
    public var firstInterval: UInt64 = 1_000_000_000
    /// The mean is never taken to be less: a burst of heartbeats after a pause would make the detector
    /// hasty.
    public var leastMean: UInt64 = 100_000_000
    /// An interval that is longer counts as this one: a peer that was away for an hour is not trusted for
    /// an hour when it is back.
    public var longestInterval: UInt64 = 60_000_000_000

    public init() {}
  }

  private let options: Options
  /// The last intervals, as a ring.
  private var intervals: [UInt64] = []
  private var oldest = 0
  private var sum: UInt64 = 0
  /// When the last heartbeat came; `nil` before the first.
  private var last: UInt64?

  /// A detector of a peer that was never heard of.
  ///
  /// - Parameter options: what is out of its limits is taken as the nearest limit.
  public init(_ options: Options = Options()) {
    var options = options
    options.window = min(max(options.window, 1), 10_000)
    options.firstInterval = max(options.firstInterval, 1)
    options.leastMean = max(options.leastMean, 1)
    // So many add up without overflow.
    options.longestInterval = min(max(options.longestInterval, 1), 1 << 48)
    self.options = options
  }

  /// Notes that the peer was heard of.
  ///
  /// - Parameter nanoseconds: on a monotonic clock; what lies before the last one counts as that.
  /// - Complexity: O(1).
  public mutating func heartbeat(at nanoseconds: UInt64) {
    defer { last = max(nanoseconds, last ?? 0) }
    guard let last else { return }
    let interval = min(nanoseconds > last ? nanoseconds - last : 0, options.longestInterval)
    if intervals.count < options.window {
      intervals.append(interval)
    } else {
      sum -= intervals[oldest]
      intervals[oldest] = interval
      oldest = (oldest + 1) % intervals.count
    }
    sum += interval
  }

  /// Nanoseconds between two heartbeats, on average.
  public var meanInterval: UInt64 {
    let mean = intervals.isEmpty ? options.firstInterval : sum / UInt64(intervals.count)
    return max(mean, options.leastMean)
  }

  /// How strongly the peer is suspected: 0 when it was just heard of, and rising without a bound; `nil`
  /// for a peer that was never heard of.
  ///
  /// - Complexity: O(1).
  public func phi(at nanoseconds: UInt64) -> Double? {
    guard let last else { return nil }
    let silence = nanoseconds > last ? nanoseconds - last : 0
    return Double(silence) / Double(meanInterval) * Self.log10e
  }

  /// After how many nanoseconds of silence phi reaches a threshold, at least 0. O(1).
  public func silence(reaching phi: Double) -> UInt64 {
    UInt64(max(0, min(phi / Self.log10e * Double(meanInterval), 1e18)))
  }

  /// 1 / ln 10.
  private static let log10e = 0.434_294_481_903_251_8
}
