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

  private let keyspace: KeyspaceCore
  private let range: ScanRange
  private let order: ScanOrder
  private let bounds: UInt64
  private let limits: Limits

  /// The last key that was looked at.
  private var position: [UInt8]?
  /// Whether all keys have been looked at.
  package private(set) var isAtEnd = false
  private var merge: CursorTournament?
  /// What `merge` was opened for.
  private var plan: ScanPlan
  private var routesVersion: UInt64 = 0
  private var shownEntries = 0

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
  /// - Throws: `.unreachable`, `.corruption` (names the key), `.closed`, `.storage`. May be called
  ///   again.
  /// - Complexity: O(log n) of the partitions for each entry; opening cursors costs a seek in each.
  package func page(limit: Int) throws(DatabaseError) -> ScanEntries {
    var draft = ScanEntries.Draft(min(limit, 1_024))
    try keyspace.shared.checkOpen()
    if isAtEnd { return ScanEntries(keyspace, draft) }
    if shownEntries >= limits.heldEntries || keyspace.shared.routes.version != routesVersion {
      merge = nil
    }
    if merge == nil { try open() }
    // Taken out while it moves: after a failure it is of no use.
    var moving = merge.take()!
    do throws(DatabaseError) { try fill(&draft, limit, &moving) } catch {
      if draft.slots.isEmpty { throw error }
      // What was read is good; the next page meets the failure again.
      return ScanEntries(keyspace, draft)
    }
    if moving.isPositioned { merge = consume moving } else { isAtEnd = true }
    return ScanEntries(keyspace, draft)
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
          skippedBytes: StoredKey.prefixBytes, isDescending: order == .descending)
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

  // MARK: - Filling a page

  private func fill(
    _ draft: inout ScanEntries.Draft, _ limit: Int, _ merge: inout CursorTournament
  ) throws(DatabaseError) {
    let milliseconds = keyspace.shared.clock.physicalMilliseconds
    let bytes = draft.bytes
    let joins = keyspace.replicas > 1
    let tag = plan.tag
    let limits = limits
    var looked = 0
    // The last key looked at, where it was passed over.
    var last: [UInt8]?
    defer {
      shownEntries += looked
      if let last = last ?? draft.lastKey { position = last }
    }
    var isMore = merge.isPositioned
    while isMore, draft.slots.count < limit, looked &- draft.slots.count < limits.passedOver,
      bytes.count < limits.pageBytes
    {
      let (start, record, end) = merge.copy(to: bytes, valueFrom: StoredRecord.headerBytes)
      isMore = try move(&merge)
      var joined: Record?
      if joins {
        while isMore, bytes.equals(start, record, merge.key) {
          try join(bytes, start, record, end, merge.value, &joined)
          isMore = try move(&merge)
        }
      }
      looked &+= 1
      if tag == nil, joined == nil, let sole = SoleSibling(in: bytes.span(record, end), at: milliseconds) {
        draft.slots.append(
          ScanEntries.Slot(
            key: start, record: record, end: end,
            value: (record &+ sole.value.lowerBound)..<(record &+ sole.value.upperBound), decoded: -1))
        last = nil
      } else if let slot = try otherwise(&draft, start, record, end, joined, milliseconds) {
        draft.slots.append(slot)
        last = nil
      } else {
        last = bytes.array(start, record)
        bytes.truncate(to: start)
      }
    }
  }

  @inline(__always)
  private func move(_ merge: inout CursorTournament) throws(DatabaseError) -> Bool {
    do throws(StoreError) { return try merge.next() } catch { throw DatabaseError(error) }
  }

  /// What is to be shown of an entry of a scan under a tag, or of one that is not one value and nothing
  /// else; `nil` for nothing.
  @inline(never)
  private func otherwise(
    _ draft: inout ScanEntries.Draft, _ start: Int, _ record: Int, _ end: Int, _ joined: Record?,
    _ milliseconds: UInt64
  ) throws(DatabaseError) -> ScanEntries.Slot? {
    let bytes = draft.bytes
    if let tag = plan.tag, !hasTag(bytes.span(start, record), tag) { return nil }
    if joined == nil, let sole = SoleSibling(in: bytes.span(record, end), at: milliseconds) {
      return ScanEntries.Slot(
        key: start, record: record, end: end,
        value: (record &+ sole.value.lowerBound)..<(record &+ sole.value.upperBound), decoded: -1)
    }
    var whole: Record
    if let joined { whole = joined } else { whole = try decode(bytes, start, record, end) }
    _ = whole.expire(at: milliseconds)
    // A keyspace's function may decide that siblings come to nothing.
    if whole.isTombstone || (whole.states.isEmpty && keyspace.visible(whole).isEmpty) { return nil }
    draft.decoded.append(whole)
    return ScanEntries.Slot(
      key: start, record: record, end: end, value: 0..<0, decoded: draft.decoded.count - 1)
  }

  private func hasTag(_ key: RawSpan, _ tag: [UInt8]) -> Bool {
    guard let place = Placement.tag(of: key), place.count == tag.count else { return false }
    for index in 0..<tag.count {
      if unsafe key.unsafeLoad(fromByteOffset: place.lowerBound + index, as: UInt8.self) != tag[index] {
        return false
      }
    }
    return true
  }

  /// Joins another replica's record of the same key.
  @inline(never)
  private func join(
    _ bytes: GatheredBytes, _ start: Int, _ record: Int, _ end: Int, _ stored: RawSpan,
    _ joined: inout Record?
  ) throws(DatabaseError) {
    let other = stored.extracting(droppingFirst: min(StoredRecord.headerBytes, stored.byteCount))
    if bytes.equals(record, end, other) { return }
    let theirs = try decode(bytes, start, record, other)
    if joined == nil { joined = try decode(bytes, start, record, end) }
    joined!.join(theirs)
  }

  private func decode(
    _ bytes: GatheredBytes, _ start: Int, _ record: Int, _ end: Int
  ) throws(DatabaseError) -> Record {
    try decode(bytes, start, record, bytes.span(record, end))
  }

  private func decode(
    _ bytes: GatheredBytes, _ start: Int, _ record: Int, _ encoded: RawSpan
  ) throws(DatabaseError) -> Record {
    do throws(CausalityError) { return try Record(decoding: encoded) } catch {
      let damage = DatabaseError(error)
      let key = String(decoding: bytes.array(start, record), as: UTF8.self)
      throw DatabaseError(damage.code, "the record of the key `\(key)`: \(damage.message)")
    }
  }
}
