package import RoostCausality
import RoostStorage

// How the feed of a keyspace is read. A partition's feed is that of the store which serves it: one
// entry a key, under the number of the key's last change there (`FeedKey`), and for a while entries that
// were replaced: most writes delete those late (`WriteBatch.deleteLate`).
//
// 1. The numbers up to which nothing is on its way any more are found: first the clock is read, then
//    each stripe's word, then the stores. A writer says that it is writing before it takes a number,
//    and that it has written only after it has: so every change up to the bound is in the stores.
// 2. The partitions are visited in turn, beginning with the one where the last page ended. Where
//    memory knows that there is nothing new, the store is not asked.
// 3. Of each, entries above the reader's position are read, up to the bound. One whose record has
//    another number by now is passed over: the record's own entry has a higher number and is still
//    to come.
// 4. Where the routes changed meanwhile, what was read of the partition is forgotten and read again:
//    the store may have been dropping it.
//
// A position means something in one tenure only: in another the partition is told from the beginning,
// after a word that it is so. One above the clock is from a future that this store has lost (it was
// restored from an older copy), and counts as of another tenure. So does one that lies below what was reaped
// of the partition (`KeyspacePart+Reaped.swift`): a delete above it may be gone.

/// What a reader of a feed is told.
package struct FeedChange: Sendable {
  package enum Event: Sendable {
    /// The key's record: what is expired is still in it.
    case changed(key: [UInt8], Record)
    /// What follows of the partition begins from its beginning.
    case resync(partition: Int)
  }

  package var event: Event
  /// Resumes after this change.
  package var token: ChangeToken
}

/// A bounded part of a feed. It ends early before what cannot be read: the page after it throws.
package struct ChangePage: Sendable {
  package var changes: [FeedChange] = []
  /// Whether it leads to the end: up to where nothing was on its way when it was made.
  package var isAtEnd = false
  /// Resumes after the page.
  package var token: ChangeToken
  /// The number up to which it told what there was.
  package var bound: UInt64 = 0
}

/// How much a page takes.
package struct ChangePageLimit: Sendable {
  /// At least 1.
  package var changes: Int
  /// Keys and records; one change may exceed it.
  package var bytes: Int
  /// Feed entries looked at and partitions asked for.
  package var work: Int

  package init(changes: Int = 256, bytes: Int = 1 << 20, work: Int = 4096) {
    self.changes = max(1, changes)
    self.bytes = bytes
    self.work = max(work, self.changes)
  }

  /// What one partition may take of a page before the next has its turn.
  var changesAPartition: Int { max(1, changes / 8) }
}

extension KeyspaceCore {
  /// The next changes of the keyspace.
  ///
  /// - Parameters:
  ///   - token: where to go on; from the beginning where `nil`.
  ///   - limit: how much at most. A page may have no changes and not be at the end.
  ///   - bound: an earlier page's ``ChangePage/bound``: then what came later is left out, so that pages
  ///     come to an end beside writers who are faster than the reader.
  /// - Throws: `.foreignContext` for a token of another keyspace or database, `.unreachable` (no open
  ///   store holds some partition), `.corruption`, `.storage`, `.closed`.
  /// - Complexity: O(partitions) looks at memory, and what `limit` allows.
  package func changes(
    since token: ChangeToken?, limit: ChangePageLimit = ChangePageLimit(), until bound: UInt64? = nil
  ) throws(DatabaseError) -> ChangePage {
    let start = try start(token)
    let part = try changes(since: start, of: nil, limit: limit, until: bound)
    var page = ChangePage(keyspace: bindingSeed, after: token, start, [part])
    page.bound = part.settled
    return page
  }

  /// Where a reader with a token goes on.
  ///
  /// - Throws: `.foreignContext` for a token of another keyspace or database, `.closed`, `.wrongPolicy`.
  func start(_ token: ChangeToken?) throws(DatabaseError) -> FeedPosition {
    try shared.checkOpen()
    try checkEventual()
    let count = shared.routes.partitionCount
    guard let token else { return FeedPosition(partitionCount: count) }
    guard token.keyspace == bindingSeed, token.position.places.count == count else {
      throw DatabaseError(
        .foreignContext, "the change token is another keyspace's or another database's")
    }
    return token.position
  }

