/// A hybrid logical time: milliseconds since 1970 in the high 48 bits, a logical count in the low 16.
///
/// One number, so that the next after a given one is that plus one: a full logical count runs over
/// into the milliseconds, and order is never lost.
public struct Timestamp: Hashable, Comparable, Sendable, CustomStringConvertible {
  public let rawValue: UInt64

  @inlinable
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// - Parameters:
  ///   - milliseconds: since 1970; what is beyond 48 bits counts as the greatest that fits.
  ///   - logical: tells times within one millisecond apart.
  @inlinable
  public init(milliseconds: UInt64, logical: UInt16 = 0) {
    rawValue = min(milliseconds, Self.greatestMilliseconds) << 16 | UInt64(logical)
  }

  @usableFromInline static let greatestMilliseconds: UInt64 = (1 << 48) - 1

  /// Before all others.
  public static let zero = Timestamp(rawValue: 0)

  /// Milliseconds since 1970.
  @inlinable public var milliseconds: UInt64 { rawValue >> 16 }
  @inlinable public var logical: UInt16 { UInt16(truncatingIfNeeded: rawValue) }

  @inlinable
  public static func < (a: Timestamp, b: Timestamp) -> Bool { a.rawValue < b.rawValue }

  public var description: String { "\(milliseconds).\(logical)" }
}
