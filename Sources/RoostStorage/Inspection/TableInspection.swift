import RoostEnvironment

/// One block of a table file.
package struct TableBlockInfo: Sendable {
  package var kind: BlockKind
  package var handle: BlockHandle
  /// `none`, `lz4`, or a number nobody knows.
  package var compression = ""
  /// Bytes of contents once decompressed.
  package var contentsBytes = 0
  package var entryCount = 0
  /// The key that leads to the block, for data blocks, partitions and filters.
  package var separator: [UInt8] = []
  /// What is wrong with the block; the other numbers then mean little.
  package var problem: StoreError?
}

/// One entry of a data block.
package struct TableEntryInfo: Sendable {
  /// Where the entry begins in the block's contents.
  package var offset: Int
  package var key: [UInt8]
  package var sequence: UInt64
  package var isDelete: Bool
  package var value: [UInt8]
}

/// One entry of an index partition or of the top index.
package struct TableIndexEntryInfo: Sendable {
  /// At least every key of what the entry leads to.
  package var separator: [UInt8]
  /// A data block; in the top index, an index partition.
  package var block: BlockHandle
  /// In the top index, the partition's filter, if it has one.
  package var filter: BlockHandle?
}

/// Keys from `start` up to `end` that are deleted, once for every sequence number.
package struct TableRangeTombstoneInfo: Sendable {
  package var start: [UInt8]
  package var end: [UInt8]
  package var sequences: [UInt64]
}

