/// Writes the fields of a database's small records: fixed little-endian integers, varints, and
/// bytes behind their length.
package struct FieldWriter {
  package private(set) var bytes: [UInt8] = []

  package init() {}

  package mutating func write(byte: UInt8) { bytes.append(byte) }

  package mutating func write(fixed value: UInt64) {
    for shift in stride(from: 0, to: 64, by: 8) {
      bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(shift)))
    }
  }

  package mutating func write(varint value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(truncatingIfNeeded: rest))
  }

  package mutating func write(count: Int) { write(varint: UInt64(count)) }

  package mutating func write(lengthPrefixed value: [UInt8]) {
    write(count: value.count)
    bytes += value
  }

  package mutating func write(text: String) { write(lengthPrefixed: Array(text.utf8)) }
}

/// Reads what ``FieldWriter`` wrote. Damaged input throws and never traps.
package struct FieldReader {
  /// What is being read, for messages.
  let what: String
  let code: DatabaseError.Code
  let bytes: [UInt8]
  package private(set) var offset = 0

  package init(_ bytes: [UInt8], _ what: String, _ code: DatabaseError.Code = .corruption) {
    self.bytes = bytes
    self.what = what
    self.code = code
  }

  package var remaining: Int { bytes.count - offset }

  package func damaged(_ problem: String) -> DatabaseError {
    DatabaseError(code, "\(what) is damaged at byte \(offset): \(problem)")
  }

  package mutating func readByte() throws(DatabaseError) -> UInt8 {
    guard offset < bytes.count else { throw damaged("it is cut off") }
    defer { offset += 1 }
    return bytes[offset]
  }

  package mutating func readFixed() throws(DatabaseError) -> UInt64 {
    guard remaining >= 8 else { throw damaged("it is cut off") }
    var value: UInt64 = 0
    for index in (offset..<(offset + 8)).reversed() { value = value << 8 | UInt64(bytes[index]) }
    offset += 8
    return value
  }

  package mutating func readVarint() throws(DatabaseError) -> UInt64 {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while true {
      let byte = try readByte()
      if shift == 63, byte > 1 { throw damaged("a number is too large") }
      value |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 {
        // One spelling for each number, so that equal records are equal bytes.
        if byte == 0, shift > 0 { throw damaged("a number has a superfluous byte") }
        return value
      }
      shift += 7
      if shift > 63 { throw damaged("a number is too long") }
    }
  }

  /// A number that only ever counts up by one: no writer gets near its end, and adding to it is safe.
  package mutating func readOrdinal() throws(DatabaseError) -> UInt64 {
    let value = try readVarint()
    guard value < 1 << 62 else { throw damaged("a number of \(value)") }
    return value
  }

  /// A number of things that follow, each of at least `size` bytes: more than can follow is damage,
  /// found before anything is allocated.
  package mutating func readCount(of size: Int = 1) throws(DatabaseError) -> Int {
    let value = try readVarint()
    guard value <= UInt64(remaining / max(1, size)) else { throw damaged("a count of \(value) is too large") }
    return Int(value)
  }

  package mutating func readBytes(_ count: Int) throws(DatabaseError) -> [UInt8] {
    guard count >= 0, count <= remaining else { throw damaged("it is cut off") }
    defer { offset += count }
    return Array(bytes[offset..<(offset + count)])
  }

  package mutating func readLengthPrefixed() throws(DatabaseError) -> [UInt8] {
    try readBytes(try readCount())
  }

  package mutating func readText() throws(DatabaseError) -> String {
    let raw = try readLengthPrefixed()
    guard let text = String(validating: raw, as: UTF8.self) else { throw damaged("a text is not UTF-8") }
    return text
  }

  /// The number of a partition, of whatever ring.
  package mutating func readPartition() throws(DatabaseError) -> Int {
    let partition = try readVarint()
    guard partition < UInt64(Ring.partitionCounts.upperBound) else { throw damaged("partition \(partition)") }
    return Int(partition)
  }

  /// Checks the version byte that begins every record.
  package mutating func readVersion(upTo newest: UInt8) throws(DatabaseError) -> UInt8 {
    let version = try readByte()
    guard version >= 1 else { throw damaged("version 0") }
    guard version <= newest else {
      throw DatabaseError(
        .newerFormat, "\(what) has version \(version); this Roost reads up to \(newest)")
    }
    return version
  }

  package func readEnd() throws(DatabaseError) {
    guard remaining == 0 else { throw damaged("\(remaining) bytes too many") }
  }
}
