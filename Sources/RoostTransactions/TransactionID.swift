public import RoostCausality

/// Names a coordinator: random, minted with its log, so that a log that was lost or restored from a
/// copy is another coordinator.
public struct CoordinatorID: Hashable, Comparable, Sendable, CustomStringConvertible {
  public let rawValue: UInt64

  public init(rawValue: UInt64) { self.rawValue = rawValue }

  public static func < (a: CoordinatorID, b: CoordinatorID) -> Bool { a.rawValue < b.rawValue }

  /// Sixteen hexadecimal digits.
  public var description: String { hexadecimal(rawValue) }
}

/// Names a transaction: who coordinates it, and when it began by that coordinator's clock, which
/// never gives a time twice.
///
/// Ordered by age, the oldest first.
public struct TransactionID: Hashable, Comparable, Sendable {
  public let start: Timestamp
  public let coordinator: CoordinatorID

  public init(start: Timestamp, coordinator: CoordinatorID) {
    self.start = start
    self.coordinator = coordinator
  }

  public static func < (a: TransactionID, b: TransactionID) -> Bool {
    a.start != b.start ? a.start < b.start : a.coordinator < b.coordinator
  }
}

// A transaction's tables are looked into dozens of times in its short life. What names it is no text that an
// adversary makes up, so a few multiplications spread it well enough, at a tenth of a keyed hash.
extension TransactionID {
  public func hash(into hasher: inout Hasher) { hasher.combine(mixed) }

  public func _rawHashValue(seed: Int) -> Int { mixed.scattered(seed) }

  private var mixed: UInt64 {
    start.rawValue ^ (coordinator.rawValue &* 0x9E37_79B9_7F4A_7C15)
  }
}

extension UInt64 {
  /// Another number for each, whose every bit depends on all of this one's and on the seed. (Were the seed
  /// only laid over the result, what is read out of one table would fill another in runs.)
  func scattered(_ seed: Int) -> Int {
    let word = self ^ UInt64(bitPattern: Int64(seed))
    let once = (word ^ (word >> 33)) &* 0xFF51_AFD7_ED55_8CCD
    let twice = (once ^ (once >> 33)) &* 0xC4CE_B9FE_1A85_EC53
    return Int(truncatingIfNeeded: twice ^ (twice >> 33))
  }
}

extension TransactionID: LosslessStringConvertible {
  /// Start and coordinator, sixteen hexadecimal digits each, parted by a dash.
  public var description: String { "\(hexadecimal(start.rawValue))-\(coordinator)" }

  /// Reads what ``description`` gives; `nil` for anything else.
  public init?(_ description: String) {
    let parts = description.split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count == 2, parts.allSatisfy({ $0.utf8.count == 16 && $0.allSatisfy(\.isHexDigit) }),
      let start = UInt64(parts[0], radix: 16), let coordinator = UInt64(parts[1], radix: 16)
    else { return nil }
    self.init(
      start: Timestamp(rawValue: start), coordinator: CoordinatorID(rawValue: coordinator))
  }
}

private func hexadecimal(_ value: UInt64) -> String {
  let digits = String(value, radix: 16)
  return String(repeating: "0", count: 16 - digits.count) + digits
}
