import Foundation
import RoostEnvironment
import SystemPackage
import Testing

@testable import RoostStorage

/// A file in memory. Not thread-safe for writes.
final class TableMemoryFile: File, @unchecked Sendable {
  var bytes: [UInt8]
  var reads = 0
  var syncs = 0
  /// Called before a read, with the number of reads so far: may damage what is read.
  var onRead: (@Sendable (Int) -> Void)?

  init(_ bytes: [UInt8] = []) { self.bytes = bytes }

  var path: FilePath { FilePath("memory.sst") }
  func size() throws(FileSystemError) -> Int64 { Int64(bytes.count) }

  func read(into buffer: inout MutableRawSpan, at offset: Int64) throws(FileSystemError) -> Int {
    onRead?(reads)
    reads += 1
    guard offset >= 0, offset < bytes.count else { return 0 }
    let count = min(buffer.byteCount, bytes.count - Int(offset))
    for i in 0..<count {
      buffer.storeBytes(of: bytes[Int(offset) + i], toByteOffset: i, as: UInt8.self)
    }
    return count
  }

  func write(_ source: RawSpan, at offset: Int64) throws(FileSystemError) {
    let end = Int(offset) + source.byteCount
    if bytes.count < end { bytes += [UInt8](repeating: 0, count: end - bytes.count) }
    for i in 0..<source.byteCount {
      bytes[Int(offset) + i] = unsafe source.unsafeLoad(fromByteOffset: i, as: UInt8.self)
    }
  }

  func sync() throws(FileSystemError) { syncs += 1 }
  func truncate(to byteCount: Int64) throws(FileSystemError) {
    bytes.removeLast(bytes.count - Int(byteCount))
  }
  func allocate(_ byteCount: Int64) throws(FileSystemError) {}
  func map(
    _ byteCount: Int, faulting access: MappedAccess
  ) throws(FileSystemError) -> any MappedFile {
    throw FileSystemError(.io, operation: "map", path: "memory.sst")
  }
  func advise(_ advice: FileAdvice) {}
  func close() {}
}

/// Seeded random numbers (splitmix64). The seed comes from ROOST_SEED, or else from the clock.
struct TableRandom: RandomNumberGenerator {
  static let seed: UInt64 =
    ProcessInfo.processInfo.environment["ROOST_SEED"].flatMap { UInt64($0) }
    ?? UInt64(Date().timeIntervalSince1970 * 1000)

  private var state: UInt64
  init(_ stream: UInt64) { state = Self.seed &+ stream &* 0x1234_5678_9ABC_DEF1 }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return z ^ z >> 31
  }

  mutating func below(_ n: Int) -> Int { Int(next() % UInt64(n)) }
  mutating func bytes(_ count: Int, alphabet: Int = 256) -> [UInt8] {
    (0..<count).map { _ in UInt8(below(alphabet)) }
  }
}

/// Said with every failed expectation, so that the failure can be had again.
var replay: Comment { "replay with ROOST_SEED=\(TableRandom.seed)" }

struct TestEntry: Equatable, Comparable {
  var key: [UInt8]
  var tag: UInt64
  var value: [UInt8]

  init(_ key: [UInt8], _ sequence: UInt64, _ kind: EntryKind, _ value: [UInt8]) {
    self.key = key
    tag = Tag(sequence: sequence, kind).word
    self.value = value
  }

  init(_ cursor: SourceCursor) {
    key = cursor.key.array
    tag = cursor.tag.word
    value = cursor.value.array
  }

  static func < (a: TestEntry, b: TestEntry) -> Bool {
    if a.key != b.key { return a.key.lexicographicallyPrecedes(b.key) }
    return a.tag > b.tag
  }
}

/// A table built from entries in order, and what is needed to open it.
struct TestTable {
  static let identity = FileIdentity(low: 0x0123_4567_89AB_CDEF, high: 0xFEDC_BA98_7654_3210)
  var entries: [TestEntry]
  var file = TableMemoryFile()
  var summary = TableSummary()

  init(
    _ entries: [TestEntry], _ options: TreeOptions = TreeOptions(), partitionBytes: Int = 4096,
    identity: FileIdentity = TestTable.identity,
    tombstones: [(from: [UInt8], to: [UInt8], sequences: [UInt64])] = []
  ) throws {
    self.entries = entries
    let writer = TableWriter(
      file: file, number: 7, treeID: 3, identity: identity, options: options,
      indexPartitionBytes: partitionBytes)
    for entry in entries { try writer.add(entry) }
    for tombstone in tombstones {
      try tombstone.from.withByteView { (from) throws(StoreError) in
        try tombstone.to.withByteView { (to) throws(StoreError) in
          try writer.addRangeTombstones(from: from, to: to, sequences: tombstone.sequences)
        }
      }
    }
    summary = try writer.finish()
  }

