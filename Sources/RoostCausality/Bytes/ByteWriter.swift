/// Writes encoded values one after the other into memory that someone else owns: all unsafe code of
/// this module, for writing without an array.
///
/// Every write checks that there is room, so a wrong estimate traps and never writes outside.
@safe
package struct ByteWriter: ~Copyable {
  private let memory: UnsafeMutableRawBufferPointer
  /// Bytes written so far.
  package private(set) var count = 0

  /// The longest that a varint gets.
  package static let longestVarint = 10

  /// - Parameter memory: stays valid as long as this is used.
  @unsafe
  @inline(__always)
  package init(_ memory: UnsafeMutableRawBufferPointer) { unsafe self.memory = memory }

  @inline(__always)
  private mutating func advance(_ byteCount: Int) -> Int {
    precondition(unsafe byteCount >= 0 && byteCount <= memory.count &- count)
    defer { count &+= byteCount }
    return count
  }

  @inline(__always)
  package mutating func write(_ byte: UInt8) {
    let place = advance(1)
    unsafe memory.storeBytes(of: byte, toByteOffset: place, as: UInt8.self)
  }

  /// Little-endian.
  @inline(__always)
  package mutating func write(_ value: UInt64) {
    let place = advance(8)
    unsafe memory.storeBytes(of: value.littleEndian, toByteOffset: place, as: UInt64.self)
  }

  /// As arrays' `appendVarint`.
  @inline(__always)
  package mutating func write(varint value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      write(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    write(UInt8(truncatingIfNeeded: rest))
  }

  @inline(__always)
  package mutating func write(_ bytes: RawSpan) {
    let place = advance(bytes.byteCount)
    if bytes.byteCount == 0 { return }
    unsafe bytes.withUnsafeBytes { source in
      unsafe UnsafeMutableRawBufferPointer(rebasing: memory[place...]).copyMemory(from: source)
    }
  }
}
