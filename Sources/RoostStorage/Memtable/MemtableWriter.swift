import Synchronization

/// The writer's half of the memtable's index. Used by one thread at a time.
///
/// How an insert goes:
/// 1. From the root of the key's tree down, in each inner node take the child whose range holds
///    (key, tag), and note the way. (Skipped where the key follows all of its tree, or the one
///    inserted last, in the same leaf.)
/// 2. Where the leaf has a slot left, write it, then publish it with one store of the permutation.
/// 3. Where it has none, make new leaves of its entries and the new one. In the parent write a slot
///    for each, then with one store of its permutation take out the old leaf and bring in the new.
/// 4. Where the parent has too few slots left, make a new node or two of its children and go on one
///    level up; at the top, with a new root.
///
/// Nothing a reader may stand on is changed or freed: what was replaced stays in the arena as it
/// was.
@safe
struct MemtableWriter: ~Copyable {
  private struct Step {
    var node: MemtableNode
    var index: Int
  }
  @safe
  private struct Slot {
    var head: UInt64
    var pointer: UnsafeMutableRawPointer
  }

  let index: MemtableIndex
  private var entries: Arena
  private var nodes: Arena

  /// The way from the root of `tree` to the leaf where the last insert looked for its place, by
  /// level. `path[0].index` means nothing.
  private let path: UnsafeMutablePointer<Step>
  private var rootLevel = 0
  private var tree: MemtableTree

  /// The leaf at whose end the last insert put `lastKey`, after a search or a run.
  private var endedLeaf: UnsafeMutableRawPointer?
  // Where `isRun`, two in a row came to the end of the leaf that the path leads to, so a key above
  // `lastKey` and below `leafEnd` goes right after it: keys that ascend need no search. (Only the
  // second asks for `leafEnd`, which lies far away: where keys come in no order it is never used.)
  private var isRun = false
  private var lastKey = ByteView.empty
  private var lastHead: UInt64 = 0
  private var leafEnd: MemtableEntry?
  private var leafEndHead: UInt64 = 0

  /// The slots of a node that is being replaced, with those that come in; and the nodes made of
  /// them.
  private let gathered: UnsafeMutablePointer<Slot>
  private var gatheredCount = 0
  private let made: UnsafeMutablePointer<MemtableNode>
  private var madeCount = 0

  /// An index without entries. `charge` must outlive it.
  init(
    prefixLength: Int, largestChunkBytes: Int, charge: UnsafeMutablePointer<Atomic<Int>>,
    pages: LargePagePool?
  ) {
    unsafe entries = Arena(
      firstChunkBytes: 16 << 10, largestChunkBytes: largestChunkBytes, charge: charge, pages: pages)
    unsafe nodes = Arena(
      firstChunkBytes: 8 << 10, largestChunkBytes: largestChunkBytes, charge: charge, pages: pages)
    index = MemtableIndex(directory: MemtableDirectory(prefixLength: prefixLength, in: &nodes))
    let none = unsafe UnsafeMutableRawPointer(mutating: ByteView.empty.base)
    tree = unsafe MemtableTree(none)
    unsafe path = .allocate(capacity: MemtableIndex.greatestHeight)
    unsafe path.initialize(
      repeating: Step(node: MemtableNode(none), index: 0), count: MemtableIndex.greatestHeight)
    unsafe gathered = .allocate(capacity: 2 * MemtableNode.slots)
    unsafe made = .allocate(capacity: 4)
  }

  deinit {
    unsafe path.deallocate()
    unsafe gathered.deallocate()
    unsafe made.deallocate()
  }

  /// Copies `bytes` into the arena.
  mutating func store(_ bytes: ByteView) -> ByteView {
    let memory = unsafe entries.allocate(bytes.count)
    unsafe bytes.copy(to: memory)
    return unsafe ByteView(UnsafeRawPointer(memory), count: bytes.count)
  }

