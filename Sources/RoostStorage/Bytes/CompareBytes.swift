/// Byte-wise order of two runs of the same length: negative, zero or positive.
///
/// Written here rather than taken from `memcmp`, so that the engine imports no system library and
/// the eight-byte steps inline into their callers: keys are short.
@inline(__always)
func compareBytes(_ a: UnsafeRawPointer, _ b: UnsafeRawPointer, _ count: Int) -> Int {
  var i = 0
  while i &+ 8 <= count {
    let x = unsafe UInt64(bigEndian: a.loadUnaligned(fromByteOffset: i, as: UInt64.self))
    let y = unsafe UInt64(bigEndian: b.loadUnaligned(fromByteOffset: i, as: UInt64.self))
    if x != y { return x < y ? -1 : 1 }
    i &+= 8
  }
  while i < count {
    let x = unsafe a.load(fromByteOffset: i, as: UInt8.self)
    let y = unsafe b.load(fromByteOffset: i, as: UInt8.self)
    if x != y { return x < y ? -1 : 1 }
    i &+= 1
  }
  return 0
}
