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
  struct Step {
    var node: MemtableNode
    var index: Int
  }
  @safe
  struct Slot {
    var head: UInt64
    var pointer: UnsafeMutableRawPointer
  }

  let index: MemtableIndex
  private var entries: Arena
  var nodes: Arena

  /// The late delete added last: behind a pointer to the one before.
  private(set) var lastLateDelete: UnsafeMutableRawPointer?

  /// The way from the root of `tree` to the leaf where the last insert looked for its place, by
  /// level. `path[0].index` means nothing.
  let path: UnsafeMutablePointer<Step>
  var rootLevel = 0
  var tree: MemtableTree

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
  let gathered: UnsafeMutablePointer<Slot>
  var gatheredCount = 0
  let made: UnsafeMutablePointer<MemtableNode>
  var madeCount = 0

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

  /// Adds a late delete to their list, in front of the others; the index does not know it. O(1).
  @inline(__always)
  mutating func insertLateDelete(_ key: ByteView, _ tag: Tag) {
    let link = unsafe entries.allocate(8 &+ MemtableEntry.headerBytes &+ key.count)
    unsafe link.storeBytes(of: lastLateDelete, as: UnsafeMutableRawPointer?.self)
    let base = unsafe link + 8
    unsafe base.storeBytes(of: tag.word, as: UInt64.self)
    unsafe base.storeBytes(
      of: UInt32(truncatingIfNeeded: key.count), toByteOffset: 8, as: UInt32.self)
    unsafe base.storeBytes(of: 0, toByteOffset: 12, as: UInt32.self)
    unsafe key.copyShort(to: base + MemtableEntry.headerBytes)
    unsafe lastLateDelete = link
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
  mutating func endRun() {
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
  func nextSeparator(above level: Int) -> MemtableEntry? {
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
  func ownSeparator(of level: Int) -> MemtableEntry? {
    var above = level &+ 1
    while above <= rootLevel {
      let step = unsafe path[above]
      if step.index > 0 { return step.node.least(step.node.permutation.slot(step.index)) }
      above &+= 1
    }
    return nil
  }
}
