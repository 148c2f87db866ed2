import RoostCluster
public import RoostStorage
public import RoostTransactions

/// Reads and writes of transactional keyspaces that happen together, or not at all.
///
/// Reads lock what they read, ranges with their gaps; writes are kept back until the commit. So
/// transactions are strictly serialisable: each sees the database as if it ran alone, after all that
/// were acknowledged before it began. What it writes to eventual keyspaces (counters, values) is done
/// after the commit, exactly once, and is not isolated.
///
/// Given to the body of ``Database/transaction(_:_:)``, and of no use after it; or made by
/// ``Database/begin()``.
///
/// Thread-safe.
public final class Transaction: Sendable {
  package let core: TransactionCore
  let database: Database

  init(_ core: TransactionCore, _ database: Database) {
    self.core = core
    self.database = database
  }

  /// Names it, also after its end: ``Database/outcome(of:)`` tells what became of it.
  public var id: TransactionID { core.id }

  // MARK: - Reading

  /// Reads a key, and locks it until the end: against writers, or, for an update, against all others.
  ///
  /// Whoever is going to write what it reads says so with `forUpdate`. Two transactions that have both
  /// read a key without it can both go on only as long as neither writes it: the younger one is begun
  /// anew then. With it the second waits at its read.
  ///
  /// - Parameter forUpdate: whether to take the lock that writing needs. Nothing is locked where the
  ///   transaction has written the key before.
  /// - Returns: the value, the transaction's own write first; `nil` where it is absent.
  /// - Throws: `.invalidArgument`, `.wrongPolicy` (the keyspace is eventual), `.unreachable`,
  ///   `.transactionEnded`, `.transactionTooLarge`; ``TransactionConflict`` where the transaction was
  ///   aborted, which ``Database/transaction(_:_:)`` answers with another try.
  /// - Complexity: one lookup in a store.
  public func get(
    _ key: some ByteKey & Sendable, in keyspace: Keyspace, forUpdate: Bool = false
  ) async throws -> [UInt8]? {
    let target = try keyspace.reference(key, in: database)
    let (own, owner) = try core.look(target)
    if let own { return own }
    let lock = forUpdate ? LockTarget.exclusive(target) : .shared(target)
    let answer = try await acquire([lock], .keys([target]), at: owner)
    return answer.entries.first?.value
  }

  /// Reads a key's value, decoded by the keyspace's codec. As ``get(_:in:forUpdate:)``.
  ///
  /// - Throws: `.codec` where the bytes are no such value, and as there.
  // Not inlined: the optimiser of Swift 6.3 fails on it in its caller's loop.
  @inline(never)
  public func get<Value: Decodable>(
    _ key: some ByteKey & Sendable, _ type: Value.Type, in keyspace: Keyspace, forUpdate: Bool = false
  ) async throws -> Value? {
    guard let bytes = try await get(key, in: keyspace, forUpdate: forUpdate) else { return nil }
    return try keyspace.codec.decoded(type, bytes)
  }

  /// Reads several keys, in their order. As ``get(_:in:forUpdate:)``, all at one moment.
  public func multiGet(
    _ keys: [some ByteKey & Sendable], in keyspace: Keyspace, forUpdate: Bool = false
  ) async throws -> [[UInt8]?] {
    var values: [[UInt8]?] = []
    values.reserveCapacity(keys.count)
    for key in keys { values.append(try await get(key, in: keyspace, forUpdate: forUpdate)) }
    return values
  }

