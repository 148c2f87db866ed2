/// Operations that are written together: all of them or none, across trees.
///
/// A bad argument (an empty key, a key or value that is too large, a tree of another store) is
/// remembered and thrown when the batch is committed, before anything is logged. Later operations
/// on a key win over earlier ones.
public struct WriteBatch: ~Copyable {
  var encoder = WriteBatchEncoder()
  /// The first bad argument.
  var firstError: StoreError?
  /// Every operation's tree must be of this store.
  private var store: Store?
  /// Of `store`: asked for each operation, and not counted.
  private var storeID: ObjectIdentifier?

  public init() {}

  init(_ store: Store) {
    self.store = store
    storeID = ObjectIdentifier(store)
  }

  /// How many operations it has.
  public var count: Int { encoder.count }

  /// Bytes it will take in the log.
  public var byteCount: Int { encoder.byteCount }

  /// Removes all operations, and what was wrong with them. The next may be on another store.
  public mutating func removeAll() {
    encoder.removeAll()
    firstError = nil
    store = nil
    storeID = nil
  }

  /// Stores `value` under `key`.
  ///
  /// - Parameters:
  ///   - key: 1 to 65,535 bytes.
  ///   - value: up to 1 GiB.
  @inlinable
  public mutating func put(
    _ key: borrowing some ByteKey & ~Copyable & ~Escapable,
    _ value: borrowing some ByteValue & ~Copyable & ~Escapable, in tree: Tree
  ) {
    key.withKeyBytes { keyBytes in
      value.withValueBytes { valueBytes in putBytes(keyBytes, valueBytes, tree) }
    }
  }

  @usableFromInline
  mutating func putBytes(_ keyBytes: RawSpan, _ valueBytes: RawSpan, _ tree: Tree) {
    guard accepts(tree) else { return }
    let key = ByteView(keyBytes)
    let value = ByteView(valueBytes)
    if let error = Arguments.problem(key: key) ?? Arguments.problem(value: value) {
      fail(error)
    } else {
      encoder.put(treeID: tree.core.id, key: key, value: value)
    }
  }

  /// Deletes `key`; deleting an absent key is no error.
  @inlinable
  public mutating func delete(_ key: borrowing some ByteKey & ~Copyable & ~Escapable, in tree: Tree) {
    key.withKeyBytes { keyBytes in deleteBytes(keyBytes, tree) }
  }

  @usableFromInline
  mutating func deleteBytes(_ keyBytes: RawSpan, _ tree: Tree) {
    guard accepts(tree) else { return }
    let key = ByteView(keyBytes)
    if let error = Arguments.problem(key: key) {
      fail(error)
    } else {
      encoder.delete(treeID: tree.core.id, key: key)
    }
  }

  /// Says that the entry under `key` is dead, and has it deleted when the tree's memtable is flushed: the
  /// cheaper way to free the space of an entry that no reader needs to miss.
  ///
  /// Until the flush (or the next opening of the store) reads may find the entry as if nothing had been
  /// written; from then on it is deleted, as ``delete(_:in:)`` would have done it. Snapshots and cursors
  /// that were taken after the write may find it at first and then no more, so this is only for those to
  /// whom the entry and none mean the same. Snapshots taken before the write keep it. A later put of
  /// the key is not touched. Costs O(1) now, whatever the tree holds, and no read sees it in the memtable.
  package mutating func deleteLate(
    _ key: borrowing some ByteKey & ~Copyable & ~Escapable, in tree: Tree
  ) {
    key.withKeyBytes { keyBytes in
      guard accepts(tree) else { return }
      let key = ByteView(keyBytes)
      if let error = Arguments.problem(key: key) {
        fail(error)
      } else {
        encoder.deleteLate(treeID: tree.core.id, key: key)
      }
    }
  }

  /// Deletes every key from `start` up to, and not with, `end`. An empty or reversed range deletes
  /// nothing. Costs one small record however many keys it covers.
  public mutating func deleteRange(
    from start: borrowing some ByteKey & ~Copyable & ~Escapable,
    to end: borrowing some ByteKey & ~Copyable & ~Escapable, in tree: Tree
  ) {
    guard accepts(tree) else { return }
    start.withKeyBytes { startBytes in
      end.withKeyBytes { endBytes in
        let start = ByteView(startBytes)
        let end = ByteView(endBytes)
        if let error = Arguments.problem(key: start) ?? Arguments.problem(key: end) {
          fail(error)
        } else if start < end {
          encoder.deleteRange(treeID: tree.core.id, from: start, to: end)
        }
      }
    }
  }

  private mutating func fail(_ error: StoreError) {
    if firstError == nil { firstError = error }
  }

  private mutating func accepts(_ tree: Tree) -> Bool {
    let id = ObjectIdentifier(tree.store)
    if storeID == id { return true }
    if storeID != nil {
      fail(StoreError(.invalidArgument, "the tree `\(tree.name)` belongs to another store"))
      return false
    }
    store = tree.store
    storeID = id
    return true
  }

  /// What is wrong with committing the batch to `target`.
  func problem(for target: Store) -> StoreError? {
    if let firstError { return firstError }
    if let store, store !== target {
      return StoreError(.invalidArgument, "the batch holds operations on another store's trees")
    }
    return Self.problem(byteCount: byteCount)
  }

  @inline(__always)
  static func problem(byteCount: Int) -> StoreError? {
    byteCount <= Limits.batchBytes ? nil : tooLarge(byteCount)
  }

  @inline(never)
  private static func tooLarge(_ byteCount: Int) -> StoreError {
    StoreError(.tooLarge, "the batch takes \(byteCount) bytes, the limit is \(Limits.batchBytes)")
  }
}

/// Checks of what callers pass in, before anything is logged.
enum Arguments {
  @inline(__always)
  static func problem(key: ByteView) -> StoreError? {
    if key.count >= 1 && key.count <= Limits.keyBytes { return nil }
    return badKey(key.count)
  }

  @inline(__always)
  static func problem(value: ByteView) -> StoreError? {
    value.count <= Limits.valueBytes ? nil : badValue(value.count)
  }

  @inline(never)
  private static func badKey(_ count: Int) -> StoreError {
    StoreError(
      .invalidArgument,
      count == 0
        ? "a key must have at least one byte" : "a key of \(count) bytes; the limit is \(Limits.keyBytes)")
  }

  @inline(never)
  private static func badValue(_ count: Int) -> StoreError {
    StoreError(.tooLarge, "a value of \(count) bytes; the limit is \(Limits.valueBytes)")
  }
}
