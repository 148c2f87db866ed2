/// Bytes on the heap that files share until one of them writes: all of the simulator's unsafe code.
///
/// Bytes that nobody wrote are zero. Not thread-safe: whoever writes must hold the only reference
/// and the file system's lock; a storage with several references is never written.
@safe
final class PageStorage: @unchecked Sendable {
  let base: UnsafeMutableRawPointer
  let capacity: Int

  static let sectorSize = 512
  private static let pageSize = 4096

  /// Storage for at least `byteCount` bytes, beginning with the first `copiedCount` of `source`.
  init(_ byteCount: Int, copying source: PageStorage? = nil, count copiedCount: Int = 0) {
    capacity = max(1, (byteCount + Self.pageSize - 1) / Self.pageSize) * Self.pageSize
    unsafe base = .allocate(byteCount: capacity, alignment: Self.pageSize)
    var copied = 0
    if let source {
      copied = min(copiedCount, source.capacity, capacity)
      unsafe base.copyMemory(from: source.base, byteCount: copied)
    }
    unsafe (base + copied).initializeMemory(as: UInt8.self, repeating: 0, count: capacity - copied)
  }

  deinit { unsafe base.deallocate() }

  func zero(_ range: Range<Int>) {
    let end = min(range.upperBound, capacity)
    guard range.lowerBound < end else { return }
    unsafe (base + range.lowerBound).initializeMemory(
      as: UInt8.self, repeating: 0, count: end - range.lowerBound)
  }

  func write(_ bytes: RawSpan, count: Int, at offset: Int) {
    precondition(count <= bytes.byteCount && offset >= 0 && offset + count <= capacity)
    guard count > 0 else { return }
    unsafe bytes.withUnsafeBytes { bytes in
      unsafe (base + offset).copyMemory(from: bytes.baseAddress!, byteCount: count)
    }
  }

  func read(into buffer: inout MutableRawSpan, count: Int, at offset: Int) {
    precondition(count <= buffer.byteCount && offset >= 0 && offset + count <= capacity)
    guard count > 0 else { return }
    unsafe buffer.withUnsafeMutableBytes { buffer in
      unsafe buffer.baseAddress!.copyMemory(from: base + offset, byteCount: count)
    }
  }

  /// Copies bytes to the same place from another storage, which reads as zeros behind its end.
  func copy(_ range: Range<Int>, from source: PageStorage) {
    precondition(range.lowerBound >= 0 && range.upperBound <= capacity)
    let end = min(range.upperBound, max(range.lowerBound, source.capacity))
    if range.lowerBound < end {
      unsafe (base + range.lowerBound).copyMemory(
        from: source.base + range.lowerBound, byteCount: end - range.lowerBound)
    }
    zero(end..<range.upperBound)
  }

  /// Whether a sector holds the same bytes as in another storage, either being zero behind its end.
  func sector(_ sector: Int, equals other: PageStorage) -> Bool {
    let offset = sector * Self.sectorSize
    if unsafe base == other.base { return true }
    let here = offset < capacity
    let there = offset < other.capacity
    var difference: UInt64 = 0
    if here && there {
      let mine = unsafe (base + offset).assumingMemoryBound(to: UInt64.self)
      let theirs = unsafe (other.base + offset).assumingMemoryBound(to: UInt64.self)
      for i in 0..<(Self.sectorSize / 8) { unsafe difference |= mine[i] ^ theirs[i] }
    } else if here || there {
      let words = unsafe ((here ? base : other.base) + offset).assumingMemoryBound(to: UInt64.self)
      for i in 0..<(Self.sectorSize / 8) { unsafe difference |= words[i] }
    }
    return difference == 0
  }
}
