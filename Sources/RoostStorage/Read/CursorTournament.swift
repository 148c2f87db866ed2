import CPrefetch

// Merging cursors of many trees, with a tournament tree of losers (Knuth, The Art of Computer
// Programming 3, 5.4.1):
//
// 1. Leaf i is cursor i; each inner node keeps the loser of its match, with the 8-byte head of its
//    key; the overall winner stands at node 0.
// 2. A move advances the winner and replays its matches up to the root: one comparison a level,
//    nearly always of heads alone. A heap would need two, and partitions are hashed: the next key
//    is anywhere, so a heap's shortcut, that the top stays at the top, would not help here.
// 3. Cursors at their end lose against all others.
//
// Merged one entry at a time, many cursors would be at many places of memory at once, and each step
// would wait for memory that no prefetching foresees. So each reads some entries in a row (a run) and
// copies them, beginning with one, so that a walk which ends soon has not read much too far. A move
// within a run looks at nothing but the run's list of entries, which has the keys' heads.

/// Several cursors, of any trees and stores, walked as one in the order of their keys' last bytes:
/// the first few, which say where the key is kept, do not count.
///
/// Entries with equal keys come one after the other, in the order in which their cursors were added.
/// Each cursor shows its tree as of when it was added, and holds what it reads until the whole goes.
/// Not thread-safe; may be sent to another thread.
@safe
package struct CursorTournament: ~Copyable, @unchecked Sendable {
  private struct Node {
    var head: UInt64
    var cursor: Int
  }

  /// A cursor, and where its run stands: on its end, the cursor is at its own.
  @safe
  private struct Player {
    var current: UnsafePointer<CursorEntry>
    var end: UnsafePointer<CursorEntry>
    let reader: Unmanaged<RunReader>

    var isPositioned: Bool { unsafe current != end }
    var entry: CursorEntry { unsafe current.pointee }
    /// Comes first where it is less.
    var head: UInt64 { isPositioned ? entry.head : .max }

    /// Has the processor load the entry, which is shown when the others have been: by then its run has
    /// left the nearest cache.
    @inline(__always)
    func prefetch() {
      guard isPositioned else { return }
      let entry = entry
      unsafe roost_prefetch(entry.key.base)
      unsafe roost_prefetch(entry.value.base + entry.value.count / 2)
      unsafe roost_prefetch(entry.value.base + entry.value.count)
    }

    /// - Throws: of no use then.
    mutating func readRun() throws(StoreError) {
      let run = try unsafe reader.borrow { (reader) throws(StoreError) in try unsafe reader.read() }
      unsafe current = UnsafePointer(run.baseAddress!)
      unsafe end = current + run.count
    }
  }

  private let skippedBytes: Int
  private let isDescending: Bool
  private let longestRun: Int
  /// Keeps alive what `players` borrows.
  private var readers: [RunReader] = []
  private var players: UnsafeMutablePointer<Player>
  private var nodes: UnsafeMutablePointer<Node>
  private let capacity: Int

  /// Entries that all cursors together read ahead, and one alone.
  private static let readAheadOfAll = 8_192
  private static let readAheadOfOne = 32

  /// - Parameters:
  ///   - capacity: how many cursors there may be.
  ///   - skippedBytes: how many bytes at the front of keys do not count.
  package init(capacity: Int, skippedBytes: Int, isDescending: Bool) {
    self.capacity = max(capacity, 1)
    self.skippedBytes = skippedBytes
    self.isDescending = isDescending
    longestRun = max(1, min(Self.readAheadOfOne, Self.readAheadOfAll / self.capacity))
    readers.reserveCapacity(self.capacity)
    unsafe players = .allocate(capacity: self.capacity)
    unsafe nodes = .allocate(capacity: self.capacity)
  }

  deinit {
    unsafe players.deallocate()
    unsafe nodes.deallocate()
  }

  /// Adds a cursor over a tree's keys from `lower` up to, and not with, `upper`. Before
  /// ``start()``.
  ///
  /// - Throws: as ``Tree/cursor()`` and ``Cursor/next()``.
  package mutating func add(
    _ tree: Tree, from lower: [UInt8], to upper: [UInt8]?
  ) throws(StoreError) {
    precondition(readers.count < capacity)
    let cursor = try tree.core.makeCursor(tree.store, KeyRange(lower: lower, upper: upper), at: nil)
    // One that has nothing to show need not play, nor hold anything.
    let isPositioned = isDescending ? try cursor.seekToLast() : try cursor.seekToFirst()
    guard isPositioned else { return }
    let reader = RunReader(
      cursor, skippedBytes: skippedBytes, isDescending: isDescending, longestRun: longestRun)
    let nowhere = unsafe UnsafePointer(reader.entries)
    var player = unsafe Player(
      current: nowhere, end: nowhere, reader: Unmanaged.passUnretained(reader))
    try player.readRun()
    unsafe (players + readers.count).initialize(to: player)
    readers.append(reader)
  }

  /// Finds the first entry.
  package mutating func start() {
    let count = readers.count
    guard count > 0 else { return }
    // Plays all matches, from the leaves up.
    var winners = [Int](repeating: 0, count: 2 * count)
    for cursor in 0..<count { winners[count + cursor] = cursor }
    for node in stride(from: count - 1, through: 1, by: -1) {
      let (a, b) = (winners[2 * node], winners[2 * node + 1])
      let (first, second) = (leaf(a), leaf(b))
      let aWins = first.head == second.head ? precedes(a, b) : first.head < second.head
      winners[node] = aWins ? a : b
      unsafe (nodes + node).initialize(to: aWins ? second : first)
    }
    unsafe nodes.initialize(to: leaf(winners[1]))
  }

  private func leaf(_ cursor: Int) -> Node {
    unsafe Node(head: players[cursor].head, cursor: cursor)
  }

  /// Whether there is a current entry.
  package var isPositioned: Bool {
    if readers.isEmpty { return false }
    return unsafe players[nodes[0].cursor].isPositioned
  }

  /// Moves to the next entry.
  ///
  /// - Returns: whether there is one.
  /// - Throws: as ``Cursor/next()``; of no use then.
  package mutating func next() throws(StoreError) -> Bool {
    let moved = unsafe nodes[0].cursor
    precondition(unsafe players[moved].isPositioned)
    unsafe players[moved].current += 1
    if unsafe !players[moved].isPositioned { try unsafe players[moved].readRun() }
    unsafe players[moved].prefetch()
    var winner = leaf(moved)
    var node = (readers.count &+ moved) >> 1
    while node > 0 {
      let other = unsafe nodes[node]
      let otherWins: Bool
      if other.head != winner.head {
        otherWins = other.head < winner.head
      } else {
        otherWins = precedes(other.cursor, winner.cursor)
      }
      // Both are written either way: without a branch that nobody could predict.
      unsafe nodes[node] = otherWins ? winner : other
      winner = otherWins ? other : winner
      node >>= 1
    }
    unsafe nodes[0] = winner
    return unsafe players[winner.cursor].isPositioned
  }

  /// Of two with equal heads.
  @inline(never)
  private func precedes(_ a: Int, _ b: Int) -> Bool {
    let (x, y) = unsafe (players[a], players[b])
    guard x.isPositioned else { return false }
    guard y.isPositioned else { return true }
    let order = x.entry.key.compare(y.entry.key)
    if order != 0 { return (order < 0) != isDescending }
    return a < b
  }

  /// The current entry; only where there is one.
  private var entry: CursorEntry {
    precondition(isPositioned)
    return unsafe players[nodes[0].cursor].entry
  }

  /// The current key without its first bytes. Valid until the next move.
  package var key: RawSpan {
    @_lifetime(borrow self)
    get {
      let view = entry.key
      return unsafe _overrideLifetime(view.span, borrowing: self)
    }
  }

  /// The current value. Valid until the next move.
  package var value: RawSpan {
    @_lifetime(borrow self)
    get {
      let view = entry.value
      return unsafe _overrideLifetime(view.span, borrowing: self)
    }
  }

  /// Copies the current entry: its key as ``key`` shows it, and its value behind the first few bytes.
  ///
  /// - Returns: where key and value begin and the value ends.
  package func copy(
    to bytes: GatheredBytes, valueFrom offset: Int
  ) -> (key: Int, value: Int, end: Int) {
    let entry = entry
    return bytes.append(entry.key, entry.value.dropFirst(min(offset, entry.value.count)))
  }
}

