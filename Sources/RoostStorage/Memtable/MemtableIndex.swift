/// The readers' half of the memtable's index: B+trees of ``MemtableNode``s, one for each prefix of
/// keys that ``MemtableDirectory`` tells apart, mostly one in all.
///
/// Lookups and cursors take no lock and may run on any number of threads beside the one writer
/// (``MemtableWriter``). What was inserted before a reader began, as it knows from a sequence
/// number that it loaded with acquire order after the insert, it sees; of what is inserted
/// meanwhile it sees some, in the right place. A trivial value: its owner keeps the arenas alive.
@safe
struct MemtableIndex {
  /// No tree is higher: a root splits only when it has more than ten children.
  static let greatestHeight = 24

  let directory: MemtableDirectory

  /// The newest version of `key` whose tag sorts at or after `tagWord`. O(log n).
  @inline(__always)
  func find(_ key: ByteView, _ tagWord: UInt64) -> MemtableEntry? {
    guard key.count > 0, var node = directory.root(at: directory.place(of: key)) else { return nil }
    let shared = directory.sharedCount(key)
    let wholeHead = key.head(skipping: shared)
    // The node after the leaf, where its least entry may be a version of the key. Anything that
    // follows the target in the tree but not in its leaf is that entry, or is of another key.
    var follower: MemtableNode? = nil
    while node.level > 0 {
      let permutation = node.permutation
      let prefix = node.prefixCount
      let head = prefix == shared ? wholeHead : key.head(skipping: prefix)
      let index = node.childIndex(permutation, head: head, key: key, tagWord: tagWord)
      if index &+ 1 < permutation.count {
        let slot = permutation.slot(index &+ 1)
        follower = node.head(slot) == head ? node.child(slot) : nil
      }
      node = node.child(permutation.slot(index))
      node.prefetch()
    }
    let permutation = node.permutation
    let prefix = node.prefixCount
    let head = prefix == shared ? wholeHead : key.head(skipping: prefix)
    var index = node.lowerBound(permutation, from: 0, head: head)
    if index < permutation.count {
      let slot = permutation.slot(index)
      if node.head(slot) != head { return nil }
      let entry = node.entry(slot)
      if entry.order(key, tagWord, skipping: prefix) >= 0 {
        return entry.key == key ? entry : nil
      }
      index = node.resolveTies(
        permutation, from: index &+ 1, head: head, key: key, tagWord: tagWord, after: false)
      if index < permutation.count {
        let entry = node.entry(permutation.slot(index))
        return entry.key == key ? entry : nil
      }
    }
    guard let follower else { return nil }
    let entry = follower.firstEntry
    return entry.key == key ? entry : nil
  }
}