  /// Adds an entry that is not there yet. O(log n).
  @inline(__always)
  mutating func insert(_ key: ByteView, _ tag: Tag, _ value: ByteView) {
    let entry = unsafe MemtableEntry(
      entries.allocate(MemtableEntry.headerBytes &+ key.count &+ value.count))
    unsafe entry.base.storeBytes(of: tag.word, as: UInt64.self)
    unsafe entry.base.storeBytes(
      of: UInt32(truncatingIfNeeded: key.count), toByteOffset: 8, as: UInt32.self)
    unsafe entry.base.storeBytes(
      of: UInt32(truncatingIfNeeded: value.count), toByteOffset: 12, as: UInt32.self)
    unsafe key.copy(to: entry.base + MemtableEntry.headerBytes)
    unsafe value.copy(to: entry.base + MemtableEntry.headerBytes + key.count)

    let stored = entry.key
    let shared = index.directory.sharedCount(stored)
    let wholeHead = stored.head(skipping: shared)
    let place = index.directory.place(of: stored)
    guard let tree = index.directory.tree(at: place), let root = tree.root else {
      return beginTree(place, entry, wholeHead, shared)
    }
    if append(entry, stored, wholeHead, to: tree) { return }
    let follows = followsLast(stored, wholeHead, in: tree)
    if !follows { descend(tree, root, stored, shared, wholeHead, tag.word) }

    let leaf = unsafe path[0].node
    let permutation = leaf.permutation
    let count = permutation.count
    let prefix = leaf.prefixCount
    let head = prefix == shared ? wholeHead : stored.head(skipping: prefix)
    let position =
      follows
      ? count : leaf.entryIndex(permutation, head: head, key: stored, tagWord: tag.word)
    if position == count {
      if !follows {
        isRun = unsafe endedLeaf == leaf.base
        if isRun {
          leafEnd = nextSeparator(above: 0)
          leafEndHead = leafEnd?.key.head(skipping: shared) ?? 0
        }
      }
      unsafe endedLeaf = leaf.base
      lastKey = stored
      lastHead = wholeHead
    } else {
      endRun()
    }
    if count < MemtableNode.slots {
      unsafe leaf.write(count, head: head, pointer: entry.base)
      leaf.publish(permutation.inserting(count, at: position))
    } else {
      splitLeaf(position, entry, head)
    }
  }

  @inline(__always)
  private mutating func endRun() {
    isRun = false
    unsafe endedLeaf = nil
  }

  /// The first entry of a tree.
  @inline(never)
  private mutating func beginTree(
    _ place: Int, _ entry: MemtableEntry, _ head: UInt64, _ shared: Int
  ) {
    let leaf = unsafe MemtableNode(
      in: nodes.allocate(MemtableNode.byteCount), level: 0, prefixCount: shared)
    unsafe leaf.write(0, head: head, pointer: entry.base)
    leaf.publish(Permutation(identity: 1))
    index.directory.begin(at: place, with: leaf, in: &nodes)
  }

  /// Adds an entry whose key is above all of its tree: it goes to the end of the last leaf, whose
  /// heads begin where those of the root do. `false` where the key is not.
  @inline(__always)
  private mutating func append(
    _ entry: MemtableEntry, _ key: ByteView, _ head: UInt64, to tree: MemtableTree
  ) -> Bool {
    let leaf = tree.lastLeaf
    let permutation = leaf.permutation
    let count = permutation.count
    let last = permutation.slot(count &- 1)
    let lastHead = leaf.head(last)
    if head < lastHead || head == lastHead && !(leaf.entry(last).key < key) { return false }
    endRun()
    if count < MemtableNode.slots {
      unsafe leaf.write(count, head: head, pointer: entry.base)
      leaf.publish(permutation.inserting(count, at: count))
    } else {
      descendToLast(tree)
      splitLeaf(count, entry, head)
    }
    return true
  }

  /// Whether the key belongs right after the last insert, at the end of its leaf.
  @inline(__always)
  private func followsLast(_ key: ByteView, _ head: UInt64, in tree: MemtableTree) -> Bool {
    guard isRun, unsafe tree.base == self.tree.base, head >= lastHead else { return false }
    if let leafEnd {
      if head > leafEndHead { return false }
      if head == leafEndHead, !(key < leafEnd.key) { return false }
    }
    return head > lastHead || lastKey < key
  }

  /// Step 1.
  @inline(__always)
  private mutating func descend(
    _ tree: MemtableTree, _ root: MemtableNode, _ key: ByteView, _ shared: Int, _ wholeHead: UInt64,
    _ tagWord: UInt64
  ) {
    var node = root
    var level = root.level
    self.tree = tree
    rootLevel = level
    while level > 0 {
      let permutation = node.permutation
      let prefix = node.prefixCount
      let head = prefix == shared ? wholeHead : key.head(skipping: prefix)
      let index = node.childIndex(permutation, head: head, key: key, tagWord: tagWord)
      unsafe path[level] = Step(node: node, index: index)
      node = node.child(permutation.slot(index))
      node.prefetch()
      level &-= 1
    }
    unsafe path[0] = Step(node: node, index: 0)
  }

