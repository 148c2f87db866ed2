/// Walks a memtable's entries both ways, without locks, while the writer adds to it.
///
/// A position is the way from the root: at each level a node, its permutation as the cursor loaded
/// it, and an index. Such a pair of node and permutation is a snapshot that stays true
/// (``MemtableNode``), so a move never starts again from the root, whatever the writer split
/// meanwhile. A move may pass by entries that were inserted after the last seek, so a reader seeks
/// after it has loaded the sequence number that it reads at: those entries are then newer than it
/// may see.
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
  private let tree: MemtableIndex
  private let path: UnsafeMutablePointer<Step>
  private var rootLevel = 0

  init(_ memtable: Memtable, _ tree: MemtableIndex) {
    self.memtable = memtable
    self.tree = tree
    unsafe path = .allocate(capacity: MemtableIndex.greatestHeight)
    super.init()
  }

  deinit { unsafe path.deallocate() }

  override func seek(_ key: ByteView, _ tag: Tag) {
    let index = descend(key, tag.word)
    unsafe path[0].index = index
    if unsafe index < path[0].permutation.count { show(index) } else { ascendForward() }
  }

  override func seekBefore(_ key: ByteView) {
    // No entry has this tag, so the entries before it are those of lesser keys.
    let index = descend(key, .max)
    unsafe path[0].index = index &- 1
    if index > 0 { show(index &- 1) } else { ascendBackward() }
  }

  override func seekToFirst() {
    let root = tree.rootNode
    rootLevel = root.level
    descendToFirst(root)
  }

  override func seekToLast() {
    let root = tree.rootNode
    rootLevel = root.level
    descendToLast(root)
  }

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

  /// Goes down to the leaf for the target. Returns the index of the first entry there at or after
  /// it.
  @inline(__always)
  private func descend(_ key: ByteView, _ tagWord: UInt64) -> Int {
    let wholeHead = key.head
    var node = tree.rootNode
    var level = node.level
    rootLevel = level
    while true {
      let permutation = node.permutation
      let prefix = node.prefixCount
      let head = prefix == 0 ? wholeHead : key.head(skipping: prefix)
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
    isValid = false
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
    isValid = false
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
    // Only the root of an empty tree has no entries.
    if unsafe path[0].permutation.count > 0 { show(0) } else { isValid = false }
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
    let last = unsafe path[0].index
    if last >= 0 { show(last) } else { isValid = false }
  }
}