  func open(cache: BlockCache = BlockCache(capacity: 1 << 20)) throws -> TableReader {
    try Self.open(file, summary, cache: cache)
  }

  static func open(
    _ file: TableMemoryFile, _ summary: TableSummary, identity: FileIdentity = TestTable.identity,
    cache: BlockCache = BlockCache(capacity: 1 << 20)
  ) throws -> TableReader {
    try TableReader.open(
      file: file, number: 7, expecting: identity, byteSize: summary.byteSize, treeID: 3,
      cache: cache)
  }

  /// The entry a read of `key` at `sequence` should find.
  func expected(_ key: [UInt8], _ sequence: UInt64) -> TestEntry? {
    let index = lowerBound(key, Tag.seek(sequence).word)
    return index < entries.count && entries[index].key == key ? entries[index] : nil
  }

  func lowerBound(_ key: [UInt8], _ tag: UInt64) -> Int {
    var target = TestEntry(key, 0, .put, [])
    target.tag = tag
    var low = 0
    var high = entries.count
    while low < high {
      let middle = (low + high) / 2
      if entries[middle] < target { low = middle + 1 } else { high = middle }
    }
    return low
  }
}

extension TableWriter {
  func add(_ entry: TestEntry) throws(StoreError) {
    try entry.key.withByteView { (key) throws(StoreError) in
      try entry.value.withByteView { (value) throws(StoreError) in
        try add(key, Tag(word: entry.tag), value)
      }
    }
  }
}

extension TableReader {
  /// A point lookup, as an entry.
  func find(_ key: [UInt8], _ sequence: UInt64 = Tag.maxSequence) throws(StoreError) -> TestEntry? {
    var lookup = TableLookup()
    try key.withByteView { (view) throws(StoreError) in
      try get(view, hash: BloomFilter.hash(view), at: sequence, into: &lookup)
    }
    guard lookup.outcome != .absent else { return nil }
    #expect((lookup.outcome == .deleted) == lookup.tag.isDelete)
    var entry = TestEntry(key, 0, .put, lookup.value.array)
    entry.tag = lookup.tag.word
    return entry
  }

  func problems() -> [StoreError] {
    var problems: [StoreError] = []
    verify { problems.append($0) }
    return problems
  }
}

extension SourceCursor {
  func seek(_ key: [UInt8], tag: UInt64) throws(StoreError) {
    try key.withByteView { (view) throws(StoreError) in try seek(view, Tag(word: tag)) }
  }

  func seekBefore(_ key: [UInt8]) throws(StoreError) {
    try key.withByteView { (view) throws(StoreError) in try seekBefore(view) }
  }

  func rest() throws(StoreError) -> [TestEntry] {
    var entries: [TestEntry] = []
    while isValid {
      entries.append(TestEntry(self))
      try next()
    }
    return entries
  }

  func restBackward() throws(StoreError) -> [TestEntry] {
    var entries: [TestEntry] = []
    while isValid {
      entries.append(TestEntry(self))
      try previous()
    }
    return entries.reversed()
  }
}

/// Sorted entries with shared prefixes, several versions, deletes and now and then a larger value.
func randomEntries(_ count: Int, _ random: inout TableRandom) -> [TestEntry] {
  var entries: [TestEntry] = []
  while entries.count < count {
    let key = random.bytes(1 + random.below(8), alphabet: 3 + random.below(3))
    var sequence = UInt64(1 + random.below(1 << 20))
    for _ in 0..<(random.below(4) == 0 ? 1 + random.below(12) : 1) {
      let isDelete = random.below(5) == 0
      let length = random.below(20) == 0 ? random.below(2000) : random.below(30)
      entries.append(
        TestEntry(
          key, sequence, isDelete ? .delete : .put,
          isDelete ? [] : random.bytes(length, alphabet: 1 + random.below(255))))
      sequence += UInt64(1 + random.below(1000))
    }
  }
  entries.sort()
  var unique: [TestEntry] = []
  for entry in entries
  where unique.last.map({ $0.key != entry.key || $0.tag >> 8 != entry.tag >> 8 }) ?? true {
    unique.append(entry)
  }
  return unique
}

func options(
  block: Int = 4096, interval: Int = 16, filter: Int = 10,
  _ compression: TreeOptions.Compression = .lz4
) -> TreeOptions {
  var options = TreeOptions()
  options.blockBytes = block
  options.restartInterval = interval
  options.filterBitsPerKey = filter
  options.compression = compression
  return options
}

extension TableReader {
  /// The range tombstones as reads see them.
  func rangeTombstoneFragments() -> [TableRangeTombstoneInfo] {
    guard let list = rangeTombstones else { return [] }
    return list.fragments.map { fragment in
      TableRangeTombstoneInfo(
        start: fragment.start.array, end: fragment.end.array,
        sequences: Array(list.sequences(of: fragment)))
    }
  }
}
