import Synchronization

// Where the trees of a memtable's index are.
//
// Keys of a partitioned tree begin with the number of their partition. In one B+tree for all of
// them, heads would hold that number and little of what tells keys apart, and keys that ascend
// within each partition would ascend nowhere. So each prefix that occurs has a tree of its own, in
// which heads begin behind the prefix:
//
//   prefix of 0 bytes   top := tree
//   of 1 byte           top := page
//   of 2 bytes          top := page address u64 * 256, by the first byte; 0 until it is needed
//
//   page := bitmap u64 * 5 | 24 unused | tree * 257
//   tree := root u64, atomic | the writer's last leaf u64
//
// A page has a tree for each value of the prefix's last byte, from 1 on; tree 0 is for the one key
// that ends before that byte and so comes first. A set bit says that the tree has entries. All of it
// lies in the writer's arena, zeroed, and is only ever added to.

/// One B+tree of a memtable's index, which may not have begun yet.
@safe
struct MemtableTree {
  static let byteCount = 16

  let base: UnsafeMutableRawPointer

  @inline(__always) init(_ base: UnsafeMutableRawPointer) { unsafe self.base = base }

  /// `nil` until the tree has entries. What is reached through it may then be read.
  @inline(__always) var root: MemtableNode? {
    let word = unsafe base.assumingMemoryBound(to: Atomic<UInt64>.self)
    return unsafe UnsafeMutableRawPointer(
      bitPattern: UInt(word.pointee.load(ordering: .acquiring))
    ).map { unsafe MemtableNode($0) }
  }

  @inline(__always)
  func publish(root: MemtableNode) {
    let word = unsafe base.assumingMemoryBound(to: Atomic<UInt64>.self)
    unsafe word.pointee.store(UInt64(UInt(bitPattern: root.base)), ordering: .releasing)
  }

  /// The leaf of the greatest keys. The writer's; written before the first root is.
  @inline(__always) var lastLeaf: MemtableNode {
    get {
      unsafe MemtableNode(base.load(fromByteOffset: 8, as: UnsafeMutableRawPointer.self))
    }
    nonmutating set {
      unsafe base.storeBytes(of: newValue.base, toByteOffset: 8, as: UnsafeMutableRawPointer.self)
    }
  }
}

/// The trees of one memtable, by prefix. A trivial value: its owner keeps the arena alive.
///
/// A *place* is a number for a prefix, in the order of keys. One thread makes pages and begins
/// trees; any number read beside it.
@safe
struct MemtableDirectory {
  private static let pageHeaderBytes = 64
  private static let treesInPage = 257
  // A multiple of 64, so that nodes from the same arena stay aligned to cache lines.
  private static let pageBytes =
    (pageHeaderBytes + treesInPage * MemtableTree.byteCount + 63) & ~63
  /// Bits of a place that number a tree within its page.
  private static let slotBits = 9
  private static let slotMask = 1 << slotBits - 1

  /// 0, 1 or 2 bytes.
  let prefixLength: Int
  private let top: UnsafeMutableRawPointer

  /// With no tree begun. What it allocates is in `arena`.
  init(prefixLength: Int, in arena: inout Arena) {
    precondition(prefixLength >= 0 && prefixLength <= 2)
    self.prefixLength = prefixLength
    switch prefixLength {
    // Readers load the root all the time: it has a cache line of its own.
    case 0: unsafe top = MemtableDirectory.zeroed(64, in: &arena)
    case 1: unsafe top = MemtableDirectory.zeroed(MemtableDirectory.pageBytes, in: &arena)
    default: unsafe top = MemtableDirectory.zeroed(256 * 8, in: &arena)
    }
  }

  private static func zeroed(_ byteCount: Int, in arena: inout Arena) -> UnsafeMutableRawPointer {
    let memory = unsafe arena.allocate(byteCount)
    unsafe memory.initializeMemory(as: UInt64.self, repeating: 0, count: byteCount / 8)
    return unsafe memory
  }

  // MARK: - By key

  /// How many bytes of `key` all keys of its tree share.
  @inline(__always)
  func sharedCount(_ key: ByteView) -> Int { min(prefixLength, key.count) }

  /// Where the tree for `key` is. The key is not empty, unless there are no prefixes.
  @inline(__always)
  func place(of key: ByteView) -> Int {
    switch prefixLength {
    case 0: return 0
    case 1: return 1 &+ Int(key[0])
    default:
      return Int(key[0]) &<< MemtableDirectory.slotBits | (key.count > 1 ? 1 &+ Int(key[1]) : 0)
    }
  }

