import RoostCausality
import RoostCluster
import RoostStorage

// Keys by the names of their keyspaces, as clients have them.

extension TransactionManager {
  /// Where a key of a transactional keyspace is.
  ///
  /// - Throws: `.invalidArgument`, `.unknownKeyspace`, `.wrongPolicy`; what the cluster's directory throws.
  func reference(_ key: [UInt8], in keyspace: String) throws(DatabaseError) -> KeyReference {
    let id = try id(of: keyspace, isTransactional: true)
    try VersionedPart.check(key)
    return KeyReference(keyspace: id, partition: partition(of: key), key: key)
  }

  /// The range in each partition. As ``reference(_:in:)``.
  func ranges(
    from start: [UInt8], to end: [UInt8]?, in keyspace: String
  ) throws(DatabaseError) -> [RangeReference] {
    let id = try id(of: keyspace, isTransactional: true)
    return (0..<core.shared.partitionCount).map {
      RangeReference(keyspace: id, partition: $0, lower: start, upper: end)
    }
  }

  /// Where a key of an eventual keyspace is. As ``reference(_:in:)``.
  func effectPlace(
    of key: [UInt8], in keyspace: String
  ) throws(DatabaseError) -> (keyspace: UInt64, partition: Int) {
    let id = try id(of: keyspace, isTransactional: false)
    guard key.count >= 1, key.count <= StoredKey.longestKey else {
      throw DatabaseError(
        .invalidArgument, "a key of \(key.count) bytes; it must have 1 to \(StoredKey.longestKey)")
    }
    return (id, partition(of: key))
  }

  private func partition(of key: [UInt8]) -> Int {
    Placement.partition(
      ofHash: key.withKeyBytes { Placement.hash($0) }, count: core.shared.partitionCount)
  }

  private func id(of keyspace: String, isTransactional: Bool) throws(DatabaseError) -> UInt64 {
    let entry = try entry(of: keyspace)
    guard (entry.kind == .transactional) == isTransactional else {
      throw DatabaseError(
        .wrongPolicy,
        isTransactional
          ? "the keyspace `\(keyspace)` is eventual: a transaction reads and writes transactional ones, and "
            + "changes eventual ones by its effects"
          : "the keyspace `\(keyspace)` is transactional: effects are on eventual ones")
    }
    return entry.id
  }

  /// Asks the directory, which may take some time, for what is not known here.
  private func entry(of keyspace: String) throws(DatabaseError) -> Schema.Keyspace {
    func known() -> Schema.Keyspace? { core.keyspaceEntries.first { $0.name == keyspace } }
    if let entry = known() { return entry }
    let now = services.monotonicMilliseconds
    if let miss = missedNames.miss(of: keyspace, at: now) { throw miss }
    do throws(DatabaseError) {
      // No keyspace can have such a name: nobody need be asked.
      if Schema.problem(name: keyspace, of: "a keyspace's name") == nil {
        try services.node?.learn(keyspace: keyspace)
        if let entry = known() { return entry }
      }
      throw DatabaseError(.unknownKeyspace, "there is no keyspace `\(keyspace)`")
    } catch {
      missedNames.note(error, of: keyspace, at: services.monotonicMilliseconds)
      throw error
    }
  }

  /// An endpoint, for people.
  package func name(of endpoint: Endpoint) -> String {
    switch endpoint {
    case .coordinator(let id): "the coordinator \(id)"
    case .participant(let member):
      core.presentMembers.first { $0.id == member }?.path ?? "the store \(member)"
    }
  }
}
