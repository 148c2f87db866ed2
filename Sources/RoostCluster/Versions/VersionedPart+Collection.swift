package import RoostCausality
import RoostEnvironment
import RoostStorage

// How old versions go: the history is walked, a chunk a call, round after round. What was superseded at or
// before the horizon is deleted, and with it the deletion that superseded it, where that is still the key's
// newest version. The floor is raised before the first is deleted: a read that began before sees all in its
// snapshot, and one that begins later is refused.

/// What one call to collect did.
package struct CollectionProgress: Sendable, Hashable {
  package var lookedAt = 0
  package var removed = 0
  /// Whether the history's end was reached: the next call begins anew.
  package var isRoundDone = false
}

/// Where the collection of a part goes on. Thread-safe.
final class CollectionPosition: @unchecked Sendable {
  /// Held while a chunk is collected.
  let lock = Lock()
  var next: [UInt8] = [0]
}

extension VersionedPart {
  /// Bytes of keys after which a chunk ends.
  private static var chunkBytes: Int { 1 << 20 }

  /// Deletes versions that no read at or after `horizon` can see.
  ///
  /// - Parameter limit: most entries of the history that are looked at.
  /// - Throws: `.corruption` (names tree, key and store), `.newerFormat`, `.storage`, `.closed`.
  package func collect(
    before horizon: Timestamp, limit: Int
  ) throws(DatabaseError) -> CollectionProgress {
    raiseFloor(to: horizon)
    return try collection.lock.withLock { () throws(DatabaseError) in
      var chunk = CollectedChunk()
      try find(&chunk, horizon, limit)
      if !chunk.history.isEmpty { try remove(&chunk, horizon) }
      collection.next = chunk.next ?? [0]
      return CollectionProgress(
        lookedAt: chunk.lookedAt, removed: chunk.history.count + chunk.removedDeletions,
        isRoundDone: chunk.next == nil)
    }
  }

  private struct CollectedChunk {
    var lookedAt = 0
    /// Keys of the history.
    var history: [[UInt8]] = []
    /// Keys whose newest version was a deletion that may go.
    var deletions: [(partition: Int, key: [UInt8])] = []
    var removedDeletions = 0
    /// Where the next chunk begins; `nil` at the end.
    var next: [UInt8]?
  }

  private func find(
    _ chunk: inout CollectedChunk, _ horizon: Timestamp, _ limit: Int
  ) throws(DatabaseError) {
    var cursor = try reading { () throws(StoreError) in try history.cursor(from: collection.next) }
    var bytes = 0
    while try reading({ () throws(StoreError) in try cursor.next() }) {
      let storedKey = cursor.keyBytes
      if chunk.lookedAt >= max(1, limit) || bytes >= Self.chunkBytes {
        chunk.next = storedKey
        return
      }
      chunk.lookedAt += 1
      let header: StoredVersion.Header
      do throws(DatabaseError) { header = try StoredVersion.Header(decoding: cursor.value) } catch {
        throw damaged(history, storedKey, error)
      }
      guard header.timestamp <= horizon else { continue }
      guard let parts = VersionKey.splitHistory(storedKey) else {
        throw damaged(history, storedKey, DatabaseError(.corruption, "it is no key of the history"))
      }
      bytes += storedKey.count
      chunk.history.append(storedKey)
      if let newest = try newest(parts.partition, parts.key), newest.value == nil,
        newest.timestamp <= horizon
      {
        chunk.deletions.append((parts.partition, parts.key))
      }
    }
  }

  private func remove(
    _ chunk: inout CollectedChunk, _ horizon: Timestamp
  ) throws(DatabaseError) {
    var batch = WriteBatch()
    for key in chunk.history { batch.delete(key, in: history) }
    if chunk.deletions.isEmpty { return try commit(batch) }
    // The key may be written again just now: looked at once more while no commit is under way.
    try gate.collecting { () throws(DatabaseError) in
      for (partition, key) in chunk.deletions {
        guard let newest = try newest(partition, key), newest.value == nil, newest.timestamp <= horizon
        else { continue }
        batch.delete(VersionKey.current(partition, key), in: current)
        chunk.removedDeletions += 1
      }
      try commit(batch)
    }
  }

  private func commit(_ batch: borrowing WriteBatch) throws(DatabaseError) {
    do throws(StoreError) { try store.commit(batch, .applied) } catch {
      throw DatabaseError(error, "old versions of `\(name)` could not be removed in \(place)")
    }
  }
}
