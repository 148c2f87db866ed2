import RoostEnvironment

/// What a point lookup found. Reused from lookup to lookup, so that it costs no allocation.
struct TableLookup {
  enum Outcome: UInt8 {
    /// The table says nothing of the key as of that sequence number.
    case absent
    /// The newest entry deletes it.
    case deleted
    case found
  }

  var outcome = Outcome.absent
  /// The entry's tag, unless absent: range tombstones above its sequence number hide it.
  var tag = Tag(word: 0)
  /// The value's bytes in `pin`.
  var value = ByteView.empty
  var pin: Block?

  init() {}
}

/// What blocks are read for.
enum ReadPurpose {
  /// Someone's read: blocks go into the cache.
  case read
  /// A pass over everything: blocks that are not in the cache stay out of it, and reading ahead
  /// begins at once.
  case compaction
}

/// An open table file. The format stands in TableFormat.swift.
///
/// Holds the top index and the range tombstones in memory, and the filters and index partitions that
/// lookups asked for as far as the cache's capacity allows (``HeldBlocks``); all else goes through the
/// cache. Everything read is checked: where a block's checksum does not
/// match, it is read once more, and then `.corruption` names the file and the offset.
///
/// Immutable, thread-safe. The file is closed when the reader is released, if nobody else holds it.
package final class TableReader: Sendable {
  let file: any File
  package let number: UInt64
  package let treeID: UInt64
  package let identity: FileIdentity
  let byteSize: UInt64
  let cache: BlockCache
  let cacheID: UInt64
  let footer: TableFooter
  let topIndex: Block
  private let held: HeldBlocks
  /// Blocks lie before here.
  let blocksEnd: UInt64
  /// What the table's properties say.
  package let summary: TableSummary
  /// The table's range tombstones, or `nil` where it has none.
  let rangeTombstones: RangeTombstoneList?

  private init(
    file: any File, byteSize: UInt64, footer: TableFooter, cache: BlockCache, topIndex: Block,
    rangeTombstones: RangeTombstoneList?, summary: TableSummary
  ) {
    self.file = file
    self.byteSize = byteSize
    self.footer = footer
    self.cache = cache
    self.topIndex = topIndex
    held = HeldBlocks(topIndex: topIndex)
    self.rangeTombstones = rangeTombstones
    self.summary = summary
    number = footer.fileNumber
    treeID = footer.treeID
    identity = footer.identity
    cacheID = cache.makeID()
    blocksEnd = byteSize - UInt64(TableFormat.footerBytes)
  }

  deinit { held.forEach { cache.letGo($0, cacheID) } }

  /// Opens a table and checks that it is the one expected.
  ///
  /// - Throws: `.corruption` where size, identity, number or tree differ or the footer, the top
  ///   index, the properties or the range tombstones are damaged; `.newerFormat`; `.io`.
  static func open(
    file: any File, number: UInt64, expecting identity: FileIdentity, byteSize: UInt64,
    treeID: UInt64, cache: BlockCache
  ) throws(StoreError) -> TableReader {
    try open(file: file, cache: cache) { (footer, size) throws(StoreError) in
      func check(_ ok: Bool, _ what: @autoclosure () -> String) throws(StoreError) {
        if !ok { throw .corruption(what(), file: file.path.string) }
      }
      try check(size == byteSize, "the table has \(size) bytes and should have \(byteSize)")
      guard let footer else { return }
      try check(
        footer.identity == identity,
        "the table's identity is not the one expected: another file stands in its place")
      try check(
        footer.fileNumber == number,
        "the table calls itself number \(footer.fileNumber), not \(number)")
      try check(
        footer.treeID == treeID, "the table belongs to tree \(footer.treeID), not \(treeID)")
    }
  }

  /// Opens a table of which nothing is known, to look into it.
  static func inspect(file: any File) throws(StoreError) -> TableReader {
    try open(file: file, cache: BlockCache(capacity: 0)) { _, _ throws(StoreError) in }
  }

  /// `check` is called with the file's size and, once it is read, the footer.
  private static func open(
    file: any File, cache: BlockCache,
    check: (TableFooter?, UInt64) throws(StoreError) -> Void
  ) throws(StoreError) -> TableReader {
    let path = file.path.string
    let size = try doing("open table \(path)") { () throws(FileSystemError) in try file.size() }
    let footerBytes = TableFormat.footerBytes
    guard size >= footerBytes else {
      throw .corruption("the file is too short for a table: \(size) bytes", file: path)
    }
    let byteSize = UInt64(size)
    try check(nil, byteSize)
    let end = byteSize - UInt64(footerBytes)
    let buffer = try StoredBytes(file, at: end, count: footerBytes, alignment: 16)
    var footer = TableFooter()
    do {
      footer = try TableFooter.decode(buffer.view, file: path, fileSize: byteSize)
    } catch {
      // Once more, as for blocks.
      let again = try StoredBytes(file, at: end, count: footerBytes, alignment: 16)
      footer = try TableFooter.decode(again.view, file: path, fileSize: byteSize)
    }
    try check(footer, byteSize)
    func read(_ handle: BlockHandle, _ kind: BlockKind) throws(StoreError) -> Block {
      try readBlock(handle, kind, file: file, identity: footer.identity, blocksEnd: end)
    }
    let topIndex = try read(footer.topIndex, .topIndex)
    let properties = try read(footer.properties, .properties)
    guard let pairs = TableProperties.decode(properties.view),
      let summary = TableProperties.summary(pairs, byteSize: byteSize)
    else {
      throw .corruption(
        "the properties are damaged", file: path, offset: Int64(clamping: footer.properties.offset))
    }
    var rangeTombstones: RangeTombstoneList?
    if !footer.rangeTombstones.isNone {
      let block = try read(footer.rangeTombstones, .rangeTombstones)
      guard let list = RangeTombstoneBlock.decode(block.view) else {
        throw .corruption(
          "the range tombstones are damaged", file: path,
          offset: Int64(clamping: footer.rangeTombstones.offset))
      }
      rangeTombstones = list
    }
    return TableReader(
      file: file, byteSize: byteSize, footer: footer, cache: cache, topIndex: topIndex,
      rangeTombstones: rangeTombstones, summary: summary)
  }

  var path: String { file.path.string }

  @inline(never)
  func damaged(_ what: String, _ handle: BlockHandle) -> StoreError {
    .corruption(what, file: path, offset: Int64(clamping: handle.offset))
  }

  // MARK: Lookup

  /// Looks for the newest entry of `key` whose sequence number is at most `sequence`.
  ///
  /// - Parameter hash: ``BloomFilter/hash(_:)`` of the key, computed once for all tables asked.
  /// - Throws: `.corruption`, `.io`; the result is then absent.
  /// - Complexity: O(log n) comparisons; at most a filter, an index partition and a data block are
  ///   read, more only where versions of the key span blocks.
  func get(
    _ key: ByteView, hash: UInt64, at sequence: UInt64, into result: inout TableLookup
  ) throws(StoreError) {
    result.outcome = .absent
    result.value = .empty
    let top = BlockCursor<TopEntry>.find(topIndex, key, order: 0)
    guard top.step == .entry else {
      if top.step == .damaged { throw damaged("the top index is damaged", footer.topIndex) }
      return
    }
    if !top.payload.filter.isNone {
      let mayContain: Bool
      if let filter = unsafe held.find(top.offset, .filter) {
        mayContain = unsafe filter.borrow { Self.mayContain($0, hash) }
      } else {
        mayContain = Self.mayContain(try hold(top.payload.filter, .filter, top.offset, .filter), hash)
      }
      if !mayContain { return }
    }
    let index: BlockCursor<PartitionEntry>.Found
    if let partition = unsafe held.find(top.offset, .partition) {
      index = unsafe partition.borrow { BlockCursor<PartitionEntry>.find($0, key, order: 0) }
    } else {
      index = BlockCursor<PartitionEntry>.find(
        try hold(top.payload.partition, .partitionIndex, top.offset, .partition), key, order: 0)
    }
    guard index.step == .entry else {
      throw damaged("the index partition is damaged", top.payload.partition)
    }
    let data = try block(index.payload.block, .data)
    let found = BlockCursor<DataEntry>.find(data, key, order: Tag.seek(sequence).word)
    switch found.step {
    case .entry:
      guard found.isEqual else { return }
      result.outcome = found.payload.tag.isDelete ? .deleted : .found
      result.tag = found.payload.tag
      result.value = found.value
      result.pin = data
    case .end:
      // Older versions may follow in the next block.
      if index.isEqual { try getByCursor(key, sequence, into: &result) }
    case .damaged:
      throw damaged("the data block is damaged", index.payload.block)
    }
  }

  @inline(__always)
  private static func mayContain(_ filter: Block, _ hash: UInt64) -> Bool {
    BloomFilter.mayContain(
      filter.view, lineCount: filter.filterLineCount, probeCount: filter.filterProbeCount, hash: hash)
  }

  /// A block that an entry of the top index leads to, held from now on where the cache allows it.
  @inline(never)
  private func hold(
    _ handle: BlockHandle, _ kind: BlockKind, _ entry: Int, _ slot: HeldBlocks.Kind
  ) throws(StoreError) -> Block {
    let block = try block(handle, kind)
    if cache.hold(block, cacheID), !held.keep(block, entry, slot) { cache.letGo(block, cacheID) }
    return block
  }

  /// The index partition that an entry of the top index leads to.
  ///
  /// - Parameter entry: where the entry begins.
  func partition(_ handle: BlockHandle, at entry: Int) throws(StoreError) -> Block {
    if let block = unsafe held.find(entry, .partition) { return unsafe block.takeUnretainedValue() }
    return try hold(handle, .partitionIndex, entry, .partition)
  }

  @inline(never)
  private func getByCursor(
    _ key: ByteView, _ sequence: UInt64, into result: inout TableLookup
  ) throws(StoreError) {
    let cursor = TableCursor(self)
    try cursor.seek(key, Tag.seek(sequence))
    guard cursor.isValid, cursor.key == key else { return }
    result.outcome = cursor.tag.isDelete ? .deleted : .found
    result.tag = cursor.tag
    result.value = cursor.value
    result.pin = cursor.pinnedBlock
  }

  // MARK: Blocks

  /// A block from the cache, or else from the file and then into the cache.
  @inline(__always)
  func block(_ handle: BlockHandle, _ kind: BlockKind) throws(StoreError) -> Block {
    if let block = cache.lookup(cacheID, handle.offset) {
      // A damaged handle may lead to a block of another kind.
      guard block.kind == kind, block.storedSize == handle.size else {
        throw damaged("a handle leads to another block than it says", handle)
      }
      return block
    }
    return try readAndCache(handle, kind)
  }

  @inline(never)
  private func readAndCache(_ handle: BlockHandle, _ kind: BlockKind) throws(StoreError) -> Block {
    let block = try readBlock(handle, kind)
    cache.insert(block, cacheID, handle.offset)
    return block
  }

  /// A block from the file.
  func readBlock(_ handle: BlockHandle, _ kind: BlockKind) throws(StoreError) -> Block {
    try Self.readBlock(handle, kind, file: file, identity: identity, blocksEnd: blocksEnd)
  }
}
