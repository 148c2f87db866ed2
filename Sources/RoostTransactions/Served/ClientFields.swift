import RoostCausality
import RoostCluster

// The fields of clients' messages about transactions; what they look like stands in ClientStatement.swift.

extension TransactionID {
  /// Names none: no clock was ever at 0.
  static let absent = TransactionID(start: Timestamp(rawValue: 0), coordinator: CoordinatorID(rawValue: 0))
}

/// How each message of a client begins, and each answer to one: version u8 (1). The rest is the message's
/// own, and nothing follows it.
enum ClientMessage {
  static let version: UInt8 = 1

  /// The bytes of one whose rest `body` writes.
  static func encode(_ body: (inout FieldWriter) -> Void) -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: version)
    body(&writer)
    return writer.bytes
  }

  /// Reads one.
  ///
  /// - Parameters:
  ///   - what: it is, for messages.
  ///   - code: of a damaged one.
  ///   - body: reads the rest.
  /// - Throws: what `body` throws; `code` where it is damaged; `.newerFormat`.
  static func decode<Value>(
    _ bytes: [UInt8], _ what: String, _ code: DatabaseError.Code = .corruption,
    _ body: (inout FieldReader) throws(DatabaseError) -> Value
  ) throws(DatabaseError) -> Value {
    var reader = FieldReader(bytes, what, code)
    _ = try reader.readVersion(upTo: version)
    let value = try body(&reader)
    try reader.readEnd()
    return value
  }
}

extension FieldWriter {
  mutating func write(end key: [UInt8]?) {
    write(byte: key == nil ? 0 : 1)
    if let key { write(lengthPrefixed: key) }
  }

  mutating func write(from start: [UInt8], to end: [UInt8]?, limit: Int) {
    write(lengthPrefixed: start)
    write(end: end)
    write(count: limit)
  }

  mutating func write(_ reason: AbortReason) {
    switch reason {
    case .conflict: write(byte: 1)
    case .deadline: write(byte: 2)
    case .interrupted: write(byte: 3)
    case .moving: write(byte: 4)
    case .expired: write(byte: 5)
    case .requested: write(byte: 6)
    case .unreachable(let text):
      write(byte: 7)
      write(text: text)
    case .clock: write(byte: 8)
    case .failed(let text):
      write(byte: 9)
      write(text: text)
    case .recorded: write(byte: 10)
    }
  }
}

extension FieldReader {
  mutating func readEndKey() throws(DatabaseError) -> [UInt8]? {
    try readFlag() ? try readLengthPrefixed() : nil
  }

  mutating func readKeys() throws(DatabaseError) -> [[UInt8]] {
    var keys: [[UInt8]] = []
    for _ in 0..<(try readCount()) { keys.append(try readLengthPrefixed()) }
    return keys
  }

  mutating func readClientRange() throws(DatabaseError) -> (start: [UInt8], end: [UInt8]?, limit: Int) {
    let start = try readLengthPrefixed()
    let end = try readEndKey()
    let limit = try readVarint()
    guard limit >= 1, limit <= 10_000 else { throw damaged("a limit of \(limit): it must be 1 to 10000") }
    return (start, end, Int(limit))
  }

  /// - Parameter code: of the statement's operation: 6, 7 or 8.
  mutating func readChange(_ code: UInt8) throws(DatabaseError) -> EventualEffect.Change {
    if code == 6 {
      let zigzag = try readVarint()
      return .increment(Int64(bitPattern: zigzag >> 1) ^ -Int64(bitPattern: zigzag & 1))
    }
    let token = try readLengthPrefixed()
    let context = token.isEmpty ? nil : token
    return code == 7 ? .put(try readLengthPrefixed(), context: context) : .delete(context: context)
  }

  mutating func readAbortReason() throws(DatabaseError) -> AbortReason {
    switch try readByte() {
    case 1: .conflict
    case 2: .deadline
    case 3: .interrupted
    case 4: .moving
    case 5: .expired
    case 6: .requested
    case 7: .unreachable(try readText())
    case 8: .clock
    case 9: .failed(try readText())
    case 10: .recorded
    case let other: throw damaged("a reason of kind \(other)")
    }
  }
}
