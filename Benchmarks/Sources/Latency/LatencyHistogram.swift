/// Counts of durations, in buckets whose width grows with the duration: what is told of one is at most
/// 1/128 above what was recorded, from a nanosecond to centuries.
///
/// A bucket has the leading eight bits of the durations in it: those below 256 have a bucket each, and
/// every doubling above has 128. Not thread-safe: each thread records into its own, to be added up.
public struct LatencyHistogram: Sendable {
  /// Buckets of a doubling, as a power of two.
  private static let precision = 7
  private static let width = UInt64(1) << UInt64(precision)

  private var counts: [UInt64]
  public private(set) var count: UInt64 = 0
  /// The longest duration, as it was recorded; 0 where there is none.
  public private(set) var maximum: UInt64 = 0

  public init() {
    // The last bucket is that of durations with the 64th bit set.
    counts = Array(repeating: 0, count: Self.bucket(of: .max) + 1)
  }

  /// Adds a duration. O(1), and nothing is allocated.
  public mutating func record(_ nanoseconds: UInt64) {
    counts[Self.bucket(of: nanoseconds)] += 1
    count += 1
    if nanoseconds > maximum { maximum = nanoseconds }
  }

  /// Adds what another has recorded.
  public mutating func add(_ other: LatencyHistogram) {
    for bucket in counts.indices { counts[bucket] += other.counts[bucket] }
    count += other.count
    maximum = max(maximum, other.maximum)
  }

  /// The duration that `share` of all, 0 to 1, do not exceed: the end of its bucket, at most the
  /// longest. 0 where nothing was recorded.
  public func quantile(_ share: Double) -> UInt64 {
    guard count > 0 else { return 0 }
    let rank = min(count, max(1, UInt64((share * Double(count)).rounded(.up))))
    var seen: UInt64 = 0
    for bucket in counts.indices {
      seen += counts[bucket]
      if seen >= rank { return min(maximum, Self.end(of: bucket)) }
    }
    return maximum
  }

  private static func bucket(of nanoseconds: UInt64) -> Int {
    if nanoseconds < 2 * width { return Int(nanoseconds) }
    let shift = 63 - precision - nanoseconds.leadingZeroBitCount
    return shift << precision + Int(nanoseconds >> UInt64(shift))
  }

  /// The longest duration of a bucket.
  private static func end(of bucket: Int) -> UInt64 {
    if bucket < 2 << precision { return UInt64(bucket) }
    let shift = UInt64(bucket >> precision - 1)
    let leading = UInt64(bucket) - shift << UInt64(precision)
    return leading << shift + (1 << shift - 1)
  }
}
