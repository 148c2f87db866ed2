import RoostEnvironment

/// Where merges and flushes write: a series of table files, cut between keys.
///
/// Cuts come, never between versions of one key:
/// - at the target size;
/// - from three quarters of it, where a file of the level below begins (so that a later compaction
///   of the output touches fewer of them);
/// - from a half of it, where the first `cutPrefixLength` bytes of the key change (rule 15);
/// - from a quarter of it, once the output overlaps ten times its target in the level below.
///
/// Range tombstones are clipped at the cuts, so that outputs stay disjoint. Not thread-safe.
final class TableOutput {
  /// What a merge does with numbers and files: the store's part.
  struct Environment {
    var create: () throws(StoreError) -> (file: any File, number: UInt64, identity: FileIdentity)
    var discard: (UInt64) -> Void
  }

  private let environment: Environment
  private let treeID: UInt64
  private let options: TreeOptions
  private let targetBytes: Int
  private let grandparents: [TableFile]
  private let tombstones: RangeTombstoneList?

  private var writer: TableWriter?
  private var current: (number: UInt64, identity: FileIdentity)?
  private var lastKey = ByteBuffer(capacity: 64)
  private var hasLastKey = false
  /// Where the current output begins for range tombstones: the key at which the one before was cut.
  private var lowerCut: [UInt8]?
  private var grandparent = 0
  private var grandparentBytes: Int64 = 0
  private(set) var finished: [TableMetadata] = []

  /// - Parameters:
  ///   - tombstones: what the outputs hold of range tombstones, all together.
  ///   - targetBytes: `Int.max` for one output, as a flush wants.
  init(
    _ environment: Environment, treeID: UInt64, options: TreeOptions, targetBytes: Int,
    grandparents: [TableFile], tombstones: RangeTombstoneList?
  ) {
    self.environment = environment
    self.treeID = treeID
    self.options = options
    self.targetBytes = targetBytes
    self.grandparents = grandparents
    self.tombstones = tombstones.flatMap { $0.isEmpty ? nil : $0 }
  }

  /// Adds the next entry in internal order. `isNewKey` says that the key differs from the last one
  /// added.
  func add(_ key: ByteView, _ tag: Tag, _ value: ByteView) throws(StoreError) {
    if let writer, hasLastKey, !(lastKey.view == key) {
      if shouldCut(before: key, writer.estimatedBytes) { try cut(at: key.array) }
    }
    let writer = if let open = self.writer { open } else { try begin() }
    try writer.add(key, tag, value)
    lastKey.removeAll()
    lastKey.append(key)
    hasLastKey = true
  }

  /// Completes the last output.
  ///
  /// - Returns: the outputs, in key order; none where there was nothing to write.
  func finish() throws(StoreError) -> [TableMetadata] {
    if writer == nil {
      let rest = tombstones.map { clip($0, upTo: nil) }
      guard let rest, !rest.isEmpty else { return finished }
      _ = try begin()
    }
    try complete(upTo: nil)
    return finished
  }

  /// Removes what was written: the merge failed or is not wanted any more.
  func discardAll() {
    if let current { environment.discard(current.number) }
    writer = nil
    current = nil
    for table in finished { environment.discard(table.number) }
    finished = []
  }

  private func begin() throws(StoreError) -> TableWriter {
    let (file, number, identity) = try environment.create()
    current = (number, identity)
    let writer = TableWriter(
      file: file, number: number, treeID: treeID, identity: identity, options: options)
    self.writer = writer
    grandparentBytes = 0
    return writer
  }

  private func cut(at key: [UInt8]) throws(StoreError) {
    try complete(upTo: key)
    lowerCut = key
    hasLastKey = false
  }

  private func complete(upTo upper: [UInt8]?) throws(StoreError) {
    guard let writer, let current else { return }
    if let tombstones {
      let clipped = clip(tombstones, upTo: upper)
      for fragment in clipped.fragments {
        try writer.addRangeTombstones(
          from: fragment.start, to: fragment.end,
          sequences: Array(clipped.sequences(of: fragment)))
      }
    }
    let summary = try writer.finish()
    finished.append(
      TableMetadata(number: current.number, identity: current.identity, summary: summary))
    self.writer = nil
    self.current = nil
  }

  private func clip(_ list: RangeTombstoneList, upTo upper: [UInt8]?) -> RangeTombstoneList {
    withView(of: lowerCut) { lower in
      withView(of: upper) { upper in list.clipped(from: lower, to: upper) }
    }
  }

  private func withView<R>(of bytes: [UInt8]?, _ body: (ByteView?) -> R) -> R {
    guard let bytes else { return body(nil) }
    return bytes.withByteView { body($0) }
  }

  private func shouldCut(before key: ByteView, _ written: Int) -> Bool {
    var crossed = false
    while grandparent < grandparents.count, grandparents[grandparent].endsBefore(key) {
      grandparentBytes += grandparents[grandparent].metadata.byteCount
      grandparent += 1
      crossed = true
    }
    if written >= targetBytes { return true }
    if crossed, written >= targetBytes / 4 &* 3 { return true }
    if options.cutPrefixLength > 0, written >= targetBytes / 2 {
      let length = options.cutPrefixLength
      let last = lastKey.view.prefix(min(length, lastKey.count))
      if !(last == key.prefix(min(length, key.count))) { return true }
    }
    return written >= targetBytes / 4
      && grandparentBytes > CompactionPicker.levelRatio &* Int64(clamping: targetBytes)
  }
}
