import RoostCluster
import RoostStorage
import RoostTransactions

extension Keyspace {
  /// Where a key of a transactional keyspace is.
  ///
  /// - Throws: `.invalidArgument`, `.wrongPolicy`.
  func reference(
    _ key: some ByteKey, in database: Database
  ) throws(DatabaseError) -> KeyReference {
    let bytes = key.withKeyBytes { [UInt8](copying: $0) }
    try check(isTransactional: true, in: database)
    guard bytes.count >= 1, bytes.count <= VersionKey.longestKey else {
      throw DatabaseError(
        .invalidArgument,
        "a key of \(bytes.count) bytes; in a transactional keyspace it must have 1 to "
          + "\(VersionKey.longestKey)")
    }
    let partition = partition(of: bytes)
    return KeyReference(keyspace: core.schemaID, partition: partition, key: bytes)
  }

  /// The range in each partition.
  func ranges(
    from start: [UInt8], to end: [UInt8]?, in database: Database
  ) throws(DatabaseError) -> [RangeReference] {
    try check(isTransactional: true, in: database)
    return (0..<core.shared.partitionCount).map {
      RangeReference(keyspace: core.schemaID, partition: $0, lower: start, upper: end)
    }
  }

  /// Where a key of an eventual keyspace is.
  func place(
    of key: [UInt8], in database: Database
  ) throws(DatabaseError) -> (keyspace: UInt64, partition: Int) {
    try check(isTransactional: false, in: database)
    guard key.count >= 1, key.count <= StoredKey.longestKey else {
      throw DatabaseError(
        .invalidArgument, "a key of \(key.count) bytes; it must have 1 to \(StoredKey.longestKey)")
    }
    return (core.schemaID, partition(of: key))
  }

  private func partition(of key: [UInt8]) -> Int {
    Placement.partition(
      ofHash: key.withKeyBytes { Placement.hash($0) }, count: core.shared.partitionCount)
  }

  private func check(isTransactional: Bool, in database: Database) throws(DatabaseError) {
    guard core.shared === database.core.shared else {
      throw DatabaseError(.invalidArgument, "the keyspace `\(name)` is another database's")
    }
    guard (core.kind == .transactional) == isTransactional else {
      throw DatabaseError(
        .wrongPolicy,
        isTransactional
          ? "the keyspace `\(name)` is eventual: a transaction reads and writes transactional ones, and "
            + "changes eventual ones by its effects"
          : "the keyspace `\(name)` is transactional: effects are on eventual ones")
    }
  }
}

extension [UInt8] {
  /// The least that is above everything with this prefix; `nil` where nothing is.
  var successorOfPrefix: [UInt8]? {
    var bytes = self
    while let last = bytes.popLast() {
      if last < 0xFF { return bytes + [last + 1] }
    }
    return nil
  }
}
