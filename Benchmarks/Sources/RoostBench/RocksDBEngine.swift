import CMachine
import CRocksDB
import Glibc

/// One of the ways in which RocksDB is set up.
protocol RocksDBSetting: Sendable {
  static var tuned: Bool { get }
}

enum DefaultSetting: RocksDBSetting {
  static var tuned: Bool { false }
}

enum TunedSetting: RocksDBSetting {
  static var tuned: Bool { true }
}

/// RocksDB through its C interface. Options objects are made once; a cursor is one iterator.
///
/// The default setting is what the library ships, with the block cache, filter, block size, write buffer and
/// compression that all engines share. The tuned one adds pipelined writes, recycled logs, the HyperClock
/// cache where the library has it, two background jobs, and gets that pin the block and copy nothing.
final class RocksDBEngine<Setting: RocksDBSetting>: Engine, @unchecked Sendable {
  private let database: OpaquePointer
  private let options: OpaquePointer
  private let writeOptions: OpaquePointer
  private let syncedWriteOptions: OpaquePointer
  private let readOptions: OpaquePointer
  private let batch: OpaquePointer

  init(directory: String, settings: Settings) throws {
    options = rocksdb_options_create()
    rocksdb_options_set_create_if_missing(options, 1)
    rocksdb_options_set_write_buffer_size(options, settings.writeBufferBytes)
    rocksdb_options_set_compression(options, Int32(rocksdb_lz4_compression))
    rocksdb_options_set_level_compaction_dynamic_level_bytes(options, 1)

    let table = rocksdb_block_based_options_create()
    rocksdb_block_based_options_set_block_size(table, settings.blockBytes)
    rocksdb_block_based_options_set_filter_policy(
      table, rocksdb_filterpolicy_create_bloom_full(Double(settings.filterBits)))
    let hyperClock = Setting.tuned ? bench_hyper_clock_cache(settings.cacheBytes, settings.blockBytes) : nil
    let cache = hyperClock ?? rocksdb_cache_create_lru(settings.cacheBytes)
    rocksdb_block_based_options_set_block_cache(table, cache)
    rocksdb_options_set_block_based_table_factory(options, table)

    if Setting.tuned {
      rocksdb_options_set_enable_pipelined_write(options, 1)
      rocksdb_options_set_recycle_log_file_num(options, 4)
      rocksdb_options_set_max_background_jobs(options, 2)
    }
    writeOptions = rocksdb_writeoptions_create()
    syncedWriteOptions = rocksdb_writeoptions_create()
    rocksdb_writeoptions_set_sync(syncedWriteOptions, 1)
    readOptions = rocksdb_readoptions_create()
    batch = rocksdb_writebatch_create()

    var error: UnsafeMutablePointer<CChar>?
    let opened = rocksdb_open(options, directory, &error)
    guard let opened else { throw failure("open", error) }
    database = opened
  }

  @inline(__always)
  func put(_ key: Bytes, _ value: Bytes) throws {
    var error: UnsafeMutablePointer<CChar>?
    rocksdb_put(
      database, writeOptions, key.characters, key.count, value.characters, value.count, &error)
    if error != nil { throw failure("put", error) }
  }

  @inline(__always)
  func putSynced(_ key: Bytes, _ value: Bytes) throws {
    var error: UnsafeMutablePointer<CChar>?
    rocksdb_put(
      database, syncedWriteOptions, key.characters, key.count, value.characters, value.count, &error)
    if error != nil { throw failure("put", error) }
  }

  @inline(__always)
  func delete(_ key: Bytes) throws {
    var error: UnsafeMutablePointer<CChar>?
    rocksdb_delete(database, writeOptions, key.characters, key.count, &error)
    if error != nil { throw failure("delete", error) }
  }

  @inline(__always)
  func putBatch(_ count: Int, _ key: (Int) -> Bytes, _ value: (Int) -> Bytes) throws {
    rocksdb_writebatch_clear(batch)
    for i in 0..<count {
      let (key, value) = (key(i), value(i))
      rocksdb_writebatch_put(batch, key.characters, key.count, value.characters, value.count)
    }
    var error: UnsafeMutablePointer<CChar>?
    rocksdb_write(database, writeOptions, batch, &error)
    if error != nil { throw failure("write a batch", error) }
  }

