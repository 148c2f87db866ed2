/// The number of a store in a ring: random, minted once when the store joins its database, and kept
/// through all its incarnations.
public struct MemberID: Hashable, Comparable, Sendable {
  public let rawValue: UInt64

  public init(rawValue: UInt64) { self.rawValue = rawValue }

  public static func < (a: MemberID, b: MemberID) -> Bool { a.rawValue < b.rawValue }
}

extension MemberID: CustomStringConvertible {
  /// 16 lower-case hexadecimal digits.
  public var description: String {
    let digits = String(rawValue, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
}
