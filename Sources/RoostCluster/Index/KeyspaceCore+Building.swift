import RoostCausality
import RoostStorage

// How an index is built: store by store, slice by slice, on the store's background workers.
//
// 1. A cursor walks the store's records from the last position.
// 2. Each key's stripe is taken, and the entries of its record, as it is by then, are written.
// 3. Behind the slice, its last key is noted: by the order of the log, what is noted is there.
//
// A write that comes before the walk has passed its key adds the entries that it brings, and the walk
// adds all; one that comes behind it finds all of the old record's. So entries are never missing.

extension KeyspaceCore {
  /// Most bytes of keys and values of a slice.
  static var sliceBytes: Int { 1 << 20 }

  /// Has an index built in all present stores where it is not.
  func build(_ index: KeptIndex) {
    for member in shared.presentMembers {
      guard let part = parts[member.slot], let here = index.stores[member.slot] else { continue }
      if here.schedule() { submitSlice(index, here, part) }
    }
  }

  private func submitSlice(_ index: KeptIndex, _ here: StoreIndex, _ part: KeyspacePart) {
    part.member.workers.submit(.background) { [weak self, weak part] in
      guard let self, let part else { return here.ended(nil) }
      do throws(DatabaseError) {
        if try self.buildSlice(index, here, part) {
          self.submitSlice(index, here, part)
        }
      } catch {
        here.ended(error.code == .closed ? nil : error)
      }
    }
  }

  /// - Returns: whether there is more to do.
  private func buildSlice(
    _ index: KeptIndex, _ here: StoreIndex, _ part: KeyspacePart
  ) throws(DatabaseError) -> Bool {
    let start = here.progress.position
    var cursor = try storing { () throws(StoreError) in
      start.isEmpty ? try part.records.cursor() : try part.records.cursor(from: start + [0])
    }
    var last = start
    var count = 0
    var bytes = 0
    var isAtEnd = false
    while count < indexes.sliceRecords, bytes < Self.sliceBytes {
      let isAtKey = try storing { () throws(StoreError) in try cursor.next() }
      guard isAtKey else {
        isAtEnd = true
        break
      }
      last = cursor.keyBytes
      bytes += last.count + cursor.value.byteCount
      count += 1
      guard try buildKey(last, index, here, part) else {
        // Another generation has taken its place.
        here.ended(nil)
        return false
      }
    }
    let record = BuildRecord(isDone: isAtEnd, position: isAtEnd ? [] : last)
    try storing("the index `\(index.declaration.name)` could not be built") { () throws(StoreError) in
      try here.tree.put(BuildRecord.key, record.encoded(), .applied)
    }
    here.advanced(record)
    return !isAtEnd
  }

  /// Writes all entries of a key's record.
  ///
  /// - Returns: whether the index is still kept.
  private func buildKey(
    _ storedKey: [UInt8], _ index: KeptIndex, _ here: StoreIndex, _ part: KeyspacePart
  ) throws(DatabaseError) -> Bool {
    let key = Array(storedKey.dropFirst(StoredKey.prefixBytes))
    let partition = Int(storedKey[0]) << 8 | Int(storedKey[1])
    let stripe = shared.locks[key.withKeyBytes { Placement.hash($0) }]
    stripe.lock.lock()
    defer { stripe.lock.unlock() }
    try shared.checkOpen()
    guard indexes.kept.contains(where: { $0 === index }) else { return false }
    guard let record = try part.load(storedKey)?.record else { return true }
    var batch = WriteBatch()
    for term in index.declaration.terms(of: record.siblings.elements, key: key) {
      if let entry = IndexKey.make(partition, term, key) {
        batch.put(entry, [UInt8](), in: here.tree)
      }
    }
    if batch.count == 0 { return true }
    try storing { () throws(StoreError) in try part.member.store.commit(batch, .applied) }
    return true
  }

  /// Under which of a record's values it is found.
  func indexed(_ record: Record) -> [Sibling] {
    if kind == .lastWriterWins { return record.siblings.latest.map { [$0] } ?? [] }
    return record.siblings.elements
  }

  // MARK: - Progress

  /// The declared index of that name.
  ///
  /// - Throws: `.unknownIndex`.
  func keptIndex(_ name: String) throws(DatabaseError) -> KeptIndex {
    // They change with all stripes held: one is enough to look.
    let kept = shared.locks.stripes[0].lock.withLock { indexes.kept }
    if let index = kept.first(where: { $0.declaration.name == name }) { return index }
    let names = kept.map { "`\($0.declaration.name)`" }.sorted().joined(separator: ", ")
    throw DatabaseError(
      .unknownIndex,
      "no index `\(name)` of the keyspace `\(self.name)` was declared, "
        + (names.isEmpty ? "and no other" : "only \(names)"))
  }

  /// How far an index is built. Where building it failed, it is tried again.
  ///
  /// - Throws: `.unknownIndex`, `.closed`.
  package func indexProgress(_ name: String) throws(DatabaseError) -> IndexProgress {
    try shared.checkOpen()
    return progress(of: try keptIndex(name))
  }

  func progress(of index: KeptIndex) -> IndexProgress {
    var progress = IndexProgress(isReady: true, fraction: 0, failure: nil)
    let members = shared.presentMembers
    for member in members {
      guard let here = index.stores[member.slot] else { continue }
      if here.isDone.load(ordering: .acquiring) {
        progress.fraction += 1
        continue
      }
      progress.isReady = false
      let (position, failure) = here.progress
      if let failure { progress.failure = "\(failure)" }
      if position.count >= StoredKey.prefixBytes {
        let partition = Int(position[0]) << 8 | Int(position[1])
        progress.fraction += Double(partition) / Double(shared.routes.partitionCount)
      }
    }
    progress.fraction = progress.isReady ? 1 : progress.fraction / Double(max(1, members.count))
    if !progress.isReady { build(index) }
    return progress
  }
}

extension KeyspacePart {
  /// Puts what a write changes of the indexes' entries into its batch. With the key's lock held.
  ///
  /// - Parameter isLocal: whether a client waits for it, and is told of a term that is too long; what
  ///   comes from elsewhere must be taken, and has no such entry.
  @inline(never)
  func addIndexEntries(
    to batch: inout WriteBatch, _ partition: Int, _ storedKey: [UInt8], old: Record?, new: Record,
    isLocal: Bool, _ keyspace: KeyspaceCore
  ) throws(DatabaseError) {
    let key = Array(storedKey.dropFirst(StoredKey.prefixBytes))
    for index in keyspace.indexes.kept {
      // Every store that has the keyspace has it: they are opened together.
      guard let here = index.stores[member.slot] else { continue }
      // Of all siblings, also where only the last writer's counts: when it expires, another does.
      let before = old.map { index.declaration.terms(of: $0.siblings.elements, key: key) } ?? []
      let after = index.declaration.terms(of: new.siblings.elements, key: key)
      if before == after { continue }
      let kept = Set(after)
      for term in before where !kept.contains(term) {
        if let entry = IndexKey.make(partition, term, key) { batch.delete(entry, in: here.tree) }
      }
      // What was there is put again only where it is not known to be: a write is no heavier for the
      // terms that it leaves.
      let present = Set(before)
      for term in after where !present.contains(term) {
        if let entry = IndexKey.make(partition, term, key) {
          batch.put(entry, [UInt8](), in: here.tree)
        } else if isLocal {
          throw DatabaseError(
            .invalidArgument,
            "the index `\(index.declaration.name)`: a term of \(term.count) bytes with a key of "
              + "\(key.count) bytes is too long")
        }
      }
    }
  }
}
