/// Reads encoded values off the front of a span: all unsafe code of this module, for reading.
///
/// The span checks every access, so damaged input cannot read outside it. Damage gives `nil`, never a
/// trap. What is not spelled as Roost spells it (a varint with a needless byte) counts as damage: each
/// value has one encoding.
struct ByteReader: ~Escapable {
  let bytes: RawSpan
  private(set) var offset = 0

  @inline(__always)
  @_lifetime(copy bytes)
  init(_ bytes: RawSpan) { self.bytes = bytes }

  @inline(__always) var remaining: Int { bytes.byteCount &- offset }

  @inline(__always)
  @_lifetime(self: copy self)
  mutating func readUInt8() -> UInt8? {
    guard remaining >= 1 else { return nil }
    defer { offset &+= 1 }
    return unsafe bytes.unsafeLoad(fromByteOffset: offset, as: UInt8.self)
  }

  /// Little-endian.
  @inline(__always)
  @_lifetime(self: copy self)
  mutating func readUInt64() -> UInt64? {
    guard remaining >= 8 else { return nil }
    defer { offset &+= 8 }
    return unsafe UInt64(
      littleEndian: bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }

  /// A varint of at most ten bytes, none needless, whose value fits 64 bits.
  @inline(__always)
  @_lifetime(self: copy self)
  mutating func readVarint() -> UInt64? {
    guard remaining >= 1 else { return nil }
    let first = unsafe bytes.unsafeLoad(fromByteOffset: offset, as: UInt8.self)
    if first < 0x80 {
      offset &+= 1
      return UInt64(first)
    }
    return readLongVarint()
  }

  @_lifetime(self: copy self)
  private mutating func readLongVarint() -> UInt64? {
    guard remaining >= 8 else { return readVarintByByte() }
    let word = unsafe UInt64(
      littleEndian: bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self))
    let stops = ~word & 0x8080_8080_8080_8080
    guard stops != 0 else { return readVarintByByte() }
    // The eight bytes hold all of it: those behind its last one go, and groups of seven bits move
    // together in pairs.
    let stop = stops.trailingZeroBitCount
    var value = word & (UInt64.max &>> UInt64(truncatingIfNeeded: 63 &- stop))
    value = (value & 0x007F_007F_007F_007F) | (value & 0x7F00_7F00_7F00_7F00) &>> 1
    value = (value & 0x0000_3FFF_0000_3FFF) | (value & 0x3FFF_0000_3FFF_0000) &>> 2
    value = (value & 0x0000_0000_0FFF_FFFF) | (value & 0x0FFF_FFFF_0000_0000) &>> 4
    let count = (stop &+ 1) &>> 3
    offset &+= count
    // A last byte that adds nothing is needless.
    return count > 1 && value &>> UInt64(truncatingIfNeeded: 7 &* (count &- 1)) == 0 ? nil : value
  }

  @_lifetime(self: copy self)
  private mutating func readVarintByByte() -> UInt64? {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while let byte = readUInt8() {
      if shift == 63, byte > 1 { return nil }
      value |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 { return byte == 0 ? nil : value }
      shift &+= 7
      if shift > 63 { return nil }
    }
    return nil
  }

  /// A count of things of which each takes at least `size` bytes, so that no more can follow than the
  /// bytes at hand allow: nothing is allocated for a count that lies.
  @inline(__always)
  @_lifetime(self: copy self)
  mutating func readCount(of size: Int) -> Int? {
    guard let count = readVarint(), count <= UInt64(remaining / size) else { return nil }
    return Int(truncatingIfNeeded: count)
  }

  /// A varint length, then that many bytes: where they stand.
  @inline(__always)
  @_lifetime(self: copy self)
  mutating func readLengthPrefixedRange() -> Range<Int>? {
    guard let count = readCount(of: 1) else { return nil }
    defer { offset &+= count }
    return offset..<(offset &+ count)
  }

  /// A varint length, then a copy of that many bytes.
  @inline(__always)
  @_lifetime(self: copy self)
  mutating func readLengthPrefixed() -> [UInt8]? {
    guard let range = readLengthPrefixedRange() else { return nil }
    return unsafe bytes.extracting(range).withUnsafeBytes { unsafe [UInt8]($0) }
  }
}

extension ByteReader {
  /// An error that points to where the reader is.
  @inline(never)
  func damaged(_ message: String) -> CausalityError {
    CausalityError(.damaged, message, offset: offset)
  }

  /// The byte that every encoding begins with.
  @discardableResult
  @_lifetime(self: copy self)
  mutating func readVersion(upTo known: UInt8) throws(CausalityError) -> UInt8 {
    guard let version = readUInt8() else { throw damaged("there are no bytes") }
    guard version <= known else {
      throw CausalityError(
        .newerFormat, "version \(version) of the encoding; this Roost knows \(known)", offset: 0)
    }
    guard version >= 1 else { throw CausalityError(.damaged, "version 0 of the encoding", offset: 0) }
    return version
  }

  func expectEnd() throws(CausalityError) {
    guard remaining == 0 else { throw damaged("\(remaining) bytes too many") }
  }
}
