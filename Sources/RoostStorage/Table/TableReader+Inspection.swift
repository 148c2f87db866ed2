package import RoostEnvironment

/// What stands in a table file, for people: `roost dump`.
package struct TableBlockInfo: Sendable {
  package var kind: BlockKind
  package var handle: BlockHandle
  /// `none`, `lz4`, or a number nobody knows.
  package var compression: String
  /// Bytes of contents once decompressed.
  package var contentsBytes: Int
  package var entryCount: Int
  /// The key that leads to the block, for data blocks, partitions and filters.
  package var separator: [UInt8]
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

/// Keys from `start` up to `end` that are deleted, once for every sequence number.
package struct TableRangeTombstoneInfo: Sendable {
  package var start: [UInt8]
  package var end: [UInt8]
  package var sequences: [UInt64]
}

extension TableReader {
  /// Opens a table of which nothing is known, to look into it.
  ///
  /// - Throws: what opening a table throws.
  package static func opening(_ file: any File) throws(StoreError) -> TableReader {
    try inspect(file: file)
  }

  /// The footer's fields, as names and values.
  package var footerFields: [(name: String, value: String)] {
    func text(_ handle: BlockHandle) -> String {
      handle.isNone ? "none" : "offset \(handle.offset), \(handle.size) bytes"
    }
    let digits = { (word: UInt64) in
      let text = String(word, radix: 16)
      return String(repeating: "0", count: 16 - text.count) + text
    }
    return [
      ("top index", text(footer.topIndex)),
      ("range tombstones", text(footer.rangeTombstones)),
      ("properties", text(footer.properties)),
      ("identity", digits(identity.high) + digits(identity.low)),
      ("tree", "\(treeID)"),
      ("file number", "\(number)"),
      ("format version", "\(TableFormat.version)"),
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

  package func rangeTombstoneFragments() -> [TableRangeTombstoneInfo] {
    guard let list = rangeTombstones else { return [] }
    return list.fragments.map { fragment in
      TableRangeTombstoneInfo(
        start: fragment.start.array, end: fragment.end.array,
        sequences: Array(list.sequences(of: fragment)))
    }
  }

  /// Calls `body` with every block that can be found, partition by partition. Damaged blocks come with their
  /// problem; what only they lead to is missing.
  package func forEachBlock<E: Error>(_ body: (TableBlockInfo) throws(E) -> Void) throws(E) {
    var top = BlockCursor<TopEntry>()
    var partition = BlockCursor<PartitionEntry>()
    defer {
      top.destroy()
      partition.destroy()
    }
    top.enter(topIndex)
    while top.next(from: topIndex) == .entry {
      let separator = top.key.array
      if !top.payload.filter.isNone {
        try body(look(top.payload.filter, .filter, separator).info)
      }
      let found = look(top.payload.partition, .partitionIndex, separator)
      try body(found.info)
      guard let block = found.block else { continue }
      partition.enter(block)
      while partition.next(from: block) == .entry {
        try body(look(partition.payload.block, .data, partition.key.array).info)
      }
    }
    if !footer.rangeTombstones.isNone {
      try body(look(footer.rangeTombstones, .rangeTombstones, []).info)
    }
    try body(look(footer.properties, .properties, []).info)
    try body(look(footer.topIndex, .topIndex, []).info)
  }

  /// The entries of a data block, up to the first that is damaged.
  ///
  /// - Throws: `.corruption`, `.io` where the block cannot be read.
  package func entries(of handle: BlockHandle) throws(StoreError) -> [TableEntryInfo] {
    let block = try readBlock(handle, .data)
    var entries: [TableEntryInfo] = []
    var cursor = BlockCursor<DataEntry>()
    defer { cursor.destroy() }
    cursor.enter(block)
    while cursor.next(from: block) == .entry {
      let tag = cursor.payload.tag
      entries.append(
        TableEntryInfo(
          offset: cursor.offset, key: cursor.key.array, sequence: tag.sequence,
          isDelete: tag.isDelete, value: cursor.value.array))
    }
    return entries
  }

  private func look(
    _ handle: BlockHandle, _ kind: BlockKind, _ separator: [UInt8]
  ) -> (info: TableBlockInfo, block: Block?) {
    var info = TableBlockInfo(
      kind: kind, handle: handle, compression: "", contentsBytes: 0, entryCount: 0,
      separator: separator)
    do {
      let block = try readBlock(handle, kind)
      info.contentsBytes = block.count
      info.compression = try compression(of: handle)
      switch kind {
      case .data: info.entryCount = count(DataEntry.self, block)
      case .partitionIndex: info.entryCount = count(PartitionEntry.self, block)
      case .topIndex: info.entryCount = count(TopEntry.self, block)
      default: break
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

  private func count<Payload: EntryPayload>(_: Payload.Type, _ block: Block) -> Int {
    var cursor = BlockCursor<Payload>()
    defer { cursor.destroy() }
    cursor.enter(block)
    var count = 0
    while cursor.next(from: block) == .entry { count += 1 }
    return count
  }
}

extension BlockCursor {
  /// To the next entry of the block just entered, the first to begin with.
  fileprivate mutating func next(from block: borrowing Block) -> BlockStep {
    isBeforeFirst ? seekToFirst() : next()
  }
}
