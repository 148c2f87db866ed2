import RoostStorage

// Replicas can differ where a write failed part-way or was made while a store was missing. A read
// of the key joins them and repairs those that had less; this does it for all keys at once.

/// What a repair did.
public struct RepairSummary: Sendable, Hashable {
  /// Keys of all keyspaces that were looked at.
  public var keys = 0

  package init(keys: Int = 0) { self.keys = keys }
}

extension DatabaseCore {
  /// Joins the replicas of every key of every keyspace, so that all have the same, and the feed of each
  /// tells all. With one replica there is nothing to do.
  ///
  /// - Throws: `.corruption`, `.unreachable`, `.storage`, `.closed`; what was repaired stays so.
  /// - Complexity: reads every record of every replica.
  package func repair() throws(DatabaseError) -> RepairSummary {
    var summary = RepairSummary()
    for entry in keyspaceEntries where entry.replicas > 1 {
      let keyspace = try keyspace(entry.name, nil)
      for member in presentMembers {
        guard let part = keyspace.parts[member.slot] else { continue }
        summary.keys += try keyspace.repairAll(of: part)
      }
    }
    return summary
  }

  /// Repairs on this thread what reads have found, and returns when nothing of it is left or under way.
  package func finishReadRepairs() { shared.repairs.finish() }
}

extension KeyspaceCore {
  /// Repairs every key that a store holds.
  fileprivate func repairAll(of part: KeyspacePart) throws(DatabaseError) -> Int {
    var keys = 0
    var next: [UInt8]? = []
    while let from = next {
      // A cursor pins what it reads: it is let go now and then. Nobody waits for the rest of a
      // database that was closed.
      try shared.checkOpen()
      next = nil
      try storing { () throws(StoreError) in
        var cursor = try part.records.cursor(from: from.isEmpty ? [0] : from)
        var chunk: [[UInt8]] = []
        while chunk.count < 1_024, try cursor.next() { chunk.append(cursor.keyBytes) }
        if let last = chunk.last, chunk.count == 1_024 { next = last + [0] }
        return chunk
      }.forEachKey { key throws(DatabaseError) in
        try unsafe repair(key.span.bytes)
        keys += 1
      }
    }
    return keys
  }
}

extension [[UInt8]] {
  /// Calls `body` with each user key of these stored keys.
  fileprivate func forEachKey(
    _ body: ([UInt8]) throws(DatabaseError) -> Void
  ) throws(DatabaseError) {
    for key in self where key.count > StoredKey.prefixBytes {
      try body(Array<UInt8>(key.dropFirst(StoredKey.prefixBytes)))
    }
  }
}
