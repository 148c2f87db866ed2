public import RoostEnvironment

/// The machine's clocks, but that the monotonic one goes so many times slower: what time brings still comes,
/// and limits of time are out of reach for a machine that is only slow. For tests with real threads that are
/// not about the limits, where no option moves them.
///
/// Thread-safe.
public final class UnhurriedTime: TimeSource {
  private let time = POSIXTime()
  private let factor: UInt64
  /// When both clocks showed the same.
  private let start: UInt64

  public init(factor: UInt64) {
    precondition(factor > 0)
    self.factor = factor
    start = time.monotonicNanoseconds
  }

  public var monotonicNanoseconds: UInt64 { start + (time.monotonicNanoseconds - start) / factor }
  public var wallClockNanoseconds: UInt64 { time.wallClockNanoseconds }

  public func wait(on condition: Condition, untilMonotonicNanoseconds deadline: UInt64) -> Bool {
    let (duration, isLong) = (deadline - min(deadline, start)).multipliedReportingOverflow(by: factor)
    let (end, isFar) = start.addingReportingOverflow(duration)
    return time.wait(on: condition, untilMonotonicNanoseconds: isLong || isFar ? .max : end)
  }
}
