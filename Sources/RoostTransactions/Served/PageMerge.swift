/// Puts together the least entries of a keyspace from those of its partitions, up to so many entries and
/// bytes. A value.
///
/// A partition may be read in part: then nothing is known of the keys from there on, of any partition's. So
/// the page ends before the least of these.
struct PageMerge {
  private let limit: Int
  private let mostBytes: Int
  private var entries: [ClientEntry] = []
  /// Below it all keys are known; `nil` where all are.
  private(set) var frontier: [UInt8]?

  /// - Parameter mostBytes: of keys and values; one entry may have more.
  init(limit: Int, mostBytes: Int) {
    self.limit = limit
    self.mostBytes = mostBytes
  }

  /// Adds a partition's entries, in order.
  ///
  /// - Parameter end: the key before which its reading ended; `nil` where it was read to its end.
  /// - Complexity: O(n log n) of the entries kept and added.
  mutating func add(_ added: [ClientEntry], readUpTo end: [UInt8]?) {
    if let end, frontier.map({ end.lexicographicallyPrecedes($0) }) ?? true { frontier = end }
    entries += added
    entries.sort { $0.key.lexicographicallyPrecedes($1.key) }
    var bytes = 0
    for (index, entry) in entries.enumerated() {
      bytes += entry.key.count + entry.value.count
      let isBehind = frontier.map { !entry.key.lexicographicallyPrecedes($0) } ?? false
      guard isBehind || index == limit || (index > 0 && bytes > mostBytes) else { continue }
      if !isBehind { frontier = entry.key }
      entries.removeLast(entries.count - index)
      return
    }
  }

  var page: ClientEntries {
    var page = ClientEntries()
    page.entries = entries
    page.next = entries.count == limit ? nil : frontier
    return page
  }
}