  /// Step 1 for a key above all of its tree.
  private mutating func descendToLast(_ tree: MemtableTree) {
    // Whoever appends to a tree has found its root.
    var node = tree.root!
    self.tree = tree
    rootLevel = node.level
    while node.level > 0 {
      let permutation = node.permutation
      let index = permutation.count &- 1
      unsafe path[node.level] = Step(node: node, index: index)
      node = node.child(permutation.slot(index))
    }
    unsafe path[0] = Step(node: node, index: 0)
  }

  /// The entry that ends the range of `path[level]`: the next separator on the way up, if any.
  @inline(__always)
  private func nextSeparator(above level: Int) -> MemtableEntry? {
    var above = level &+ 1
    while above <= rootLevel {
      let step = unsafe path[above]
      let permutation = step.node.permutation
      if step.index &+ 1 < permutation.count {
        return step.node.least(permutation.slot(step.index &+ 1))
      }
      above &+= 1
    }
    return nil
  }

  /// The entry that begins the range of `path[level]`.
  private func ownSeparator(of level: Int) -> MemtableEntry? {
    var above = level &+ 1
    while above <= rootLevel {
      let step = unsafe path[above]
      if step.index > 0 { return step.node.least(step.node.permutation.slot(step.index)) }
      above &+= 1
    }
    return nil
  }
}

// MARK: - Splitting

extension MemtableWriter {
  /// Step 3: the leaf has no slot left for `entry`, which belongs at `position`.
  @inline(never)
  private mutating func splitLeaf(_ position: Int, _ entry: MemtableEntry, _ head: UInt64) {
    let leaf = unsafe path[0].node
    gather(leaf)
    unsafe insertGathered(Slot(head: head, pointer: entry.base), at: position)
    endRun()
    let total = gatheredCount
    switch position {
    case MemtableNode.slots:
      // Keys that come in ascending order fill leaf after leaf: the full one stays.
      makeSiblings(level: 0, old: leaf, cuts: (total &- 1, total))
    case 0:
      // Only the leftmost leaf takes a key below its least: descending order fills leaves too.
      makeSiblings(level: 0, old: leaf, cuts: (1, total))
    default:
      // In thirds: of three new leaves for one old, fewer bytes are left behind than of two for
      // one.
      makeSiblings(level: 0, old: leaf, cuts: (total / 3, total &- total / 3))
    }
  }

  /// Makes nodes of what is gathered, cut at `cuts`, and puts them in the place of `path[level]`.
  ///
  /// Where only the last slot is new and the old node orders well by its heads, it stays.
  private mutating func makeSiblings(level: Int, old: MemtableNode, cuts: (Int, Int)) {
    let total = gatheredCount
    let low = ownSeparator(of: level)
    let high = nextSeparator(above: level)
    // Heads that tie cost a look at the keys. A longer prefix parts them, where the range has one;
    // where none tie, taking another prefix would be a look at each key for nothing.
    let isTied = headsTie()
    let keepsOld = !isTied && cuts.0 == MemtableNode.slots && old.permutation.count == cuts.0
    madeCount = 0
    var start = 0
    for piece in 0..<3 {
      let end = piece == 0 ? cuts.0 : piece == 1 ? cuts.1 : total
      if start == end { continue }
      defer { start = end }
      if keepsOld, piece == 0 { continue }
      let from = start == 0 ? low : gatheredLeast(start, level)
      let to = end == total ? high : gatheredLeast(end, level)
      var prefix = old.prefixCount
      if isTied, let from, let to { prefix = max(prefix, from.key.commonPrefix(with: to.key)) }
      let node = unsafe MemtableNode(
        in: nodes.allocate(MemtableNode.byteCount), level: level, prefixCount: prefix)
      for i in start..<end {
        var slot = unsafe gathered[i]
        if prefix != old.prefixCount {
          // The first child of an inner node is never compared, and may have no separator.
          slot.head =
            level > 0 && i == start
            ? 0 : gatheredLeast(i, level).key.head(skipping: prefix)
        }
        unsafe node.write(i &- start, head: slot.head, pointer: slot.pointer)
      }
      node.slotsUsed = end &- start
      node.publish(Permutation(identity: end &- start))
      unsafe made[madeCount] = node
      madeCount &+= 1
    }
    if level == 0, high == nil { unsafe tree.lastLeaf = made[madeCount &- 1] }
    replace(level: level, keepingOld: keepsOld)
  }

