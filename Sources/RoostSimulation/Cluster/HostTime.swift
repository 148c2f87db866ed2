import RoostEnvironment

/// The clocks of one simulated host: views of the world's clock, with an offset each.
///
/// The monotonic clock has a zero of its own, so that nothing is right only because two hosts share one.
/// The wall clock may be set, and is then off by as much until it is set again. Timers are events; who waits
/// all the same moves the world's clock: nobody else runs meanwhile. Used by one thread.
final class HostTime: EventTimeSource, @unchecked Sendable {
  private let master: SimulatedTime
  private let offset: UInt64
  /// How far the wall clock is ahead.
  var skewNanoseconds: Int64 = 0
  /// Has the host do something so many nanoseconds from now.
  var plan: (@Sendable (UInt64, @escaping @Sendable () -> Void) -> Void)?

  init(_ master: SimulatedTime, offset: UInt64) {
    self.master = master
    self.offset = offset
  }

  var monotonicNanoseconds: UInt64 { master.monotonicNanoseconds &+ offset }

  var wallClockNanoseconds: UInt64 {
    UInt64(clamping: Int64(clamping: master.wallClockNanoseconds) &+ skewNanoseconds)
  }

  func wait(on condition: Condition, untilMonotonicNanoseconds deadline: UInt64) -> Bool {
    let limit = deadline == .max ? .max : deadline - min(deadline, offset)
    return master.wait(on: condition, untilMonotonicNanoseconds: limit)
  }

  func call(atMonotonicNanoseconds nanoseconds: UInt64, _ job: @escaping @Sendable () -> Void) {
    let now = monotonicNanoseconds
    plan?(nanoseconds > now ? min(nanoseconds - now, 1 << 60) : 0, job)
  }
}
