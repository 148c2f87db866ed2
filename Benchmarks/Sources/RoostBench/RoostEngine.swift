#if ROOST
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
      try tree.put(key.span, value.span, .applied)
    }

    @inline(__always)
    func putSynced(_ key: Bytes, _ value: Bytes) throws {
      try tree.put(key.span, value.span, .synced)
    }

    @inline(__always)
    func delete(_ key: Bytes) throws { try tree.delete(key.span, .applied) }

    @inline(__always)
    func putBatch(_ count: Int, _ key: (Int) -> Bytes, _ value: (Int) -> Bytes) throws {
      try store.write(.applied) { batch in
        for i in 0..<count { try batch.put(key(i).span, value(i).span, in: tree) }
      }
    }

    @inline(__always)
    func get(_ key: Bytes) throws -> UInt64? {
      try tree.withValue(forKey: key.span) { value in
        value.withUnsafeBytes { $0.baseAddress.map { [count = $0.count] in consume($0, count) } ?? 0 }
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
      mutating func seek(_ key: Bytes) throws -> Bool { try cursor.seek(to: key.span) }
      mutating func first() throws -> Bool { try cursor.seekToFirst() }
      mutating func last() throws -> Bool { try cursor.seekToLast() }
      @inline(__always)
      mutating func next() throws -> Bool { try cursor.next() }
      @inline(__always)
      mutating func previous() throws -> Bool { try cursor.previous() }
      @inline(__always)
      var keyNumber: UInt64 {
        cursor.key.withUnsafeBytes { $0.baseAddress.map { numberOfKey($0) } ?? 0 }
      }
      @inline(__always)
      var valueSum: UInt64 {
        cursor.value.withUnsafeBytes { $0.baseAddress.map { [count = $0.count] in consume($0, count) } ?? 0 }
      }
    }
  }

  extension Bytes {
    /// The bytes live as long as the key buffer or the value pool they come from.
    @inline(__always)
    var span: RawSpan { RawSpan(_unsafeStart: start, byteCount: count) }
  }
#endif
