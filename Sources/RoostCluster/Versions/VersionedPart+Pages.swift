import RoostCausality
import RoostStorage

// A partition's versions as they travel to another process. Transactions go on meanwhile, and pages are taken
// at different moments; what makes them whole is what is brought again:
//
// 1. The gate notes which keys are committed to, from before the first page is taken.
// 2. The history is walked, then the newest versions: so whoever finds a deletion there that was collected
//    since has its history too, or neither.
// 3. A key that was noted is brought again with all its history. A history only grows, but for what is
//    collected: so nothing that came earlier is wrong.

/// Entries of a partition's versions in the two trees of a transactional keyspace. A plain value.
struct VersionEntries: Equatable, Sendable {
  enum TreeName: UInt8, Sendable {
    case current = 0
    case history = 1
  }

  struct Entry: Equatable, Sendable {
    var keyspace: UInt64
    var tree: TreeName
    /// As it is stored.
    var key: [UInt8]
    /// `nil` where the key is not there any more.
    var value: [UInt8]?
  }

  var entries: [Entry] = []
  private(set) var byteCount = 0

  mutating func append(_ entry: Entry) {
    entries.append(entry)
    byteCount += entry.byteCount
  }

  /// Whether an entry may follow: the first always does, or what is larger than a page would never travel.
  func takes(_ entry: Entry, byteLimit: Int) -> Bool {
    entries.isEmpty || byteCount + entry.byteCount <= byteLimit
  }
}

extension VersionEntries.Entry {
  /// About what it takes in a message, with its numbers and lengths.
  var byteCount: Int { key.count + (value?.count ?? 0) + 32 }
}

/// How much of a key and its history a page took.
enum AddedVersions: Equatable {
  case whole
  /// The key, and its history before this stored key.
  case upTo([UInt8])
  /// Nothing: it is to begin another page.
  case nothing
}

extension VersionedPart {
  private func tree(_ name: VersionEntries.TreeName) -> Tree { name == .current ? current : history }

  /// Adds the next entries of a partition in one of the trees, at least one where there is one and the page
  /// is empty. A page is larger than the limit only where its one entry is.
  ///
  /// - Parameters:
  ///   - keyspace: this one's id.
  ///   - start: the stored key to begin with; empty for the partition's first.
  /// - Returns: the stored key to go on from; `nil` at the partition's end.
  /// - Throws: `.corruption` (names tree, key and store), `.newerFormat`, `.storage`, `.closed`.
  func addPage(
    of partition: Int, _ name: VersionEntries.TreeName, keyspace: UInt64, from start: [UInt8],
    byteLimit: Int, to page: inout VersionEntries
  ) throws(DatabaseError) -> [UInt8]? {
    let tree = tree(name)
    // Partitions are below 32,768: there is always a next one.
    let end = StoredKey.make(partition + 1)
    var cursor = try reading { () throws(StoreError) in
      try tree.cursor(from: start.isEmpty ? StoredKey.make(partition) : start, to: end)
    }
    return try add(from: &cursor, name, keyspace, byteLimit, to: &page)
  }

  /// Adds a key as it is now, with its history, as far as the page takes it.
  ///
  /// - Parameter start: where to go on in its history; `nil` to begin with the key.
  /// - Throws: as ``addPage(of:_:keyspace:from:byteLimit:to:)``.
  func add(
    _ key: [UInt8], of partition: Int, keyspace: UInt64, from start: [UInt8]?, byteLimit: Int,
    to page: inout VersionEntries
  ) throws(DatabaseError) -> AddedVersions {
    if start == nil {
      let storedKey = VersionKey.current(partition, key)
      let value = try reading { () throws(StoreError) in try current.get(storedKey) }
      if let value { _ = try decode(value, current, storedKey) }
      let entry = VersionEntries.Entry(keyspace: keyspace, tree: .current, key: storedKey, value: value)
      guard page.takes(entry, byteLimit: byteLimit) else { return .nothing }
      page.append(entry)
    }
    let from = start ?? VersionKey.historyPrefix(partition, key)
    var cursor = try reading { () throws(StoreError) in
      try history.cursor(from: from, to: VersionKey.historyEnd(partition, key))
    }
    let next = try add(from: &cursor, .history, keyspace, byteLimit, to: &page)
    return next.map { .upTo($0) } ?? .whole
  }

  private func add(
    from cursor: inout Cursor, _ name: VersionEntries.TreeName, _ keyspace: UInt64, _ byteLimit: Int,
    to page: inout VersionEntries
  ) throws(DatabaseError) -> [UInt8]? {
    while true {
      let isThere = try readNext(&cursor)
      guard isThere else { return nil }
      let storedKey = cursor.keyBytes
      let value = cursor.valueBytes
      let entry = VersionEntries.Entry(keyspace: keyspace, tree: name, key: storedKey, value: value)
      guard page.takes(entry, byteLimit: byteLimit) else { return storedKey }
      _ = try decode(value, tree(name), storedKey)
      page.append(entry)
    }
  }

  private func readNext(_ cursor: inout Cursor) throws(DatabaseError) -> Bool {
    do throws(StoreError) { return try cursor.next() } catch {
      throw DatabaseError(error, "the keyspace `\(name)` could not be read in \(place)")
    }
  }

  /// Writes what was brought of a partition that this store does not serve.
  ///
  /// - Throws: `.corruption` where something is no entry of that partition; nothing was written then;
  ///   `.newerFormat`, `.storage`, `.closed`.
  func take(_ entries: [VersionEntries.Entry], of partition: Int) throws(DatabaseError) {
    let prefix = StoredKey.make(partition)
    var batch = WriteBatch()
    for entry in entries {
      let tree = tree(entry.tree)
      guard entry.key.count > prefix.count, entry.key.starts(with: prefix),
        entry.tree == .current || VersionKey.splitHistory(entry.key) != nil
      else {
        throw damaged(tree, entry.key, DatabaseError(.corruption, "it is no key of partition \(partition)"))
      }
      if let value = entry.value {
        _ = try decode(value, tree, entry.key)
        batch.put(entry.key, value, in: tree)
      } else {
        batch.delete(entry.key, in: tree)
      }
    }
    try write(batch)
  }

  private func write(_ batch: borrowing WriteBatch) throws(DatabaseError) {
    if batch.count == 0 { return }
    // Who collects had looked at older versions, and would remove these.
    try gate.committing { () throws(DatabaseError) in
      try storing("versions of `\(name)` could not be brought to \(place)") { () throws(StoreError) in
        try store.commit(batch, .applied)
      }
    }
  }
}
