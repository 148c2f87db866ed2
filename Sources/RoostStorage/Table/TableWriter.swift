import RoostEnvironment

/// What a finished table holds: what the manifest records of it, and its properties say again.
package struct TableSummary: Sendable, Equatable {
  /// Bytes of the file.
  package var byteSize: UInt64 = 0
  /// The least user key, range tombstones included. Empty in a table of nothing.
  package var smallest: [UInt8] = []
  /// The greatest user key, or the end of a range tombstone that reaches beyond all.
  package var largest: [UInt8] = []
  /// Whether `largest` itself lies outside: it is the end of a range tombstone.
  package var largestIsExclusive = false
  package var smallestSequence: UInt64 = 0
  package var largestSequence: UInt64 = 0
  /// Point entries, deletes included.
  package var entryCount: UInt64 = 0
  package var deleteCount: UInt64 = 0
  /// Range tombstone fragments times their sequence numbers.
  package var rangeTombstoneCount: UInt64 = 0
  /// Bytes of all keys and of all values before prefix compression and LZ4.
  package var rawKeyBytes: UInt64 = 0
  package var rawValueBytes: UInt64 = 0
  package var dataBlockCount: UInt64 = 0

  package init() {}
}

/// Writes one table file from entries in internal order. The format stands in TableFormat.swift.
///
/// 1. An entry that would make the data block larger than asked ends that block first, so that a
///    block has one entry or is within its size. The block goes out, and its separator and handle
///    into the index partition.
/// 2. A partition that is full goes out after the filter of its keys, and their handles into the
///    top index.
/// 3. Finished blocks gather in a buffer and reach the file in large writes.
///
/// Memory: the data block, a partition's index and hashes, the top index, the output buffer. Used
/// by one thread at a time. After a throw nothing but releasing it makes sense; the file is then to
/// be removed.
@safe
final class TableWriter {
  // In memory of their own rather than stored properties: moving through a pointer costs no
  // exclusivity checks in `add`.
  private let encoder: UnsafeMutablePointer<TableEncoder>

  init(
    file: any File, number: UInt64, treeID: UInt64, identity: FileIdentity, options: TreeOptions,
    indexPartitionBytes: Int = 4096
  ) {
    unsafe encoder = .allocate(capacity: 1)
    unsafe encoder.initialize(
      to: TableEncoder(
        file: file, number: number, treeID: treeID, identity: identity, options: options,
        indexPartitionBytes: indexPartitionBytes))
  }

  deinit {
    unsafe encoder.deinitialize(count: 1)
    unsafe encoder.deallocate()
  }

  /// Appends an entry, which must come after all others in internal order. The views are copied.
  ///
  /// - Throws: `.corruption` where the order is broken (the entries come from files), what the file
  ///   throws.
  @inline(__always)
  func add(_ key: ByteView, _ tag: Tag, _ value: ByteView) throws(StoreError) {
    try unsafe encoder.pointee.add(key, tag, value)
  }

  /// Appends a fragment of range tombstones: from `start` up to `end`, sequence numbers descending.
  /// Fragments come in order and do not overlap; they may come before, between or after the
  /// entries.
  func addRangeTombstones(
    from start: ByteView, to end: ByteView, sequences: [UInt64]
  ) throws(StoreError) {
    try unsafe encoder.pointee.addRangeTombstones(from: start, to: end, sequences: sequences)
  }

  /// Appends all fragments of a list.
  func addRangeTombstones(_ list: RangeTombstoneList) throws(StoreError) {
    for fragment in list.fragments {
      try addRangeTombstones(
        from: fragment.start, to: fragment.end, sequences: Array(list.sequences(of: fragment)))
    }
  }

  /// Bytes the file would have if it were finished now, roughly: what is pending counts
  /// uncompressed.
  var estimatedBytes: Int { unsafe encoder.pointee.estimatedBytes }

  /// Whether nothing was added yet.
  var isEmpty: Bool { unsafe encoder.pointee.isEmpty }

  /// Writes what is pending and the footer, and syncs the file.
  func finish() throws(StoreError) -> TableSummary { try unsafe encoder.pointee.finish() }
}

/// The state of a ``TableWriter``.
private struct TableEncoder: ~Copyable {
  /// Output is written in chunks of this size.
  static let chunkBytes = 512 << 10

  let file: any File
  let number: UInt64
  let treeID: UInt64
  let identity: FileIdentity
  let options: TreeOptions
  let partitionBytes: Int

