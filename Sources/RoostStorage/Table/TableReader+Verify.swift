extension TableReader {
  /// Reads everything in the table and checks what readers rely on:
  ///
  /// - every block's checksum and shape, and that blocks cover the file without gaps or overlap;
  /// - the order of entries, within blocks and across them, and that keys share as much as they
  ///   can;
  /// - separators: at least every key of their block, less than the next block's keys or equal to
  ///   them;
  /// - that each key passes its filter;
  /// - that the properties are true.
  ///
  /// Nothing goes into the cache, and nothing comes from it: the bytes on disk are what is checked.
  ///
  /// - Parameters:
  ///   - progress: called with the bytes of each block read.
  ///   - report: called with each problem; the check goes on with the next block.
  func verify(progress: (UInt64) -> Void = { _ in }, report: (StoreError) -> Void) {
    var check = TableCheck(self)
    check.run(progress, report)
  }
}

/// The state of one verification. Not thread-safe.
private struct TableCheck {
  private let reader: TableReader
  /// What the blocks say, to hold against the properties.
  private var counted = TableSummary()
  private var handles: [(handle: BlockHandle, kind: BlockKind)] = []
  /// Whether a block could not be read, so that sums and neighbours cannot be compared.
  private var isIncomplete = false

  private var lastKey: [UInt8] = []
  private var lastTag = Tag(word: 0)
  private var hasLast = false
  /// The separator of the data block before, and of the partition before.
  private var lastSeparator: [UInt8] = []
  private var lastTopSeparator: [UInt8] = []

  init(_ reader: TableReader) {
    self.reader = reader
    counted.smallestSequence = .max
    counted.byteSize = reader.byteSize
  }

  mutating func run(_ progress: (UInt64) -> Void, _ report: (StoreError) -> Void) {
    let footer = reader.footer
    // These were read when the table was opened, and are read again: the disk is what counts.
    guard let top = read(footer.topIndex, .topIndex, progress, report) else { return }
    _ = read(footer.properties, .properties, progress, report)
    if !footer.rangeTombstones.isNone {
      if let block = read(footer.rangeTombstones, .rangeTombstones, progress, report),
        !checkTombstones(block)
      {
        report(reader.damaged("the range tombstones are damaged", footer.rangeTombstones))
      }
    }
    var cursor = BlockCursor<TopEntry>()
    defer { cursor.destroy() }
    cursor.enter(top)
    var step = cursor.seekToFirst()
    while step == .entry {
      let separator = cursor.key.array
      checkPartition(cursor.payload, separator, progress, report)
      if !isIncomplete, lastSeparator != separator {
        report(
          reader.damaged(
            "a partition's separator is not that of its last block", cursor.payload.partition))
      }
      if separator.lexicographicallyPrecedes(lastTopSeparator) {
        report(reader.damaged("separators are out of order", footer.topIndex))
      }
      lastTopSeparator = separator
      step = cursor.next()
    }
    if step == .damaged {
      isIncomplete = true
      report(reader.damaged("the top index is damaged", footer.topIndex))
    }
    if !isIncomplete {
      checkCover(report)
      checkProperties(report)
    }
  }

  private mutating func read(
    _ handle: BlockHandle, _ kind: BlockKind, _ progress: (UInt64) -> Void,
    _ report: (StoreError) -> Void
  ) -> Block? {
    handles.append((handle, kind))
    do {
      let block = try reader.readBlock(handle, kind)
      progress(handle.size + UInt64(TableFormat.trailerBytes))
      return block
    } catch {
      isIncomplete = true
      report(error)
      return nil
    }
  }

  private mutating func checkTombstones(_ block: Block) -> Bool {
    var first: [UInt8]?
    var last: [UInt8] = []
    var count: UInt64 = 0
    var newest: UInt64 = 0
    var oldest = UInt64.max
    let isValid = RangeTombstoneBlock.forEach(block.view) { start, end, sequences in
      if first == nil { first = start.array }
      last = end.array
      count += UInt64(sequences.count)
      newest = max(newest, sequences.first ?? 0)
      oldest = min(oldest, sequences.last ?? .max)
    }
    counted.rangeTombstoneCount = count
    counted.largestSequence = newest
    counted.smallestSequence = oldest
    if let first {
      counted.smallest = first
      counted.largest = last
      counted.largestIsExclusive = true
    }
    return isValid
  }