  /// The tree at a place, begun or not; `nil` where not even its page is there.
  @inline(__always)
  func tree(at place: Int) -> MemtableTree? {
    if prefixLength == 0 { return unsafe MemtableTree(top) }
    guard let page = unsafe page(place &>> MemtableDirectory.slotBits) else { return nil }
    let slot = place & MemtableDirectory.slotMask
    precondition(slot < MemtableDirectory.treesInPage)
    return unsafe MemtableTree(
      page + (MemtableDirectory.pageHeaderBytes &+ slot &* MemtableTree.byteCount))
  }

  /// The root of the tree at a place, if that has entries.
  @inline(__always)
  func root(at place: Int) -> MemtableNode? { tree(at: place)?.root }

  // MARK: - In order

  /// The first place from `place` on whose tree has entries, or may have where there is only one.
  func next(from place: Int) -> Int? {
    if prefixLength == 0 { return place == 0 ? 0 : nil }
    var index = place &>> MemtableDirectory.slotBits
    var slot = place & MemtableDirectory.slotMask
    while index < pageCount {
      if let page = unsafe page(index) {
        while slot < MemtableDirectory.treesInPage {
          let bits = unsafe bits(page, slot / 64) &>> UInt64(slot % 64)
          if bits != 0 {
            return index &<< MemtableDirectory.slotBits | (slot &+ bits.trailingZeroBitCount)
          }
          slot = (slot / 64 &+ 1) &* 64
        }
      }
      index &+= 1
      slot = 0
    }
    return nil
  }

  /// The last place up to `place`, itself included, whose tree has entries, or may have where there
  /// is only one.
  func previous(from place: Int) -> Int? {
    if prefixLength == 0 { return place >= 0 ? 0 : nil }
    if place < 0 { return nil }
    var index = place &>> MemtableDirectory.slotBits
    var slot = min(place & MemtableDirectory.slotMask, MemtableDirectory.treesInPage - 1)
    while index >= 0 {
      if let page = unsafe page(index) {
        while slot >= 0 {
          let bits = unsafe bits(page, slot / 64) &<< UInt64(63 &- slot % 64)
          if bits != 0 {
            return index &<< MemtableDirectory.slotBits | (slot &- bits.leadingZeroBitCount)
          }
          slot = slot / 64 &* 64 &- 1
        }
      }
      index &-= 1
      slot = MemtableDirectory.treesInPage - 1
    }
    return nil
  }

  /// No tree's place is greater.
  var greatestPlace: Int { max(pageCount &<< MemtableDirectory.slotBits &- 1, 0) }

  private var pageCount: Int { prefixLength == 0 ? 0 : prefixLength == 1 ? 1 : 256 }

  @inline(__always)
  private func page(_ index: Int) -> UnsafeMutableRawPointer? {
    if prefixLength == 1 { return unsafe top }
    precondition(UInt(bitPattern: index) < 256)
    let address = unsafe (top + index &* 8).assumingMemoryBound(to: Atomic<UInt64>.self).pointee
      .load(ordering: .acquiring)
    return unsafe UnsafeMutableRawPointer(bitPattern: UInt(address))
  }

  @inline(__always)
  private func bits(_ page: UnsafeMutableRawPointer, _ word: Int) -> UInt64 {
    unsafe (page + word &* 8).assumingMemoryBound(to: Atomic<UInt64>.self).pointee
      .load(ordering: .acquiring)
  }

  // MARK: - The writer's side

  /// Makes the tree at a place begin with a leaf that has entries.
  func begin(at place: Int, with leaf: MemtableNode, in arena: inout Arena) {
    if prefixLength == 2 { makePage(place &>> MemtableDirectory.slotBits, in: &arena) }
    // The page is there now.
    let tree = tree(at: place)!
    tree.lastLeaf = leaf
    tree.publish(root: leaf)
    guard prefixLength > 0, let page = unsafe page(place &>> MemtableDirectory.slotBits) else {
      return
    }
    let slot = place & MemtableDirectory.slotMask
    let word = unsafe (page + slot / 64 &* 8).assumingMemoryBound(to: Atomic<UInt64>.self)
    unsafe word.pointee.store(
      word.pointee.load(ordering: .relaxed) | 1 &<< UInt64(slot % 64), ordering: .releasing)
  }

  private func makePage(_ index: Int, in arena: inout Arena) {
    guard unsafe page(index) == nil else { return }
    let made = unsafe MemtableDirectory.zeroed(MemtableDirectory.pageBytes, in: &arena)
    unsafe (top + index &* 8).assumingMemoryBound(to: Atomic<UInt64>.self).pointee
      .store(UInt64(UInt(bitPattern: made)), ordering: .releasing)
  }
}
