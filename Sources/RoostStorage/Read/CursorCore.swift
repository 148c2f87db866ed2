// How a cursor finds the next key to show:
//
// Forward, standing on entry e of the merged run:
// 1. Past the upper bound: the end.
// 2. e is newer than the snapshot, or another version of the key shown or passed over last: go on.
// 3. e is the newest visible version of its key. A deletion, or hidden by a range tombstone:
//    remember the key, go on.
// 4. Otherwise show e; its bytes stay in the source.
//
// Backward, a key's versions come oldest first, so the last visible one counts. By the time that is
// known the source has moved on: key and value are copied.

/// What a ``Cursor`` does. Not thread-safe.
final class CursorCore {
  private enum Position {
    case start
    /// On `merged`'s entry.
    case direct
    /// On the copied entry; `merged` stands before it.
    case copied
    case beforeFirst
    case afterLast
  }

  private let merged: SourceCursor
  /// Whether `merged` finds the next key by itself.
  private let findsNextKey: Bool
  private let tombstones: [RangeTombstoneList]
  private let hasTombstones: Bool
  private let snapshot: UInt64
  /// Holds the version whose files are read.
  private let state: TreeState
  private let tree: TreeCore
  /// Keeps the directory locked and the workers going.
  private let store: Store
  private let lowerBytes: [UInt8]?
  private let upperBytes: [UInt8]?
  private let lower: ByteView?
  private let upper: ByteView?
  /// A key with a lesser head is below `upper`.
  private let upperHead: UInt64

  private var position = Position.start
  // Nothing that is called while one of them is touched comes back here.
  @exclusivity(unchecked) private var savedKey = ByteBuffer(capacity: 64)
  @exclusivity(unchecked) private var savedValue = ByteBuffer(capacity: 64)

  init(
    store: Store, tree: TreeCore, state: TreeState, snapshot: UInt64, range: KeyRange,
    sources: [SourceCursor], tombstones: [RangeTombstoneList]
  ) {
    merged = sources.count == 1 ? sources[0] : MergingCursor(sources)
    findsNextKey = merged.findsNextKey
    self.tombstones = tombstones
    hasTombstones = !tombstones.isEmpty
    self.snapshot = snapshot
    self.state = state
    self.tree = tree
    self.store = store
    lowerBytes = range.lower
    upperBytes = range.upper
    // Views of arrays that this object holds and never changes.
    lower = lowerBytes?.withByteView { $0 }
    upper = upperBytes?.withByteView { $0 }
    upperHead = upper?.head ?? .max
  }

  var isPositioned: Bool { position == .direct || position == .copied }

  @inline(__always)
  var key: ByteView {
    switch position {
    case .direct: return merged.key
    case .copied: return unsafe savedKey.view
    default: return .empty
    }
  }

  @inline(__always)
  var value: ByteView {
    switch position {
    case .direct: return merged.value
    case .copied: return unsafe savedValue.view
    default: return .empty
    }
  }

  /// Has the values of entries that moves forward have shown stay where they are, as long as the blocks
  /// that are handed over and the cursor are held.
  func keepLeftBlocks(in left: LeftBlocks) { merged.keepLeftBlocks(in: left) }

  // MARK: - Moves

  func next() throws(StoreError) -> Bool {
    switch position {
    case .direct:
      if findsNextKey {
        try merged.nextKey()
        return try settleForward(skipping: false)
      }
      saveKey(merged.key)
      try merged.next()
      return try settleForward(skipping: true)
    case .copied:
      try merged.seek(unsafe savedKey.view, Tag(word: 0))
      return try settleForward(skipping: true)
    case .start, .beforeFirst:
      return try seekToFirst()
    case .afterLast:
      return false
    }
  }

  func previous() throws(StoreError) -> Bool {
    switch position {
    case .direct:
      saveKey(merged.key)
      try merged.seekBefore(unsafe savedKey.view)
      return try settleBackward()
    case .copied:
      return try settleBackward()
    case .start, .afterLast:
      return try seekToLast()
    case .beforeFirst:
      return false
    }
  }

  /// To the first key at or after `target`, within the bounds.
  func seek(_ target: ByteView) throws(StoreError) -> Bool {
    try store.checkOpen()
    var target = target
    if let lower, target < lower { target = lower }
    position = .afterLast
    try merged.seek(target, .seek(snapshot))
    return try settleForward(skipping: false)
  }

  /// To the last key before `target`, within the bounds.
  func seekBefore(_ target: ByteView) throws(StoreError) -> Bool {
    try store.checkOpen()
    var target = target
    if let upper, upper < target { target = upper }
    position = .beforeFirst
    try merged.seekBefore(target)
    return try settleBackward()
  }

  func seekToFirst() throws(StoreError) -> Bool {
    try store.checkOpen()
    position = .afterLast
    if let lower { try merged.seek(lower, .seek(snapshot)) } else { try merged.seekToFirst() }
    return try settleForward(skipping: false)
  }

  func seekToLast() throws(StoreError) -> Bool {
    try store.checkOpen()
    position = .beforeFirst
    if let upper { try merged.seekBefore(upper) } else { try merged.seekToLast() }
    return try settleBackward()
  }

  // MARK: - Settling on a key that shows

  /// - Parameter skipping: whether entries of `savedKey` are to be passed over.
  @inline(__always)
  private func settleForward(skipping: Bool) throws(StoreError) -> Bool {
    var skipping = skipping
    position = .afterLast
    while merged.isValid {
      if let upper, merged.key.head >= upperHead, !(merged.key < upper) { return false }
      let sequence = merged.tag.sequence
      if sequence > snapshot || (skipping && isSaved(merged.key)) {
        try merged.next()
        continue
      }
      if merged.tag.isDelete || (hasTombstones && isHidden(merged.key, sequence)) {
        saveKey(merged.key)
        skipping = true
        try merged.next()
        continue
      }
      position = .direct
      return true
    }
    return false
  }

  private func settleBackward() throws(StoreError) -> Bool {
    position = .beforeFirst
    while merged.isValid {
      if let lower, merged.key < lower { return false }
      saveKey(merged.key)
      var isShown = false
      while merged.isValid, isSaved(merged.key) {
        let sequence = merged.tag.sequence
        if sequence <= snapshot {
          isShown = !merged.tag.isDelete && !(hasTombstones && isHidden(merged.key, sequence))
          if isShown {
            unsafe savedValue.removeAll()
            unsafe savedValue.append(merged.value)
          }
        }
        try merged.previous()
      }
      if isShown {
        position = .copied
        return true
      }
    }
    return false
  }

  @inline(__always)
  private func saveKey(_ key: ByteView) {
    unsafe savedKey.removeAll()
    unsafe savedKey.append(key)
  }

  @inline(__always)
  private func isSaved(_ key: ByteView) -> Bool { unsafe key == savedKey.view }

  private func isHidden(_ key: ByteView, _ sequence: UInt64) -> Bool {
    for list in tombstones where list.newestSequence(covering: key, at: snapshot) > sequence {
      return true
    }
    return false
  }
}
