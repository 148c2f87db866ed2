import RoostEnvironment
import RoostStorage

/// 128 random bits that name a database: all its stores carry them, and contexts and tokens are
/// bound to them.
public struct DatabaseID: Hashable, Sendable, CustomStringConvertible {
  package let high: UInt64
  package let low: UInt64

  package init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  init(_ randomness: any Randomness) {
    self.init(high: randomness.next(), low: randomness.next())
  }

  /// 32 lower-case hexadecimal digits with a dash in the middle.
  public var description: String { hexadecimal(high) + "-" + hexadecimal(low) }
}

extension FieldWriter {
  package mutating func write(_ database: DatabaseID) {
    write(fixed: database.high)
    write(fixed: database.low)
  }
}

extension FieldReader {
  package mutating func readDatabase() throws(DatabaseError) -> DatabaseID {
    DatabaseID(high: try readFixed(), low: try readFixed())
  }
}

