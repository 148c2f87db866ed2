// Late deletes: how entries that are dead already are freed, for less than the price of a deletion.
//
// A writer that replaces an entry at the end of a tree by another (a change feed's) would pay most for the
// deletion of the old one, whose place in the memtable is anywhere. No reader needs that deletion: who finds
// the old entry knows by other means that it is dead. So it is put off:
//
// 1. In the log it is an operation of its own kind. In the memtable it goes to a list, not to the index:
//    reads and cursors do not look there.
// 2. When the memtable is flushed, in the worker, the list is sorted and merged with the entries as deletions
//    under their own sequence numbers. The merge keeps and drops them by the rules for all others
//    (``Merge``), so from then on they are others: nothing above a late delete's sequence number is touched,
//    and nothing that an older snapshot sees.
// 3. Replay puts what the log holds into such a list again, and writes it to a table before anybody reads.

/// A memtable's late deletes in internal order, as deletions. One way: `seekToFirst` and `next` only.
///
/// Holds the memtable, whose arena holds the keys. Not thread-safe; made once nobody writes the memtable.
@safe
final class LateDeleteCursor: SourceCursor {
  /// A late delete with the first sixteen bytes of its key, so that few comparisons look at keys, which lie
  /// all over the arena.
  @safe
  private struct Item {
    let first: UInt64
    let second: UInt64
    let entry: MemtableEntry

    init(_ entry: MemtableEntry) {
      let key = entry.key
      first = key.head
      second = key.count > 8 ? key.dropFirst(8).head : 0
      self.entry = entry
    }

    func precedes(_ other: Item) -> Bool {
      if first != other.first { return first < other.first }
      if second != other.second { return second < other.second }
      let order = entry.key.compare(other.entry.key)
      return order != 0 ? order < 0 : entry.tagWord > other.entry.tagWord
    }
  }

  /// Memory that a cursor takes for each: an item, and half of one while they are sorted.
  static let bytesEach = 40

  private let memtable: Memtable
  private var items: [Item] = []
  private var index = 0

  /// - Parameters:
  ///   - last: the list as ``MemtableWriter`` links it.
  ///   - count: how many there are.
  init(_ memtable: Memtable, _ last: UnsafeMutableRawPointer?, count: Int) {
    self.memtable = memtable
    super.init()
    items.reserveCapacity(count)
    var link = unsafe last
    while let this = unsafe link {
      items.append(Item(unsafe MemtableEntry(this + 8)))
      unsafe link = this.load(as: UnsafeMutableRawPointer?.self)
    }
    items.sort { $0.precedes($1) }
  }

  override func seekToFirst() {
    index = 0
    show()
  }

  override func next() {
    index += 1
    show()
  }

  private func show() {
    isValid = index < items.count
    guard isValid else { return }
    let entry = items[index].entry
    key = entry.key
    tag = entry.tag
    value = .empty
  }
}
