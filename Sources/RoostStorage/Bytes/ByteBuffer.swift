/// A growable run of bytes: what encoders write into. Owned, not copyable, freed when it goes.
///
/// Not thread-safe. A view of it is valid until the next mutation.
@safe
struct ByteBuffer: ~Copyable, @unchecked Sendable {
  private(set) var base: UnsafeMutableRawPointer
  private(set) var count: Int
  private(set) var capacity: Int

  init(capacity: Int = 256) {
    let bytes = max(capacity, 16)
    unsafe base = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 16)
    count = 0
    self.capacity = bytes
  }

  deinit { unsafe base.deallocate() }

  var isEmpty: Bool { count == 0 }

  /// The bytes written so far. Valid until the next mutation.
  @inline(__always)
  var view: ByteView { unsafe ByteView(UnsafeRawPointer(base), count: count) }

  mutating func removeAll() { count = 0 }

  /// Drops all but the first `n` bytes.
  mutating func truncate(to n: Int) {
    precondition(n >= 0 && n <= count)
    count = n
  }

  /// Counts bytes that were stored through `base`, within the capacity.
  mutating func setCount(_ n: Int) {
    precondition(n >= 0 && n <= capacity)
    count = n
  }

  @inline(__always)
  mutating func reserve(_ extra: Int) {
    if count &+ extra > capacity { grow(extra) }
  }

  @inline(never)
  private mutating func grow(_ extra: Int) {
    let wanted = max(capacity * 2, count + extra)
    let larger = UnsafeMutableRawPointer.allocate(byteCount: wanted, alignment: 16)
    unsafe larger.copyMemory(from: base, byteCount: count)
    unsafe base.deallocate()
    unsafe base = larger
    capacity = wanted
  }

  @inline(__always)
  mutating func append(_ byte: UInt8) {
    reserve(1)
    unsafe base.storeBytes(of: byte, toByteOffset: count, as: UInt8.self)
    count &+= 1
  }

  @inline(__always)
  mutating func append(_ bytes: ByteView) {
    reserve(bytes.count)
    unsafe bytes.copy(to: base + count)
    count &+= bytes.count
  }

  /// Appends bytes and shows them where they stand now. Valid until the buffer grows.
  @inline(__always)
  mutating func appendAndView(_ bytes: ByteView) -> ByteView {
    let at = count
    reserve(bytes.count)
    unsafe bytes.copyShort(to: base + at)
    count = at &+ bytes.count
    return unsafe ByteView(UnsafeRawPointer(base + at), count: bytes.count)
  }

  mutating func append(_ bytes: [UInt8]) {
    bytes.withByteView { append($0) }
  }

  mutating func append(zeros n: Int) {
    reserve(n)
    unsafe (base + count).initializeMemory(as: UInt8.self, repeating: 0, count: n)
    count &+= n
  }

  /// Makes room for `n` bytes, has `body` fill some of them, and keeps as many as it says.
  mutating func appendUninitialized(
    _ n: Int, _ body: (UnsafeMutableRawBufferPointer) -> Int
  ) {
    reserve(n)
    let written = unsafe body(UnsafeMutableRawBufferPointer(start: base + count, count: n))
    precondition(written >= 0 && written <= n)
    count &+= written
  }

  /// Makes room for `n` bytes, has `read` fill the front of it, and keeps as many as it says.
  mutating func append<E: Error>(
    upTo n: Int, reading read: (inout MutableRawSpan) throws(E) -> Int
  ) throws(E) {
    reserve(n)
    var span = unsafe MutableRawSpan(_unsafeStart: base + count, byteCount: n)
    let added = try read(&span)
    precondition(added >= 0 && added <= n)
    count &+= added
  }

  @inline(__always)
  mutating func append(littleEndian value: UInt16) {
    reserve(2)
    unsafe base.storeBytes(of: value.littleEndian, toByteOffset: count, as: UInt16.self)
    count &+= 2
  }

  @inline(__always)
  mutating func append(littleEndian value: UInt32) {
    reserve(4)
    unsafe base.storeBytes(of: value.littleEndian, toByteOffset: count, as: UInt32.self)
    count &+= 4
  }

  @inline(__always)
  mutating func append(littleEndian value: UInt64) {
    reserve(8)
    unsafe base.storeBytes(of: value.littleEndian, toByteOffset: count, as: UInt64.self)
    count &+= 8
  }

  /// A base-128 varint, low groups first: 1 to 10 bytes.
  @inline(__always)
  mutating func append(varint value: UInt64) {
    reserve(10)
    var rest = value
    while rest >= 0x80 {
      unsafe base.storeBytes(
        of: UInt8(truncatingIfNeeded: rest) | 0x80, toByteOffset: count, as: UInt8.self)
      count &+= 1
      rest >>= 7
    }
    unsafe base.storeBytes(of: UInt8(truncatingIfNeeded: rest), toByteOffset: count, as: UInt8.self)
    count &+= 1
  }

  @inline(__always)
  mutating func append(varint value: Int) { append(varint: UInt64(value)) }

  /// A varint length, then the bytes.
  mutating func append(lengthPrefixed bytes: ByteView) {
    append(varint: bytes.count)
    append(bytes)
  }

  /// Overwrites eight bytes already written.
  mutating func store(littleEndian value: UInt64, at offset: Int) {
    precondition(offset >= 0 && offset + 8 <= count)
    unsafe base.storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt64.self)
  }

  /// Overwrites four bytes already written.
  mutating func store(littleEndian value: UInt32, at offset: Int) {
    precondition(offset >= 0 && offset + 4 <= count)
    unsafe base.storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt32.self)
  }
}

extension UnsafeMutableRawPointer {
  /// Stores eight bytes, little-endian, at any alignment.
  @inline(__always)
  func storeUnaligned(_ value: UInt64, at offset: Int) {
    unsafe storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt64.self)
  }
}

/// Bytes a varint takes.
@inline(__always)
func varintLength(_ value: UInt64) -> Int {
  value == 0 ? 1 : (70 &- value.leadingZeroBitCount) / 7
}
