import RoostStorage

/// Cursors over many partitions' entries of an index, merged by term, then key: a binary heap.
///
/// Not thread-safe.
final class IndexMerge {
  /// One partition's entries in one store.
  private final class Source {
    private var cursor: Cursor
    /// What follows the partition in the current entry.
    private(set) var suffix: [UInt8] = []

    init(_ cursor: consuming Cursor) { self.cursor = cursor }

    func next() throws(StoreError) -> Bool {
      guard try cursor.next() else { return false }
      suffix = Array(cursor.keyBytes.dropFirst(StoredKey.prefixBytes))
      return true
    }
  }

  private var heap: [Source] = []

  /// Adds a tree's entries from `lower` up to, and not with, `upper`. One without any is let go.
  func add(_ tree: Tree, from lower: [UInt8], to upper: [UInt8]) throws(StoreError) {
    let source = Source(try tree.cursor(from: lower, to: upper))
    guard try source.next() else { return }
    heap.append(source)
    var child = heap.count - 1
    while child > 0, precedes(child, (child - 1) / 2) {
      heap.swapAt(child, (child - 1) / 2)
      child = (child - 1) / 2
    }
  }

  /// The least entry that is left, without its partition; `nil` at the end.
  var suffix: [UInt8]? { heap.first?.suffix }

  func next() throws(StoreError) {
    if try !heap[0].next() {
      heap.swapAt(0, heap.count - 1)
      heap.removeLast()
    }
    var parent = 0
    while true {
      var least = parent
      for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count {
        if precedes(child, least) { least = child }
      }
      if least == parent { return }
      heap.swapAt(least, parent)
      parent = least
    }
  }

  private func precedes(_ a: Int, _ b: Int) -> Bool {
    heap[a].suffix.lexicographicallyPrecedes(heap[b].suffix)
  }
}
