/// Reads encoded values off the front of a view. Damaged input gives `nil`, never a trap.
struct ByteReader {
  let bytes: ByteView
  private(set) var offset: Int

  @inline(__always)
  init(_ bytes: ByteView, at offset: Int = 0) {
    precondition(offset >= 0 && offset <= bytes.count)
    self.bytes = bytes
    self.offset = offset
  }

  @inline(__always) var remaining: Int { bytes.count &- offset }
  @inline(__always) var isAtEnd: Bool { offset >= bytes.count }

  @inline(__always)
  mutating func readUInt8() -> UInt8? {
    guard remaining >= 1 else { return nil }
    defer { offset &+= 1 }
    return bytes[offset]
  }

  @inline(__always)
  mutating func readUInt32() -> UInt32? {
    guard remaining >= 4 else { return nil }
    defer { offset &+= 4 }
    return bytes.loadUInt32(at: offset)
  }

  @inline(__always)
  mutating func readUInt64() -> UInt64? {
    guard remaining >= 8 else { return nil }
    defer { offset &+= 8 }
    return bytes.loadUInt64(at: offset)
  }

  /// A varint of at most ten bytes whose value fits 64 bits.
  @inline(__always)
  mutating func readVarint() -> UInt64? {
    guard offset < bytes.count else { return nil }
    let first = bytes[offset]
    if first < 0x80 {
      offset &+= 1
      return UInt64(first)
    }
    return readLongVarint()
  }

  @inline(never)
  private mutating func readLongVarint() -> UInt64? {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while offset < bytes.count, shift < 64 {
      let byte = bytes[offset]
      offset &+= 1
      if shift == 63, byte > 1 { return nil }
      value |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 { return value }
      shift &+= 7
    }
    return nil
  }

  /// A varint that counts something in memory: at most 2^48.
  @inline(__always)
  mutating func readCount() -> Int? {
    guard let value = readVarint(), value <= 1 << 48 else { return nil }
    return Int(truncatingIfNeeded: value)
  }

  @inline(__always)
  mutating func read(_ count: Int) -> ByteView? {
    guard count >= 0, count <= remaining else { return nil }
    defer { offset &+= count }
    return bytes.slice(offset, offset &+ count)
  }

  /// A varint length, then that many bytes.
  @inline(__always)
  mutating func readLengthPrefixed() -> ByteView? {
    guard let count = readCount() else { return nil }
    return read(count)
  }
}