/// Everything that stands in a table file, the damaged parts too, for people to look at.
///
/// Unlike `TableReader` it opens whatever has the length of a footer, and looks at each part by
/// itself: a part that is damaged throws or carries its problem, and the rest is still shown. A
/// damaged footer is taken at its word, since the checksums of the blocks it leads to cover what
/// matters in it.
///
/// Not thread-safe: the file is read anew at each call, and nothing is kept.
package struct TableInspection {
  private let file: any File
  private let footer: TableFooter
  private let blocksEnd: UInt64
  package let byteCount: UInt64
  package let formatVersion: UInt32
  /// What is wrong with the footer.
  package let footerProblem: StoreError?

  /// - Throws: `.corruption` where the file is too short for a footer; `.io`.
  package init(_ file: any File) throws(StoreError) {
    self.file = file
    let path = file.path.string
    let size = try doing("read a table's size") { () throws(FileSystemError) in try file.size() }
    let footerBytes = TableFormat.footerBytes
    guard size >= Int64(footerBytes) else {
      throw .corruption("the file is too short for a table: \(size) bytes", file: path, offset: 0)
    }
    byteCount = UInt64(size)
    blocksEnd = byteCount - UInt64(footerBytes)
    let stored = try StoredBytes(file, at: blocksEnd, count: footerBytes, alignment: 16)
    let bytes = stored.view
    formatVersion = bytes.loadUInt32(at: 108)
    do throws(StoreError) {
      footer = try TableFooter.decode(bytes, file: path, fileSize: byteCount)
      footerProblem = nil
    } catch {
      func handle(_ offset: Int) -> BlockHandle {
        BlockHandle(offset: bytes.loadUInt64(at: offset), size: bytes.loadUInt64(at: offset + 8))
      }
      footer = TableFooter(
        topIndex: handle(0), rangeTombstones: handle(16), properties: handle(32),
        identity: FileIdentity(low: bytes.loadUInt64(at: 48), high: bytes.loadUInt64(at: 56)),
        treeID: bytes.loadUInt64(at: 64), fileNumber: bytes.loadUInt64(at: 72))
      footerProblem = error
    }
  }

  package var footerOffset: UInt64 { blocksEnd }
  package var treeID: UInt64 { footer.treeID }
  package var fileNumber: UInt64 { footer.fileNumber }
  package var identity: FileIdentity { footer.identity }

  /// The footer's fields, as names and values.
  package var footerFields: [(name: String, value: String)] {
    func text(_ handle: BlockHandle) -> String {
      handle.isNone ? "none" : "offset \(handle.offset), \(handle.size) bytes"
    }
    return [
      ("top index", text(footer.topIndex)),
      ("range tombstones", text(footer.rangeTombstones)),
      ("properties", text(footer.properties)),
      ("identity", "\(identity)"),
      ("tree", "\(treeID)"),
      ("file number", "\(fileNumber)"),
      ("format version", "\(formatVersion)"),
    ]
  }

  /// The properties block, with numbers told apart from bytes.
  ///
  /// - Throws: `.corruption`, `.io`.
  package func properties() throws(StoreError) -> [(name: String, value: [UInt8], number: UInt64?)]
  {
    let block = try readBlock(footer.properties, .properties)
    guard let pairs = TableProperties.decode(block.view) else {
      throw damaged("the properties are damaged", footer.properties)
    }
    return pairs.map { pair in
      let isNumber = TableProperties.isNumber(pair.name)
      return (pair.name, pair.value, isNumber ? TableProperties.number(pair.value) : nil)
    }
  }

  /// The range tombstones' fragments, in order.
  ///
  /// - Throws: `.corruption`, `.io`.
  package func rangeTombstones() throws(StoreError) -> [TableRangeTombstoneInfo] {
    guard !footer.rangeTombstones.isNone else { return [] }
    let block = try readBlock(footer.rangeTombstones, .rangeTombstones)
    var fragments: [TableRangeTombstoneInfo] = []
    let isValid = RangeTombstoneBlock.forEach(block.view) { start, end, sequences in
      fragments.append(
        TableRangeTombstoneInfo(start: start.array, end: end.array, sequences: sequences))
    }
    guard isValid else { throw damaged("the range tombstones are damaged", footer.rangeTombstones) }
    return fragments
  }

  /// Calls `body` with every block that can be found, in the order in which they are written.
  /// Damaged blocks come with their problem; what only they lead to is missing.
  package func forEachBlock<E: Error>(_ body: (TableBlockInfo) throws(E) -> Void) throws(E) {
    let top = look(footer.topIndex, .topIndex)
    if let block = top.block {
      try forEachEntry(of: block, TopEntry.self) { (key, entry) throws(E) in
        let partition = look(entry.partition, .partitionIndex, key)
        if let block = partition.block {
          try forEachEntry(of: block, PartitionEntry.self) { (key, entry) throws(E) in
            try body(look(entry.block, .data, key).info)
          }
        }
        if !entry.filter.isNone { try body(look(entry.filter, .filter, key).info) }
        try body(partition.info)
      }
    }
    if !footer.rangeTombstones.isNone {
      try body(look(footer.rangeTombstones, .rangeTombstones).info)
    }
    try body(look(footer.properties, .properties).info)
    try body(top.info)
  }

  /// The entries of a data block, up to the first that is damaged, and the damage.
  package func entries(of handle: BlockHandle) -> (entries: [TableEntryInfo], problem: StoreError?)
  {
    var entries: [TableEntryInfo] = []
    do throws(StoreError) {
      let block = try readBlock(handle, .data)
      var cursor = BlockCursor<DataEntry>()
      defer { cursor.destroy() }
      cursor.enter(block)
      var step = cursor.seekToFirst()
      while step == .entry {
        let tag = cursor.payload.tag
        entries.append(
          TableEntryInfo(
            offset: cursor.offset, key: cursor.key.array, sequence: tag.sequence,
            isDelete: tag.isDelete, value: cursor.value.array))
        step = cursor.next()
      }
      return (entries, step == .damaged ? damagedEntry(handle, cursor.nextOffset) : nil)
    } catch {
      return (entries, error)
    }
  }

  /// The entries of an index partition or of the top index, up to the first that is damaged.
  ///
  /// - Throws: `.corruption`, `.io` where the block cannot be read.
  package func indexEntries(_ block: TableBlockInfo) throws(StoreError) -> [TableIndexEntryInfo] {
    let bytes = try readBlock(block.handle, block.kind)
    var entries: [TableIndexEntryInfo] = []
    if block.kind == .topIndex {
      forEachEntry(of: bytes, TopEntry.self) { (key, entry) throws(Never) in
        entries.append(
          TableIndexEntryInfo(
            separator: key, block: entry.partition,
            filter: entry.filter.isNone ? nil : entry.filter))
      }
    } else if block.kind == .partitionIndex {
      forEachEntry(of: bytes, PartitionEntry.self) { (key, entry) throws(Never) in
        entries.append(TableIndexEntryInfo(separator: key, block: entry.block))
      }
    }
    return entries
  }

  // MARK: -

  private func look(
    _ handle: BlockHandle, _ kind: BlockKind, _ separator: [UInt8] = []
  ) -> (info: TableBlockInfo, block: Block?) {
    var info = TableBlockInfo(kind: kind, handle: handle, separator: separator)
    do throws(StoreError) {
      let block = try readBlock(handle, kind)
      info.contentsBytes = block.count
      info.compression = try compression(of: handle)
      switch kind {
      case .data: count(DataEntry.self, block, &info)
      case .partitionIndex: count(PartitionEntry.self, block, &info)
      case .topIndex: count(TopEntry.self, block, &info)
      case .properties: info.entryCount = try properties().count
      case .rangeTombstones: info.entryCount = try rangeTombstones().count
      case .filter: break
      }
      return (info, block)
    } catch {
      info.problem = error
      return (info, nil)
    }
  }

  private func compression(of handle: BlockHandle) throws(StoreError) -> String {
    let byte = try StoredBytes(file, at: handle.offset + handle.size, count: 1, alignment: 16)
    switch TreeOptions.Compression(rawValue: byte.view[0]) {
    case .none?: return "none"
    case .lz4?: return "lz4"
    case nil: return "\(byte.view[0])"
    }
  }

  private func count<Payload: EntryPayload>(
    _: Payload.Type, _ block: Block, _ info: inout TableBlockInfo
  ) {
    var cursor = BlockCursor<Payload>()
    defer { cursor.destroy() }
    cursor.enter(block)
    var step = cursor.seekToFirst()
    while step == .entry {
      info.entryCount += 1
      step = cursor.next()
    }
    if step == .damaged { info.problem = damagedEntry(info.handle, cursor.nextOffset) }
  }

  /// The entries of an index block, up to the first that is damaged.
  private func forEachEntry<Payload: EntryPayload, E: Error>(
    of block: Block, _: Payload.Type, _ body: ([UInt8], Payload) throws(E) -> Void
  ) throws(E) {
    var cursor = BlockCursor<Payload>()
    defer { cursor.destroy() }
    cursor.enter(block)
    var step = cursor.seekToFirst()
    while step == .entry {
      try body(cursor.key.array, cursor.payload)
      step = cursor.next()
    }
  }

  private func readBlock(_ handle: BlockHandle, _ kind: BlockKind) throws(StoreError) -> Block {
    try TableReader.readBlock(handle, kind, file: file, identity: identity, blocksEnd: blocksEnd)
  }

  private func damaged(_ what: String, _ handle: BlockHandle) -> StoreError {
    .corruption(what, file: file.path.string, offset: Int64(clamping: handle.offset))
  }

  private func damagedEntry(_ handle: BlockHandle, _ offset: Int) -> StoreError {
    damaged("an entry is damaged, at byte \(offset) of the block's contents", handle)
  }
}
