/// A named, ordered map of keys to values in a ``Store``: what RocksDB calls a column family.
///
/// Thread-safe. A tree keeps its store open; after ``Store/close()`` its calls throw `.closed`,
/// after ``Store/dropTree(_:)`` they throw `.treeDropped`.
public final class Tree: Sendable {
  /// The store that the tree is in.
  public let store: Store
  let core: TreeCore

  init(_ store: Store, _ core: TreeCore) {
    self.store = store
    self.core = core
  }

  public var name: String { core.name }

  /// How the tree's tables are laid out.
  public var options: TreeOptions { core.options }

  // MARK: - Writing

  /// Stores `value` under `key`, replacing what was there.
  ///
  /// - Parameters:
  ///   - key: 1 to 65,535 bytes.
  ///   - value: up to 1 GiB.
  ///   - durability: what the write must survive before the call returns; the store's default when
  ///     `nil`.
  /// - Throws: `.invalidArgument`, `.tooLarge`, `.exceedsBudget` (nothing was written);
  ///   `.diskFull`, `.deadlineExceeded` (nothing was written; may be tried again);
  ///   `.outcomeUnknown` (it may or may not be there after a restart); `.readOnly`, `.closed`,
  ///   `.treeDropped`.
  /// - Complexity: O(log n) comparisons in the memtable, one log record.
  @inlinable
  public func put(
    _ key: borrowing some ByteKey & ~Copyable & ~Escapable,
    _ value: borrowing some ByteValue & ~Copyable & ~Escapable, _ durability: Durability? = nil
  ) throws(StoreError) {
    try key.withKeyBytes { keyBytes throws(StoreError) in
      try value.withValueBytes { valueBytes throws(StoreError) in
        try putBytes(keyBytes, valueBytes, durability)
      }
    }
  }

  // The generic calls are thin and inlined into the caller's module, where the key's type is known;
  // the work is behind these.

  @usableFromInline
  func putBytes(_ key: RawSpan, _ value: RawSpan, _ durability: Durability?) throws(StoreError) {
    try store.put(ByteView(key), ByteView(value), in: core, durability)
  }

  @usableFromInline
  func deleteBytes(_ key: RawSpan, _ durability: Durability?) throws(StoreError) {
    try store.delete(ByteView(key), in: core, durability)
  }

  @usableFromInline
  func copyValue(_ key: RawSpan) throws(StoreError) -> [UInt8]? {
    try core.copyValue(ByteView(key), at: nil)
  }

  @usableFromInline
  func pinnedValue(_ key: RawSpan) throws(StoreError) -> PinnedValue? {
    try core.pinnedValue(ByteView(key), at: nil)
  }

  @usableFromInline
  func visitedValue(_ key: RawSpan) throws(StoreError) -> VisitedValue {
    try core.visitedValue(ByteView(key))
  }

  @usableFromInline
  func endVisit(_ found: consuming VisitedValue) { core.shared.epochs.exit(found.token) }

  @usableFromInline
  func pinnedValue(_ key: RawSpan, at sequence: UInt64) throws(StoreError) -> PinnedValue? {
    try core.pinnedValue(ByteView(key), at: sequence)
  }

  /// Deletes `key`. Deleting an absent key is no error, and costs as much.
  ///
  /// - Throws: as ``put(_:_:_:)``.
  @inlinable
  public func delete(
    _ key: borrowing some ByteKey & ~Copyable & ~Escapable, _ durability: Durability? = nil
  ) throws(StoreError) {
    try key.withKeyBytes { bytes throws(StoreError) in try deleteBytes(bytes, durability) }
  }

  /// Deletes every key from `start` up to, and not with, `end`, by one small record. An empty or
  /// reversed range deletes nothing.
  ///
  /// - Throws: as ``put(_:_:_:)``.
  public func deleteRange(
    from start: borrowing some ByteKey & ~Copyable & ~Escapable,
    to end: borrowing some ByteKey & ~Copyable & ~Escapable, _ durability: Durability? = nil
  ) throws(StoreError) {
    try start.withKeyBytes { startBytes throws(StoreError) in
      try end.withKeyBytes { endBytes throws(StoreError) in
        try store.deleteRange(ByteView(startBytes), ByteView(endBytes), in: core, durability)
      }
    }
  }

  // MARK: - Reading