  /// Steps 3 and 4: puts the nodes in `made` in the place of `path[level]`, or behind it.
  private mutating func replace(level: Int, keepingOld: Bool) {
    if level == rootLevel {
      growRoot(keepingOld: keepingOld)
      return
    }
    let step = unsafe path[level &+ 1]
    let parent = step.node
    var permutation = parent.permutation
    let used = parent.slotsUsed
    let oldHead = parent.head(permutation.slot(step.index))
    let prefix = parent.prefixCount
    if used &+ madeCount <= MemtableNode.slots {
      var position = step.index
      if keepingOld { position &+= 1 } else { permutation = permutation.removing(at: position) }
      for i in 0..<madeCount {
        let child = unsafe made[i]
        // The first of what replaces the old child begins where it began.
        let head =
          i == 0 && !keepingOld ? oldHead : child.firstEntry.key.head(skipping: prefix)
        unsafe parent.write(used &+ i, head: head, pointer: child.base)
        permutation = permutation.inserting(used &+ i, at: position &+ i)
      }
      parent.slotsUsed = used &+ madeCount
      parent.publish(permutation)
      return
    }
    gather(parent)
    if !keepingOld { unsafe gathered[step.index].pointer = made[0].base }
    for i in (keepingOld ? 0 : 1)..<madeCount {
      let child = unsafe made[i]
      let slot = unsafe Slot(
        head: child.firstEntry.key.head(skipping: prefix), pointer: child.base)
      insertGathered(slot, at: keepingOld ? step.index &+ 1 &+ i : step.index &+ i)
    }
    let total = gatheredCount
    if keepingOld, step.index == MemtableNode.slots &- 1 {
      makeSiblings(level: level &+ 1, old: parent, cuts: (total &- 1, total))
    } else if total <= 9 {
      // Mostly slots whose children were replaced: the live ones fit one node with room to spare.
      makeSiblings(level: level &+ 1, old: parent, cuts: (total, total))
    } else {
      makeSiblings(level: level &+ 1, old: parent, cuts: (total / 2, total))
    }
  }

  private mutating func growRoot(keepingOld: Bool) {
    let old = unsafe path[rootLevel].node
    if madeCount == 1, !keepingOld {
      unsafe tree.publish(root: made[0])
      return
    }
    rootLevel += 1
    precondition(rootLevel < MemtableIndex.greatestHeight)
    let prefix = old.prefixCount
    let root = unsafe MemtableNode(
      in: nodes.allocate(MemtableNode.byteCount), level: rootLevel, prefixCount: prefix)
    var count = 0
    if keepingOld {
      unsafe root.write(0, head: 0, pointer: old.base)
      count = 1
    }
    for i in 0..<madeCount {
      let child = unsafe made[i]
      let head = count == 0 ? 0 : child.firstEntry.key.head(skipping: prefix)
      unsafe root.write(count, head: head, pointer: child.base)
      count += 1
    }
    root.slotsUsed = count
    root.publish(Permutation(identity: count))
    tree.publish(root: root)
  }

  private mutating func gather(_ node: MemtableNode) {
    let permutation = node.permutation
    gatheredCount = permutation.count
    for i in 0..<gatheredCount {
      let slot = permutation.slot(i)
      unsafe gathered[i] = Slot(
        head: node.head(slot),
        pointer: node.level == 0 ? node.entry(slot).base : node.child(slot).base)
    }
  }

  private mutating func insertGathered(_ slot: Slot, at position: Int) {
    var i = gatheredCount
    while i > position {
      unsafe gathered[i] = gathered[i &- 1]
      i &-= 1
    }
    unsafe gathered[position] = slot
    gatheredCount &+= 1
  }

  private func gatheredLeast(_ i: Int, _ level: Int) -> MemtableEntry {
    let pointer = unsafe gathered[i].pointer
    return unsafe level == 0 ? MemtableEntry(pointer) : MemtableNode(pointer).firstEntry
  }

  /// Whether two neighbours have the same head.
  private func headsTie() -> Bool {
    var i = 0
    while i &+ 1 < gatheredCount {
      if unsafe gathered[i].head == gathered[i &+ 1].head { return true }
      i &+= 1
    }
    return false
  }
}
