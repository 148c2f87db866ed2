import RoostEnvironment

/// A position in a table's entries.
///
/// Holds its index partition and its data block, so that the current entry's bytes stay in place
/// until the next move, whatever the cache does. Not thread-safe; many may walk one reader.
@safe
final class TableCursor: SourceCursor {
  /// The three block positions, in memory of their own: moving through a pointer costs no
  /// exclusivity checks, and they hold nothing that is counted.
  private struct Positions {
    var top = BlockCursor<TopEntry>()
    var partition = BlockCursor<PartitionEntry>()
    var data = BlockCursor<DataEntry>()
  }

  private let reader: TableReader
  private let at: UnsafeMutablePointer<Positions>
  private var ahead: ReadAhead

  /// The blocks that `at` is in; the top index is the reader's.
  private var partition: Block?
  private var data: Block?
  private var partitionHandle = BlockHandle.none
  private var dataHandle = BlockHandle.none

  /// Who wants data blocks that are left.
  private var left: LeftBlocks?
  /// How many entries were shown when the data block was entered.
  private var shownBefore = 0

  init(_ reader: TableReader, purpose: ReadPurpose = .read) {
    self.reader = reader
    ahead = ReadAhead(purpose)
    unsafe at = .allocate(capacity: 1)
    unsafe at.initialize(to: Positions())
    unsafe at.pointee.top.enter(reader.topIndex)
    super.init()
  }

  deinit {
    unsafe at.pointee.top.destroy()
    unsafe at.pointee.partition.destroy()
    unsafe at.pointee.data.destroy()
    unsafe at.deallocate()
  }

  /// The block that `value`'s bytes are in.
  var pinnedBlock: Block? { data }

  override func keepLeftBlocks(in left: LeftBlocks) {
    self.left = left
    shownBefore = left.shownCount
  }

  /// Hands the data block over where entries in it may be shown: before the cursor leaves it or goes.
  func leaveData() {
    guard let left else { return }
    if left.shownCount != shownBefore, let data { left.add(data) }
    shownBefore = left.shownCount
  }

  // MARK: Moves

  @inline(__always)
  private func publish() {
    unsafe key = at.pointee.data.key
    unsafe tag = at.pointee.data.payload.tag
    unsafe value = at.pointee.data.value
    isValid = true
  }

  override func next() throws(StoreError) {
    let step = unsafe at.pointee.data.next()
    if step == .entry { return publish() }
    try settle(step) { () throws(StoreError) in try self.nextBlock() }
  }

  override var findsNextKey: Bool { true }

  override func nextKey() throws(StoreError) {
    var step = unsafe at.pointee.data.next()
    while step == .entry {
      if unsafe !at.pointee.data.repeatsKey { return publish() }
      step = unsafe at.pointee.data.next()
    }
    try nextKeyBeyondBlock(step)
  }

  /// The versions of one key may go on in the next block.
  @inline(never)
  private func nextKeyBeyondBlock(_ step: BlockStep) throws(StoreError) {
    let last = key.array
    try settle(step) { () throws(StoreError) in try self.nextBlock() }
    while isValid, last.withByteView({ $0 == key }) { try next() }
  }

  override func previous() throws(StoreError) {
    let step = unsafe at.pointee.data.previous()
    if step == .entry { return publish() }
    try settle(step) { () throws(StoreError) in try self.previousBlock() }
  }

  override func seekToFirst() throws(StoreError) {
    isValid = false
    guard try check(unsafe at.pointee.top.seekToFirst(), reader.footer.topIndex) else { return }
    try enterPartition()
    guard try check(unsafe at.pointee.partition.seekToFirst(), partitionHandle) else { return }
    try enterData()
    try settle(unsafe at.pointee.data.seekToFirst()) { () throws(StoreError) in
      try self.nextBlock()
    }
  }

  override func seekToLast() throws(StoreError) {
    isValid = false
    guard try check(unsafe at.pointee.top.seekToLast(), reader.footer.topIndex) else { return }
    try enterPartition()
    guard try check(unsafe at.pointee.partition.seekToLast(), partitionHandle) else { return }
    try enterData()
    try settle(unsafe at.pointee.data.seekToLast()) { () throws(StoreError) in
      try self.previousBlock()
    }
  }

  override func seek(_ key: ByteView, _ tag: Tag) throws(StoreError) {
    isValid = false
    guard try check(unsafe at.pointee.top.seek(key, order: 0), reader.footer.topIndex) else {
      return
    }
    try enterPartition()
    guard try check(unsafe at.pointee.partition.seek(key, order: 0), partitionHandle) else {
      throw reader.damaged("an index partition ends before its separator", partitionHandle)
    }
    try enterData()
    var step = unsafe at.pointee.data.seek(key, order: tag.word)
    // Off the block's end: what follows begins the next block, unless that goes on with newer
    // versions of the key.
    while step == .end {
      guard try nextIndexEntry() else { return }
      try enterData()
      step = unsafe at.pointee.data.seek(key, order: tag.word)
    }
    try settle(step) { () throws(StoreError) in false }
  }

  override func seekBefore(_ key: ByteView) throws(StoreError) {
    try seek(key, Tag(word: .max))
    if isValid { try previous() } else { try seekToLast() }
  }

  // MARK: From block to block

  /// Ends a move: on an entry of the data block, or, where the block has none, on the one that
  /// `turn` finds in another block.
  @inline(never)
  private func settle(
    _ step: BlockStep, _ turn: () throws(StoreError) -> Bool
  ) throws(StoreError) {
    isValid = false
    switch step {
    case .entry: publish()
    case .end: if try turn() { publish() }
    case .damaged: throw reader.damaged("a data block is damaged", dataHandle)
    }
  }