  /// Returns a copy of the value of `key`, or `nil` where the key is absent.
  ///
  /// - Parameter key: 1 to 65,535 bytes; others are never present.
  /// - Throws: `.corruption` (a checksum does not match; names file and offset), `.io`,
  ///   `.tooManyFiles`, `.closed`, `.treeDropped`.
  /// - Complexity: O(log n) comparisons in memory; at most one data block read a sorted run that
  ///   its filter admits.
  @inlinable
  public func get(_ key: borrowing some ByteKey & ~Copyable & ~Escapable) throws(StoreError) -> [UInt8]? {
    try key.withKeyBytes { bytes throws(StoreError) in try copyValue(bytes) }
  }

  /// Returns a copy of the value that `key` had at `snapshot`.
  ///
  /// - Throws: `.invalidArgument` where the snapshot is another store's; else as ``get(_:)``.
  public func get(
    _ key: borrowing some ByteKey & ~Copyable & ~Escapable, at snapshot: borrowing Snapshot
  ) throws(StoreError) -> [UInt8]? {
    let sequence = try sequence(of: snapshot)
    return try key.withKeyBytes { bytes throws(StoreError) in
      try core.copyValue(ByteView(bytes), at: sequence)
    }
  }

  /// Runs `body` with the bytes of the value of `key`, without a copy.
  ///
  /// The bytes are pinned while `body` runs and not after.
  ///
  /// - Returns: what `body` returns; `nil` where the key is absent.
  /// - Throws: as ``get(_:)``, and what `body` throws.
  @inlinable
  public func withValue<R>(
    forKey key: borrowing some ByteKey & ~Copyable & ~Escapable, _ body: (RawSpan) throws -> R
  ) throws -> R? {
    try key.withKeyBytes { bytes in
      guard let found = try pinnedValue(bytes) else { return nil }
      return try found.withBytes(body)
    }
  }

  /// The same for a `body` that throws nothing and is short: what was replaced meanwhile is freed only
  /// after it.
  @inlinable
  package func withBytes<R>(of key: RawSpan, _ body: (RawSpan) -> R) throws(StoreError) -> R? {
    let found = try visitedValue(key)
    defer { endVisit(found) }
    guard found.isFound else { return nil }
    return unsafe body(RawSpan(_unsafeStart: found.base, byteCount: found.count))
  }

  /// Runs `body` with the bytes that `key` had at `snapshot`, without a copy.
  public func withValue<R>(
    forKey key: borrowing some ByteKey & ~Copyable & ~Escapable, at snapshot: borrowing Snapshot,
    _ body: (RawSpan) throws -> R
  ) throws -> R? {
    let sequence = try sequence(of: snapshot)
    return try key.withKeyBytes { bytes in
      guard let found = try pinnedValue(bytes, at: sequence) else { return nil }
      return try found.withBytes(body)
    }
  }

  /// Whether `key` is present.
  ///
  /// - Throws: as ``get(_:)``.
  @inlinable
  public func contains(
    _ key: borrowing some ByteKey & ~Copyable & ~Escapable
  ) throws(StoreError) -> Bool {
    try key.withKeyBytes { bytes throws(StoreError) in try pinnedValue(bytes) != nil }
  }

  /// The values of several keys, all as of one moment, in the order of the keys.
  ///
  /// - Throws: as ``get(_:)``.
  public func multiGet<Key: ByteKey>(_ keys: [Key]) throws(StoreError) -> [[UInt8]?] {
    let snapshot = store.snapshot()
    return try multiGet(keys, at: snapshot)
  }

  /// The values that several keys had at `snapshot`, in the order of the keys.
  public func multiGet<Key: ByteKey>(
    _ keys: [Key], at snapshot: borrowing Snapshot
  ) throws(StoreError) -> [[UInt8]?] {
    let sequence = try sequence(of: snapshot)
    var values: [[UInt8]?] = []
    values.reserveCapacity(keys.count)
    for key in keys {
      let value = try key.withKeyBytes { bytes throws(StoreError) in
        try core.copyValue(ByteView(bytes), at: sequence)
      }
      values.append(value)
    }
    return values
  }

