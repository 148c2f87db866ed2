import CPrefetch

// Merging cursors of many trees, with a tournament tree of losers (Knuth, The Art of Computer
// Programming 3, 5.4.1):
//
// 1. Leaf i is cursor i; each inner node keeps the loser of its match, with the 8-byte head of its
//    key (behind what all keys share); the overall winner stands at node 0.
// 2. A move advances the winner and replays its matches up to the root: one comparison a level,
//    nearly always of heads alone. A heap would need two, and partitions are hashed: the next key
//    is anywhere, so a heap's shortcut, that the top stays at the top, would not help here.
// 3. Cursors at their end lose against all others.
//
// Merged one entry at a time, many cursors would be at many places of memory at once, and each step
// would wait for memory that no prefetching foresees. So each reads some entries in a row (a run,
// RunReader), beginning with one, so that a walk which ends soon has not read much too far. A move
// within a run looks at nothing but the run's list of entries, which has the keys' heads. Values are
// not copied into runs, but from where they stand to where the walk's user wants them.

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
    var current: UnsafePointer<RunEntry>
    var end: UnsafePointer<RunEntry>
    let reader: Unmanaged<RunReader>

    @inline(__always) var isPositioned: Bool { unsafe current != end }
    @inline(__always) var entry: RunEntry { unsafe current.pointee }
    /// Comes first where it is less.
    @inline(__always) var head: UInt64 { isPositioned ? unsafe current.pointee.head : .max }

    /// Has the processor load the entry, which is shown when the others have been: by then its run has
    /// left the nearest cache. And that behind it in the list, whose head the next move asks for.
    @inline(__always)
    func prefetch() {
      guard isPositioned else { return }
      unsafe roost_prefetch(current + 1)
      let entry = entry
      unsafe roost_prefetch(entry.key.base)
      unsafe roost_prefetch(entry.value.base)
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
  private let sharedBytes: Int
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
  ///   - sharedBytes: in how many of those behind them all keys agree, so that comparing begins there.
  package init(capacity: Int, skippedBytes: Int, sharedBytes: Int, isDescending: Bool) {
    self.capacity = max(capacity, 1)
    self.skippedBytes = skippedBytes
    self.sharedBytes = sharedBytes
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
      cursor, skippedBytes: skippedBytes, sharedBytes: sharedBytes, isDescending: isDescending,
      longestRun: longestRun)
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
      let aWins = precedes(first, second)
      winners[node] = aWins ? a : b
      unsafe (nodes + node).initialize(to: aWins ? second : first)
    }
    unsafe nodes.initialize(to: leaf(winners[1]))
  }

  @inline(__always)
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
    try advance()
    return isPositioned
  }

  @inline(__always)
  private mutating func advance() throws(StoreError) {
    let moved = unsafe nodes[0].cursor
    let player = unsafe players + moved
    precondition(unsafe player.pointee.isPositioned)
    unsafe player.pointee.current += 1
    if unsafe !player.pointee.isPositioned { try unsafe player.pointee.readRun() }
    unsafe player.pointee.prefetch()
    replay(leaf(moved))
  }

  /// Plays the matches of a cursor that moved, up to the root.
  @inline(__always)
  private func replay(_ moved: Node) {
    var (head, cursor) = (moved.head, moved.cursor)
    var node = (readers.count &+ cursor) &>> 1
    while node > 0 {
      let other = unsafe nodes[node]
      if other.head == head { return replay(Node(head: head, cursor: cursor), from: node) }
      // Nobody could predict who wins, so nothing branches on it: the two are exchanged, or each is
      // combined with zeros. (Of conditional expressions the compiler makes branches here.)
      let mask: UInt64 = 0 &- (other.head < head ? 1 : 0)
      let headChange = (other.head ^ head) & mask
      let cursorChange = (other.cursor ^ cursor) & Int(bitPattern: UInt(mask))
      unsafe nodes[node] = Node(head: other.head ^ headChange, cursor: other.cursor ^ cursorChange)
      head ^= headChange
      cursor ^= cursorChange
      node &>>= 1
    }
    unsafe nodes[0] = Node(head: head, cursor: cursor)
  }

  /// The same from a node on where heads are equal, so that more may be.
  @inline(never)
  private func replay(_ moved: Node, from start: Int) {
    var winner = moved
    var node = start
    while node > 0 {
      let other = unsafe nodes[node]
      if precedes(other, winner) {
        unsafe nodes[node] = winner
        winner = other
      }
      node &>>= 1
    }
    unsafe nodes[0] = winner
  }

  private func precedes(_ a: Node, _ b: Node) -> Bool {
    if a.head != b.head { return a.head < b.head }
    let (x, y) = unsafe (players[a.cursor], players[b.cursor])
    guard x.isPositioned else { return false }
    guard y.isPositioned else { return true }
    let order = x.entry.key.compare(y.entry.key)
    if order != 0 { return (order < 0) != isDescending }
    return a.cursor < b.cursor
  }

  /// The current entry; only where there is one.
  @inline(__always)
  private var entry: RunEntry {
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
  package func copy(to bytes: GatheredBytes, valueFrom offset: Int) -> GatheredEntry {
    let entry = entry
    return bytes.append(entry.key, entry.value.dropFirst(min(offset, entry.value.count)))
  }

  /// Copies entries and moves behind them: the current one and those that follow, until there are so many
  /// of them, no more, or so many bytes in all.
  ///
  /// - Parameters:
  ///   - limit: of entries.
  ///   - byteLimit: where `bytes` has so many, no further entry is added.
  ///   - offset: how many bytes at the front of values are left out.
  ///   - entries: those that were copied are added, in order; also where this throws.
  /// - Throws: as ``next()``; of no use then.
  package mutating func take(
    _ limit: Int, to bytes: GatheredBytes, until byteLimit: Int, valueFrom offset: Int,
    _ entries: inout [GatheredEntry]
  ) throws(StoreError) {
    var room = limit
    while room > 0, isPositioned, bytes.count < byteLimit {
      let entry = entry
      entries.append(
        bytes.append(entry.key, entry.value.dropFirst(min(offset, entry.value.count))))
      try advance()
      room &-= 1
    }
  }
}
