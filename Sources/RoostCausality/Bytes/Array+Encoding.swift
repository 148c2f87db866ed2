// Arrays of bytes as encoders fill them and decoders read them: all unsafe code of this module, for
// writing.

extension [UInt8] {
  /// The array's bytes, as decoders take them.
  package var rawSpan: RawSpan {
    @_lifetime(borrow self)
    get {
      let span = self.span
      return unsafe _overrideLifetime(span.bytes, borrowing: self)
    }
  }

  /// Little-endian.
  @inline(__always)
  mutating func appendUInt64(_ value: UInt64) {
    unsafe Swift.withUnsafeBytes(of: value.littleEndian) { unsafe append(contentsOf: $0) }
  }

  /// Seven bits a byte, lowest first; no needless byte.
  @inline(__always)
  mutating func appendVarint(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    append(UInt8(truncatingIfNeeded: rest))
  }

  @inline(__always)
  mutating func appendCount(_ count: Int) { appendVarint(UInt64(truncatingIfNeeded: count)) }

  @inline(__always)
  mutating func appendLengthPrefixed(_ bytes: [UInt8]) {
    appendCount(bytes.count)
    append(contentsOf: bytes)
  }
}

/// Negative, zero or positive as `a` sorts before, with or after `b`: byte by byte, unsigned, a prefix
/// before what it begins.
func compareBytes(_ a: [UInt8], _ b: [UInt8]) -> Int {
  let x = a.span
  let y = b.span
  for i in 0..<Swift.min(x.count, y.count) where x[i] != y[i] { return x[i] < y[i] ? -1 : 1 }
  return x.count &- y.count
}
