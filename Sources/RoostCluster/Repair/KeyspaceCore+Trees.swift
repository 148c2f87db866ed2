import RoostCausality
import RoostStorage

// Trees are made when they are asked for, by one pass over the partition's records: nothing is kept beside
// the records that a crash could leave wrong, and no write pays for it.

extension KeyspaceCore {
  /// Records read with one cursor: it pins what it reads, and is let go now and then.
  private static var cursorRecords: Int { 1_024 }
  /// Records looked at for one page of keys, however few of them are in it: an answer is due.
  private static var pageRecords: Int { 1 << 17 }

  /// The hash tree over what a store here holds of a partition. Written to meanwhile, it is as of no one
  /// moment.
  ///
  /// - Parameters:
  ///   - seed: of the hashes.
  ///   - isCancelled: asked every so many records.
  /// - Throws: `.unreachable` where the store does not have the keyspace, `.corruption`, `.storage`,
  ///   `.closed`, `.deadlineExceeded` where it was cancelled.
  /// - Complexity: reads every record of the partition; memory does not depend on them.
  func hashTree(
    of partition: Int, on member: Member, seed: UInt64, isCancelled: () -> Bool
  ) throws(DatabaseError) -> HashTree {
    var tree = HashTree()
    var hasher = RecordHasher(seed: seed)
    _ = try forEachRecord(of: partition, on: member, after: [], isCancelled) { key, record in
      let leaf = unsafe hasher.leaf(of: key.span.bytes)
      tree.add(unsafe hasher.hash(key.span.bytes, record), toLeaf: leaf)
      return true
    }
    return tree
  }

  /// Keys with their hashes, of some leaves, in order.
  ///
  /// - Parameters:
  ///   - after: behind which key; empty for from the first one on.
  ///   - byteLimit: about how many bytes of keys; one key comes always.
  /// - Throws: as ``hashTree(of:on:seed:isCancelled:)``.
  /// - Complexity: reads the records behind `after` up to where the page ends.
  func hashedKeys(
    of partition: Int, on member: Member, in leaves: LeafSet, seed: UInt64, after: [UInt8], byteLimit: Int,
    isCancelled: () -> Bool
  ) throws(DatabaseError) -> KeyPage {
    var page = KeyPage()
    var hasher = RecordHasher(seed: seed)
    var bytes = 0
    var seen = 0
    page.through = try forEachRecord(of: partition, on: member, after: after, isCancelled) { key, record in
      seen += 1
      let (leaf, hash) = unsafe (hasher.leaf(of: key.span.bytes), hasher.hash(key.span.bytes, record))
      if leaves.contains(leaf) {
        page.keys.append(HashedKey(key: key, hash: hash))
        // A key's length and hash go along.
        bytes += key.count + 12
      }
      return bytes < byteLimit && seen < Self.pageRecords
    }
    return page
  }

  private func forEachRecord(
    of partition: Int, on member: Member, after: [UInt8], _ isCancelled: () -> Bool,
    _ body: ([UInt8], Record) -> Bool
  ) throws(DatabaseError) -> [UInt8]? {
    try forEachStored(of: partition, on: member, after: after, isCancelled) { body($0, $1.record) }
  }

  /// Calls `body` with each key of a partition and what is stored of it, until it says `false`.
  ///
  /// - Returns: the last key that it was called with; `nil` where that was the partition's end.
  func forEachStored(
    of partition: Int, on member: Member, after: [UInt8], _ isCancelled: () -> Bool,
    _ body: ([UInt8], StoredRecord) -> Bool
  ) throws(DatabaseError) -> [UInt8]? {
    guard let part = parts[member.slot] else {
      throw DatabaseError(.unreachable, "the keyspace `\(name)` is not open in \(member.path)")
    }
    var from = StoredKey.make(partition, after)
    if !after.isEmpty { from.append(0) }
    while true {
      try shared.checkOpen()
      if isCancelled() { throw DatabaseError(.deadlineExceeded, "nobody waits for the comparison any more") }
      var cursor = try reading(part) { () throws(StoreError) in
        if let end = StoredKey.end(of: partition) { return try part.records.cursor(from: from, to: end) }
        return try part.records.cursor(from: from)
      }
      var count = 0
      while count < Self.cursorRecords {
        let isAtKey = try reading(part) { () throws(StoreError) in try cursor.next() }
        guard isAtKey else { return nil }
        count += 1
        let storedKey = cursor.keyBytes
        from = storedKey + [0]
        // A user's key has at least one byte.
        guard storedKey.count > StoredKey.prefixBytes else { continue }
        let stored: StoredRecord
        do throws(DatabaseError) { stored = try StoredRecord(decoding: cursor.value) } catch {
          throw unsafe part.damaged(storedKey.span.bytes, error)
        }
        let key = Array(storedKey.dropFirst(StoredKey.prefixBytes))
        if !body(key, stored) { return key }
      }
    }
  }

  private func reading<R: ~Copyable>(
    _ part: KeyspacePart, _ body: () throws(StoreError) -> R
  ) throws(DatabaseError) -> R {
    try storing("the keyspace `\(name)` could not be read in \(part.member.path)", body)
  }
}
