/// Names one increment, however often it is tried: whoever tries it again says the same.
///
/// It tells when it was begun, so that an attempt which comes too late to be recognised can be refused.
/// Ordered by that time. A plain value.
public struct OperationID: Hashable, Comparable, Sendable {
  /// The time in the high 48 bits, chance in the low 16.
  package let high: UInt64
  package let low: UInt64

  package init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// - Parameters:
  ///   - milliseconds: when it is begun, since 1970, by a clock like the database's.
  ///   - generator: 80 random bits are taken from it.
  public init(milliseconds: UInt64, using generator: inout some RandomNumberGenerator) {
    let chance = UInt16(truncatingIfNeeded: generator.next())
    high = Timestamp(milliseconds: milliseconds, logical: chance).rawValue
    low = generator.next()
  }

  /// When it was begun: milliseconds since 1970.
  public var milliseconds: UInt64 { high >> 16 }

  public static func < (a: OperationID, b: OperationID) -> Bool {
    a.high != b.high ? a.high < b.high : a.low < b.low
  }
}

extension OperationID: LosslessStringConvertible {
  /// 32 hexadecimal digits.
  public var description: String {
    [high, low].map { half in
      let digits = String(half, radix: 16)
      return String(repeating: "0", count: 16 - digits.count) + digits
    }.joined()
  }

  /// Reads what ``description`` gives, in either case of letters; `nil` for anything else.
  public init?(_ description: String) {
    let digits = Array(description.utf8)
    guard digits.count == 32, description.allSatisfy({ $0.isASCII && $0.isHexDigit }),
      let high = UInt64(description.prefix(16), radix: 16),
      let low = UInt64(description.suffix(16), radix: 16)
    else { return nil }
    self.init(high: high, low: low)
  }
}