  var data: BlockBuilder
  var partition = BlockBuilder(restartInterval: 1)
  var top = BlockBuilder(restartInterval: 1)
  var filter: BloomFilterBuilder
  var tombstones = ByteBuffer()
  /// Where the first fragment begins, and where the last one ends.
  var firstTombstone: [UInt8] = []
  var tombstonesEnd: [UInt8] = []
  var separator = ByteBuffer()

  var lastKey = ByteBuffer(capacity: 1024)
  var lastTag = Tag(word: 0)
  var summary = TableSummary()

  /// Finished blocks, the first of which goes to `written` in the file.
  var output = ByteBuffer(capacity: TableEncoder.chunkBytes + (64 << 10))
  var written: UInt64 = 0
  var scratch = ByteBuffer()

  init(
    file: any File, number: UInt64, treeID: UInt64, identity: FileIdentity, options: TreeOptions,
    indexPartitionBytes: Int
  ) {
    self.file = file
    self.number = number
    self.treeID = treeID
    self.identity = identity
    self.options = options
    partitionBytes = indexPartitionBytes
    data = BlockBuilder(
      restartInterval: options.restartInterval, capacity: options.blockBytes + 1024)
    filter = BloomFilterBuilder(bitsPerKey: options.filterBitsPerKey)
    summary.smallestSequence = .max
  }

  var estimatedBytes: Int {
    var bytes = Int(written) &+ output.count &+ data.byteCount &+ partition.byteCount
    bytes &+= top.byteCount &+ tombstones.count &+ filter.estimatedBytes
    return bytes &+ TableFormat.footerBytes
  }

  var isEmpty: Bool { summary.entryCount == 0 && tombstones.isEmpty }

  // MARK: Entries

  @inline(__always)
  mutating func add(_ key: ByteView, _ tag: Tag, _ value: ByteView) throws(StoreError) {
    let shared = lastKey.view.commonPrefix(with: key)
    let isSameKey = shared == key.count && shared == lastKey.count
    // Written so that the first key, which has nothing before it, passes too.
    let isInOrder =
      isSameKey
      ? tag.word < lastTag.word
      : shared == lastKey.count || shared < key.count && lastKey.view[shared] < key[shared]
    guard isInOrder, key.count >= 1, key.count <= Limits.keyBytes else {
      throw refusal(key, tag)
    }
    guard tag.word & 0xFF <= 1, value.count <= Limits.valueBytes else { throw refusal(key, tag) }
    // At most 24 bytes stand before an entry's key, and four more are its restart.
    if !data.isEmpty,
      data.byteCount &+ key.count &- shared &+ value.count &+ 8 > options.blockBytes
    {
      try finishDataBlock(next: key)
    }
    data.add(key, shared: shared, tag, value)
    if options.filterBitsPerKey > 0, !isSameKey || filter.isEmpty {
      filter.add(BloomFilter.hash(key))
    }
    if !isSameKey {
      lastKey.truncate(to: shared)
      lastKey.append(key.dropFirst(shared))
    }
    lastTag = tag
    let sequence = tag.sequence
    if sequence < summary.smallestSequence { summary.smallestSequence = sequence }
    if sequence > summary.largestSequence { summary.largestSequence = sequence }
    if summary.entryCount == 0 { summary.smallest = key.array }
    summary.entryCount &+= 1
    summary.rawKeyBytes &+= UInt64(truncatingIfNeeded: key.count)
    if tag.isDelete {
      summary.deleteCount &+= 1
    } else {
      summary.rawValueBytes &+= UInt64(truncatingIfNeeded: value.count)
    }
  }

  @inline(never)
  private func refusal(_ key: ByteView, _ tag: Tag) -> StoreError {
    let what =
      key.isEmpty || key.count > Limits.keyBytes
      ? "an entry's key has \(key.count) bytes"
      : "an entry is out of order, of an unknown kind or too large"
    return .corruption(
      "\(what): entry \(summary.entryCount) of table \(number)", file: file.path.string)
  }

  mutating func addRangeTombstones(
    from start: ByteView, to end: ByteView, sequences: [UInt64]
  ) throws(StoreError) {
    let isInOrder = tombstonesEnd.withByteView { $0 <= start } && start < end
    let areDescending = zip(sequences, sequences.dropFirst()).allSatisfy { $0 > $1 }
    guard isInOrder, areDescending, let newest = sequences.first, let oldest = sequences.last,
      newest <= Tag.maxSequence, start.count >= 1, end.count <= Limits.keyBytes
    else {
      throw .corruption(
        "range tombstones are out of order in table \(number)", file: file.path.string)
    }
    RangeTombstoneBlock.append(start, end, sequences, to: &tombstones)
    tombstonesEnd = end.array
    if firstTombstone.isEmpty { firstTombstone = start.array }
    summary.rangeTombstoneCount += UInt64(sequences.count)
    summary.largestSequence = max(summary.largestSequence, newest)
    summary.smallestSequence = min(summary.smallestSequence, oldest)
  }

