package import RoostCausality
import RoostEnvironment
package import RoostStorage
import Synchronization

// How a transactional keyspace is kept in one store:
//
// 1. `current/NAME` has the newest version of each key, `history/NAME` those before it. A commit puts the
//    new version, and the one that it supersedes into the history, in one batch.
// 2. A key as of time t is its newest version, where that is not above t; else the newest one in the history
//    that is not above t, unless it was superseded by t too: then the key was deleted, and that deletion has
//    been collected since.
// 3. Versions that were superseded at or before a horizon are collected, and deletions that lie so far back
//    leave `current` with the version that they superseded. No read asks for a time before the horizon.
//
// A deletion of what is absent or deleted writes nothing. So each deletion in `current` has superseded
// something, and walking the history finds it.

/// A transactional keyspace's trees in one store.
///
/// Thread-safe, where transactions hold exclusive locks on the keys that they write.
package final class VersionedPart: Sendable {
  /// Entries that one page looks at, with or without showing them.
  static let lookedAtLimit = 4_096
  /// Bytes after which a page ends; one entry may exceed it.
  static let pageBytes = 4 << 20

  let name: String
  /// The store's directory, for messages.
  let place: String
  let store: Store
  let current: Tree
  let history: Tree
  let gate: VersionGate
  /// No read before it finds all that there was.
  private let floor: Atomic<UInt64>
  let collection = CollectionPosition()

  /// - Parameter floor: what an earlier process may have collected up to.
  package init(
    _ name: String, in store: Store, at place: String, _ gate: VersionGate, floor: Timestamp
  ) throws(DatabaseError) {
    self.name = name
    self.place = place
    self.store = store
    self.gate = gate
    self.floor = Atomic(floor.rawValue)
    (current, history) = try storing("the keyspace `\(name)` could not be opened in \(place)") {
      () throws(StoreError) in
      var options = TreeOptions()
      options.cutPrefixLength = StoredKey.prefixBytes
      return (
        try store.tree(Self.currentTree(name), options), try store.tree(Self.historyTree(name), options)
      )
    }
  }

  package static func currentTree(_ keyspace: String) -> String { "current/" + keyspace }
  package static func historyTree(_ keyspace: String) -> String { "history/" + keyspace }

  // MARK: - Reading keys

  /// The newest version of a key; `nil` where it is absent.
  ///
  /// - Throws: `.invalidArgument`, `.corruption` (names tree, key and store), `.newerFormat`, `.storage`,
  ///   `.closed`.
  package func latest(_ partition: Int, _ key: [UInt8]) throws(DatabaseError) -> VersionedEntry? {
    try Self.check(key)
    return try newest(partition, key).flatMap { version in
      version.value.map { VersionedEntry(key: key, value: $0, timestamp: version.timestamp) }
    }
  }

  /// A key as of a time. All that committed up to then must have been written.
  ///
  /// - Throws: `.snapshotTooOld` where versions of that time may have been collected, and as
  ///   ``latest(_:_:)``.
  /// - Complexity: one lookup, and a seek in the history where the key was written since.
  package func read(
    _ partition: Int, _ key: [UInt8], at time: Timestamp
  ) throws(DatabaseError) -> VersionedEntry? {
    try Self.check(key)
    // Before the look at the floor: what is collected from then on, the snapshot still sees.
    let snapshot = store.snapshot()
    try checkFloor(time)
    let storedKey = VersionKey.current(partition, key)
    let bytes = try reading { () throws(StoreError) in try current.get(storedKey, at: snapshot) }
    guard let bytes else { return nil }
    return try entry(partition, key, storedKey, bytes, at: time, snapshot)
  }

  /// What a key's newest version says as of a time, or the history, where that is younger.
  private func entry(
    _ partition: Int, _ key: [UInt8], _ storedKey: [UInt8], _ bytes: [UInt8], at time: Timestamp,
    _ snapshot: borrowing Snapshot
  ) throws(DatabaseError) -> VersionedEntry? {
    let version = try decode(bytes, current, storedKey)
    if version.timestamp <= time {
      return version.value.map { VersionedEntry(key: key, value: $0, timestamp: version.timestamp) }
    }
    return try superseded(partition, key, at: time, snapshot)
  }

  private func superseded(
    _ partition: Int, _ key: [UInt8], at time: Timestamp, _ snapshot: borrowing Snapshot
  ) throws(DatabaseError) -> VersionedEntry? {
    let start = VersionKey.history(partition, key, time.rawValue)
    let end = VersionKey.historyEnd(partition, key)
    let found = try reading { () throws(StoreError) -> (key: [UInt8], value: [UInt8])? in
      var cursor = try history.cursor(from: start, to: end, at: snapshot)
      return try cursor.next() ? (cursor.keyBytes, cursor.valueBytes) : nil
    }
    guard let found else { return nil }
    let version = try decode(found.value, history, found.key)
    guard let parts = VersionKey.splitHistory(found.key), parts.key == key else {
      throw damaged(history, found.key, DatabaseError(.corruption, "it is no key of the history"))
    }
    guard parts.timestamp < version.timestamp.rawValue else {
      throw damaged(
        history, found.key, DatabaseError(.corruption, "it was superseded before it was committed"))
    }
    guard version.timestamp > time, let value = version.value else { return nil }
    return VersionedEntry(key: key, value: value, timestamp: Timestamp(rawValue: parts.timestamp))
  }

  // MARK: - Reading ranges

  /// The entries of a partition from `lower` up to, and not with, `upper`: the newest, or as of a time.
  ///
  /// - Parameter limit: most entries, at least 1. There may be fewer: a page ends after so many bytes, and
  ///   where much was passed over.
  /// - Throws: as ``read(_:_:at:)``.
  /// - Complexity: one step a key, and a seek in the history for each that was written since `time`.
  package func scan(
    _ partition: Int, from lower: [UInt8], to upper: [UInt8]?, at time: Timestamp?, limit: Int
  ) throws(DatabaseError) -> VersionedPage {
    guard limit >= 1 else { throw DatabaseError(.invalidArgument, "a page of \(limit) entries") }
    for bound in [lower, upper ?? []] where bound.count > VersionKey.longestKey + 1 {
      throw DatabaseError(.invalidArgument, "a bound of \(bound.count) bytes is longer than any key")
    }
    let snapshot = store.snapshot()
    if let time { try checkFloor(time) }
    var page = VersionedPage()
    if let upper, !lower.lexicographicallyPrecedes(upper) { return page }
    let start = VersionKey.current(partition, lower)
    // Partitions are below 32,768: there is always a next one.
    let end = VersionKey.current(upper == nil ? partition + 1 : partition, upper ?? [])
    var cursor = try reading { () throws(StoreError) in
      try current.cursor(from: start, to: end, at: snapshot)
    }
    var lookedAt = 0
    var bytes = 0
    while try reading({ () throws(StoreError) in try cursor.next() }) {
      let storedKey = cursor.keyBytes
      let key = Array(storedKey.dropFirst(StoredKey.prefixBytes))
      if page.entries.count == limit || lookedAt == Self.lookedAtLimit || bytes >= Self.pageBytes {
        page.next = key
        return page
      }
      lookedAt += 1
      guard
        let entry = try entry(
          partition, key, storedKey, cursor.valueBytes, at: time ?? Timestamp(rawValue: .max), snapshot)
      else { continue }
      bytes += key.count + entry.value.count
      page.entries.append(entry)
    }
    return page
  }

  // MARK: - Writing

  /// Adds what a commit does to these keys. To be called, and the batch to be committed, within
  /// ``VersionGate/committing(_:)``.
  ///
  /// - Throws: `.invalidArgument` for keys and values out of their limits; `.corruption` where a key has a
  ///   version at or above `time`: locks or clocks have failed, and nothing may be written. The batch is
  ///   then not to be used.
  package func append(
    _ writes: [VersionedWrite], at time: Timestamp, to batch: inout WriteBatch
  ) throws(DatabaseError) {
    for write in writes {
      try Self.check(write.key)
      try Self.check(value: write.value)
      let storedKey = VersionKey.current(write.partition, write.key)
      let old = try newest(write.partition, write.key)
      if let old {
        guard old.timestamp < time else {
          throw damaged(
            current, storedKey,
            DatabaseError(
              .corruption,
              "it has a version of \(old.timestamp), and a transaction is to commit at \(time)"))
        }
      }
      if write.value == nil, old?.value == nil { continue }
      gate.note(name, write.partition, write.key)
      if let old {
        batch.put(
          VersionKey.history(write.partition, write.key, old.timestamp.rawValue),
          StoredVersion(time, old.value).encoded(), in: history)
      }
      batch.put(storedKey, StoredVersion(time, write.value).encoded(), in: current)
    }
  }

  /// - Throws: `.invalidArgument`.
  package static func check(_ key: [UInt8]) throws(DatabaseError) {
    if key.count >= 1, key.count <= VersionKey.longestKey { return }
    throw DatabaseError(
      .invalidArgument,
      key.isEmpty
        ? "a key must have at least one byte"
        : "a key of \(key.count) bytes; the limit in transactional keyspaces is \(VersionKey.longestKey)")
  }

  /// - Throws: `.invalidArgument`.
  package static func check(value: [UInt8]?) throws(DatabaseError) {
    guard let value, value.count > StoredVersion.longestValue else { return }
    throw DatabaseError(
      .invalidArgument, "a value of \(value.count) bytes; the limit is \(StoredVersion.longestValue)")
  }

  // MARK: - The parts

  /// The newest version, deletions included.
  func newest(_ partition: Int, _ key: [UInt8]) throws(DatabaseError) -> StoredVersion? {
    let storedKey = VersionKey.current(partition, key)
    let found = try reading { () throws(StoreError) in
      try unsafe current.withBytes(of: storedKey.span.bytes) {
        bytes -> Result<StoredVersion, DatabaseError> in
        do throws(DatabaseError) { return .success(try StoredVersion(decoding: bytes)) } catch {
          return .failure(error)
        }
      }
    }
    switch found {
    case nil: return nil
    case .success(let version): return version
    case .failure(let error): throw damaged(current, storedKey, error)
    }
  }

  /// The time before which nothing is read any more.
  package var horizon: Timestamp { Timestamp(rawValue: floor.load(ordering: .sequentiallyConsistent)) }

  func raiseFloor(to horizon: Timestamp) {
    floor.max(horizon.rawValue, ordering: .sequentiallyConsistent)
  }

  private func checkFloor(_ time: Timestamp) throws(DatabaseError) {
    let horizon = horizon
    if time >= horizon { return }
    throw DatabaseError(
      .snapshotTooOld,
      "versions of \(time) may be gone from the keyspace `\(name)`: it is kept back to \(horizon)")
  }

  func decode(
    _ bytes: [UInt8], _ tree: Tree, _ key: [UInt8]
  ) throws(DatabaseError) -> StoredVersion {
    do throws(DatabaseError) { return try unsafe StoredVersion(decoding: bytes.span.bytes) } catch {
      throw damaged(tree, key, error)
    }
  }

  func damaged(_ tree: Tree, _ key: [UInt8], _ error: DatabaseError) -> DatabaseError {
    let digits = key.prefix(64).map { byte in
      String(byte >> 4, radix: 16) + String(byte & 15, radix: 16)
    }.joined()
    let shown = digits + (key.count > 64 ? "…" : "")
    return DatabaseError(
      error.code, "the key \(shown) of the tree `\(tree.name)` in \(place): \(error.message)",
      cause: error.cause)
  }

  func reading<R: ~Copyable>(_ body: () throws(StoreError) -> R) throws(DatabaseError) -> R {
    try storing("the keyspace `\(name)` could not be read in \(place)", body)
  }
}
