import CPrefetch
import Synchronization

/// One entry of a memtable, in its arena. Written once, before the index publishes it.
///
/// Entry := tag word u64 | key length u32 | value length u32 | key | value, in the machine's byte
/// order.
@safe
struct MemtableEntry {
  static let headerBytes = 16

  let base: UnsafeMutableRawPointer

  @inline(__always) init(_ base: UnsafeMutableRawPointer) { unsafe self.base = base }

  @inline(__always) var tagWord: UInt64 { unsafe base.load(as: UInt64.self) }
  @inline(__always) var tag: Tag { Tag(word: tagWord) }
  @inline(__always) var keyCount: Int { unsafe Int(base.load(fromByteOffset: 8, as: UInt32.self)) }
  @inline(__always) var valueCount: Int {
    unsafe Int(base.load(fromByteOffset: 12, as: UInt32.self))
  }

  @inline(__always) var key: ByteView {
    unsafe ByteView(UnsafeRawPointer(base + MemtableEntry.headerBytes), count: keyCount)
  }

  @inline(__always) var value: ByteView {
    unsafe ByteView(
      UnsafeRawPointer(base + MemtableEntry.headerBytes + keyCount), count: valueCount)
  }

  /// Negative, zero or positive as the entry sorts before, at or after (`key`, `tagWord`), where
  /// the first `skip` bytes of both keys are known to be the same.
  @inline(__always)
  func order(_ key: ByteView, _ tagWord: UInt64, skipping skip: Int) -> Int {
    let mine = self.key
    let bytes = mine.dropFirst(skip).compare(key.dropFirst(skip))
    if bytes != 0 { return bytes }
    let tag = self.tagWord
    return tag == tagWord ? 0 : tag > tagWord ? -1 : 1
  }
}

/// Which slots of a node are in use, and in what order: a count (low four bits) and as many
/// four-bit slot numbers, the lowest key's first.
struct Permutation {
  var word: UInt64

  @inline(__always) init(word: UInt64) { self.word = word }

  /// Slots 0 up to `count` in their own order.
  @inline(__always)
  init(identity count: Int) {
    // 15 slots of four bits; what lies past the count is cut off.
    let all: UInt64 = 0x0EDC_BA98_7654_3210
    let kept = count == 0 ? 0 : all & (~0 >> UInt64(64 - 4 * count))
    word = kept << 4 | UInt64(count)
  }

  @inline(__always) var count: Int { Int(truncatingIfNeeded: word & 15) }

  @inline(__always)
  func slot(_ index: Int) -> Int {
    Int(truncatingIfNeeded: word &>> UInt64(truncatingIfNeeded: 4 &+ 4 &* index) & 15)
  }

  /// With `slot` placed before what is at `index`.
  @inline(__always)
  func inserting(_ slot: Int, at index: Int) -> Permutation {
    let shift = UInt64(truncatingIfNeeded: 4 &+ 4 &* index)
    let below = word & ((1 &<< shift) &- 1)
    // There are at most 14 slots before, so nothing falls off the top; at index 14 nothing is
    // above.
    let above = (word &>> shift) &<< (shift &+ 4)
    let all = below | UInt64(truncatingIfNeeded: slot) &<< shift | (shift == 60 ? 0 : above)
    return Permutation(word: all &+ 1)
  }

  @inline(__always)
  func removing(at index: Int) -> Permutation {
    let shift = UInt64(truncatingIfNeeded: 4 &+ 4 &* index)
    let below = word & ((1 &<< shift) &- 1)
    let above = shift == 60 ? 0 : (word &>> (shift &+ 4)) &<< shift
    return Permutation(word: (below | above) &- 1)
  }
}

/// A node of the memtable's tree: 256 bytes, four cache lines, in an arena.
///
/// Node := permutation u64, atomic | prefix length u16 | level u8 | slots used u8 | 4 unused
///   | key heads 15 * u64 | pointers 15 * u64.
/// A leaf (level 0) points to entries, an inner node to nodes one level down.
///
/// Invariants:
/// - A slot is written once, before a permutation that names it is stored with release order; so
///   what a reader reaches through a permutation that it loaded with acquire order never changes,
///   and a (node, permutation) pair is a snapshot that stays true as long as the arena lives.
/// - All user keys in the node's range share their first `prefixCount` bytes; a head is the eight
///   key bytes after them, big-endian, padded with zeros.
/// - Slot 0 holds the least of what the node was made with. Only the leftmost nodes of a level ever
///   take in less than that, and a leftmost node's separator is never asked for; so `firstEntry` is
///   the separator of every other node, to this day.
///
/// `slotsUsed` is the writer's; all else may be read by any thread.
@safe
struct MemtableNode {
  static let slots = 15
  static let byteCount = 256

  let base: UnsafeMutableRawPointer

  @inline(__always) init(_ base: UnsafeMutableRawPointer) { unsafe self.base = base }

  /// A node without entries in `memory`, which no other thread knows yet.
  @inline(__always)
  init(in memory: UnsafeMutableRawPointer, level: Int, prefixCount: Int) {
    unsafe base = memory
    unsafe base.initializeMemory(as: Atomic<UInt64>.self, to: Atomic(0))
    unsafe base.storeBytes(
      of: UInt16(truncatingIfNeeded: prefixCount), toByteOffset: 8, as: UInt16.self)
    unsafe base.storeBytes(of: UInt8(truncatingIfNeeded: level), toByteOffset: 10, as: UInt8.self)
    slotsUsed = 0
  }

  @inline(__always) private var word: UnsafeMutablePointer<Atomic<UInt64>> {
    unsafe base.assumingMemoryBound(to: Atomic<UInt64>.self)
  }