  private mutating func checkPartition(
    _ entry: TopEntry, _ separator: [UInt8], _ progress: (UInt64) -> Void,
    _ report: (StoreError) -> Void
  ) {
    var filter: Block?
    if !entry.filter.isNone { filter = read(entry.filter, .filter, progress, report) }
    guard let partition = read(entry.partition, .partitionIndex, progress, report) else {
      lastSeparator = separator
      hasLast = false
      return
    }
    var cursor = BlockCursor<PartitionEntry>()
    defer { cursor.destroy() }
    cursor.enter(partition)
    var step = cursor.seekToFirst()
    while step == .entry {
      let separator = cursor.key.array
      let handle = cursor.payload.block
      if separator.lexicographicallyPrecedes(lastSeparator) {
        report(reader.damaged("separators are out of order", entry.partition))
      }
      if let block = read(handle, .data, progress, report) {
        checkData(block, handle, separator, filter, report)
        counted.dataBlockCount += 1
      } else {
        hasLast = false
      }
      lastSeparator = separator
      step = cursor.next()
    }
    if step == .damaged {
      isIncomplete = true
      report(reader.damaged("the index partition is damaged", entry.partition))
    }
  }

  private mutating func checkData(
    _ block: Block, _ handle: BlockHandle, _ separator: [UInt8], _ filter: Block?,
    _ report: (StoreError) -> Void
  ) {
    func problem(_ what: String, _ offset: Int) {
      report(reader.damaged("\(what), at byte \(offset) of the block's contents", handle))
    }
    var restarts: Set<Int> = []
    for i in 0..<block.restartCount {
      restarts.insert(Int(block.view.loadUInt32(at: block.entriesEnd + 4 * i)))
    }
    var cursor = BlockCursor<DataEntry>()
    defer { cursor.destroy() }
    cursor.enter(block)
    var step = cursor.seekToFirst()
    var isFirst = true
    while step == .entry {
      let key = cursor.key
      let tag = cursor.payload.tag
      let offset = cursor.offset
      let relation = lastKey.withByteView { $0.compare(key) }
      if hasLast, relation > 0 || relation == 0 && lastTag.word <= tag.word {
        problem("entries are out of order", offset)
      }
      if isFirst, !lastSeparator.isEmpty, lastSeparator.withByteView({ key < $0 }) {
        problem("a key is below the separator before its block", offset)
      }
      // Equal to the separator before only as a further version of the key before.
      if isFirst, hasLast, relation != 0, lastSeparator.withByteView({ key == $0 }) {
        problem("a key equals the separator before its block and is new", offset)
      }
      if separator.withByteView({ $0 < key }) {
        problem("a key is above its block's separator", offset)
      }
      var header = ByteReader(block.view, at: offset)
      let shared = Int(header.readVarint() ?? 0)
      let isRestart = restarts.remove(offset) != nil
      let possible = isRestart || isFirst ? 0 : lastKey.withByteView { $0.commonPrefix(with: key) }
      if shared != possible { problem("a key is not compressed as it should be", offset) }
      if let filter, !BloomFilter.mayContain(filter.view, hash: BloomFilter.hash(key)) {
        problem("the filter denies a key", offset)
      }
      count(key, tag, cursor.value.count)
      lastKey = key.array
      lastTag = tag
      hasLast = true
      isFirst = false
      step = cursor.next()
    }
    if step == .damaged {
      isIncomplete = true
      problem("an entry is damaged", cursor.nextOffset)
    } else if isFirst {
      problem("a data block without entries", 0)
    } else if !restarts.isEmpty {
      problem("a restart point lies within an entry", restarts.min() ?? 0)
    }
  }

  private mutating func count(_ key: ByteView, _ tag: Tag, _ valueBytes: Int) {
    if counted.entryCount == 0 {
      if counted.smallest.isEmpty || counted.smallest.withByteView({ key < $0 }) {
        counted.smallest = key.array
      }
    }
    if !counted.largestIsExclusive || counted.largest.withByteView({ $0 <= key }) {
      counted.largest = key.array
      counted.largestIsExclusive = false
    }
    counted.entryCount += 1
    if tag.isDelete { counted.deleteCount += 1 }
    counted.rawKeyBytes += UInt64(key.count)
    counted.rawValueBytes += UInt64(valueBytes)
    counted.smallestSequence = min(counted.smallestSequence, tag.sequence)
    counted.largestSequence = max(counted.largestSequence, tag.sequence)
  }

  private func checkCover(_ report: (StoreError) -> Void) {
    var end: UInt64 = 0
    for (handle, _) in handles.sorted(by: { $0.handle.offset < $1.handle.offset }) {
      if handle.offset != end {
        let what = handle.offset > end ? "bytes that belong to no block" : "blocks that overlap"
        report(reader.damaged("\(what), from offset \(end)", handle))
      }
      end = max(end, handle.end)
    }
    if end != reader.blocksEnd {
      report(reader.damaged("bytes before the footer belong to no block", reader.footer.topIndex))
    }
  }

  private mutating func checkProperties(_ report: (StoreError) -> Void) {
    if counted.smallestSequence == .max { counted.smallestSequence = 0 }
    if counted != reader.summary {
      report(
        reader.damaged(
          "the properties say \(reader.summary) and the contents \(counted)",
          reader.footer.properties))
    }
  }
}
