/// Range tombstones as sorted fragments that do not overlap, each with the sequence numbers of all
/// tombstones over it.
///
/// Invariants:
/// - Each fragment's start is less than its end, and its end at most the next one's start.
/// - Each has at least one sequence number; they descend strictly.
/// - Fragments that touch have different sequence numbers.
///
/// Immutable, so thread-safe. Owns its bytes: whoever stores a fragment or a view holds the list.
final class RangeTombstoneList: Sendable {
  /// The keys from `start` up to `end`.
  struct Fragment: Sendable {
    let start: ByteView
    let end: ByteView
    fileprivate let firstSequence: Int
    let sequenceCount: Int
  }

  /// In key order.
  let fragments: [Fragment]
  private let allSequences: [UInt64]
  private let bytes: ByteBuffer
  let largestSequence: UInt64

  static let empty = RangeTombstoneList(Pieces())

  /// Fragments under construction: views of bytes that someone else owns.
  struct Pieces {
    fileprivate var fragments: [Fragment] = []
    fileprivate var sequences: [UInt64] = []

    init() {}

    /// Adds what comes after all that is there: nothing where there are no sequence numbers. Joins
    /// it to the last piece where that touches it and has the same ones. `sequences` descend;
    /// repeated ones count once.
    mutating func append(
      from start: ByteView, to end: ByteView, sequences new: some Sequence<UInt64>
    ) {
      let first = sequences.count
      for sequence in new
      where sequences.count == first || sequences[sequences.count - 1] != sequence {
        sequences.append(sequence)
      }
      let count = sequences.count - first
      if count == 0 { return }
      if let last = fragments.last, last.end == start, last.sequenceCount == count,
        sequences[last.firstSequence..<first].elementsEqual(sequences[first...])
      {
        sequences.removeSubrange(first...)
        fragments[fragments.count - 1] = Fragment(
          start: last.start, end: end, firstSequence: last.firstSequence, sequenceCount: count)
        return
      }
      fragments.append(
        Fragment(start: start, end: end, firstSequence: first, sequenceCount: count))
    }
  }

  /// Copies the bytes of the pieces.
  init(_ pieces: Pieces) {
    var byteCount = 0
    for piece in pieces.fragments { byteCount += piece.start.count + piece.end.count }
    // Never grown below, so the views stay true.
    var bytes = ByteBuffer(capacity: byteCount)
    var fragments: [Fragment] = []
    fragments.reserveCapacity(pieces.fragments.count)
    var last = ByteView.empty
    for piece in pieces.fragments {
      let start = piece.start == last ? last : RangeTombstoneList.copy(piece.start, into: &bytes)
      last = RangeTombstoneList.copy(piece.end, into: &bytes)
      fragments.append(
        Fragment(
          start: start, end: last, firstSequence: piece.firstSequence,
          sequenceCount: piece.sequenceCount))
    }
    self.fragments = fragments
    self.bytes = bytes
    allSequences = pieces.sequences
    largestSequence = pieces.sequences.max() ?? 0
  }

  private static func copy(_ view: ByteView, into bytes: inout ByteBuffer) -> ByteView {
    let at = bytes.count
    bytes.append(view)
    return bytes.view.dropFirst(at)
  }

  var isEmpty: Bool { fragments.isEmpty }
  /// How many fragments there are.
  var count: Int { fragments.count }
  /// Bytes of memory it takes, about.
  var byteCount: Int {
    bytes.capacity + fragments.count * MemoryLayout<Fragment>.stride + allSequences.count * 8
  }

  /// A fragment's sequence numbers, descending.
  func sequences(of fragment: Fragment) -> ArraySlice<UInt64> {
    allSequences[fragment.firstSequence..<fragment.firstSequence + fragment.sequenceCount]
  }

  /// The newest sequence number of a fragment that is at most `snapshot`; 0 where there is none.
  @inline(__always)
  func newestSequence(of fragment: Fragment, at snapshot: UInt64) -> UInt64 {
    var low = fragment.firstSequence
    let end = low &+ fragment.sequenceCount
    if allSequences[low] <= snapshot { return allSequences[low] }
    var high = end
    while low < high {
      let middle = (low &+ high) / 2
      if allSequences[middle] > snapshot { low = middle &+ 1 } else { high = middle }
    }
    return low < end ? allSequences[low] : 0
  }

