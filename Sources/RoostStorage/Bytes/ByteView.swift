/// A run of bytes in memory that someone else owns.
///
/// The engine passes keys, values and blocks around as views, because a `RawSpan` can be stored in
/// no class and outlives no call. Every access is bounds-checked, so damaged input cannot read
/// outside a view; what a view cannot check is that its owner still lives. So the rule is:
/// **whoever stores a view also holds its owner** (a memtable, a block, a mapped log, or the
/// caller's buffer for the length of one call), and says so where it is declared.
@safe
struct ByteView: @unchecked Sendable {
  let base: UnsafeRawPointer
  let count: Int

  @inline(__always)
  init(_ base: UnsafeRawPointer, count: Int) {
    unsafe self.base = base
    self.count = count
  }

  @inline(__always)
  init(_ buffer: UnsafeRawBufferPointer) {
    unsafe self.base = buffer.baseAddress ?? ByteView.empty.base
    self.count = buffer.count
  }

  /// The bytes of a span, for as long as the span's owner lives.
  @inline(__always)
  init(_ span: borrowing RawSpan) {
    let buffer = unsafe span.withUnsafeBytes { unsafe $0 }
    unsafe self.init(buffer)
  }

  /// No bytes, at an address that may be read zero bytes from.
  static let empty = unsafe ByteView(
    UnsafeRawPointer(UnsafeMutableRawPointer.allocate(byteCount: 8, alignment: 8)), count: 0)

  @inline(__always) var isEmpty: Bool { count == 0 }

  @inline(__always)
  subscript(offset: Int) -> UInt8 {
    precondition(UInt(bitPattern: offset) < UInt(bitPattern: count))
    return unsafe base.load(fromByteOffset: offset, as: UInt8.self)
  }

  /// The bytes from `start` up to `end`.
  @inline(__always)
  func slice(_ start: Int, _ end: Int) -> ByteView {
    precondition(start >= 0 && start <= end && end <= count)
    return unsafe ByteView(base + start, count: end &- start)
  }

  @inline(__always) func dropFirst(_ n: Int) -> ByteView { slice(n, count) }
  @inline(__always) func prefix(_ n: Int) -> ByteView { slice(0, n) }

  @inline(__always)
  func loadUInt32(at offset: Int) -> UInt32 {
    precondition(offset >= 0 && offset &+ 4 <= count)
    return unsafe UInt32(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }

  @inline(__always)
  func loadUInt64(at offset: Int) -> UInt64 {
    precondition(offset >= 0 && offset &+ 8 <= count)
    return unsafe UInt64(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }

  /// The first eight bytes as a big-endian number, padded with zeros: orders as the bytes do,
  /// except that equal heads decide nothing.
  @inline(__always)
  var head: UInt64 {
    if count >= 8 {
      return unsafe UInt64(bigEndian: base.loadUnaligned(as: UInt64.self))
    }
    var value: UInt64 = 0
    for i in 0..<count {
      value |= unsafe UInt64(base.load(fromByteOffset: i, as: UInt8.self)) << UInt64(56 - 8 * i)
    }
    return value
  }

  /// Negative, zero or positive as `self` sorts before, with or after `other`, byte by byte, a
  /// prefix before what it begins.
  @inline(__always)
  func compare(_ other: ByteView) -> Int {
    let shared = min(count, other.count)
    let order = unsafe compareBytes(base, other.base, shared)
    return order != 0 ? order : count &- other.count
  }

  @inline(__always)
  static func == (a: ByteView, b: ByteView) -> Bool {
    unsafe a.count == b.count && compareBytes(a.base, b.base, a.count) == 0
  }

  @inline(__always) static func < (a: ByteView, b: ByteView) -> Bool { a.compare(b) < 0 }
  @inline(__always) static func <= (a: ByteView, b: ByteView) -> Bool { a.compare(b) <= 0 }

  @inline(__always)
  func starts(with prefix: ByteView) -> Bool {
    unsafe count >= prefix.count && compareBytes(base, prefix.base, prefix.count) == 0
  }

  /// How many leading bytes two views share.
  func commonPrefix(with other: ByteView) -> Int {
    let limit = min(count, other.count)
    var i = 0
    while i &+ 8 <= limit {
      let mine = unsafe base.loadUnaligned(fromByteOffset: i, as: UInt64.self)
      let theirs = unsafe other.base.loadUnaligned(fromByteOffset: i, as: UInt64.self)
      let difference = UInt64(littleEndian: mine ^ theirs)
      if difference != 0 { return i &+ difference.trailingZeroBitCount / 8 }
      i &+= 8
    }
    while i < limit {
      if unsafe base.load(fromByteOffset: i, as: UInt8.self)
        != other.base.load(fromByteOffset: i, as: UInt8.self)
      { return i }
      i &+= 1
    }
    return i
  }

  /// A copy of the bytes.
  var array: [UInt8] {
    unsafe [UInt8](UnsafeRawBufferPointer(start: base, count: count))
  }

  /// The bytes as a span that must not outlive the view's owner: the borrow checker sees only the
  /// view.
  @inline(__always)
  var span: RawSpan {
    @_lifetime(borrow self)
    get { unsafe _overrideLifetime(RawSpan(_unsafeStart: base, byteCount: count), borrowing: self) }
  }

  /// Copies the bytes to `destination`, which must have room for them.
  @inline(__always)
  func copy(to destination: UnsafeMutableRawPointer) {
    unsafe destination.copyMemory(from: base, byteCount: count)
  }

  /// The same, without a call for 8 to 32 bytes, as most keys have: from both ends, which may overlap.
  @inline(__always)
  func copyShort(to destination: UnsafeMutableRawPointer) {
    if count > 32 || count < 8 { return unsafe copy(to: destination) }
    if count >= 16 {
      let first = unsafe base.loadUnaligned(as: UInt128.self)
      let last = unsafe base.loadUnaligned(fromByteOffset: count &- 16, as: UInt128.self)
      unsafe destination.storeBytes(of: first, as: UInt128.self)
      unsafe destination.storeBytes(of: last, toByteOffset: count &- 16, as: UInt128.self)
    } else {
      let first = unsafe base.loadUnaligned(as: UInt64.self)
      let last = unsafe base.loadUnaligned(fromByteOffset: count &- 8, as: UInt64.self)
      unsafe destination.storeBytes(of: first, as: UInt64.self)
      unsafe destination.storeBytes(of: last, toByteOffset: count &- 8, as: UInt64.self)
    }
  }
}

extension Array where Element == UInt8 {
  /// Runs `body` with a view of the array's bytes, valid within it.
  @inline(__always)
  func withByteView<R, E: Error>(_ body: (ByteView) throws(E) -> R) throws(E) -> R {
    let span = self.span
    return try unsafe body(ByteView(span.bytes))
  }
}