  /// The next changes of some partitions, or of all.
  ///
  /// - Parameter partitions: ascending; all where `nil`.
  /// - Throws: as ``changes(since:limit:until:)``.
  func changes(
    since start: FeedPosition, of partitions: [Int]?, limit: ChangePageLimit, until bound: UInt64?
  ) throws(DatabaseError) -> FeedPart {
    let reading = FeedReading(self, start, partitions, limit, bound)
    let next = try reading.run()
    return FeedPart(
      partitions: partitions ?? Array(start.places.indices), steps: reading.steps, found: reading.found,
      next: next, isAtEnd: reading.isAtEnd, settled: reading.settled)
  }
}

/// One page being read. Not thread-safe.
private final class FeedReading {
  let keyspace: KeyspaceCore
  let start: FeedPosition
  /// Those that are read; all where `nil`.
  let partitions: Set<Int>?
  let limit: ChangePageLimit
  let latest: UInt64
  /// All changes up to this number are in the stores.
  let complete: UInt64
  /// Up to where they are told.
  let settled: UInt64
  var found: [FeedPart.Found] = []
  var steps: [FeedTrail.Step] = []
  var isAtEnd = false
  private var work = 0
  private var bytes = 0
  private var cursors: [Int: FeedCursor] = [:]
  /// What the page ends with, where it ends early.
  private var failure: DatabaseError?

  init(
    _ keyspace: KeyspaceCore, _ start: FeedPosition, _ partitions: [Int]?, _ limit: ChangePageLimit,
    _ bound: UInt64?
  ) {
    self.keyspace = keyspace
    self.start = start
    self.partitions = partitions.map(Set.init)
    self.limit = limit
    // In this order: see `KeyLocks.settled`.
    latest = keyspace.shared.clock.latest.rawValue
    complete = keyspace.shared.locks.settled(latest)
    settled = min(complete, bound ?? .max)
  }

  private var isFull: Bool {
    found.count >= limit.changes || work >= limit.work || bytes >= limit.bytes
  }

  /// - Returns: the partition to go on with.
  func run() throws(DatabaseError) -> Int {
    let count = start.places.count
    var isBehind = false
    for turn in 0..<count {
      let partition = (start.next + turn) % count
      if let partitions, !partitions.contains(partition) { continue }
      if isFull { return partition }
      if try !read(partition) { isBehind = true }
      if let failure {
        if found.isEmpty { throw failure }
        // What was read before it is good; the next page begins here, and meets it again.
        return partition
      }
    }
    isAtEnd = !isBehind
    return start.next
  }

  /// - Returns: whether the partition is read up to the bound.
  private func read(_ partition: Int) throws(DatabaseError) -> Bool {
    var isBehindReaping = false
    while true {
      let version = keyspace.shared.routes.version
      let place = start.places[partition]
      let (slot, part, tenure) = try keyspace.feedSource(partition, place.tenure)
      let isResumed = place.tenure == tenure && place.number <= latest && !isBehindReaping
      if isResumed, part.latestChanges[partition] <= place.number { return true }
      let before = (found.count, bytes)
      if place.tenure != nil, !isResumed {
        found.append(FeedPart.Found(event: .resync(partition: partition), step: steps.count, number: 0))
      }
      let from = isResumed ? place.number : 0
      var (number, began, isDone, isKnown) = (from, place.began, false, true)
      do throws(DatabaseError) {
        // Of now, also where what is told ends earlier: else what was reaped since lies above it for ever.
        if !isResumed { began = try part.reapedChange(of: partition) > 0 ? complete : 0 }
        (number, isDone) = readEntries(partition, slot, part, above: from)
        // After the entries: what went while they were read has raised it.
        if isResumed { isBehindReaping = try part.reapedChange(of: partition) > max(from, began) }
      } catch {
        failure = error
        isKnown = false
      }
      let isMoved = !keyspace.shared.routes.isUnchanged(since: version)
      let mustRepeat = isMoved || isResumed && isBehindReaping
      if mustRepeat || !isKnown {
        found.removeSubrange(before.0...)
        bytes = before.1
        cursors = [:]
      }
      if mustRepeat {
        // A failure too is of no interest: the store may have left.
        failure = nil
        continue
      }
      if !isKnown { return false }
      steps.append(
        FeedTrail.Step(partition: partition, tenure: tenure, number: number, began: began))
      return isDone
    }
  }

