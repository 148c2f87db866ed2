import Glibc

/// The system's clocks.
public final class POSIXTime: TimeSource {
  public init() {}

  /// `CLOCK_MONOTONIC`, the clock that ``Condition`` waits on.
  public var monotonicNanoseconds: UInt64 { Self.read(CLOCK_MONOTONIC) }

  public var wallClockNanoseconds: UInt64 { Self.read(CLOCK_REALTIME) }

  public func wait(on condition: Condition, untilMonotonicNanoseconds deadline: UInt64) -> Bool {
    condition.wait(untilMonotonicNanoseconds: deadline)
  }

  private static func read(_ clock: clockid_t) -> UInt64 {
    var time = timespec()
    // It can fail only for a clock that the system does not have.
    let result = unsafe clock_gettime(clock, &time)
    precondition(result == 0, "clock_gettime failed")
    return UInt64(max(0, time.tv_sec)) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
  }
}
