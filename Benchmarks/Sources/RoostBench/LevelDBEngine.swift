import CLevelDB

/// LevelDB through its C interface, with checksums verified on every read. Options objects are made once; a
/// cursor is one iterator.
final class LevelDBEngine: Engine, @unchecked Sendable {
  private let database: OpaquePointer
  private let options: OpaquePointer
  private let cache: OpaquePointer
  private let filter: OpaquePointer
  private let writeOptions: OpaquePointer
  private let syncedWriteOptions: OpaquePointer
  private let readOptions: OpaquePointer
  private let batch: OpaquePointer

  init(directory: String, settings: Settings) throws {
    options = leveldb_options_create()
    leveldb_options_set_create_if_missing(options, 1)
    leveldb_options_set_write_buffer_size(options, settings.writeBufferBytes)
    leveldb_options_set_block_size(options, settings.blockBytes)
    leveldb_options_set_compression(options, Int32(leveldb_snappy_compression))
    cache = leveldb_cache_create_lru(settings.cacheBytes)
    leveldb_options_set_cache(options, cache)
    filter = leveldb_filterpolicy_create_bloom(Int32(settings.filterBits))
    leveldb_options_set_filter_policy(options, filter)
    writeOptions = leveldb_writeoptions_create()
    syncedWriteOptions = leveldb_writeoptions_create()
    leveldb_writeoptions_set_sync(syncedWriteOptions, 1)
    readOptions = leveldb_readoptions_create()
    leveldb_readoptions_set_verify_checksums(readOptions, 1)
    batch = leveldb_writebatch_create()

    var error: UnsafeMutablePointer<CChar>?
    let opened = leveldb_open(options, directory, &error)
    guard let opened else { throw Self.failure("open", error) }
    database = opened
  }

  fileprivate static func failure(
    _ doing: String, _ error: UnsafeMutablePointer<CChar>?
  ) -> BenchmarkError {
    BenchmarkError("LevelDB could not \(doing): " + (error.map { String(cString: $0) } ?? "no reason given"))
  }

  @inline(__always)
  func put(_ key: Bytes, _ value: Bytes) throws {
    var error: UnsafeMutablePointer<CChar>?
    leveldb_put(
      database, writeOptions, key.characters, key.count, value.characters, value.count, &error)
    if error != nil { throw Self.failure("put", error) }
  }

  @inline(__always)
  func putSynced(_ key: Bytes, _ value: Bytes) throws {
    var error: UnsafeMutablePointer<CChar>?
    leveldb_put(
      database, syncedWriteOptions, key.characters, key.count, value.characters, value.count, &error)
    if error != nil { throw Self.failure("put", error) }
  }

  @inline(__always)
  func delete(_ key: Bytes) throws {
    var error: UnsafeMutablePointer<CChar>?
    leveldb_delete(database, writeOptions, key.characters, key.count, &error)
    if error != nil { throw Self.failure("delete", error) }
  }

  @inline(__always)
  func putBatch(_ count: Int, _ key: (Int) -> Bytes, _ value: (Int) -> Bytes) throws {
    leveldb_writebatch_clear(batch)
    for i in 0..<count {
      let (key, value) = (key(i), value(i))
      leveldb_writebatch_put(batch, key.characters, key.count, value.characters, value.count)
    }
    var error: UnsafeMutablePointer<CChar>?
    leveldb_write(database, writeOptions, batch, &error)
    if error != nil { throw Self.failure("write a batch", error) }
  }

  @inline(__always)
  func get(_ key: Bytes) throws -> UInt64? {
    var error: UnsafeMutablePointer<CChar>?
    var count = 0
    let value = leveldb_get(database, readOptions, key.characters, key.count, &count, &error)
    if error != nil { throw Self.failure("get", error) }
    guard let value else { return nil }
    let sum = consume(value, count)
    leveldb_free(value)
    return sum
  }

  func settle() throws { leveldb_compact_range(database, nil, 0, nil, 0) }

  func close() throws {
    leveldb_writebatch_destroy(batch)
    leveldb_readoptions_destroy(readOptions)
    leveldb_writeoptions_destroy(writeOptions)
    leveldb_writeoptions_destroy(syncedWriteOptions)
    leveldb_close(database)
    leveldb_options_destroy(options)
    leveldb_filterpolicy_destroy(filter)
    leveldb_cache_destroy(cache)
  }

  func cursor() -> Cursor { Cursor(leveldb_create_iterator(database, readOptions)) }

  struct Cursor: EngineCursor, ~Copyable {
    private let iterator: OpaquePointer

    init(_ iterator: OpaquePointer) { self.iterator = iterator }

    deinit { leveldb_iter_destroy(iterator) }

    /// An iterator that failed looks as if it had come to the end.
    @inline(__always)
    private func valid() throws -> Bool {
      if leveldb_iter_valid(iterator) != 0 { return true }
      var error: UnsafeMutablePointer<CChar>?
      leveldb_iter_get_error(iterator, &error)
      if error != nil { throw LevelDBEngine.failure("iterate", error) }
      return false
    }

    @inline(__always)
    mutating func seek(_ key: Bytes) throws -> Bool {
      leveldb_iter_seek(iterator, key.characters, key.count)
      return try valid()
    }
    mutating func first() throws -> Bool {
      leveldb_iter_seek_to_first(iterator)
      return try valid()
    }
    mutating func last() throws -> Bool {
      leveldb_iter_seek_to_last(iterator)
      return try valid()
    }
    @inline(__always)
    mutating func next() throws -> Bool {
      leveldb_iter_next(iterator)
      return try valid()
    }
    @inline(__always)
    mutating func previous() throws -> Bool {
      leveldb_iter_prev(iterator)
      return try valid()
    }
    @inline(__always)
    var keyNumber: UInt64 {
      var count = 0
      return numberOfKey(leveldb_iter_key(iterator, &count))
    }
    @inline(__always)
    var valueSum: UInt64 {
      var count = 0
      let value = leveldb_iter_value(iterator, &count)
      return consume(value.unsafelyUnwrapped, count)
    }
  }
}
