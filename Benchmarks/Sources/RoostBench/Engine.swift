/// What the driver needs of an engine. Drivers are generic over it and specialised for each engine, so that
/// nothing stands between the loop and the engine's own calls.
///
/// All calls but `close` may come from many threads at once.
protocol Engine: AnyObject, Sendable {
  associatedtype Cursor: EngineCursor, ~Copyable

  /// Opens the store in `directory`, or creates it there.
  init(directory: String, settings: Settings) throws
  func put(_ key: Bytes, _ value: Bytes) throws
  /// Returns once the write survives power loss.
  func putSynced(_ key: Bytes, _ value: Bytes) throws
  func delete(_ key: Bytes) throws
  /// Puts `count` entries atomically. `key` and `value` are asked in turn for each.
  func putBatch(_ count: Int, _ key: (Int) -> Bytes, _ value: (Int) -> Bytes) throws
  /// The ``consume(_:_:)`` of the value, or nil where the key is absent.
  func get(_ key: Bytes) throws -> UInt64?
  func cursor() throws -> Cursor
  /// Writes what is in memory to tables and compacts everything, and waits for both.
  func settle() throws
  func close() throws

  /// Whether it stores anything. What does not is not checked either.
  static var stores: Bool { get }
}

extension Engine {
  static var stores: Bool { true }
}

/// A position in the store. Moves return whether there is an entry.
protocol EngineCursor: ~Copyable {
  /// To the first key at or after `key`.
  mutating func seek(_ key: Bytes) throws -> Bool
  mutating func first() throws -> Bool
  mutating func last() throws -> Bool
  mutating func next() throws -> Bool
  mutating func previous() throws -> Bool
  /// The number at the front of the key.
  var keyNumber: UInt64 { get }
  /// The ``consume(_:_:)`` of the value.
  var valueSum: UInt64 { get }
}

/// The key's number, whatever its alignment.
@inline(__always)
func numberOfKey(_ start: UnsafeRawPointer) -> UInt64 {
  UInt64(bigEndian: start.loadUnaligned(as: UInt64.self))
}

/// A failed benchmark: an engine's error, or a wrong answer, which is no speed.
struct BenchmarkError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// What is alike for all engines, and what the run does.
struct Settings: Codable, Sendable {
  /// Keys in a store (N).
  var count: UInt64 = 1_000_000
  var cacheBytes = 256 << 20
  var writeBufferBytes = 64 << 20
  var blockBytes = 4096
  var filterBits = 10
  /// `.synced` puts, by one thread and by eight together.
  var syncedPuts: UInt64 = 20_000
  /// Puts a second beside the reader of `readwhilewriting`.
  var writerRate: UInt64 = 50_000

  /// Reads of a read workload (R).
  var reads: UInt64 { min(count, 1_000_000) }
  /// Reads with a cold cache: most go to the disk.
  var coldReads: UInt64 { max(1, reads / 10) }
  var batchCount: Int { 100 }
}

/// The engines by name.
enum EngineName: String, CaseIterable, Codable, Sendable {
  case roost
  case rocksdb
  case rocksdbTuned = "rocksdb-tuned"
  case leveldb
  /// Roost's partitioned database, on the `database-…` workloads beside `roost`, its engine alone.
  case database = "roost-database"
  /// Does nothing: its times are the driver's own.
  case null

  /// Those a ratio is counted against.
  var isPeer: Bool { self != .roost && self != .database && self != .null }

  /// Whether it runs a group at all: the database has workloads of its own, which nobody but the
  /// engine below it shares.
  func runs(_ group: Group) -> Bool {
    group == .database ? self == .roost || self == .database : self != .database
  }
}
