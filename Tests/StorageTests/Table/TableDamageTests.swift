import RoostEnvironment
import Testing

@testable import RoostStorage

/// What damaged, misdirected and forged files lead to: an error or the right answer; never anything
/// else.
// Budget: 20 s
@Suite struct TableDamageTests {
  static func small(
    _ compression: TreeOptions.Compression, identity: FileIdentity = TestTable.identity
  )
    throws -> TestTable
  {
    var entries: [TestEntry] = []
    for i in 0..<60 {
      let key = Array("key \(i / 2 * 2 + 100)".utf8)
      let isDelete = i % 7 == 3
      entries.append(
        TestEntry(
          key, UInt64(1000 - i), isDelete ? .delete : .put,
          isDelete ? [] : Array("value value value \(i)".utf8)))
    }
    return try TestTable(
      entries.sorted(), options(block: 256, interval: 4, compression), partitionBytes: 60,
      identity: identity,
      tombstones: [(from: Array("key 5".utf8), to: Array("key 6".utf8), sequences: [9, 3])])
  }

  /// Reads everything in every way. Each read must throw or be right.
  ///
  /// - Returns: how many reads threw.
  static func readAll(_ file: TableMemoryFile, like table: TestTable) throws -> Int {
    var thrown = 0
    var wrong = 0
    func attempt(_ body: () throws -> Bool) {
      do { if try !body() { wrong += 1 } } catch {
        thrown += 1
        let code = (error as? StoreError)?.code
        if code != .corruption && code != .newerFormat { wrong += 1 }
      }
    }
    do {
      let reader = try TestTable.open(file, table.summary)
      for entry in table.entries {
        attempt { try reader.find(entry.key, entry.tag >> 8) == entry }
        attempt { try reader.find(entry.key + [0]) == nil }
      }
      let cursor = TableCursor(reader)
      attempt {
        try cursor.seekToFirst()
        return try cursor.rest() == table.entries
      }
      attempt {
        try cursor.seekToLast()
        return try cursor.restBackward() == table.entries
      }
      for (index, entry) in table.entries.enumerated() {
        attempt {
          try cursor.seek(entry.key, tag: entry.tag)
          return cursor.isValid && TestEntry(cursor) == table.entries[index]
        }
      }
      let whole = TableCursor(reader, purpose: .compaction)
      attempt {
        try whole.seekToFirst()
        return try whole.rest() == table.entries
      }
      let inspection = try TableInspection(file)
      _ = try? inspection.rangeTombstones()
      let fragments = reader.rangeTombstoneFragments()
      attempt { fragments.map(\.sequences) == [[9, 3]] && fragments[0].end == Array("key 6".utf8) }
      if reader.problems().isEmpty {
        attempt { file.bytes == table.file.bytes }
      } else {
        thrown += 1
      }
      inspection.forEachBlock { _ in }
    } catch {
      thrown += 1
    }
    #expect(wrong == 0, replay)
    return thrown
  }

  @Test(arguments: [TreeOptions.Compression.none, .lz4])
  func everyByteFlipped(_ compression: TreeOptions.Compression) throws {
    let table = try Self.small(compression)
    #expect(try Self.readAll(table.file, like: table) == 0)
    for offset in table.file.bytes.indices {
      let file = TableMemoryFile(table.file.bytes)
      file.bytes[offset] ^= UInt8(1 << (offset % 8))
      let thrown = try Self.readAll(file, like: table)
      #expect(thrown > 0, "nothing noticed the change at \(offset)")
    }
  }

  @Test func everyLength() throws {
    let table = try Self.small(.lz4)
    for length in 0..<table.file.bytes.count {
      let file = TableMemoryFile(Array(table.file.bytes.prefix(length)))
      let error = #expect(throws: StoreError.self) { _ = try TestTable.open(file, table.summary) }
      #expect(error?.code == .corruption)
      #expect(throws: StoreError.self) { _ = try TableReader.inspect(file: file) }
    }
    let longer = TableMemoryFile(table.file.bytes + [0])
    #expect(throws: StoreError.self) { _ = try TestTable.open(longer, table.summary) }
  }

