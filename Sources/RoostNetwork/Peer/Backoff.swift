import RoostEnvironment

/// How long to wait before a connection is dialled again. A value of one thread.
struct Backoff {
  private let shortest: UInt64
  private let longest: UInt64
  private var failures = 0
  private var random: SplitMix64

  init(_ options: NetworkOptions, seed: UInt64) {
    shortest = options.backoff.lowerBound.wholeNanoseconds
    longest = options.backoff.upperBound.wholeNanoseconds
    random = SplitMix64(seed: seed)
  }

  /// - Parameter upFor: how long the connection held, 0 where there was none. One that held as long as
  ///   the longest wait was a good one: counting begins anew.
  mutating func wait(afterUpFor upFor: UInt64) -> UInt64 {
    if upFor >= longest { failures = 0 }
    let (grown, overflow) = shortest.multipliedReportingOverflow(by: 1 << UInt64(min(failures, 40)))
    let whole = overflow ? longest : min(grown, longest)
    failures += 1
    // Nodes that lost the same other do not come back to it all at once.
    return whole - random.next() % (whole / 2 + 1)
  }
}
