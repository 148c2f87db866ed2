/// When a node compares which share of its partitions in the background: each once an interval, spread
/// evenly.
///
/// A value that decides; times are of the monotonic clock, in nanoseconds.
struct RepairSchedule {
  let interval: UInt64
  private(set) var start: UInt64

  /// - Parameters:
  ///   - interval: of a pass over all; at least 1.
  ///   - now: when the first pass begins. Its first partition comes later: what a restart left behind is
  ///     mostly brought by hints.
  init(interval: UInt64, at now: UInt64) {
    self.interval = interval
    start = now
  }

  /// How many of `count` partitions are to be begun by now.
  func due(of count: Int, at now: UInt64) -> Int {
    let elapsed = now &- min(start, now)
    if elapsed >= interval { return count }
    let (high, low) = UInt64(count).multipliedFullWidth(by: elapsed)
    return Int(interval.dividingFullWidth((high, low)).quotient)
  }

  /// Begins the next pass: at once where the one before took longer than its interval.
  mutating func passEnded(at now: UInt64) { start = max(start &+ interval, now) }
}
