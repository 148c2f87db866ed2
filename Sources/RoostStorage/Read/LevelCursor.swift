/// A level below 0 as one run: its tables one after the other, each opened when it is reached.
final class LevelCursor: SourceCursor {
  private let level: Level
  private let tables: TableCache
  private let purpose: ReadPurpose
  private var index = 0
  private var table: TableCursor?
  private var left: LeftBlocks?

  /// The level must outlive the cursor's holder's version; the cursor holds it.
  init(_ level: Level, _ tables: TableCache, purpose: ReadPurpose) {
    self.level = level
    self.tables = tables
    self.purpose = purpose
    super.init()
  }

  override func keepLeftBlocks(in left: LeftBlocks) {
    self.left = left
    table?.keepLeftBlocks(in: left)
  }

  override func seek(_ key: ByteView, _ tag: Tag) throws(StoreError) {
    isValid = false
    let target = level.index(for: key)
    guard target < level.count else { return }
    try open(target).seek(key, tag)
    try settleForward()
  }

  override func seekBefore(_ key: ByteView) throws(StoreError) {
    isValid = false
    guard level.count > 0 else { return }
    let target = min(level.index(for: key), level.count - 1)
    try open(target).seekBefore(key)
    try settleBackward()
  }

  override func seekToFirst() throws(StoreError) {
    isValid = false
    guard level.count > 0 else { return }
    try open(0).seekToFirst()
    try settleForward()
  }

  override func seekToLast() throws(StoreError) {
    isValid = false
    guard level.count > 0 else { return }
    try open(level.count - 1).seekToLast()
    try settleBackward()
  }

  override func next() throws(StoreError) {
    isValid = false
    guard let table else { return }
    try table.next()
    if table.isValid { publish(table) } else { try settleForward() }
  }

  override var findsNextKey: Bool { true }

  /// No key is in two tables of a level.
  override func nextKey() throws(StoreError) {
    isValid = false
    guard let table else { return }
    try table.nextKey()
    if table.isValid { publish(table) } else { try settleForward() }
  }

  override func previous() throws(StoreError) {
    isValid = false
    guard let table else { return }
    try table.previous()
    if table.isValid { publish(table) } else { try settleBackward() }
  }

  @inline(__always)
  private func publish(_ table: TableCursor) {
    key = table.key
    tag = table.tag
    value = table.value
    isValid = true
  }

  private func open(_ target: Int) throws(StoreError) -> TableCursor {
    if let table, index == target { return table }
    let reader = try tables.reader(of: level.files[target])
    let cursor = TableCursor(reader, purpose: purpose)
    if let left {
      table?.leaveData()
      cursor.keepLeftBlocks(in: left)
    }
    index = target
    table = cursor
    return cursor
  }

  /// Moves on to the following tables until one has an entry. (A table may hold range tombstones
  /// only.)
  private func settleForward() throws(StoreError) {
    while let table {
      if table.isValid { return publish(table) }
      guard index + 1 < level.count else { return }
      try open(index + 1).seekToFirst()
    }
  }

  private func settleBackward() throws(StoreError) {
    while let table {
      if table.isValid { return publish(table) }
      guard index > 0 else { return }
      try open(index - 1).seekToLast()
    }
  }
}
