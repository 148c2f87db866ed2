/// Data blocks that a cursor has left while someone still shows entries in them.
///
/// A cursor's user that looks at several entries at once, where they stand, hands one of these to its
/// sources and tells of each entry that it will look at. A source that leaves a block adds it, unless no
/// such entry came up while it was in the block: so what is passed over in between is not held.
///
/// Not thread-safe.
final class LeftBlocks {
  // Neither is touched while the other calls.
  @exclusivity(unchecked) private var blocks: [Block] = []
  /// Entries that were told of since the beginning.
  private(set) var shownCount = 0
  /// What the blocks take.
  private(set) var byteCount = 0

  /// Tells that the entry on which the sources stand will be looked at.
  @inline(__always)
  func noteShown() { shownCount &+= 1 }

  func add(_ block: Block) {
    unsafe blocks.append(block)
    byteCount &+= block.charge
  }

  /// Lets go of all: nobody looks at earlier entries any more.
  func removeAll() {
    if byteCount == 0 { return }
    unsafe blocks.removeAll(keepingCapacity: true)
    byteCount = 0
  }
}
