/// The names of the files in a store's directory. One number space serves all kinds, and numbers
/// are never used twice.
package enum FileNames {
  package enum Kind: Sendable, Equatable {
    case log
    case table
    case manifest
  }

  package static let marker = "CURRENT"
  /// The marker being written; renamed over ``marker`` once it is durable.
  package static let markerInProgress = "CURRENT.new"
  package static let lock = "LOCK"

  /// Numbers from here on are nobody's: counting can never come round.
  package static let numberLimit: UInt64 = 1 << 62

  package static func log(_ number: UInt64) -> String { padded(number) + ".log" }
  package static func table(_ number: UInt64) -> String { padded(number) + ".sst" }
  package static func manifest(_ number: UInt64) -> String { padded(number) + ".manifest" }

  /// The kind and number of a numbered file, or `nil` where the name is not one that Roost gives.
  package static func parse(_ name: String) -> (kind: Kind, number: UInt64)? {
    guard let dot = name.utf8.lastIndex(of: UInt8(ascii: ".")) else { return nil }
    let digits = name[..<dot]
    guard digits.utf8.count >= 6, digits.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }),
      let number = UInt64(digits), number < numberLimit, padded(number) == digits
    else { return nil }
    switch name[dot...] {
    case ".log": return (.log, number)
    case ".sst": return (.table, number)
    case ".manifest": return (.manifest, number)
    default: return nil
    }
  }

  private static func padded(_ number: UInt64) -> String {
    let digits = String(number)
    return digits.utf8.count >= 6
      ? digits : String(repeating: "0", count: 6 - digits.utf8.count) + digits
  }
}
