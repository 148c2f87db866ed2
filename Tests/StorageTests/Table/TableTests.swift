import RoostEnvironment
import Testing

@testable import RoostStorage

/// Tables give back what was put in, whatever their options.
// Budget: 10 s
@Suite struct TableTests {
  struct Case: CustomTestStringConvertible {
    var options: TreeOptions
    var partitionBytes: Int
    var testDescription: String {
      "\(options.blockBytes)/\(options.restartInterval)/\(options.filterBitsPerKey)/"
        + "\(options.compression)/\(partitionBytes)"
    }
  }

  static let cases: [Case] = [256, 1024, 4096].flatMap { block in
    [1, 2, 16, 256].flatMap { interval in
      [(0, TreeOptions.Compression.none), (10, .lz4)].map { filter, compression in
        Case(
          options: options(block: block, interval: interval, filter: filter, compression),
          partitionBytes: block == 4096 ? 4096 : 100)
      }
    }
  }

  @Test(arguments: cases) func answersAsAModelDoes(_ test: Case) throws {
    var random = TableRandom(1)
    let table = try TestTable(
      randomEntries(1500, &random), test.options, partitionBytes: test.partitionBytes)
    let entries = table.entries
    let reader = try table.open()
    #expect(reader.problems().isEmpty, replay)
    #expect(reader.summary == table.summary)

    for purpose in [ReadPurpose.read, .compaction] {
      let cursor = TableCursor(reader, purpose: purpose)
      try cursor.seekToFirst()
      #expect(try cursor.rest() == entries, replay)
      try cursor.seekToLast()
      #expect(try cursor.restBackward() == entries, replay)
    }

    let cursor = TableCursor(reader)
    for _ in 0..<800 {
      var key = random.bytes(1 + random.below(9), alphabet: 6)
      if random.below(2) == 0 { key = entries[random.below(entries.count)].key }
      let sequence = UInt64(random.below(1 << 20))
      #expect(try reader.find(key, sequence) == table.expected(key, sequence), replay)

      let tag = Tag.seek(sequence).word
      let index = table.lowerBound(key, tag)
      try cursor.seek(key, tag: tag)
      #expect(cursor.isValid == (index < entries.count), replay)
      if cursor.isValid { #expect(TestEntry(cursor) == entries[index], replay) }
      // A few steps either way from there.
      var at = index
      for _ in 0..<random.below(6) where cursor.isValid {
        if random.below(2) == 0 {
          at += 1
          try cursor.next()
        } else {
          at -= 1
          try cursor.previous()
        }
        #expect(cursor.isValid == entries.indices.contains(at), replay)
        if cursor.isValid { #expect(TestEntry(cursor) == entries[at], replay) }
      }

      let before = table.lowerBound(key, .max) - 1
      try cursor.seekBefore(key)
      #expect(cursor.isValid == (before >= 0), replay)
      if cursor.isValid { #expect(TestEntry(cursor) == entries[before], replay) }
    }
  }

  /// Filters and index partitions are the reader's once they were asked for, as far as the cache lets it.
  @Test func holdsWhatEachLookupAsksFor() throws {
    var random = TableRandom(2)
    let table = try TestTable(
      randomEntries(1500, &random), options(block: 256, interval: 4, filter: 10, .none),
      partitionBytes: 100)
    func findAll(_ reader: TableReader) throws {
      for entry in table.entries {
        #expect(try reader.find(entry.key, 1 << 20) == table.expected(entry.key, 1 << 20), replay)
      }
    }
    for capacity in [0, 4_000, 60_000, 1 << 20] {
      let cache = BlockCache(capacity: capacity)
      var reader: TableReader? = try table.open(cache: cache)
      try findAll(reader!)
      let held = cache.statistics.heldByteCount
      #expect(held <= capacity / 2 && (held > 0) == (capacity > 0), "\(capacity)")
      let before = cache.statistics
      try findAll(reader!)
      let after = cache.statistics
      if capacity == 1 << 20 {
        #expect(after.heldByteCount == held, "all is held")
        // Mostly one block a lookup comes through the cache, that with the data: it was three.
        #expect(after.hits - before.hits < 2 * UInt64(table.entries.count), replay)
        #expect(after.misses == before.misses, replay)
      }
      // A cursor shows the same through what is held.
      let cursor = TableCursor(reader!)
      try cursor.seekToFirst()
      #expect(try cursor.rest() == table.entries, replay)
      #expect(cache.statistics.byteCount + cache.statistics.heldByteCount <= capacity)
      reader = nil
      _ = cursor
    }
    let cache = BlockCache(capacity: 1 << 20)
    do {
      let reader = try table.open(cache: cache)
      try findAll(reader)
      #expect(cache.statistics.heldByteCount > 0)
    }
    #expect(cache.statistics.heldByteCount == 0, "given back with the reader")
  }

  @Test func versionsOfOneKeySpanBlocksAndPartitions() throws {
    let key = Array("the key".utf8)
    var entries = [
      TestEntry(Array("a".utf8), 5, .put, [1]), TestEntry(Array("z".utf8), 5, .put, [2]),
    ]
    for version in 1...2000 {
      entries.append(
        TestEntry(
          key, UInt64(version * 10), version % 7 == 0 ? .delete : .put,
          version % 7 == 0 ? [] : Array("\(version)".utf8)))
    }
    let table = try TestTable(entries.sorted(), options(block: 256), partitionBytes: 60)
    let reader = try table.open()
    #expect(reader.problems().isEmpty)
    #expect(table.summary.dataBlockCount > 20)
    for sequence in UInt64(0)...20_010 where sequence % 3 == 0 || sequence % 10 == 0 {
      #expect(try reader.find(key, sequence) == table.expected(key, sequence))
    }
    let cursor = TableCursor(reader)
    for sequence in stride(from: UInt64(0), through: 20_000, by: 333) {
      try cursor.seek(key, tag: Tag.seek(sequence).word)
      #expect(TestEntry(cursor) == table.entries[table.lowerBound(key, Tag.seek(sequence).word)])
    }
    try cursor.seekBefore(key)
    #expect(cursor.key.array == Array("a".utf8))
    #expect(try reader.find(Array("the kez".utf8)) == nil)
  }

  @Test(arguments: [TreeOptions.Compression.none, .lz4])
  func takesTheLargestAndTheSmallest(_ compression: TreeOptions.Compression) throws {
    var random = TableRandom(2)
    let long = [UInt8](repeating: 0xFF, count: 65_535)
    let longer = [UInt8](repeating: 0xFE, count: 65_533) + [0]
    let entries = [
      TestEntry([0], 1, .put, []),
      TestEntry([0, 0], Tag.maxSequence, .put, []),
      TestEntry([0, 0], 0, .delete, []),
      TestEntry([1], 1, .put, random.bytes(10 << 20)),
      TestEntry([2], 1, .put, [UInt8](repeating: 7, count: 10 << 20)),
      TestEntry(longer, 1, .put, [1]),
      TestEntry(longer + [0], 1, .put, [2]),
      TestEntry(long, 1, .put, [3]),
    ].sorted()
    let table = try TestTable(entries, options(compression))
    let reader = try table.open()
    #expect(reader.problems().isEmpty, replay)
    for entry in entries {
      #expect(try reader.find(entry.key, entry.tag >> 8) == entry, replay)
    }
    let cursor = TableCursor(reader)
    try cursor.seekToFirst()
    #expect(try cursor.rest() == entries)
    try cursor.seekToLast()
    #expect(try cursor.restBackward() == entries)
    #expect(table.summary.largest == long)
    if compression == .lz4 { #expect(table.summary.byteSize < 11 << 20) }
  }

  @Test func aTableOfNothing() throws {
    let table = try TestTable([])
    let reader = try table.open()
    #expect(reader.problems().isEmpty)
    #expect(try reader.find([1]) == nil)
    let cursor = TableCursor(reader)
    try cursor.seekToFirst()
    #expect(!cursor.isValid)
    try cursor.seekToLast()
    #expect(!cursor.isValid)
    try cursor.seek([1], tag: .max)
    #expect(!cursor.isValid)
    try cursor.seekBefore([1])
    #expect(!cursor.isValid)
    #expect(table.file.syncs == 1)
  }

  @Test func boundsIncludeRangeTombstones() throws {
    let entries = [TestEntry([5], 10, .put, [1]), TestEntry([9], 11, .delete, [])]
    let table = try TestTable(
      entries,
      tombstones: [
        (from: [3], to: [5], sequences: [20, 4]), (from: [5], to: [9, 0], sequences: [7]),
      ])
    #expect(table.summary.smallest == [3])
    #expect(table.summary.largest == [9, 0])
    #expect(table.summary.largestIsExclusive)
    #expect(table.summary.rangeTombstoneCount == 3)
    #expect(table.summary.smallestSequence == 4 && table.summary.largestSequence == 20)
    let reader = try table.open()
    #expect(reader.problems().isEmpty)
    #expect(reader.summary == table.summary)
    let fragments = reader.rangeTombstoneFragments()
    #expect(try TableInspection(table.file).rangeTombstones().map(\.start) == fragments.map(\.start))
    #expect(fragments.map(\.start) == [[3], [5]])
    #expect(fragments.map(\.sequences) == [[20, 4], [7]])

    // A tombstone that ends at the last key does not make that bound exclusive.
    let ends = try TestTable(entries, tombstones: [(from: [6], to: [9], sequences: [7])])
    #expect(ends.summary.smallest == [5])
    #expect(ends.summary.largest == [9] && !ends.summary.largestIsExclusive)
    #expect(try ends.open().problems().isEmpty)

    let only = try TestTable([], tombstones: [(from: [6], to: [9], sequences: [7])])
    #expect(only.summary.smallest == [6] && only.summary.largest == [9])
    #expect(try only.open().problems().isEmpty)
    #expect(try only.open().find([7]) == nil)
  }

  @Test func refusesWhatIsOutOfOrder() throws {
    let bad: [[TestEntry]] = [
      [TestEntry([2], 1, .put, []), TestEntry([1], 1, .put, [])],
      [TestEntry([2], 1, .put, []), TestEntry([2], 1, .put, [])],
      [TestEntry([2], 1, .put, []), TestEntry([2], 2, .put, [])],
      [TestEntry([2, 1], 1, .put, []), TestEntry([2], 2, .put, [])],
      [TestEntry([], 1, .put, [])],
      [TestEntry([UInt8](repeating: 1, count: 65_536), 1, .put, [])],
    ]
    for entries in bad {
      let error = #expect(throws: StoreError.self) { _ = try TestTable(entries) }
      #expect(error?.code == .corruption)
    }
    for sequences in [[UInt64](), [1, 2], [3, 3]] {
      #expect(throws: StoreError.self) {
        _ = try TestTable([], tombstones: [(from: [1], to: [2], sequences: sequences)])
      }
    }
    #expect(throws: StoreError.self) {
      _ = try TestTable(
        [],
        tombstones: [(from: [1], to: [3], sequences: [1]), (from: [2], to: [4], sequences: [1])])
    }
  }

  @Test func inspectionNamesEveryBlockAndEntry() throws {
    var random = TableRandom(3)
    let table = try TestTable(
      randomEntries(300, &random), options(block: 512), partitionBytes: 100,
      tombstones: [(from: [1], to: [2], sequences: [9])])
    let reader = try TableInspection(table.file)
    var blocks: [TableBlockInfo] = []
    reader.forEachBlock { blocks.append($0) }
    #expect(blocks.allSatisfy { $0.problem == nil })
    var end: UInt64 = 0
    for block in blocks.sorted(by: { $0.handle.offset < $1.handle.offset }) {
      #expect(block.handle.offset == end)
      end = block.handle.end
    }
    #expect(end == table.summary.byteSize - 128)
    let entries = blocks.filter { $0.kind == .data }.flatMap { reader.entries(of: $0.handle).entries }
    #expect(entries.map(\.key) == table.entries.map(\.key))
    #expect(entries.map(\.value) == table.entries.map(\.value))
    let properties = try reader.properties()
    #expect(properties.first { $0.name == "entries" }?.number == UInt64(table.entries.count))
    #expect(reader.footerFields.first { $0.name == "tree" }?.value == "3")
  }

  /// Bytes and places as FORMAT.md shows them: a change here breaks every file that exists.
  @Test func bytesOfATinyTableAreAsTheyWere() throws {
    let entries = [
      TestEntry(Array("apple".utf8), 3, .put, Array("red".utf8)),
      TestEntry(Array("apple".utf8), 2, .delete, []),
      TestEntry(Array("apricot".utf8), 300, .put, Array("orange".utf8)),
    ]
    let table = try TestTable(entries, options(filter: 10, .none))
    let data: [UInt8] =
      [0, 5, 0x31, 3] + Array("applered".utf8)
      + [5, 0, 0x20]
      + [2, 5, 0xC1, 0x25, 6] + Array("ricotorange".utf8)
      + [0, 0, 0, 0, 1, 0, 0, 0]
    #expect(Array(table.file.bytes.prefix(data.count)) == data)
    let text = table.file.bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    #expect(text == goldenTable)
  }
}
