import RoostStorage

/// Roost, through the interface that every program uses.
final class RoostEngine: Engine {
  private let store: Store
  private let tree: Tree

  init(directory: String, settings: Settings) throws {
    var options = StoreOptions()
    options.memtableBytes = settings.writeBufferBytes
    options.blockCacheBytes = settings.cacheBytes
    var layout = TreeOptions()
    layout.blockBytes = settings.blockBytes
    layout.filterBitsPerKey = settings.filterBits
    store = try Store.open(at: directory, options)
    tree = try store.tree("default", layout)
  }

  @inline(__always)
  func put(_ key: Bytes, _ value: Bytes) throws {
    try tree.put(key, value, .applied)
  }

  @inline(__always)
  func putSynced(_ key: Bytes, _ value: Bytes) throws {
    try tree.put(key, value, .synced)
  }

  @inline(__always)
  func delete(_ key: Bytes) throws { try tree.delete(key, .applied) }

  @inline(__always)
  func putBatch(_ count: Int, _ key: (Int) -> Bytes, _ value: (Int) -> Bytes) throws {
    try store.write(.applied) { batch in
      for i in 0..<count { batch.put(key(i), value(i), in: tree) }
    }
  }

  @inline(__always)
  func get(_ key: Bytes) throws -> UInt64? {
    try tree.withValue(forKey: key) { value in
      value.withUnsafeBytes { consumeAll($0) }
    }
  }

  func settle() throws {
    try store.flush()
    try store.compact()
  }

  func close() throws { try store.close() }

  func cursor() throws -> Cursor { Cursor(try tree.cursor()) }

  struct Cursor: EngineCursor, ~Copyable {
    private var cursor: RoostStorage.Cursor

    init(_ cursor: consuming RoostStorage.Cursor) { self.cursor = cursor }

    @inline(__always)
    mutating func seek(_ key: Bytes) throws -> Bool { try cursor.seek(to: key) }
    mutating func first() throws -> Bool { try cursor.seekToFirst() }
    mutating func last() throws -> Bool { try cursor.seekToLast() }
    @inline(__always)
    mutating func next() throws -> Bool { try cursor.next() }
    @inline(__always)
    mutating func previous() throws -> Bool { try cursor.previous() }
    @inline(__always)
    var keyNumber: UInt64 {
      cursor.key.unsafeLoadUnaligned(as: UInt64.self).bigEndian
    }
    @inline(__always)
    var valueSum: UInt64 {
      cursor.value.withUnsafeBytes { consumeAll($0) }
    }
  }
}

@inline(__always)
private func consumeAll(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
  bytes.baseAddress.map { consume($0, bytes.count) } ?? 0
}

extension Bytes: ByteKey, ByteValue {
  @inline(__always)
  func withKeyBytes<R: ~Copyable, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
    try body(RawSpan(_unsafeStart: start, byteCount: count))
  }

  @inline(__always)
  func withValueBytes<R: ~Copyable, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
    try body(RawSpan(_unsafeStart: start, byteCount: count))
  }
}