  // MARK: Blocks

  /// Ends the data block, whose successor begins with `next`, or none follows.
  @inline(never)
  private mutating func finishDataBlock(next: ByteView?) throws(StoreError) {
    let isBig = data.byteCount > Self.chunkBytes
    let handle = try append(data.finish(), options.compression)
    data.reset()
    // One large value should not be held in memory twice for the rest of the table.
    if isBig {
      data = BlockBuilder(
        restartInterval: options.restartInterval, capacity: options.blockBytes + 1024)
    }
    summary.dataBlockCount += 1
    separator.removeAll()
    if let next, !(next == lastKey.view) {
      appendSeparator(lastKey.view, next, to: &separator)
    } else {
      separator.append(lastKey.view)
    }
    partition.add(separator.view, shared: 0, handle)
    if next == nil || partition.byteCount >= partitionBytes { try finishPartition() }
    if output.count >= Self.chunkBytes { try writeOutput() }
  }

  private mutating func finishPartition() throws(StoreError) {
    var filterHandle = BlockHandle.none
    if options.filterBitsPerKey > 0 {
      scratch.removeAll()
      filter.finish(to: &scratch)
      filterHandle = try append(scratch.view, .none)
    }
    let handle = try append(partition.finish(), options.compression)
    partition.reset()
    top.add(separator.view, shared: 0, handle, filterHandle)
  }

  /// Appends a block and its trailer to the output, compressed where that saves at least an eighth.
  private mutating func append(
    _ contents: ByteView, _ compression: TreeOptions.Compression
  ) throws(StoreError) -> BlockHandle {
    let start = output.count
    let offset = written &+ UInt64(start)
    var kind = TreeOptions.Compression.none
    if compression == .lz4 {
      output.append(varint: contents.count)
      let limit = contents.count &- contents.count / 8 &- (output.count &- start)
      if LZ4.compress(contents, to: &output, limit: limit) {
        kind = .lz4
      } else {
        output.truncate(to: start)
      }
    }
    if kind == .none { output.append(contents) }
    let size = output.count &- start
    output.append(kind.rawValue)
    let checksum = XXH64.hash(
      output.view.dropFirst(start), seed: TableFormat.seed(identity, offset: offset))
    output.append(littleEndian: checksum)
    return BlockHandle(offset: offset, size: UInt64(size))
  }

  private mutating func writeOutput() throws(StoreError) {
    try doing("write table \(number)") { () throws(FileSystemError) in
      try file.write(output.view.span, at: Int64(written))
    }
    written &+= UInt64(output.count)
    output.removeAll()
    if output.capacity > 4 * Self.chunkBytes {
      output = ByteBuffer(capacity: Self.chunkBytes + (64 << 10))
    }
  }

  // MARK: The end

  mutating func finish() throws(StoreError) -> TableSummary {
    if !data.isEmpty { try finishDataBlock(next: nil) }
    finishBounds()
    var footer = TableFooter(
      identity: identity, treeID: treeID, fileNumber: number)
    if !tombstones.isEmpty {
      footer.rangeTombstones = try append(tombstones.view, options.compression)
    }
    scratch.removeAll()
    TableProperties.encode(summary, options, to: &scratch)
    footer.properties = try append(scratch.view, .none)
    footer.topIndex = try append(top.finish(), options.compression)
    footer.encode(to: &output)
    try writeOutput()
    try doing("sync table \(number)") { () throws(FileSystemError) in try file.sync() }
    summary.byteSize = written
    return summary
  }

  private mutating func finishBounds() {
    summary.largest = lastKey.view.array
    if summary.rangeTombstoneCount > 0 {
      let first = firstTombstone
      if summary.entryCount == 0 || first.lexicographicallyPrecedes(summary.smallest) {
        summary.smallest = first
      }
      if summary.entryCount == 0 || summary.largest.lexicographicallyPrecedes(tombstonesEnd) {
        summary.largest = tombstonesEnd
        summary.largestIsExclusive = true
      }
    }
    if isEmpty { summary.smallestSequence = 0 }
  }
}
