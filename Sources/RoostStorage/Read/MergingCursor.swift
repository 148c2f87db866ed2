// Merging sorted runs, with a binary heap of sources:
//
// 1. Each source caches its current key, tag and the key's 8-byte head in a heap slot, so that most
//    comparisons touch only the heap.
// 2. A move advances the source at the top and sifts it down ("replace top"): in the common case
//    the top stays where it is, after one comparison with its children.
// 3. Turning round seeks every source to the other side of the current key.

/// One run out of several, in internal order, both ways.
///
/// Equal (key, tag) pairs do not occur, except that compaction at the bottom may set tags to
/// sequence 0: two such entries of one key never live in two sources at once.
@safe
final class MergingCursor: SourceCursor {
  @safe
  private struct Slot {
    var head: UInt64
    var source: Unmanaged<SourceCursor>
  }

  private let sources: [SourceCursor]
  private let heap: UnsafeMutablePointer<Slot>
  private var heapCount = 0
  private var isForward = true

  /// - Parameter sources: newest first; any number.
  init(_ sources: [SourceCursor]) {
    self.sources = sources
    unsafe heap = UnsafeMutablePointer.allocate(capacity: max(sources.count, 1))
    super.init()
  }

  deinit { unsafe heap.deallocate() }

  override func keepLeftBlocks(in left: LeftBlocks) {
    for source in sources { source.keepLeftBlocks(in: left) }
  }

  override func seek(_ key: ByteView, _ tag: Tag) throws(StoreError) {
    isValid = false
    for source in sources { try source.seek(key, tag) }
    rebuild(forward: true)
  }

  override func seekBefore(_ key: ByteView) throws(StoreError) {
    isValid = false
    for source in sources { try source.seekBefore(key) }
    rebuild(forward: false)
  }

  override func seekToFirst() throws(StoreError) {
    isValid = false
    for source in sources { try source.seekToFirst() }
    rebuild(forward: true)
  }

  override func seekToLast() throws(StoreError) {
    isValid = false
    for source in sources { try source.seekToLast() }
    rebuild(forward: false)
  }

  override func next() throws(StoreError) {
    precondition(isValid)
    if !isForward { try turn(forward: true) }
    try advanceTop(forward: true)
  }

  override func previous() throws(StoreError) {
    precondition(isValid)
    if isForward { try turn(forward: false) }
    try advanceTop(forward: false)
  }

  /// Puts every source on the other side of the current entry, which stays current.
  private func turn(forward: Bool) throws(StoreError) {
    // The current key's bytes belong to a source that is about to move.
    let here = key.array
    let hereTag = tag
    isValid = false
    for source in sources {
      let view = here.withByteView { $0 }
      if forward {
        try source.seek(view, hereTag)
      } else {
        // The last entry at or before (here, hereTag): seek finds the first at or after it.
        try source.seek(view, hereTag)
        if source.isValid {
          if !(source.tag == hereTag && source.key == view) { try source.previous() }
        } else {
          try source.seekToLast()
        }
      }
    }
    withExtendedLifetime(here) {}
    rebuild(forward: forward)
  }

  // MARK: - The heap

  private func rebuild(forward: Bool) {
    isForward = forward
    heapCount = 0
    for source in sources where source.isValid {
      unsafe (heap + heapCount).initialize(
        to: Slot(head: source.key.head, source: Unmanaged.passUnretained(source)))
      heapCount += 1
    }
    if heapCount > 1 {
      for index in stride(from: heapCount / 2 - 1, through: 0, by: -1) {
        siftDown(index, forward: forward)
      }
    }
    publishTop()
  }

  @inline(__always)
  private func advanceTop(forward: Bool) throws(StoreError) {
    isValid = false
    let source = unsafe heap[0].source
    try unsafe source.borrow { (source) throws(StoreError) in
      if forward { try source.next() } else { try source.previous() }
    }
    let remains = unsafe source.borrow { $0.isValid }
    if remains {
      unsafe heap[0].head = unsafe source.borrow { $0.key.head }
    } else {
      heapCount &-= 1
      if heapCount > 0 { unsafe heap[0] = heap[heapCount] }
    }
    if heapCount > 1 { siftDown(0, forward: forward) }
    publishTop()
  }

  @inline(__always)
  private func publishTop() {
    guard heapCount > 0 else {
      isValid = false
      return
    }
    unsafe heap[0].source.borrow { source in
      key = source.key
      tag = source.tag
      value = source.value
    }
    isValid = true
  }

  /// Whether slot `a` comes before slot `b` in the direction of travel.
  @inline(__always)
  private func precedes(_ a: Slot, _ b: Slot, forward: Bool) -> Bool {
    if a.head != b.head { return (a.head < b.head) == forward }
    return unsafe a.source.borrow { x in
      unsafe b.source.borrow { y in
        let order = x.key.compare(y.key)
        if order != 0 { return (order < 0) == forward }
        return (x.tag.word > y.tag.word) == forward
      }
    }
  }

  private func siftDown(_ start: Int, forward: Bool) {
    let moving = unsafe heap[start]
    var hole = start
    while true {
      var child = 2 &* hole &+ 1
      if child >= heapCount { break }
      if child &+ 1 < heapCount, unsafe precedes(heap[child &+ 1], heap[child], forward: forward) {
        child &+= 1
      }
      guard unsafe precedes(heap[child], moving, forward: forward) else { break }
      unsafe heap[hole] = heap[child]
      hole = child
    }
    unsafe heap[hole] = moving
  }
}
