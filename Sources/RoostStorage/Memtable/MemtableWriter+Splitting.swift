// Steps 3 and 4 of an insert: see `MemtableWriter`.

extension MemtableWriter {
  /// Step 3: the leaf has no slot left for `entry`, which belongs at `position`.
  @inline(never)
  mutating func splitLeaf(_ position: Int, _ entry: MemtableEntry, _ head: UInt64) {
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