  /// - Returns: up to where it was read, and whether that is all there is up to the bound: not where
  ///   it failed, as `failure` says then.
  private func readEntries(
    _ partition: Int, _ slot: Int, _ part: KeyspacePart, above from: UInt64
  ) -> (UInt64, isDone: Bool) {
    work += 1
    guard from < settled else { return (from, true) }
    var number = from
    do throws(DatabaseError) {
      let isDone = try readEntries(partition, slot, part, &number)
      return (number, isDone)
    } catch {
      failure = error
      return (number, false)
    }
  }

  private func readEntries(
    _ partition: Int, _ slot: Int, _ part: KeyspacePart, _ number: inout UInt64
  ) throws(DatabaseError) -> Bool {
    let cursor: FeedCursor
    if let open = cursors[slot] {
      cursor = open
    } else {
      cursor = try FeedCursor(part)
      cursors[slot] = cursor
    }
    let allowed = min(limit.changes, found.count + limit.changesAPartition)
    var entry = try cursor.first(partition, above: number)
    while let (entryNumber, key) = entry {
      if entryNumber > settled { break }
      if found.count >= allowed || isFull { return false }
      work += 1
      if let (record, size) = try part.changed(partition, key, entryNumber) {
        bytes += key.count + size
        found.append(
          FeedPart.Found(event: .changed(key: key, record), step: steps.count, number: entryNumber))
      }
      number = entryNumber
      entry = try cursor.next(in: partition)
    }
    number = settled
    return true
  }
}

extension KeyspaceCore {
  /// The store that serves a partition's feed: the one that the reader knows, where it still holds
  /// the partition; else the first replica that is present.
  func feedSource(
    _ partition: Int, _ known: FeedPosition.Tenure?
  ) throws(DatabaseError) -> (slot: Int, part: KeyspacePart, tenure: FeedPosition.Tenure) {
    var first: (slot: Int, KeyspacePart, FeedPosition.Tenure)?
    for replica in 0..<replicas {
      let slot = shared.routes.owner(partition, replica)
      guard slot != Int(RouteTable.none), let part = parts[slot] else { continue }
      let tenure = FeedPosition.Tenure(
        member: part.member.id, tenancy: shared.routes.tenancy(partition, replica))
      if tenure == known { return (slot, part, tenure) }
      if first == nil { first = (slot, part, tenure) }
    }
    guard let first else {
      throw DatabaseError(
        .unreachable, "no open store holds partition \(partition) of the keyspace `\(name)`")
    }
    return first
  }
}

/// A walk over one store's feed. Not thread-safe.
private final class FeedCursor {
  private var cursor: Cursor
  private let path: String

  init(_ part: KeyspacePart) throws(DatabaseError) {
    path = part.member.path
    cursor = try storing("the changes in \(path) could not be read") { () throws(StoreError) in
      try part.changes.cursor()
    }
  }

  func first(
    _ partition: Int, above number: UInt64
  ) throws(DatabaseError) -> (number: UInt64, key: [UInt8])? {
    guard number < .max else { return nil }
    let target = FeedKey.make(partition, number + 1)
    return try entry(partition) { cursor throws(StoreError) in try cursor.seek(to: target) }
  }

  func next(in partition: Int) throws(DatabaseError) -> (number: UInt64, key: [UInt8])? {
    try entry(partition) { cursor throws(StoreError) in try cursor.next() }
  }

  private func entry(
    _ partition: Int, _ move: (inout Cursor) throws(StoreError) -> Bool
  ) throws(DatabaseError) -> (number: UInt64, key: [UInt8])? {
    do throws(StoreError) {
      guard try move(&cursor) else { return nil }
    } catch { throw DatabaseError(error, "the changes in \(path) could not be read") }
    guard StoredKey.partition(of: cursor.key) == partition else { return nil }
    guard let number = FeedKey.number(cursor.key) else {
      throw DatabaseError(
        .corruption, "the key of a change of partition \(partition) in \(path) has another length")
    }
    return (number, cursor.valueBytes)
  }
}

extension KeyspacePart {
  /// The record of a change, with its size; `nil` where the key has changed again since.
  fileprivate func changed(
    _ partition: Int, _ key: [UInt8], _ number: UInt64
  ) throws(DatabaseError) -> (Record, byteCount: Int)? {
    guard let (stored, byteCount) = try loadWithSize(StoredKey.make(partition, key)) else { return nil }
    return stored.changeNumber == number ? (stored.record, byteCount) : nil
  }
}