/// An entry of a run. Valid as long as the run.
private struct CursorEntry {
  /// Of `key`, turned round where the walk is descending: so the smaller one always comes first.
  var head: UInt64
  /// Without the bytes that do not count.
  var key: ByteView
  var value: ByteView
}

/// Reads a cursor run by run. Large values are not copied: a run ends before one, and the entry is
/// then a run of its own, shown where it is.
///
/// Not thread-safe.
@safe
private final class RunReader {
  /// Values above are not copied.
  private static let largestValue = 1_024

  private let cursor: CursorCore
  private let skippedBytes: Int
  private let isDescending: Bool
  private let longestRun: Int
  /// What a run's entries show; never grows within a run.
  // Only ``read()`` touches it, which nothing that it calls calls.
  @exclusivity(unchecked) private var bytes = ByteBuffer(capacity: 192)
  /// Room for the longest run.
  let entries: UnsafeMutablePointer<CursorEntry>
  private var runLength = 1
  /// Whether the run is the cursor's own entry.
  private var isDirect = false

  /// - Parameters:
  ///   - cursor: stands on its first entry.
  ///   - longestRun: entries that are read ahead at most, at least 1.
  init(_ cursor: CursorCore, skippedBytes: Int, isDescending: Bool, longestRun: Int) {
    self.cursor = cursor
    self.skippedBytes = skippedBytes
    self.isDescending = isDescending
    self.longestRun = longestRun
    unsafe entries = .allocate(capacity: longestRun)
  }

