import RoostCausality
import RoostStorage

// A tree comes from the leaves that writes keep (`KeptLeaves`), or is made by one pass over the partition's
// records: where the leaves are not whole yet, and where a comparison is not to depend on them. A pass reads
// all records as of one snapshot, and checks the leaves by them.

/// A tree, and what it took to make it.
struct MadeTree {
  var tree = HashTree()
  /// Whether records were read for it.
  var isScanned = false
  /// Leaves that were kept and wrong; they are mended.
  var wrongLeaves = 0
}

extension KeyspaceCore {
  /// Records read with one cursor: it pins what it reads, and is let go now and then.
  private static var cursorRecords: Int { 1_024 }
  /// Records looked at for one page of keys, however few of them are in it: an answer is due.
  private static var pageRecords: Int { 1 << 17 }

  /// The hash tree over what a store here holds of a partition, to be compared with another replica's.
  ///
  /// - Parameters:
  ///   - seed: of the hashes. With ``leafSeed`` the leaves that are kept are the tree, where they are whole.
  ///   - isCancelled: asked every so many records.
  /// - Throws: as ``hashTree(of:on:seed:isCancelled:)``.
  /// - Complexity: reads 1,024 leaves; else every record of the partition, with a snapshot of the store held.
  func comparedTree(
    of partition: Int, on member: Member, seed: UInt64, isCancelled: () -> Bool
  ) throws(DatabaseError) -> MadeTree {
    guard let part = parts[member.slot], let leaves = part.leaves else {
      let tree = try hashTree(of: partition, on: member, seed: seed, isCancelled: isCancelled)
      return MadeTree(tree: tree, isScanned: true)
    }
    do throws(DatabaseError) {
      let kept = try leaves.read(partition)
      if kept.isWhole, seed == leafSeed { return MadeTree(tree: kept.tree) }
    } catch {
      guard error.code == .corruption else { throw error }
      shared.options.warn("\(error); it is made anew")
      try leaves.clear(partition)
    }
    let claim = leaves.claim(partition)
    defer { if let claim { leaves.release(partition, claim) } }
    let snapshot = member.store.snapshot()
    return try checkedTree(of: partition, on: member, seed, leaves, claim, at: snapshot, isCancelled)
  }

  /// Makes a tree from records, and brings the leaves in line with them.
  ///
  /// - Parameter claim: taken before the snapshot; without one the leaves are left alone.
  private func checkedTree(
    of partition: Int, on member: Member, _ seed: UInt64, _ leaves: KeptLeaves, _ claim: KeptLeaves.Claim?,
    at snapshot: borrowing Snapshot, _ isCancelled: () -> Bool
  ) throws(DatabaseError) -> MadeTree {
    let sequence = snapshot.sequence
    // Of the snapshot: what is written while it is read is in neither.
    var own = HashTree()
    var asked = HashTree()
    var (hasher, askedHasher) = (RecordHasher(seed: leafSeed), RecordHasher(seed: seed))
    _ = try forEachStored(of: partition, on: member, after: [], at: sequence, isCancelled) { key, stored in
      let key = unsafe key.span.bytes
      own.add(hasher.hash(key, stored.record), toLeaf: hasher.leaf(of: key))
      if seed != leafSeed {
        asked.add(askedHasher.hash(key, stored.record), toLeaf: askedHasher.leaf(of: key))
      }
      return true
    }
    var made = MadeTree(tree: seed == leafSeed ? own : asked, isScanned: true)
    guard let claim else { return made }
    do throws(DatabaseError) {
      let kept = try leaves.read(partition, at: sequence)
      let missing = own.difference(from: kept.tree)
      if kept.isWhole, missing.isEmpty { return made }
      guard try leaves.mend(partition, missing, claim), kept.isWhole else { return made }
      made.wrongLeaves = missing.count
      shared.options.warn(
        "\(missing.count) kept leaves of the hash tree of partition \(partition) of the keyspace `\(name)` "
          + "in \(member.path) were wrong by its records, and were mended")
    } catch {
      // The comparison has the tree that it needs, and the next one tries again.
      shared.options.warn("a hash tree of the keyspace `\(name)` cannot be kept: \(error)")
    }
    return made
  }

  /// The hash tree over what a store here holds of a partition, from its records alone. Written to meanwhile,
  /// it is as of no one moment.
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

  /// Whether a store here holds any key of a partition, deleted ones that are not reaped among them.
  ///
  /// - Throws: as ``hashTree(of:on:seed:isCancelled:)``.
  func holdsKeys(of partition: Int, on member: Member) throws(DatabaseError) -> Bool {
    var isAny = false
    _ = try forEachStored(of: partition, on: member, after: [], { false }) { _, _ in
      isAny = true
      return false
    }
    return isAny
  }

  private func forEachRecord(
    of partition: Int, on member: Member, after: [UInt8], _ isCancelled: () -> Bool,
    _ body: ([UInt8], Record) -> Bool
  ) throws(DatabaseError) -> [UInt8]? {
    try forEachStored(of: partition, on: member, after: after, isCancelled) { body($0, $1.record) }
  }

  /// Calls `body` with each key of a partition and what is stored of it, until it says `false`.
  ///
  /// - Parameter sequence: as of a snapshot of the store, which is held; `nil` for as it is by then.
  /// - Returns: the last key that it was called with; `nil` where that was the partition's end.
  func forEachStored(
    of partition: Int, on member: Member, after: [UInt8], at sequence: UInt64? = nil,
    _ isCancelled: () -> Bool, _ body: ([UInt8], StoredRecord) -> Bool
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
        try part.records.cursor(KeyRange(lower: from, upper: StoredKey.end(of: partition)), sequence)
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

  /// The leaves that are kept in a store here.
  func leaves(in store: Store) -> KeptLeaves? {
    for slot in 0..<parts.capacity {
      if let part = parts[slot], part.member.store === store { return part.leaves }
    }
    return nil
  }

  private func reading<R: ~Copyable>(
    _ part: KeyspacePart, _ body: () throws(StoreError) -> R
  ) throws(DatabaseError) -> R {
    try storing("the keyspace `\(name)` could not be read in \(part.member.path)", body)
  }
}
