import RoostCausality
import RoostStorage

// How a keyspace is scanned in the order of its keys:
//
// 1. A cursor is opened for each partition in each present store that holds it; all are merged by
//    user key. Where the route table changed meanwhile, a store may have dropped a partition before
//    its cursor was there: then all are opened anew. Once open, a cursor shows the whole partition
//    as it was, whatever happens to it.
// 2. The entries of several replicas with the same key are joined, so that a scan knows no less than
//    a get. They nearly always have the same bytes, and then nothing is decoded. Nothing is repaired.
// 3. Tombstones, expired values and keys of other tags are passed over; the rest goes into a page. A
//    page ends at its number of entries, at its bytes, or when enough was passed over.
// 4. Cursors are kept from page to page, until they have shown so many entries or the route table has
//    changed; then the scan opens new ones behind its last key. So is each key that exists throughout
//    shown once: the keys rise, whichever store shows them.

/// A walk over a keyspace's keys in order, page by page. Each partition is seen as of a moment
/// between the beginning of the scan and the showing of its next key.
///
/// Not thread-safe.
package final class KeyspaceScan {
  package struct Limits: Sendable {
    /// How many entries a page may pass over: bounds the work between two pages.
    package var passedOver = 4_096
    /// A page that has so many bytes is full.
    package var pageBytes = 1 << 20
    /// How many entries the cursors show before new ones are opened. An open cursor holds the
    /// memtables and tables of its moment: memory and disk space that writes, compaction and moved
    /// partitions would else give back. Opening costs some microseconds a partition.
    package var heldEntries = 1 << 16

    package init() {}
  }

  let keyspace: KeyspaceCore
  private let range: ScanRange
  private let order: ScanOrder
  private let bounds: UInt64
  let limits: Limits

  /// The last key that was looked at.
  var position: [UInt8]?
  /// Whether all keys have been looked at.
  package private(set) var isAtEnd = false
  private var merge: CursorTournament?
  /// What `merge` was opened for.
  private(set) var plan: ScanPlan
  private var routesVersion: UInt64 = 0
  /// Entries that were looked at since `merge` was opened.
  var shownEntries = 0
  /// What entries took on the page before: tells how much memory the next one takes.
  private var entryBytes = 160
  /// What was done so far: 1 for each entry that was looked at, and for each 256 bytes of a page.
  package private(set) var work = 0

  /// - Parameter token: where an earlier scan of the same range and order ended.
  /// - Throws: `.foreignToken`; `.invalidArgument` for a tag that no key can have; `.wrongPolicy` for a
  ///   transactional keyspace.
  package init(
    _ keyspace: KeyspaceCore, _ range: ScanRange, _ order: ScanOrder, after token: ScanToken? = nil,
    _ limits: Limits = Limits()
  ) throws(DatabaseError) {
    try keyspace.checkEventual()
    self.keyspace = keyspace
    self.range = range
    self.order = order
    self.limits = limits
    bounds = ScanToken.bounds(range, order)
    position = try token?.position(in: keyspace, range, order)
    plan = try ScanPlan(
      range, order, after: position, partitionCount: keyspace.shared.routes.partitionCount)
  }

  /// Where to go on; `nil` at the end, and before the first page.
  package var token: ScanToken? {
    guard !isAtEnd, let position else { return nil }
    return token(after: position)
  }

  package func token(after key: [UInt8]) -> ScanToken {
    ScanToken(keyspace: keyspace.bindingSeed, bounds: bounds, key: key)
  }

  /// Lets go of the cursors. The next page opens new ones.
  package func release() { merge = nil }

  /// The next entries: fewer than `limit`, or none, where much was passed over or entries are large;
  /// ``isAtEnd`` says whether more may come.
  ///
  /// - Parameters:
  ///   - limit: of entries, at least 1.
  ///   - old: a page whose memory the new one may take, which it does, and clears this, where nobody else
  ///     has it.
  /// - Throws: `.unreachable`, `.corruption` (names the key), `.closed`, `.storage`. May be called
  ///   again.
  /// - Complexity: O(log n) of the partitions for each entry; opening cursors costs a seek in each.
  package func page(
    limit: Int, inPlaceOf old: inout ScanEntries?
  ) throws(DatabaseError) -> ScanEntries {
    var draft =
      ScanEntries.reclaim(&old) ?? ScanEntries.Draft(min(limit, 1_024), entryBytes: entryBytes)
    try keyspace.shared.checkOpen()
    if isAtEnd { return ScanEntries(keyspace, draft) }
    if shownEntries >= limits.heldEntries || keyspace.shared.routes.version != routesVersion {
      merge = nil
    }
    if merge == nil { try open() }
    // Taken out while it moves: after a failure it is of no use.
    var moving = merge.take()!
    let shownBefore = shownEntries
    defer {
      work += shownEntries - shownBefore + draft.bytes.count / 256
      if draft.slots.count >= 16 { entryBytes = draft.bytes.count / draft.slots.count * 9 / 8 }
    }
    do throws(DatabaseError) { try fill(&draft, limit, &moving) } catch {
      if draft.slots.isEmpty { throw error }
      // What was read is good; the next page meets the failure again.
      return ScanEntries(keyspace, draft)
    }
    if moving.isPositioned { merge = consume moving } else { isAtEnd = true }
    return ScanEntries(keyspace, draft)
  }

  /// The same in memory of its own.
  package func page(limit: Int) throws(DatabaseError) -> ScanEntries {
    var none: ScanEntries?
    return try page(limit: limit, inPlaceOf: &none)
  }

  private func open() throws(DatabaseError) {
    let routes = keyspace.shared.routes
    plan = try ScanPlan(range, order, after: position, partitionCount: routes.partitionCount)
    shownEntries = 0
    let partitions = plan.partition.map { $0..<($0 + 1) } ?? 0..<routes.partitionCount
    while true {
      let version = routes.version
      do throws(DatabaseError) {
        var opened = CursorTournament(
          capacity: plan.isEmpty ? 0 : partitions.count * keyspace.replicas,
          skippedBytes: StoredKey.prefixBytes, sharedBytes: plan.sharedCount,
          isDescending: order == .descending)
        if !plan.isEmpty {
          for partition in partitions { try open(partition, &opened) }
        }
        guard routes.isUnchanged(since: version) else { continue }
        opened.start()
        merge = consume opened
        routesVersion = version
        return
      } catch {
        // A store that left meanwhile is no failure of the scan.
        if routes.isUnchanged(since: version) { throw error }
      }
    }
  }

  private func open(
    _ partition: Int, _ opened: inout CursorTournament
  ) throws(DatabaseError) {
    let lower = StoredKey.make(partition, plan.lower)
    let upper = plan.upper.map { StoredKey.make(partition, $0) } ?? StoredKey.end(of: partition)
    if keyspace.replicas == 1 {
      let part = try keyspace.firstPart(partition)
      return try storing { () throws(StoreError) in try opened.add(part.records, from: lower, to: upper) }
    }
    for part in try keyspace.allParts(partition).owners {
      try storing { () throws(StoreError) in try opened.add(part.records, from: lower, to: upper) }
    }
  }
}