  deinit { unsafe entries.deallocate() }

  private func move() throws(StoreError) -> Bool {
    isDescending ? try cursor.previous() : try cursor.next()
  }

  /// Reads a run, from where the cursor stands.
  ///
  /// - Returns: its entries, valid until the next call: none where the cursor is at its end.
  /// - Throws: of no use then.
  @inline(never)
  func read() throws(StoreError) -> UnsafeMutableBufferPointer<CursorEntry> {
    if isDirect { _ = try move() }
    isDirect = false
    let length = runLength
    let mask: UInt64 = isDescending ? .max : 0
    unsafe bytes.truncate(to: 0)
    var count = 0
    var isMore = cursor.isPositioned
    while isMore, count < length {
      let (key, value) = (shown(cursor.key), cursor.value)
      if value.count > Self.largestValue {
        if count > 0 { break }
        unsafe entries.initialize(to: CursorEntry(head: key.head ^ mask, key: key, value: value))
        isDirect = true
        count = 1
        break
      }
      // The first one's size tells those of the others, more or less; where it is too small, the run
      // is shorter.
      let size = key.count &+ value.count
      if count == 0 { unsafe bytes.reserve((size &+ size / 8) &* length) }
      if unsafe bytes.capacity &- bytes.count < size { break }
      let (ownKey, ownValue) = unsafe (bytes.appendAndView(key), bytes.appendAndView(value))
      unsafe (entries + count).initialize(
        to: CursorEntry(head: key.head ^ mask, key: ownKey, value: ownValue))
      count &+= 1
      isMore = try move()
    }
    runLength = min(length * 2, longestRun)
    return unsafe UnsafeMutableBufferPointer(start: entries, count: count)
  }

  /// The part of a key that counts. (Only damage gives a shorter key; it sorts as an empty one.)
  @inline(__always)
  private func shown(_ key: ByteView) -> ByteView { key.dropFirst(min(skippedBytes, key.count)) }
}
