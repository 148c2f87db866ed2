import RoostCausality
import RoostStorage

// How a partition's versions come to another store. Transactions go on meanwhile:
//
// 1. The gate begins to note which keys are committed to.
// 2. The partition is walked, a chunk of keys a call. A key is brought with its history, both as one snapshot
//    of the store shows them.
// 3. What was noted is brought again, until little is left; the rest once the partition is frozen. A key
//    that is not in `current` any more (its deletion was collected) leaves the receiver's too.
//
// What the source has collected, or the receiver collects already, is history that nobody reads: the receiver
// takes over the source's floor before it serves the partition.

extension VersionedPart {
  /// What one call brought.
  struct Brought {
    var keys = 0
    var bytes = 0
    /// How many of the bytes are in the receiver's store, not in the batch.
    fileprivate var taken = 0
    /// The stored key to go on from; `nil` at the partition's end.
    var next: [UInt8]?
  }

  /// Brings the next keys of a partition to another store.
  ///
  /// - Parameter start: the stored key to begin with.
  /// - Throws: `.corruption` (names tree, key and store), `.newerFormat`, `.storage`, `.closed`.
  func bring(
    _ partition: Int, from start: [UInt8], to target: VersionedPart, keys limit: Int, bytes byteLimit: Int
  ) throws(DatabaseError) -> Brought {
    let snapshot = store.snapshot()
    var brought = Brought()
    var batch = WriteBatch()
    var cursor = try reading { () throws(StoreError) in
      // Partitions are below 32,768: there is always a next one.
      try current.cursor(from: start, to: StoredKey.make(partition + 1), at: snapshot)
    }
    while try reading({ () throws(StoreError) in try cursor.next() }) {
      let storedKey = cursor.keyBytes
      if brought.keys == limit || brought.bytes >= byteLimit {
        brought.next = storedKey
        break
      }
      let value = cursor.valueBytes
      _ = try decode(value, current, storedKey)
      batch.put(storedKey, value, in: target.current)
      brought.keys += 1
      brought.bytes += storedKey.count + value.count
      try bringHistory(
        partition, Array(storedKey.dropFirst(StoredKey.prefixBytes)), to: target, snapshot, &batch,
        &brought)
    }
    try target.take(batch)
    return brought
  }

  /// Brings these keys of a partition, as they are now.
  ///
  /// - Throws: as ``bring(_:from:to:keys:bytes:)``.
  func bring(
    _ partition: Int, _ keys: [[UInt8]], to target: VersionedPart
  ) throws(DatabaseError) -> Brought {
    let snapshot = store.snapshot()
    var brought = Brought()
    var batch = WriteBatch()
    for key in keys {
      let storedKey = VersionKey.current(partition, key)
      let value = try reading { () throws(StoreError) in try current.get(storedKey, at: snapshot) }
      brought.keys += 1
      brought.bytes += storedKey.count
      if let value {
        _ = try decode(value, current, storedKey)
        batch.put(storedKey, value, in: target.current)
        brought.bytes += value.count
      } else {
        batch.delete(storedKey, in: target.current)
      }
      try bringHistory(partition, key, to: target, snapshot, &batch, &brought)
    }
    try target.take(batch)
    return brought
  }

  private func bringHistory(
    _ partition: Int, _ key: [UInt8], to target: VersionedPart, _ snapshot: borrowing Snapshot,
    _ batch: inout WriteBatch, _ brought: inout Brought
  ) throws(DatabaseError) {
    let start = VersionKey.historyPrefix(partition, key)
    let end = VersionKey.historyEnd(partition, key)
    var cursor = try reading { () throws(StoreError) in
      try history.cursor(from: start, to: end, at: snapshot)
    }
    while try reading({ () throws(StoreError) in try cursor.next() }) {
      let (storedKey, value) = (cursor.keyBytes, cursor.valueBytes)
      _ = try decode(value, history, storedKey)
      batch.put(storedKey, value, in: target.history)
      brought.bytes += storedKey.count + value.count
      // A key may have a long history.
      if brought.bytes - brought.taken >= Self.pageBytes {
        try target.take(batch)
        batch = WriteBatch()
        brought.taken = brought.bytes
      }
    }
  }

  /// Writes what was brought, while nobody collects: who had looked at an older version would remove this.
  private func take(_ batch: borrowing WriteBatch) throws(DatabaseError) {
    if batch.count == 0 { return }
    try gate.committing { () throws(DatabaseError) in
      try storing("versions of `\(name)` could not be brought to \(place)") { () throws(StoreError) in
        try store.commit(batch, .applied)
      }
    }
  }
}
