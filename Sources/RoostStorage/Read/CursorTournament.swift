// Merging cursors of many trees, with a tournament tree of losers (Knuth, The Art of Computer
// Programming 3, 5.4.1):
//
// 1. Leaf i is cursor i; each inner node keeps the loser of its match, with the 8-byte head of its
//    key; the overall winner stands at node 0.
// 2. A move advances the winner and replays its matches up to the root: one comparison a level,
//    nearly always of heads alone. A heap would need two, and partitions are hashed: the next key
//    is anywhere, so a heap's shortcut, that the top stays at the top, would not help here.
// 3. Cursors at their end lose against all others.

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

  private let skippedBytes: Int
  private let isDescending: Bool
  private let longestRun: Int
  /// Turns heads round, so that the smaller one always comes first.
  private let mask: UInt64
  /// Keeps alive what `players` borrows.
  private var runs: [CursorRun] = []
  private var players: UnsafeMutablePointer<Unmanaged<CursorRun>>
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
    mask = isDescending ? .max : 0
    runs.reserveCapacity(self.capacity)
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
    precondition(runs.count < capacity)
    let cursor = try tree.core.makeCursor(tree.store, KeyRange(lower: lower, upper: upper), at: nil)
    // One that has nothing to show need not play, nor hold anything.
    let isPositioned = isDescending ? try cursor.seekToLast() : try cursor.seekToFirst()
    guard isPositioned else { return }
    let run = try CursorRun(
      cursor, skippedBytes: skippedBytes, isDescending: isDescending, longestRun: longestRun)
    unsafe (players + runs.count).initialize(to: Unmanaged.passUnretained(run))
    runs.append(run)
  }

  /// Finds the first entry.
  package mutating func start() {
    let count = runs.count
    guard count > 0 else { return }
    // Plays all matches, from the leaves up.
    var winners = [Int](repeating: 0, count: 2 * count)
    for cursor in 0..<count { winners[count + cursor] = cursor }
    for node in stride(from: count - 1, through: 1, by: -1) {
      let (a, b) = (winners[2 * node], winners[2 * node + 1])
      let (first, second) = (player(a), player(b))
      let aWins = first.head == second.head ? precedes(a, b) : first.head < second.head
      winners[node] = aWins ? a : b
      unsafe (nodes + node).initialize(to: aWins ? second : first)
    }
    unsafe nodes.initialize(to: player(winners[1]))
  }

  private func player(_ cursor: Int) -> Node { Node(head: head(cursor), cursor: cursor) }

  /// Whether there is a current entry.
  package var isPositioned: Bool {
    if runs.isEmpty { return false }
    return unsafe players[nodes[0].cursor].borrow { $0.isPositioned }
  }

  /// Moves to the next entry.
  ///
  /// - Returns: whether there is one.
  /// - Throws: as ``Cursor/next()``; of no use then.
  package mutating func next() throws(StoreError) -> Bool {
    let moved = unsafe nodes[0].cursor
    let isPositioned = try unsafe players[moved].borrow { (run) throws(StoreError) in
      try run.next()
      return run.isPositioned
    }
    var winner = Node(head: isPositioned ? head(moved) : .max, cursor: moved)
    var node = (runs.count &+ moved) >> 1
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
    return self.isPositioned
  }

  @inline(__always)
  private func head(_ cursor: Int) -> UInt64 { unsafe players[cursor].borrow { $0.key.head } ^ mask }

  /// Of two with equal heads.
  @inline(never)
  private func precedes(_ a: Int, _ b: Int) -> Bool {
    unsafe players[a].borrow { x in
      unsafe players[b].borrow { y in
        guard x.isPositioned else { return false }
        guard y.isPositioned else { return true }
        let order = x.key.compare(y.key)
        if order != 0 { return (order < 0) != isDescending }
        return a < b
      }
    }
  }

  /// The current key without its first bytes. Valid until the next move.
  package var key: RawSpan {
    @_lifetime(borrow self)
    get {
      let view = unsafe players[nodes[0].cursor].borrow { $0.key }
      return unsafe _overrideLifetime(view.span, borrowing: self)
    }
  }

  /// The current value. Valid until the next move.
  package var value: RawSpan {
    @_lifetime(borrow self)
    get {
      let view = unsafe players[nodes[0].cursor].borrow { $0.value }
      return unsafe _overrideLifetime(view.span, borrowing: self)
    }
  }

  /// Copies the current entry: its key as ``key`` shows it, and its value behind the first few bytes.
  ///
  /// - Returns: where key and value begin and the value ends.
  package func copy(
    to bytes: GatheredBytes, valueFrom offset: Int
  ) -> (key: Int, value: Int, end: Int) {
    unsafe players[nodes[0].cursor].borrow { run in
      let value = run.value
      return bytes.append(run.key, value.dropFirst(min(offset, value.count)))
    }
  }
}
