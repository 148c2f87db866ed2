public import Glibc

/// Spreads threads over the stripes of a counter or a cache, so that they seldom meet on one cache
/// line.
public enum ThreadStripe {
  /// The calling thread's stripe: always the same for one thread, and below `count`.
  ///
  /// - Parameter count: a power of two.
  @inlinable @inline(__always)
  public static func current(of count: Int) -> Int {
    assert(count > 0 && count & (count &- 1) == 0)
    // Thread handles are addresses a stack apart: the multiplication carries those bits upwards.
    let mixed = UInt64(pthread_self()) &* 0x9E37_79B9_7F4A_7C15
    return Int(truncatingIfNeeded: mixed >> 32) & (count &- 1)
  }

  /// The calling thread's number: no other running thread has it.
  @inlinable @inline(__always)
  public static var currentThread: UInt { UInt(pthread_self()) }
}
