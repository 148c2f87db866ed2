import RoostCausality
import RoostStorage

// How a page is filled:
//
// 1. Some entries are copied out of the merged cursors, one behind the other: up to 64, but never more
//    than the page may still show or pass over, as the cursors then stand behind them. Of a keyspace
//    with several replicas it is one, joined of all of them.
// 2. Each is looked at, while its bytes are near: where it is one value and nothing else, the place of
//    that is all that is noted.
// 3. Where the last of them are passed over, their memory is taken back.

extension KeyspaceScan {
  private static let largestBatch = 64

  /// How far a page has come.
  private struct Progress {
    /// Entries of cursors, those of one key in several replicas being one.
    var looked = 0
    /// The last key that was looked at, where it was passed over.
    var passedOver: [UInt8]?
  }

  /// Adds entries until the page is full, enough was passed over, or there are no more. Where it throws,
  /// the entries before the failure are there.
  func fill(
    _ draft: inout ScanEntries.Draft, _ limit: Int, _ merge: inout CursorTournament
  ) throws(DatabaseError) {
    let milliseconds = keyspace.shared.clock.physicalMilliseconds
    let bytes = draft.bytes
    let joins = keyspace.replicas > 1
    let limits = limits
    var progress = Progress()
    defer {
      shownEntries += progress.looked
      if let last = progress.passedOver ?? draft.lastKey { position = last }
    }
    var batch: [GatheredEntry] = []
    batch.reserveCapacity(Self.largestBatch)
    while merge.isPositioned, bytes.count < limits.pageBytes {
      let passable = limits.passedOver &- (progress.looked &- draft.slots.count)
      let room = min(Self.largestBatch, limit &- draft.slots.count, passable)
      if room <= 0 { break }
      batch.removeAll(keepingCapacity: true)
      if joins {
        let (entry, joined) = try takeJoined(&merge, bytes)
        batch.append(entry)
        try show(batch, joined, &draft, &progress, milliseconds)
        continue
      }
      var failure: StoreError?
      do throws(StoreError) {
        try merge.take(
          room, to: bytes, until: limits.pageBytes, valueFrom: StoredRecord.headerBytes, &batch)
      } catch { failure = error }
      // Those that came before the failure are good.
      try show(batch, nil, &draft, &progress, milliseconds)
      if let failure { throw DatabaseError(failure) }
    }
  }

  /// Looks at entries that were copied, and notes those to be shown.
  ///
  /// - Parameter joined: what the one entry is with what other replicas have, where they differ.
  private func show(
    _ batch: [GatheredEntry], _ joined: Record?, _ draft: inout ScanEntries.Draft,
    _ progress: inout Progress, _ milliseconds: UInt64
  ) throws(DatabaseError) {
    let bytes = draft.bytes
    let all = bytes.span(0, bytes.count)
    let isPlain = joined == nil && plan.tag == nil
    var looked = 0
    var isLastShown = true
    defer {
      if looked > 0 {
        progress.looked += looked
        let last = batch[looked - 1]
        progress.passedOver = isLastShown ? nil : bytes.array(last.key, last.value)
      }
      bytes.truncate(to: draft.slots.last?.end ?? 0)
    }
    for entry in batch {
      if isPlain,
        let value = SoleSibling.value(in: all.extracting(entry.value..<entry.end), at: milliseconds)
      {
        draft.slots.append(ScanEntries.Slot(entry, value))
        isLastShown = true
      } else if let slot = try otherwise(&draft, entry, joined, milliseconds) {
        draft.slots.append(slot)
        isLastShown = true
      } else {
        isLastShown = false
      }
      looked += 1
    }
  }

  /// What is to be shown of an entry of a scan under a tag, or of one that is not one value and nothing
  /// else; `nil` for nothing.
  @inline(never)
  private func otherwise(
    _ draft: inout ScanEntries.Draft, _ entry: GatheredEntry, _ joined: Record?, _ milliseconds: UInt64
  ) throws(DatabaseError) -> ScanEntries.Slot? {
    let bytes = draft.bytes
    if let tag = plan.tag, !hasTag(bytes.span(entry.key, entry.value), tag) { return nil }
    if joined == nil,
      let value = SoleSibling.value(in: bytes.span(entry.value, entry.end), at: milliseconds)
    {
      return ScanEntries.Slot(entry, value)
    }
    var whole: Record
    if let joined { whole = joined } else { whole = try decode(bytes, entry) }
    _ = whole.expire(at: milliseconds)
    // A keyspace's function may decide that siblings come to nothing.
    if whole.isTombstone || (whole.states.isEmpty && keyspace.visible(whole).isEmpty) { return nil }
    draft.decoded.append(whole)
    return ScanEntries.Slot(entry, decoded: draft.decoded.count - 1)
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

  /// Copies the current entry, joins what other replicas have of its key, and moves behind them all.
  private func takeJoined(
    _ merge: inout CursorTournament, _ bytes: GatheredBytes
  ) throws(DatabaseError) -> (GatheredEntry, Record?) {
    let entry = merge.copy(to: bytes, valueFrom: StoredRecord.headerBytes)
    var joined: Record?
    while try move(&merge), bytes.equals(entry.key, entry.value, merge.key) {
      try join(bytes, entry, merge.value, &joined)
    }
    return (entry, joined)
  }

  private func move(_ merge: inout CursorTournament) throws(DatabaseError) -> Bool {
    do throws(StoreError) { return try merge.next() } catch { throw DatabaseError(error) }
  }

  /// Joins another replica's record of the same key.
  @inline(never)
  private func join(
    _ bytes: GatheredBytes, _ entry: GatheredEntry, _ stored: RawSpan, _ joined: inout Record?
  ) throws(DatabaseError) {
    let other = stored.extracting(droppingFirst: min(StoredRecord.headerBytes, stored.byteCount))
    if bytes.equals(entry.value, entry.end, other) { return }
    let theirs = try decode(bytes, entry, other)
    if joined == nil { joined = try decode(bytes, entry) }
    joined!.join(theirs)
  }

  private func decode(
    _ bytes: GatheredBytes, _ entry: GatheredEntry
  ) throws(DatabaseError) -> Record {
    try decode(bytes, entry, bytes.span(entry.value, entry.end))
  }

  private func decode(
    _ bytes: GatheredBytes, _ entry: GatheredEntry, _ encoded: RawSpan
  ) throws(DatabaseError) -> Record {
    do throws(CausalityError) { return try Record(decoding: encoded) } catch {
      let damage = DatabaseError(error)
      let key = String(decoding: bytes.array(entry.key, entry.value), as: UTF8.self)
      throw DatabaseError(damage.code, "the record of the key `\(key)`: \(damage.message)")
    }
  }
}