  @Test func rubbish() throws {
    var random = TableRandom(40)
    let table = try Self.small(.lz4)
    for _ in 0..<500 {
      let file = TableMemoryFile(table.file.bytes)
      let start = random.below(file.bytes.count)
      let end = min(file.bytes.count, start + 1 + random.below(60))
      for i in start..<end { file.bytes[i] = UInt8(random.below(256)) }
      _ = try Self.readAll(file, like: table)
    }
    for size in [0, 1, 127, 128, 129, 5000] {
      #expect(throws: StoreError.self) {
        _ = try TableReader.inspect(file: TableMemoryFile(random.bytes(size)))
      }
    }
  }

  /// Rule 7: a block that was written elsewhere is not this block.
  @Test func misdirectedBlocks() throws {
    let table = try Self.small(.none)
    let other = try Self.small(.none, identity: FileIdentity(low: 5, high: 6))
    var blocks: [TableBlockInfo] = []
    try TableInspection(table.file).forEachBlock { blocks.append($0) }
    let data = blocks.filter { $0.kind == .data }
    let pair = try #require(
      data.lazy.flatMap { a in data.map { (a.handle, $0.handle) } }
        .first { $0.0.offset < $0.1.offset && $0.0.size == $0.1.size })
    func stored(_ file: TableMemoryFile, _ handle: BlockHandle) -> [UInt8] {
      Array(file.bytes[Int(handle.offset)..<Int(handle.end)])
    }
    func replace(_ handle: BlockHandle, _ bytes: [UInt8]) -> TableMemoryFile {
      let file = TableMemoryFile(table.file.bytes)
      file.bytes.replaceSubrange(Int(handle.offset)..<Int(handle.end), with: bytes)
      return file
    }
    let (first, second) = pair
    let moved = replace(second, stored(table.file, first))
    #expect(try Self.readAll(moved, like: table) > 0)
    let foreign = replace(first, stored(other.file, first))
    #expect(other.file.bytes.count == table.file.bytes.count)
    #expect(try Self.readAll(foreign, like: table) > 0)

    // Without identity and offset in the seed both would pass: the bytes are whole, and valid where
    // they were written.
    moved.bytes.withByteView { bytes in
      let block = bytes.slice(Int(second.offset), Int(second.end))
      #expect(TableReader.isIntact(block, at: first.offset, TestTable.identity))
      #expect(!TableReader.isIntact(block, at: second.offset, TestTable.identity))
    }
    foreign.bytes.withByteView { bytes in
      let block = bytes.slice(Int(first.offset), Int(first.end))
      #expect(TableReader.isIntact(block, at: first.offset, FileIdentity(low: 5, high: 6)))
      #expect(!TableReader.isIntact(block, at: first.offset, TestTable.identity))
    }
  }

  @Test func anotherFileInItsPlace() throws {
    let table = try Self.small(.lz4)
    let other = try Self.small(.lz4, identity: FileIdentity(low: 5, high: 6))
    #expect(table.summary == other.summary)
    let error = #expect(throws: StoreError.self) {
      _ = try TestTable.open(other.file, table.summary)
    }
    #expect(error?.code == .corruption)
    #expect(error?.file == "memory.sst")
    for (number, tree) in [(UInt64(8), UInt64(3)), (7, 4)] {
      #expect(throws: StoreError.self) {
        _ = try TableReader.open(
          file: table.file, number: number, expecting: TestTable.identity,
          byteSize: table.summary.byteSize, treeID: tree, cache: BlockCache(capacity: 0))
      }
    }
  }

  @Test func aLaterFormatSaysSo() throws {
    let table = try Self.small(.lz4)
    let file = TableMemoryFile(table.file.bytes)
    let start = file.bytes.count - 128
    file.bytes[start + 108] = 2
    let hash = Array(file.bytes[start..<(start + 112)]).withByteView { XXH64.hash($0) }
    for i in 0..<8 {
      file.bytes[start + 112 + i] = UInt8(truncatingIfNeeded: hash >> UInt64(8 * i))
    }
    let error = #expect(throws: StoreError.self) { _ = try TestTable.open(file, table.summary) }
    #expect(error?.code == .newerFormat)
  }

  @Test func errorsNameThePlace() throws {
    let table = try Self.small(.lz4)
    let file = TableMemoryFile(table.file.bytes)
    file.bytes[3] ^= 1
    let reader = try TestTable.open(file, table.summary)
    let error = #expect(throws: StoreError.self) { _ = try reader.find(table.entries[0].key) }
    #expect(error?.code == .corruption)
    #expect(error?.file == "memory.sst")
    #expect(error?.offset == 0)
    // The rest of the table is still there.
    #expect(try reader.find(table.entries.last!.key, 2000) != nil)
  }

  @Test func aBlockIsReadTwiceBeforeItCountsAsDamaged() throws {
    let table = try Self.small(.lz4)
    let file = TableMemoryFile(table.file.bytes)
    let reader = try TestTable.open(file, table.summary)
    // Every other read goes wrong, on the way and not on the disk.
    let good = file.bytes
    var bad = good
    for i in bad.indices { bad[i] ^= 0x10 }
    let flipped = bad
    let start = file.reads
    file.onRead = { file.bytes = ($0 - start) % 2 == 0 ? flipped : good }
    let cursor = TableCursor(reader)
    try cursor.seekToFirst()
    #expect(try cursor.rest() == table.entries)
    file.onRead = nil
    file.bytes = good
  }

  /// Bytes that someone meant to be believed: valid checksums over changed contents.
  @Test(arguments: [TreeOptions.Compression.none, .lz4])
  func forgedBlocksNeverTrap(_ compression: TreeOptions.Compression) throws {
    var random = TableRandom(41)
    let table = try Self.small(compression)
    var handles: [BlockHandle] = []
    try TableInspection(table.file).forEachBlock { handles.append($0.handle) }
    let entryKeys = table.entries.map(\.key)
    for round in 0..<3000 {
      let file = TableMemoryFile(table.file.bytes)
      for _ in 0...random.below(2) {
        let handle = handles[random.below(handles.count)]
        let start = Int(handle.offset)
        let covered = Int(handle.size) + 1
        for _ in 0...random.below(3) {
          let interesting: [UInt8] = [0, 1, 0x7F, 0x80, 0xFF, UInt8(random.below(256))]
          // Half of them near the end, where restarts are.
          let back = random.below(2) == 0 ? random.below(min(covered, 16)) : random.below(covered)
          file.bytes[start + covered - 1 - back] = interesting[random.below(6)]
        }
        let hash = Array(file.bytes[start..<(start + covered)]).withByteView {
          XXH64.hash($0, seed: TableFormat.seed(TestTable.identity, offset: handle.offset))
        }
        for i in 0..<8 {
          file.bytes[start + covered + i] = UInt8(truncatingIfNeeded: hash >> UInt64(8 * i))
        }
      }
      // Any answer is one, and so is an error: but the process lives, and every walk ends.
      guard let reader = try? TestTable.open(file, table.summary) else { continue }
      for _ in 0..<10 { _ = try? reader.find(entryKeys[random.below(entryKeys.count)]) }
      let cursor = TableCursor(reader, purpose: round % 2 == 0 ? .read : .compaction)
      func walk(_ move: () throws(StoreError) -> Void) {
        for _ in 0..<3000 where cursor.isValid { if (try? move()) == nil { break } }
      }
      if (try? cursor.seekToFirst()) != nil { walk { () throws(StoreError) in try cursor.next() } }
      if (try? cursor.seekToLast()) != nil {
        walk { () throws(StoreError) in try cursor.previous() }
      }
      for _ in 0..<10 {
        _ = try? cursor.seek(entryKeys[random.below(entryKeys.count)], tag: .max)
        if cursor.isValid { _ = try? cursor.previous() }
        _ = try? cursor.seekBefore(entryKeys[random.below(entryKeys.count)])
      }
      _ = reader.problems()
      let inspection = try TableInspection(file)
      inspection.forEachBlock { if $0.kind == .data { _ = inspection.entries(of: $0.handle) } }
    }
  }
}
