import Roost
import RoostStorage

/// What the database's workloads are timed on: the database, or the engine below it, each through
/// the calls that a program would make.
protocol DatabaseWorkloadSubject: Sendable {
  associatedtype Scan: SubjectScan, ~Copyable

  init(directory: String, settings: Settings) async throws
  func put(_ key: Bytes, _ value: Bytes, _ durability: Durability) async throws
  /// The value, as an array that the caller owns.
  func get(_ key: Bytes) async throws -> [UInt8]?
  /// Adds 1 to the number under a key.
  func increment(_ key: Bytes) async throws
  /// All keys of the puts, in order.
  func scan() async throws -> Scan
  func close() async throws
  /// Where its store is, below the directory of the run.
  static var storeName: String { get }
  /// Makes `share` synced puts in each of so many tasks at once, or on threads where calls block: the
  /// i-th of task t puts what `entry` gives for t · share + i.
  func putSynced(
    tasks: Int, share: UInt64, _ entry: @escaping @Sendable (UInt64, borrowing KeyBuffer) -> (Bytes, Bytes)
  ) async throws
}

extension DatabaseWorkloadSubject {
  /// Writes what is in memory to tables and compacts everything. While it is closed.
  static func settle(_ directory: String) throws {
    let store = try Store.open(at: directory + "/" + storeName)
    try store.flush()
    try store.compact()
    try store.close()
  }
}

protocol SubjectScan: ~Copyable {
  /// Moves on and reads key and value to their last byte.
  mutating func next() async throws -> (key: UInt64, value: UInt64)?
}

/// The database, with one store of 64 partitions. The keyspace lets the last writer win, so that an
/// overwrite leaves one value, as in the engine.
struct DatabaseSubject: DatabaseWorkloadSubject {
  static let storeName = "database"

  private let database: Database
  private let entries: Keyspace
  private let counters: Keyspace

  init(directory: String, settings: Settings) async throws {
    var options = DatabaseOptions()
    options.partitionCount = 64
    options.store.memtableBytes = settings.writeBufferBytes
    options.store.blockCacheBytes = settings.cacheBytes
    database = try await Database.open(at: directory + "/" + Self.storeName, options)
    entries = try await database.keyspace("entries", .eventual(.lastWriterWins))
    counters = try await database.keyspace("counters", .eventual)
  }

  @inline(__always)
  func put(_ key: Bytes, _ value: Bytes, _ durability: Durability) async throws {
    try await entries.put(key, value, durability)
  }

  func putSynced(
    tasks: Int, share: UInt64, _ entry: @escaping @Sendable (UInt64, borrowing KeyBuffer) -> (Bytes, Bytes)
  ) async throws {
    let entries = entries
    try await withThrowingTaskGroup(of: Void.self) { group in
      for task in 0..<UInt64(tasks) {
        group.addTask {
          let buffer = KeyBuffer()
          for i in (task * share)..<((task + 1) * share) {
            let (key, value) = entry(i, buffer)
            try await entries.put(key, value, .synced)
          }
        }
      }
      try await group.waitForAll()
    }
  }

  @inline(__always)
  func get(_ key: Bytes) async throws -> [UInt8]? { try await entries.get(key).value }

  @inline(__always)
  func increment(_ key: Bytes) async throws { try await counters.counter(key).increment() }

  func scan() async throws -> Scan { Scan(iterator: entries.scan().makeAsyncIterator()) }

  func close() async throws { try await database.close() }

  struct Scan: SubjectScan, ~Copyable {
    fileprivate var iterator: Roost.Scan.Iterator

    @inline(__always)
    mutating func next() async throws -> (key: UInt64, value: UInt64)? {
      guard let entry = try await iterator.next(isolation: nil) else { return nil }
      guard let value = entry.valueBytes else { throw BenchmarkError("wrong answer: no single value") }
      return (
        entry.keyBytes.unsafeLoadUnaligned(as: UInt64.self).bigEndian,
        value.withUnsafeBytes { consume($0.baseAddress!, $0.count) }
      )
    }
  }
}

/// The engine alone.
struct StoreSubject: DatabaseWorkloadSubject {
  static let storeName = "store"
  private let store: Store
  private let entries: Tree
  private let counters: Tree

  init(directory: String, settings: Settings) async throws {
    var options = StoreOptions()
    options.memtableBytes = settings.writeBufferBytes
    options.blockCacheBytes = settings.cacheBytes
    store = try Store.open(at: directory + "/" + Self.storeName, options)
    entries = try store.tree("entries")
    counters = try store.tree("counters")
  }

  @inline(__always)
  func put(_ key: Bytes, _ value: Bytes, _ durability: Durability) async throws {
    try entries.put(key, value, durability)
  }

  func putSynced(
    tasks: Int, share: UInt64, _ entry: @escaping @Sendable (UInt64, borrowing KeyBuffer) -> (Bytes, Bytes)
  ) async throws {
    let entries = entries
    _ = try onThreads(tasks) { task in
      let buffer = KeyBuffer()
      for i in (UInt64(task) * share)..<(UInt64(task + 1) * share) {
        let (key, value) = entry(i, buffer)
        try entries.put(key, value, .synced)
      }
    }
  }

  @inline(__always)
  func get(_ key: Bytes) async throws -> [UInt8]? { try entries.get(key) }

  /// As a program would without the database: read, add, write.
  @inline(__always)
  func increment(_ key: Bytes) async throws {
    let old = try counters.withValue(forKey: key) { $0.unsafeLoadUnaligned(as: UInt64.self) } ?? 0
    let next = old &+ 1
    try withUnsafeBytes(of: next) { bytes in
      try counters.put(key, Bytes(start: bytes.baseAddress!, count: 8), .applied)
    }
  }

  func scan() async throws -> Scan { Scan(try entries.cursor()) }

  func close() async throws { try store.close() }

  struct Scan: SubjectScan, ~Copyable {
    private var cursor: RoostStorage.Cursor

    init(_ cursor: consuming RoostStorage.Cursor) { self.cursor = cursor }

    @inline(__always)
    mutating func next() async throws -> (key: UInt64, value: UInt64)? {
      guard try cursor.next() else { return nil }
      return (
        cursor.key.unsafeLoadUnaligned(as: UInt64.self).bigEndian,
        cursor.value.withUnsafeBytes { consume($0.baseAddress!, $0.count) }
      )
    }
  }
}