  /// The index of the first fragment that ends after `key`: the only one that may cover it.
  @inline(__always)
  func index(for key: ByteView) -> Int {
    var low = 0
    var high = fragments.count
    while low < high {
      let middle = (low &+ high) / 2
      if fragments[middle].end <= key { low = middle &+ 1 } else { high = middle }
    }
    return low
  }

  /// The newest tombstone over `key` that a reader at `snapshot` sees; 0 where there is none.
  /// O(log n).
  func newestSequence(covering key: ByteView, at snapshot: UInt64) -> UInt64 {
    var position = Position()
    position.index = index(for: key)
    return position.newestSequence(here: key, at: snapshot, in: self)
  }

  /// Where a scan is in a list. O(1) a key while keys go one way, O(log n) for a jump.
  struct Position {
    /// Of the first fragment that ends after the last key asked for.
    fileprivate(set) var index = 0

    init() {}

    /// As the list's `newestSequence(covering:at:)`.
    @inline(__always)
    mutating func newestSequence(
      covering key: ByteView, at snapshot: UInt64, in list: RangeTombstoneList
    ) -> UInt64 {
      move(to: key, in: list)
      return newestSequence(here: key, at: snapshot, in: list)
    }

    /// The fragment over `key`, if there is one.
    mutating func fragment(covering key: ByteView, in list: RangeTombstoneList) -> Fragment? {
      move(to: key, in: list)
      guard index < list.fragments.count, list.fragments[index].start <= key else { return nil }
      return list.fragments[index]
    }

    @inline(__always)
    fileprivate func newestSequence(
      here key: ByteView, at snapshot: UInt64, in list: RangeTombstoneList
    ) -> UInt64 {
      guard index < list.fragments.count, list.fragments[index].start <= key else { return 0 }
      return list.newestSequence(of: list.fragments[index], at: snapshot)
    }

    @inline(__always)
    private mutating func move(to key: ByteView, in list: RangeTombstoneList) {
      // A few steps either way, then a search.
      var steps = 0
      while index < list.fragments.count, list.fragments[index].end <= key {
        index &+= 1
        steps &+= 1
        if steps == 8 {
          index = list.index(for: key)
          return
        }
      }
      while index > 0, key < list.fragments[index &- 1].end {
        index &-= 1
        steps &+= 1
        if steps == 8 {
          index = list.index(for: key)
          return
        }
      }
    }
  }

  /// What of the list lies from `start` up to `end`; `nil` is no bound.
  func clipped(from start: ByteView?, to end: ByteView?) -> RangeTombstoneList {
    var pieces = Pieces()
    for fragment in fragments[(start.map(index(for:)) ?? 0)...] {
      var from = fragment.start
      var to = fragment.end
      if let start, from < start { from = start }
      if let end, end < to { to = end }
      if !(from < to) { break }
      pieces.append(from: from, to: to, sequences: sequences(of: fragment))
    }
    return RangeTombstoneList(pieces)
  }

  /// The list with each fragment's sequence numbers replaced by what `body` makes of them, which
  /// must descend; a fragment left with none goes.
  func mapSequences(_ body: (ArraySlice<UInt64>) -> [UInt64]) -> RangeTombstoneList {
    var pieces = Pieces()
    for fragment in fragments {
      pieces.append(
        from: fragment.start, to: fragment.end, sequences: body(sequences(of: fragment)))
    }
    return RangeTombstoneList(pieces)
  }

  /// One list of all tombstones of several.
  static func merging(_ lists: [RangeTombstoneList]) -> RangeTombstoneList {
    let some = lists.filter { !$0.isEmpty }
    if some.count == 1 { return some[0] }
    if some.isEmpty { return .empty }
    var builder = RangeTombstoneBuilder()
    for list in some { builder.add(list) }
    return builder.build()
  }
}