  /// Has the processor load the whole node. Its lines are read one after the other, each by what the
  /// one before says: so it waits once in place of three times.
  @inline(__always)
  func prefetch() {
    unsafe roost_prefetch(base + 64)
    unsafe roost_prefetch(base + 128)
    unsafe roost_prefetch(base + 192)
  }

  /// The permutation; all slots it names may then be read.
  @inline(__always) var permutation: Permutation {
    unsafe Permutation(word: word.pointee.load(ordering: .acquiring))
  }

  /// Makes the slots named by `permutation` visible to readers.
  @inline(__always)
  func publish(_ permutation: Permutation) {
    unsafe word.pointee.store(permutation.word, ordering: .releasing)
  }

  @inline(__always) var prefixCount: Int {
    unsafe Int(base.load(fromByteOffset: 8, as: UInt16.self))
  }
  @inline(__always) var level: Int { unsafe Int(base.load(fromByteOffset: 10, as: UInt8.self)) }

  @inline(__always) var slotsUsed: Int {
    get { unsafe Int(base.load(fromByteOffset: 11, as: UInt8.self)) }
    nonmutating set {
      unsafe base.storeBytes(
        of: UInt8(truncatingIfNeeded: newValue), toByteOffset: 11, as: UInt8.self)
    }
  }

  /// Slots come from permutations, so they are below 16; a head at 15 would be the first pointer's
  /// word, still inside the node.
  @inline(__always)
  func head(_ slot: Int) -> UInt64 {
    unsafe base.loadUnaligned(fromByteOffset: 16 &+ 8 &* slot, as: UInt64.self)
  }

  @inline(__always)
  private func pointer(_ slot: Int) -> UnsafeMutableRawPointer {
    unsafe base.loadUnaligned(fromByteOffset: 136 &+ 8 &* slot, as: UnsafeMutableRawPointer.self)
  }

  @inline(__always) func entry(_ slot: Int) -> MemtableEntry { unsafe MemtableEntry(pointer(slot)) }
  @inline(__always) func child(_ slot: Int) -> MemtableNode { unsafe MemtableNode(pointer(slot)) }

  @inline(__always)
  func write(_ slot: Int, head: UInt64, pointer: UnsafeMutableRawPointer) {
    precondition(slot >= 0 && slot < MemtableNode.slots)
    unsafe base.storeBytes(of: head, toByteOffset: 16 &+ 8 &* slot, as: UInt64.self)
    unsafe base.storeBytes(
      of: pointer, toByteOffset: 136 &+ 8 &* slot, as: UnsafeMutableRawPointer.self)
  }

  /// The entry that parts this node from the one before it. Not for the leftmost node of a level.
  @inline(__always) var firstEntry: MemtableEntry {
    var node = self
    while node.level > 0 { node = node.child(0) }
    return node.entry(0)
  }

  /// The separator or the entry behind `slot`.
  @inline(__always)
  func least(_ slot: Int) -> MemtableEntry {
    level == 0 ? entry(slot) : child(slot).firstEntry
  }

  /// The first index from `first` on whose head is not below `head`. No branch depends on a key.
  @inline(__always)
  func lowerBound(_ permutation: Permutation, from first: Int, head: UInt64) -> Int {
    var index = first
    var slots = permutation.word &>> UInt64(truncatingIfNeeded: 4 &+ 4 &* first)
    var i = first
    let count = permutation.count
    while i < count {
      index &+= self.head(Int(truncatingIfNeeded: slots & 15)) < head ? 1 : 0
      slots &>>= 4
      i &+= 1
    }
    return index
  }

  /// The first index from `first` on that is at or after the target, or after it where `after` is
  /// set; the heads from `first` on are not below the target's.
  @inline(never)
  func resolveTies(
    _ permutation: Permutation, from first: Int, head: UInt64, key: ByteView, tagWord: UInt64,
    after: Bool
  ) -> Int {
    let skip = prefixCount
    let limit = after ? 0 : -1
    var low = first
    var high = first
    while high < permutation.count, self.head(permutation.slot(high)) == head { high &+= 1 }
    while low < high {
      let middle = (low &+ high) / 2
      let order = least(permutation.slot(middle)).order(key, tagWord, skipping: skip)
      if order <= limit { low = middle &+ 1 } else { high = middle }
    }
    return low
  }

  /// The first entry of a leaf at or after the target. `head` is the key's at the node's prefix.
  @inline(__always)
  func entryIndex(
    _ permutation: Permutation, head: UInt64, key: ByteView, tagWord: UInt64
  ) -> Int {
    let index = lowerBound(permutation, from: 0, head: head)
    guard index < permutation.count, self.head(permutation.slot(index)) == head else {
      return index
    }
    // Mostly the only one with this head.
    let first = entry(permutation.slot(index))
    if first.order(key, tagWord, skipping: prefixCount) >= 0 { return index }
    return resolveTies(
      permutation, from: index &+ 1, head: head, key: key, tagWord: tagWord, after: false)
  }

  /// The index of the child of an inner node whose range holds the target.
  @inline(__always)
  func childIndex(
    _ permutation: Permutation, head: UInt64, key: ByteView, tagWord: UInt64
  ) -> Int {
    let index = lowerBound(permutation, from: 1, head: head)
    guard index < permutation.count, self.head(permutation.slot(index)) == head else { return index &- 1 }
    // Where one key has many versions, the newest is looked for or added: before all of them.
    if least(permutation.slot(index)).order(key, tagWord, skipping: prefixCount) > 0 { return index &- 1 }
    return resolveTies(
      permutation, from: index &+ 1, head: head, key: key, tagWord: tagWord, after: true) &- 1
  }
}

extension ByteView {
  /// The head of what follows the first `skip` bytes.
  @inline(__always)
  func head(skipping skip: Int) -> UInt64 { dropFirst(skip).head }
}