  @inline(__always)
  func get(_ key: Bytes) throws -> UInt64? {
    var error: UnsafeMutablePointer<CChar>?
    var count = 0
    if Setting.tuned {
      let pinned = rocksdb_get_pinned(database, readOptions, key.characters, key.count, &error)
      if error != nil { throw failure("get", error) }
      guard let pinned else { return nil }
      let value = rocksdb_pinnableslice_value(pinned, &count)
      let sum = consume(value.unsafelyUnwrapped, count)
      rocksdb_pinnableslice_destroy(pinned)
      return sum
    }
    let value = rocksdb_get(database, readOptions, key.characters, key.count, &count, &error)
    if error != nil { throw failure("get", error) }
    guard let value else { return nil }
    let sum = consume(value, count)
    rocksdb_free(value)
    return sum
  }

  func settle() throws {
    let flush = rocksdb_flushoptions_create()
    defer { rocksdb_flushoptions_destroy(flush) }
    rocksdb_flushoptions_set_wait(flush, 1)
    var error: UnsafeMutablePointer<CChar>?
    rocksdb_flush(database, flush, &error)
    if error != nil { throw failure("flush", error) }
    rocksdb_compact_range(database, nil, 0, nil, 0)
  }

  func close() throws {
    rocksdb_writebatch_destroy(batch)
    rocksdb_readoptions_destroy(readOptions)
    rocksdb_writeoptions_destroy(writeOptions)
    rocksdb_writeoptions_destroy(syncedWriteOptions)
    rocksdb_close(database)
    rocksdb_options_destroy(options)
  }

  func cursor() -> Cursor { Cursor(rocksdb_create_iterator(database, readOptions)) }

  typealias Cursor = RocksDBCursor
}

/// One iterator.
struct RocksDBCursor: EngineCursor, ~Copyable {
  private let iterator: OpaquePointer

  init(_ iterator: OpaquePointer) { self.iterator = iterator }

  deinit { rocksdb_iter_destroy(iterator) }

  /// An iterator that failed looks as if it had come to the end.
  @inline(__always)
  private func valid() throws -> Bool {
    if rocksdb_iter_valid(iterator) != 0 { return true }
    var error: UnsafeMutablePointer<CChar>?
    rocksdb_iter_get_error(iterator, &error)
    if error != nil { throw failure("iterate", error) }
    return false
  }

  @inline(__always)
  mutating func seek(_ key: Bytes) throws -> Bool {
    rocksdb_iter_seek(iterator, key.characters, key.count)
    return try valid()
  }
  mutating func first() throws -> Bool {
    rocksdb_iter_seek_to_first(iterator)
    return try valid()
  }
  mutating func last() throws -> Bool {
    rocksdb_iter_seek_to_last(iterator)
    return try valid()
  }
  @inline(__always)
  mutating func next() throws -> Bool {
    rocksdb_iter_next(iterator)
    return try valid()
  }
  @inline(__always)
  mutating func previous() throws -> Bool {
    rocksdb_iter_prev(iterator)
    return try valid()
  }
  @inline(__always)
  var keyNumber: UInt64 {
    var count = 0
    return numberOfKey(rocksdb_iter_key(iterator, &count))
  }
  @inline(__always)
  var valueSum: UInt64 {
    var count = 0
    let value = rocksdb_iter_value(iterator, &count)
    return consume(value.unsafelyUnwrapped, count)
  }
}

private func failure(_ doing: String, _ error: UnsafeMutablePointer<CChar>?) -> BenchmarkError {
  BenchmarkError("RocksDB could not \(doing): " + (error.map { String(cString: $0) } ?? "no reason given"))
}

/// The file name of the library in use, which ends in its version: the C interface does not tell it.
func rocksDBLibrary() -> String {
  guard let library = bench_library_of("rocksdb_options_create"), let path = realpath(library, nil) else {
    return "unknown"
  }
  defer { free(path) }
  return String(cString: path).split(separator: "/").last.map(String.init) ?? "unknown"
}
