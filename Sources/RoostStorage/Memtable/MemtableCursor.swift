/// Walks a memtable's entries both ways, without locks, while the writer adds to it.
///
/// A position is a tree's place in the directory and the way from its root: at each level a node,
/// its permutation as the cursor loaded it, and an index. Such a pair of node and permutation is a
/// snapshot that stays true (``MemtableNode``), so a move never starts again from the root, whatever
/// the writer split meanwhile; past a tree's ends it goes on with the next tree that has entries by
/// then. A move may pass by entries that were inserted after the last seek, so a reader seeks after
/// it has loaded the sequence number that it reads at: those entries are then newer than it may see.
///
/// Holds the memtable, whose arena holds the bytes. Not thread-safe.
@safe
final class MemtableCursor: SourceCursor {
  private struct Step {
    var node: MemtableNode
    var permutation: Permutation
    var index: Int
  }

  private let memtable: Memtable
  private let directory: MemtableDirectory
  private let path: UnsafeMutablePointer<Step>
  /// Of the tree that `path` is in.
  private var place = 0
  private var rootLevel = 0

  init(_ memtable: Memtable, _ directory: MemtableDirectory) {
    self.memtable = memtable
    self.directory = directory
    unsafe path = .allocate(capacity: MemtableIndex.greatestHeight)
    super.init()
  }

  deinit { unsafe path.deallocate() }

  override func seek(_ key: ByteView, _ tag: Tag) {
    guard key.count > 0 else { return seekToFirst() }
    place = directory.place(of: key)
    guard let index = descend(key, tag.word) else { return enterForward(from: place &+ 1) }
    unsafe path[0].index = index
    if unsafe index < path[0].permutation.count { show(index) } else { ascendForward() }
  }

  override func seekBefore(_ key: ByteView) {
    guard key.count > 0 else {
      isValid = false
      return
    }
    place = directory.place(of: key)
    // No entry has this tag, so the entries before it are those of lesser keys.
    guard let index = descend(key, .max) else { return enterBackward(from: place &- 1) }
    unsafe path[0].index = index &- 1
    if index > 0 { show(index &- 1) } else { ascendBackward() }
  }

  override func seekToFirst() { enterForward(from: 0) }

  override func seekToLast() { enterBackward(from: directory.greatestPlace) }

  override func next() {
    let index = unsafe path[0].index &+ 1
    unsafe path[0].index = index
    if unsafe index < path[0].permutation.count { show(index) } else { ascendForward() }
  }

  override func previous() {
    let index = unsafe path[0].index &- 1
    unsafe path[0].index = index
    if index >= 0 { show(index) } else { ascendBackward() }
  }

  @inline(__always)
  private func show(_ index: Int) {
    let entry = unsafe path[0].node.entry(path[0].permutation.slot(index))
    key = entry.key
    tag = entry.tag
    value = entry.value
    isValid = true
  }

  /// Goes down the tree at `place`, which is the key's, to the leaf for the target. Returns the index
  /// of the first entry there at or after it; `nil` where the tree has no entries.
  @inline(__always)
  private func descend(_ key: ByteView, _ tagWord: UInt64) -> Int? {
    guard var node = directory.root(at: place) else { return nil }
    let shared = directory.sharedCount(key)
    let wholeHead = key.head(skipping: shared)
    var level = node.level
    rootLevel = level
    while true {
      let permutation = node.permutation
      let prefix = node.prefixCount
      let head = prefix == shared ? wholeHead : key.head(skipping: prefix)
      if level == 0 {
        unsafe (path + 0).initialize(to: Step(node: node, permutation: permutation, index: 0))
        return node.entryIndex(permutation, head: head, key: key, tagWord: tagWord)
      }
      let index = node.childIndex(permutation, head: head, key: key, tagWord: tagWord)
      unsafe (path + level).initialize(
        to: Step(node: node, permutation: permutation, index: index))
      node = node.child(permutation.slot(index))
      level &-= 1
    }
  }

  /// From the end of a leaf to the first entry of the next.
  @inline(never)
  private func ascendForward() {
    var level = 1
    while level <= rootLevel {
      let step = unsafe path[level]
      if step.index &+ 1 < step.permutation.count {
        unsafe path[level].index = step.index &+ 1
        descendToFirst(step.node.child(step.permutation.slot(step.index &+ 1)))
        return
      }
      level &+= 1
    }
    enterForward(from: place &+ 1)
  }

  /// To the first entry of the first tree at `first` or after it.
  private func enterForward(from first: Int) {
    isValid = false
    guard let next = directory.next(from: first), let root = directory.root(at: next) else { return }
    place = next
    rootLevel = root.level
    descendToFirst(root)
  }

  /// From the start of a leaf to the last entry of the one before.
  @inline(never)
  private func ascendBackward() {
    var level = 1
    while level <= rootLevel {
      let step = unsafe path[level]
      if step.index > 0 {
        unsafe path[level].index = step.index &- 1
        descendToLast(step.node.child(step.permutation.slot(step.index &- 1)))
        return
      }
      level &+= 1
    }
    enterBackward(from: place &- 1)
  }

  /// To the last entry of the last tree at `last` or before it.
  private func enterBackward(from last: Int) {
    isValid = false
    guard let next = directory.previous(from: last), let root = directory.root(at: next) else {
      return
    }
    place = next
    rootLevel = root.level
    descendToLast(root)
  }

  private func descendToFirst(_ top: MemtableNode) {
    var node = top
    while true {
      let permutation = node.permutation
      unsafe (path + node.level).initialize(
        to: Step(node: node, permutation: permutation, index: 0))
      if node.level == 0 { break }
      node = node.child(permutation.slot(0))
    }
    show(0)
  }

  private func descendToLast(_ top: MemtableNode) {
    var node = top
    while true {
      let permutation = node.permutation
      let last = permutation.count &- 1
      unsafe (path + node.level).initialize(
        to: Step(node: node, permutation: permutation, index: last))
      if node.level == 0 { break }
      node = node.child(permutation.slot(last))
    }
    show(unsafe path[0].index)
  }
}
