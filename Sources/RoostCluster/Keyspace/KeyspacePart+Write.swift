import RoostCausality
import RoostStorage

// How one store writes a record: in one batch with the feed's entry, the entries of indexes, and the leaf of
// the hash tree that it is in. Always with the key's stripe locked.

extension KeyspacePart {
  /// Writes a record with its feed entry, those of its indexes and its leaf, in one batch.
  ///
  /// - Parameter old: what is under the stripe's key.
  func store(
    _ stripe: KeyStripe, _ partition: Int, _ old: StoredRecord?, _ record: Record,
    _ timestamp: Timestamp, _ keyspace: KeyspaceCore, isLocal: Bool = false
  ) throws(DatabaseError) {
    if keyspace.kind == .lastWriterWins {
      unsafe recentPuts.forget(
        stripe.number, stripe.key.span.bytes, RecentPuts.hash(stripe.key.span.bytes))
    }
    StoredRecord.encode(timestamp.rawValue, record, into: &stripe.value)
    let (key, value) = (stripe.key, stripe.value)
    let marking = isLocal ? stripe.marking : nil
    let leaf = leaves?.change(stripe, partition, key, from: old?.record, to: record)
    guard keyspace.indexes.keepsAny || marking != nil || leaf != nil else {
      return try unsafe writeAlone(
        partition, key.span.bytes, value.span.bytes, timestamp, replacing: old?.changeNumber)
    }
    try withLock(of: leaf) { () throws(DatabaseError) in
      // An effect that outlived its mark, at another store or in another database, would be done again: so
      // nobody sees it before both are durable.
      try unsafe write(
        stripe, partition, key.span.bytes, value.span.bytes, timestamp, replacing: old?.changeNumber,
        marking == nil ? .applied : .synced
      ) { batch throws(DatabaseError) in
        marking?(&batch)
        if let leaf { try leaves?.add(leaf, to: &batch) }
        guard keyspace.indexes.keepsAny else { return }
        try addIndexEntries(
          to: &batch, partition, key, old: old?.record, new: record, isLocal: isLocal, keyspace)
      }
    }
  }

  /// Deletes a record as if it had never been, with all that was written with it, in one batch.
  ///
  /// - Parameter old: what is under the key.
  func erase(
    _ stripe: KeyStripe, _ partition: Int, _ storedKey: [UInt8], _ old: StoredRecord, _ keyspace: KeyspaceCore
  ) throws(DatabaseError) {
    let leaf = leaves?.change(stripe, partition, storedKey, from: old.record, to: nil)
    try reaping.withLock { () throws(DatabaseError) in
      let reaped = max(try reapedChange(of: partition), old.changeNumber)
      try withLock(of: leaf) { () throws(DatabaseError) in
        try stripe.withBatch { batch throws(DatabaseError) in
          batch.delete(storedKey, in: records)
          FeedKey.withKey(partition, old.changeNumber) { batch.delete($0, in: changes) }
          batch.put(ReapedMark.key(partition), ReapedMark.encode(reaped), in: changes)
          if let leaf { try leaves?.add(leaf, to: &batch) }
          if keyspace.indexes.keepsAny {
            try addIndexEntries(
              to: &batch, partition, storedKey, old: old.record, new: Record(), isLocal: false, keyspace)
          }
          do throws(StoreError) { try member.store.commit(batch, .applied) } catch {
            throw DatabaseError(error)
          }
        }
      }
    }
  }

  /// Runs `body`, which commits, while nobody else changes the leaf that changes with it.
  private func withLock(
    of leaf: KeptLeaves.Change?, _ body: () throws(DatabaseError) -> Void
  ) throws(DatabaseError) {
    guard let leaf, let leaves else { return try body() }
    try leaves.withLock(of: leaf, body)
  }

  /// Writes a stored record and its feed entry, in the place of the entry of the record before. That is
  /// deleted late: readers of the feed pass it over meanwhile.
  ///
  /// - Parameters:
  ///   - timestamp: the change number: `stored` begins with it.
  ///   - replaced: the change number of what is under the key, where something is.
  @inline(__always)
  func writeAlone(
    _ partition: Int, _ storedKey: RawSpan, _ stored: RawSpan, _ timestamp: Timestamp,
    replacing replaced: UInt64?
  ) throws(DatabaseError) {
    latestChanges.raise(partition, to: timestamp.rawValue)
    let userKey = storedKey.extracting(droppingFirst: StoredKey.prefixBytes)
    do throws(StoreError) {
      try FeedKey.withKey(partition, timestamp.rawValue) { feedKey throws(StoreError) in
        guard let replaced else {
          return try commit(storedKey, stored, feedKey, userKey, replacing: nil)
        }
        try FeedKey.withKey(partition, replaced) { old throws(StoreError) in
          try commit(storedKey, stored, feedKey, userKey, replacing: old)
        }
      }
    } catch { throw DatabaseError(error) }
  }

  @inline(__always)
  private func commit(
    _ storedKey: RawSpan, _ stored: RawSpan, _ feedKey: RawSpan, _ userKey: RawSpan,
    replacing old: RawSpan?
  ) throws(StoreError) {
    try unsafe member.unretainedStore.borrow { (store) throws(StoreError) in
      try store.commit(
        putting: storedKey, stored, in: records, andPutting: feedKey, userKey, replacing: old,
        in: changes)
    }
  }

  /// The same, with more in the batch.
  ///
  /// - Parameter more: adds what belongs into the same batch.
  @inline(__always)
  func write(
    _ stripe: KeyStripe, _ partition: Int, _ storedKey: RawSpan, _ stored: RawSpan,
    _ timestamp: Timestamp, replacing replaced: UInt64?, _ durability: Durability = .applied,
    _ more: (inout WriteBatch) throws(DatabaseError) -> Void
  ) throws(DatabaseError) {
    latestChanges.raise(partition, to: timestamp.rawValue)
    try stripe.withBatch { batch throws(DatabaseError) in
      batch.put(storedKey, stored, in: records)
      if let replaced {
        FeedKey.withKey(partition, replaced) { batch.delete($0, in: changes) }
      }
      FeedKey.withKey(partition, timestamp.rawValue) {
        batch.put($0, storedKey.extracting(droppingFirst: StoredKey.prefixBytes), in: changes)
      }
      try more(&batch)
      do throws(StoreError) { try member.store.commit(batch, durability) } catch {
        throw DatabaseError(error)
      }
    }
  }

  /// Joins a state into this store's record of the key.
  ///
  /// - Returns: whether the record changed; where not, nothing is written.
  func join(
    _ stripe: KeyStripe, _ partition: Int, _ state: Record, _ timestamp: Timestamp,
    _ keyspace: KeyspaceCore
  ) throws(DatabaseError) -> Bool {
    // What another replica knows of this store and the store does not was lost (its disk was rolled
    // back).
    if member.isAheadOfUs(CompactVector(state.context)) { try member.takeNewIncarnation() }
    let old = try load(stripe.key)
    var joined = old?.record ?? Record()
    joined.join(state)
    if let old, old.record == joined { return false }
    if old == nil, joined == Record() { return false }
    try store(stripe, partition, old, joined, timestamp, keyspace)
    return true
  }
}