  /// Keeps a filter of the tree's keys in memory as long as the store is open, within
  /// ``StoreOptions/keyFilterBytes``: lookups of absent keys then cost less, and writes a little more. What
  /// the tree holds already is in it once it was compacted. Asking again does nothing.
  ///
  /// - Throws: `.deadlineExceeded`, `.closed`.
  /// - Complexity: O(tables).
  package func keepKeyFilter() throws(StoreError) { try store.keepFilter(of: core) }

  // MARK: - Cursors

  /// A cursor over all keys, as of now.
  ///
  /// - Throws: `.corruption`, `.io` (a table with range tombstones had to be opened), `.closed`,
  ///   `.treeDropped`.
  public func cursor() throws(StoreError) -> Cursor { try cursor(.all, nil) }

  /// A cursor over all keys, as of `snapshot`.
  public func cursor(at snapshot: borrowing Snapshot) throws(StoreError) -> Cursor {
    try cursor(.all, sequence(of: snapshot))
  }

  /// A cursor over the keys that begin with `prefix`.
  public func cursor(
    prefix: borrowing some ByteKey & ~Copyable & ~Escapable
  ) throws(StoreError) -> Cursor {
    try cursor(KeyRange(prefix: copy(prefix)), nil)
  }

  /// A cursor over the keys that begin with `prefix`, as of `snapshot`.
  public func cursor(
    prefix: borrowing some ByteKey & ~Copyable & ~Escapable, at snapshot: borrowing Snapshot
  ) throws(StoreError) -> Cursor {
    try cursor(KeyRange(prefix: copy(prefix)), sequence(of: snapshot))
  }

  /// A cursor over the keys from `start` up to, and not with, `end`.
  public func cursor(
    from start: borrowing some ByteKey & ~Copyable & ~Escapable,
    to end: borrowing some ByteKey & ~Copyable & ~Escapable
  ) throws(StoreError) -> Cursor {
    try cursor(KeyRange(lower: copy(start), upper: copy(end)), nil)
  }

  /// A cursor over the keys from `start` up to, and not with, `end`, as of `snapshot`.
  public func cursor(
    from start: borrowing some ByteKey & ~Copyable & ~Escapable,
    to end: borrowing some ByteKey & ~Copyable & ~Escapable, at snapshot: borrowing Snapshot
  ) throws(StoreError) -> Cursor {
    try cursor(KeyRange(lower: copy(start), upper: copy(end)), sequence(of: snapshot))
  }

  /// A cursor over the keys from `start` on.
  public func cursor(
    from start: borrowing some ByteKey & ~Copyable & ~Escapable
  ) throws(StoreError) -> Cursor {
    try cursor(KeyRange(lower: copy(start)), nil)
  }

  /// A cursor over the keys before `end`.
  public func cursor(
    to end: borrowing some ByteKey & ~Copyable & ~Escapable
  ) throws(StoreError) -> Cursor {
    try cursor(KeyRange(upper: copy(end)), nil)
  }

  package func cursor(_ range: KeyRange, _ sequence: UInt64?) throws(StoreError) -> Cursor {
    Cursor(try core.makeCursor(store, range, at: sequence))
  }

  // MARK: - Maintenance

  /// Writes the tree's memtable to a table.
  ///
  /// - Throws: `.diskFull`, `.io`, `.readOnly`, `.deadlineExceeded`, `.closed`, `.treeDropped`.
  public func flush() throws(StoreError) { try store.flush([core]) }

  /// Flushes, then merges all tables that hold keys from `start` up to `end` into one sorted run,
  /// dropping what is deleted or overwritten and held by no snapshot. Missing bounds are open. Runs
  /// on the calling thread.
  ///
  /// - Throws: as ``flush()``, and `.corruption`.
  /// - Complexity: reads and writes all entries of those tables; needs as much free disk space as
  ///   they take.
  public func compact(from start: [UInt8]? = nil, to end: [UInt8]? = nil) throws(StoreError) {
    try store.flush([core])
    try store.compact(core, KeyRange(lower: start, upper: end))
  }

  private func copy(_ key: borrowing some ByteKey & ~Copyable & ~Escapable) -> [UInt8] {
    key.withKeyBytes { ByteView($0).array }
  }

  private func sequence(of snapshot: borrowing Snapshot) throws(StoreError) -> UInt64 {
    guard snapshot.store === store else {
      throw StoreError(.invalidArgument, "the snapshot belongs to another store")
    }
    return snapshot.sequence
  }
}
