// A token bucket, as RFC 2697 and ITU-T I.371 (there turned round, as a leaky bucket) have it:
//
// - It gains `unitsPerSecond` tokens a second, continuously.
// - It holds at most `burst`; what comes when it is full is discarded.
// - Who wants n units takes n tokens, all at once or none.
//
// So over any interval of t seconds at most burst + unitsPerSecond * t units are taken.
//
// The level is counted in billionths of a token, as a whole number: nothing is rounded, so nothing
// drifts, however often it is asked. A rate, a burst and a time are below 2^63, 2^63 and 2^64, so a
// product of any two fits in 127 bits.

/// The arithmetic of a rate limit: a level that rises with time and falls with what is taken.
///
/// A pure value: the time is passed in, nothing waits. ``RateLimiter`` adds waiting, priorities and
/// threads; a simulation or a state machine may use the bucket alone.
public struct TokenBucket: Sendable, Equatable {
  /// What came of ``take(_:at:)``.
  public enum Outcome: Sendable, Equatable {
    /// The units were taken.
    case taken
    /// Nothing was taken. After so many nanoseconds, if nobody else takes any, there will be enough.
    case short(nanoseconds: UInt64)
    /// Nothing was taken, and never will be: the request is larger than ``burst``, so letting it
    /// through would break the promise. It has to be taken in parts.
    case exceedsBurst
  }

  /// Tokens gained a second.
  public private(set) var unitsPerSecond: Int
  /// The most tokens there ever are.
  public private(set) var burst: Int
  /// Billionths of a token. Negative while any are owed, never above `burst`'s.
  private var level: Int128
  /// The latest time that was passed in.
  private var updated: UInt64

  private static let billion: Int128 = 1_000_000_000

  /// A full bucket.
  ///
  /// - Parameters:
  ///   - unitsPerSecond: at least 1.
  ///   - burst: at least 1.
  ///   - nanoseconds: the time now, on the clock of all later calls.
  /// - Throws: ``RateLimiterError`` with `.invalidArgument`, naming the one that is too small.
  public init(
    unitsPerSecond: Int, burst: Int, at nanoseconds: UInt64
  ) throws(RateLimiterError) {
    try Self.check(unitsPerSecond, burst)
    self.unitsPerSecond = unitsPerSecond
    self.burst = burst
    level = Int128(burst) * Self.billion
    updated = nanoseconds
  }

  private static func check(_ unitsPerSecond: Int, _ burst: Int) throws(RateLimiterError) {
    guard unitsPerSecond > 0 else {
      throw RateLimiterError(
        .invalidArgument, "a rate must be at least 1 unit a second, not \(unitsPerSecond)")
    }
    guard burst > 0 else {
      throw RateLimiterError(.invalidArgument, "a burst must be at least 1 unit, not \(burst)")
    }
  }

  /// Takes `units` tokens, all or none. O(1).
  ///
  /// - Parameters:
  ///   - units: of 0 and less, nothing is taken.
  ///   - nanoseconds: the time now. One before an earlier call's counts as that call's: a clock that
  ///     went back gains nothing until it has caught up.
  public mutating func take(_ units: Int, at nanoseconds: UInt64) -> Outcome {
    refill(at: nanoseconds)
    if units <= 0 { return .taken }
    if units > burst { return .exceedsBurst }
    let wanted = Int128(units) * Self.billion
    guard level < wanted else {
      level -= wanted
      return .taken
    }
    return .short(nanoseconds: wait(for: wanted))
  }

  /// How many nanoseconds after `nanoseconds` so many tokens will have come, counting those that are
  /// there; 0 where there are enough. Beyond ``burst`` it tells when they will have come if they are
  /// taken as they come. `UInt64.max` stands for all that is longer. O(1).
  public mutating func delay(for units: Int, at nanoseconds: UInt64) -> UInt64 {
    refill(at: nanoseconds)
    let wanted = Int128(max(units, 0)) * Self.billion
    return level < wanted ? wait(for: wanted) : 0
  }

  /// The whole tokens that may be taken now; 0 while any are owed. O(1).
  public mutating func available(at nanoseconds: UInt64) -> Int {
    refill(at: nanoseconds)
    return Int(max(level, 0) / Self.billion)
  }

  /// Takes tokens whether they are there or not, for work whose size is known only afterwards. What is not
  /// there is owed, and the next tokens pay for it, however seldom anybody looks: until then nothing may be
  /// taken. O(1).
  ///
  /// - Parameter units: taken alike for 0 and less: none.
  public mutating func charge(_ units: Int, at nanoseconds: UInt64) {
    refill(at: nanoseconds)
    level -= Int128(max(units, 0)) * Self.billion
  }

  /// Tokens that were charged and have not come yet, rounded up. As of the last look at the time. O(1).
  public var owed: Int { Int(clamping: (max(-level, 0) + Self.billion - 1) / Self.billion) }

  /// Changes rate and burst from now on; the tokens that there are stay, up to the new burst.
  ///
  /// - Throws: as ``init(unitsPerSecond:burst:at:)``, and then nothing has changed.
  public mutating func set(
    unitsPerSecond: Int, burst: Int, at nanoseconds: UInt64
  ) throws(RateLimiterError) {
    try Self.check(unitsPerSecond, burst)
    refill(at: nanoseconds)
    self.unitsPerSecond = unitsPerSecond
    self.burst = burst
    level = min(level, Int128(burst) * Self.billion)
  }

  private mutating func refill(at nanoseconds: UInt64) {
    guard nanoseconds > updated else { return }
    let gained = Int128(nanoseconds - updated) * Int128(unitsPerSecond)
    updated = nanoseconds
    let room = Int128(burst) * Self.billion - level
    level += min(gained, room)
  }

  /// Rounded up, so that the tokens are there when it has passed.
  private func wait(for wanted: Int128) -> UInt64 {
    let rate = Int128(unitsPerSecond)
    return UInt64(clamping: (wanted - level + rate - 1) / rate)
  }
}