  private func check(_ step: BlockStep, _ handle: BlockHandle) throws(StoreError) -> Bool {
    if step == .damaged { throw reader.damaged("an index block is damaged", handle) }
    return step == .entry
  }

  /// To the first entry of the next data block that has one.
  private func nextBlock() throws(StoreError) -> Bool {
    while try nextIndexEntry() {
      try enterData()
      let step = unsafe at.pointee.data.seekToFirst()
      if step == .damaged { throw reader.damaged("a data block is damaged", dataHandle) }
      if step == .entry { return true }
    }
    return false
  }

  private func nextIndexEntry() throws(StoreError) -> Bool {
    if try check(unsafe at.pointee.partition.next(), partitionHandle) { return true }
    while try check(unsafe at.pointee.top.next(), reader.footer.topIndex) {
      try enterPartition()
      if try check(unsafe at.pointee.partition.seekToFirst(), partitionHandle) { return true }
    }
    return false
  }

  private func previousBlock() throws(StoreError) -> Bool {
    while true {
      var found = try check(unsafe at.pointee.partition.previous(), partitionHandle)
      while !found {
        guard try check(unsafe at.pointee.top.previous(), reader.footer.topIndex) else {
          return false
        }
        try enterPartition()
        found = try check(unsafe at.pointee.partition.seekToLast(), partitionHandle)
      }
      try enterData()
      let step = unsafe at.pointee.data.seekToLast()
      if step == .damaged { throw reader.damaged("a data block is damaged", dataHandle) }
      if step == .entry { return true }
    }
  }

  /// Enters the partition that the top index's position names, unless it is in it.
  private func enterPartition() throws(StoreError) {
    let handle = unsafe at.pointee.top.payload.partition
    if handle != partitionHandle || partition == nil {
      let block = try reader.partition(handle, at: unsafe at.pointee.top.offset)
      partition = block
      partitionHandle = handle
      unsafe at.pointee.partition.enter(block)
    }
  }

  /// Enters the data block that the partition's position names, unless it is in it.
  private func enterData() throws(StoreError) {
    let handle = unsafe at.pointee.partition.payload.block
    if handle != dataHandle || data == nil {
      let block = try ahead.block(handle, reader)
      leaveData()
      data = block
      dataHandle = handle
      unsafe at.pointee.data.enter(block)
    }
  }
}

/// Reads data blocks for a cursor, many at once where it goes from one to the next.
///
/// 1. A block in the cache comes from there.
/// 2. Two blocks in a row, each from just behind the one before: from then on a miss reads a window
///    of 64 KiB, the next one 128 KiB, then 256 KiB, and blocks are taken from the window.
/// 3. A block whose checksum does not match in the window is read by itself, which tries twice.
private final class ReadAhead {
  private static let smallest = 64 << 10
  private static let largest = 256 << 10

  private let purpose: ReadPurpose
  private var window: StoredWindow?
  private var windowBytes: Int
  /// Where a block that goes on from the last one begins, give or take index blocks between.
  private var expected: UInt64 = .max
  private var run = 0

  init(_ purpose: ReadPurpose) {
    self.purpose = purpose
    windowBytes = purpose == .compaction ? Self.largest : Self.smallest
  }

  func block(_ handle: BlockHandle, _ reader: TableReader) throws(StoreError) -> Block {
    let isNext = handle.offset >= expected && handle.offset - expected <= 64 << 10
    run = isNext ? run &+ 1 : 0
    expected = handle.offset &+ handle.size &+ UInt64(TableFormat.trailerBytes)
    let counts = purpose == .read
    if let block = reader.cache.lookup(reader.cacheID, handle.offset, counts: counts) {
      guard block.kind == .data, block.storedSize == handle.size else {
        throw reader.damaged("a handle leads to another block than it says", handle)
      }
      return block
    }
    let block = try read(handle, reader)
    if counts { reader.cache.insert(block, reader.cacheID, handle.offset) }
    return block
  }

  private func read(_ handle: BlockHandle, _ reader: TableReader) throws(StoreError) -> Block {
    let trailer = UInt64(TableFormat.trailerBytes)
    // What does not fit a window or the file goes the plain way, where it is checked.
    guard run >= 2 || purpose == .compaction, handle.size <= UInt64(Self.smallest) / 2,
      handle.offset <= reader.blocksEnd, handle.size + trailer <= reader.blocksEnd - handle.offset
    else { return try reader.readBlock(handle, .data) }
    let count = Int(handle.size + trailer)
    if window?.bytes(handle.offset, count) == nil {
      let size = min(UInt64(windowBytes), reader.blocksEnd - handle.offset)
      windowBytes = min(windowBytes * 2, Self.largest)
      window = nil
      window = try StoredWindow(reader.file, at: handle.offset, count: Int(size))
    }
    if let window, let stored = window.bytes(handle.offset, count),
      TableReader.isIntact(stored, at: handle.offset, reader.identity),
      let block = TableReader.unpack(stored, handle, .data)
    {
      return block
    }
    return try reader.readBlock(handle, .data)
  }
}

/// A stretch of a file in memory.
private final class StoredWindow {
  private let start: UInt64
  private let stored: StoredBytes

  init(_ file: any File, at offset: UInt64, count: Int) throws(StoreError) {
    start = offset
    stored = try StoredBytes(file, at: offset, count: count, alignment: 16)
  }

  /// The bytes from `offset` on, if they are all here; valid as long as the window lives.
  func bytes(_ offset: UInt64, _ count: Int) -> ByteView? {
    guard offset >= start, offset - start <= UInt64(stored.count),
      count <= stored.count - Int(offset - start)
    else { return nil }
    return stored.view.slice(Int(offset - start), Int(offset - start) + count)
  }
}