  /// Reads keys in order, and locks the whole range against writers, gaps included.
  ///
  /// - Parameters:
  ///   - start: the first key; empty for the keyspace's first.
  ///   - end: the key behind the last; `nil` for the keyspace's end.
  ///   - limit: how many entries at most: 1 to 10,000.
  /// - Returns: up to `limit` entries, the transaction's own writes among them.
  /// - Throws: as ``get(_:in:forUpdate:)``.
  /// - Complexity: a locked range in each partition, and up to `limit` entries read in each.
  public func scan(
    from start: [UInt8] = [], to end: [UInt8]? = nil, limit: Int = 1_000, in keyspace: Keyspace
  ) async throws -> [(key: [UInt8], value: [UInt8])] {
    guard limit >= 1, limit <= 10_000 else {
      throw DatabaseError(.invalidArgument, "a limit of \(limit): it must be 1 to 10000")
    }
    var merged: [(key: [UInt8], value: [UInt8])] = []
    for range in try keyspace.ranges(from: start, to: end, in: database) {
      merged += try await entries(of: range, limit: limit)
      // Only the least of all partitions count.
      merged.sort { $0.key.lexicographicallyPrecedes($1.key) }
      if merged.count > limit { merged.removeLast(merged.count - limit) }
    }
    return merged
  }

  /// Reads the keys that begin with `prefix`, in order. As ``scan(from:to:limit:in:)``.
  public func scan(
    prefix: some ByteKey & Sendable, limit: Int = 1_000, in keyspace: Keyspace
  ) async throws -> [(key: [UInt8], value: [UInt8])] {
    let start = prefix.withKeyBytes { [UInt8](copying: $0) }
    return try await scan(from: start, to: start.successorOfPrefix, limit: limit, in: keyspace)
  }

  /// The least `limit` entries of a partition's range, own writes included.
  private func entries(
    of range: RangeReference, limit: Int
  ) async throws -> [(key: [UInt8], value: [UInt8])] {
    let owner = try core.manager.owner(of: range.partition)
    var rest = range
    var found: [ReadEntry] = []
    while true {
      try core.willLock(1, at: owner)
      // The transaction may have deleted some of what it reads: more is read then.
      let answer = try await acquire([.sharedRange(rest)], .range(rest, limit: limit), at: owner)
      found += answer.entries
      guard !answer.isComplete, let next = answer.next else {
        return Array(core.overlay(found, of: range).prefix(limit))
      }
      var known = range
      known.upper = next
      let entries = core.overlay(found, of: known)
      if entries.count >= limit { return Array(entries.prefix(limit)) }
      rest.lower = next
    }
  }

  private func acquire(
    _ locks: [LockTarget], _ read: TransactionRead, at member: MemberID
  ) async throws -> ReadAnswer {
    let core = core
    let result: Result<ReadAnswer, TransactionAborted> = await handedOver { handOver in
      core.manager.acquire(core.id, at: member, locks, read, handOver)
    }
    switch result {
    case .success(let answer): return answer
    case .failure(let aborted): throw TransactionConflict(id, aborted.reason)
    }
  }

  // MARK: - Writing

  /// Writes a value, at the commit.
  ///
  /// - Throws: `.invalidArgument`, `.wrongPolicy`, `.transactionTooLarge`, `.transactionEnded`.
  public func put(
    _ key: some ByteKey & Sendable, _ value: some ByteValue & Sendable, in keyspace: Keyspace
  ) async throws {
    let target = try keyspace.reference(key, in: database)
    try core.write(target, value.withValueBytes { [UInt8](copying: $0) })
  }

  /// Writes a value that the keyspace's codec encodes, at the commit.
  ///
  /// - Throws: `.codec`, and as ``put(_:_:in:)-(_,ByteValue,_)``.
  @inline(never)
  public func put(
    _ key: some ByteKey & Sendable, value: some Encodable, in keyspace: Keyspace
  ) async throws {
    try await put(key, try keyspace.codec.encoded(value), in: keyspace)
  }

  /// Deletes a key, at the commit; deleting an absent key is no error.
  ///
  /// - Throws: as ``put(_:_:in:)-(_,ByteValue,_)``.
  public func delete(_ key: some ByteKey & Sendable, in keyspace: Keyspace) async throws {
    try core.write(try keyspace.reference(key, in: database), nil)
  }
}
