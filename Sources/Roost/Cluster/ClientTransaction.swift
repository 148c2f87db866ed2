public import RoostCausality
import RoostCluster
public import RoostStorage
public import RoostTransactions

/// Reads and writes of a cluster's transactional keyspaces that happen together, or not at all, by a program
/// that is no node: see ``Transaction``, which a node's program has, and which it does everything alike.
///
/// It runs at the node that the client is connected to. Each call is a message there and back; calls at the
/// same time wait for each other. The node aborts it when the connection ends, when nothing is asked of it
/// for so long as was said at its beginning, and when it takes longer than
/// ``TransactionOptions/longestDuration`` at the node.
///
/// Given to the body of ``ClusterClient/transaction(_:_:)``, and of no use after it; or made by
/// ``ClusterClient/begin(idleTimeout:timeout:)``. Thread-safe.
public final class ClientTransaction: Sendable {
  let remote: RemoteTransaction
  private let codec: any Codec

  init(_ remote: RemoteTransaction, _ codec: any Codec) {
    self.remote = remote
    self.codec = codec
  }

  /// Names it, also after its end: ``ClusterClient/outcome(of:)`` tells what became of it, at any node.
  public var id: TransactionID { remote.id }

  // MARK: - Reading

  /// Reads a key, and locks it until the end: as ``Transaction/get(_:in:forUpdate:)-(_,_,_)``.
  ///
  /// - Parameter keyspace: the name of a transactional keyspace.
  /// - Throws: `.invalidArgument`, `.unknownKeyspace`, `.wrongPolicy`, `.transactionEnded`,
  ///   `.transactionTooLarge`; `.unreachable`, `.deadlineExceeded`, `.busy`, `.closed` (no answer came: the
  ///   transaction is aborted); ``TransactionConflict`` where it was aborted, which
  ///   ``ClusterClient/transaction(_:_:)`` answers with another try.
  public func get(
    _ key: some ByteKey & Sendable, in keyspace: String, forUpdate: Bool = false
  ) async throws -> [UInt8]? {
    try await multiGet([key], in: keyspace, forUpdate: forUpdate)[0]
  }

  /// Reads a key's value, decoded by the client's codec. As ``get(_:in:forUpdate:)-(_,_,_)``, and throws
  /// `.codec`.
  // Not inlined: the optimiser of Swift 6.3 fails on the like in its caller's loop.
  @inline(never)
  public func get<Value: Decodable>(
    _ key: some ByteKey & Sendable, _ type: Value.Type, in keyspace: String, forUpdate: Bool = false
  ) async throws -> Value? {
    guard let bytes = try await get(key, in: keyspace, forUpdate: forUpdate) else { return nil }
    return try codec.decoded(type, bytes)
  }

  /// Reads several keys, in their order, in one message: up to 10,000, and as many bytes of values as a
  /// message takes. As ``get(_:in:forUpdate:)-(_,_,_)``.
  public func multiGet(
    _ keys: [some ByteKey & Sendable], in keyspace: String, forUpdate: Bool = false
  ) async throws -> [[UInt8]?] {
    let keys = keys.map { key in key.withKeyBytes { [UInt8](copying: $0) } }
    let answer = try await remote.perform(.get(keys, keyspace: keyspace, forUpdate: forUpdate))
    guard case .values(let values) = answer, values.count == keys.count else { throw unexpected() }
    return values
  }

  /// Reads keys in order, and locks the range against writers, gaps included: the whole of it, or, where it
  /// has more than `limit` entries, no less than up to the last of those returned.
  ///
  /// - Parameters:
  ///   - start: the first key; empty for the keyspace's first.
  ///   - end: the key behind the last; `nil` for the keyspace's end.
  ///   - limit: how many entries at most: 1 to 10,000.
  /// - Returns: up to `limit` entries, the transaction's own writes among them.
  /// - Throws: as ``get(_:in:forUpdate:)-(_,_,_)``.
  /// - Complexity: a message for each MiB of entries.
  public func scan(
    from start: [UInt8] = [], to end: [UInt8]? = nil, limit: Int = 1_000, in keyspace: String
  ) async throws -> [(key: [UInt8], value: [UInt8])] {
    let remote = remote
    return try await allPages(from: start, limit: limit) { start, limit in
      let answer = try await remote.perform(.scan(from: start, to: end, limit: limit, keyspace: keyspace))
      guard case .entries(let page) = answer else { throw unexpected() }
      return page
    }
  }

  /// Reads the keys that begin with `prefix`, in order. As ``scan(from:to:limit:in:)``.
  public func scan(
    prefix: some ByteKey & Sendable, limit: Int = 1_000, in keyspace: String
  ) async throws -> [(key: [UInt8], value: [UInt8])] {
    let start = prefix.withKeyBytes { [UInt8](copying: $0) }
    return try await scan(from: start, to: start.successorOfPrefix, limit: limit, in: keyspace)
  }

  // MARK: - Writing

  /// Writes a value, at the commit.
  ///
  /// - Throws: as ``get(_:in:forUpdate:)-(_,_,_)``; `.busy` also where the node keeps too much for clients:
  ///   the value was not noted then, and the transaction goes on.
  public func put(
    _ key: some ByteKey & Sendable, _ value: some ByteValue & Sendable, in keyspace: String
  ) async throws {
    let bytes = value.withValueBytes { [UInt8](copying: $0) }
    try await note(.put(key.withKeyBytes { [UInt8](copying: $0) }, bytes, keyspace: keyspace))
  }

  /// Writes a value that the client's codec encodes, at the commit.
  ///
  /// - Throws: `.codec`, and as ``put(_:_:in:)``.
  @inline(never)
  public func put(
    _ key: some ByteKey & Sendable, value: some Encodable, in keyspace: String
  ) async throws {
    try await put(key, try codec.encoded(value), in: keyspace)
  }

  /// Deletes a key, at the commit; deleting an absent key is no error.
  ///
  /// - Throws: as ``put(_:_:in:)``.
  public func delete(_ key: some ByteKey & Sendable, in keyspace: String) async throws {
    try await note(.delete(key.withKeyBytes { [UInt8](copying: $0) }, keyspace: keyspace))
  }

  // MARK: - Effects

  /// Adds to a counter of an eventual keyspace, after the commit.
  ///
  /// - Throws: as ``put(_:_:in:)``; `.wrongPolicy` where the keyspace is transactional.
  public func increment(
    _ key: some ByteKey & Sendable, by amount: Int64 = 1, in keyspace: String
  ) async throws {
    try await add(key, .increment(amount), keyspace)
  }

  /// Writes a value to an eventual keyspace, after the commit.
  ///
  /// - Parameter context: from a read of the key: what the value replaces.
  /// - Throws: as ``increment(_:by:in:)``.
  public func put(
    _ key: some ByteKey & Sendable, _ value: some ByteValue & Sendable, context: CausalContext?,
    in keyspace: String
  ) async throws {
    let bytes = value.withValueBytes { [UInt8](copying: $0) }
    try await add(key, .put(bytes, context: context?.bytes), keyspace)
  }

  /// Deletes a key of an eventual keyspace, after the commit. As ``put(_:_:context:in:)``.
  public func delete(
    _ key: some ByteKey & Sendable, context: CausalContext?, in keyspace: String
  ) async throws {
    try await add(key, .delete(context: context?.bytes), keyspace)
  }

  private func add(
    _ key: some ByteKey & Sendable, _ change: EventualEffect.Change, _ keyspace: String
  ) async throws {
    try await note(.effect(change, key.withKeyBytes { [UInt8](copying: $0) }, keyspace: keyspace))
  }

  private func note(_ operation: ClientStatement.Operation) async throws {
    guard case .noted = try await remote.perform(operation) else { throw unexpected() }
  }
}

/// Reads a range page by page, each of which has as much as an answer takes.
func allPages(
  from start: [UInt8], limit: Int, _ page: ([UInt8], Int) async throws -> ClientEntries
) async throws -> [(key: [UInt8], value: [UInt8])] {
  guard limit >= 1, limit <= 10_000 else {
    throw DatabaseError(.invalidArgument, "a limit of \(limit): it must be 1 to 10000")
  }
  var found: [(key: [UInt8], value: [UInt8])] = []
  var next: [UInt8]? = start
  while let start = next, found.count < limit {
    let part = try await page(start, limit - found.count)
    found += part.entries.map { ($0.key, $0.value) }
    // Each page goes on behind the one before, or the other side is at fault.
    if let end = part.next, !start.lexicographicallyPrecedes(end) { throw unexpected() }
    next = part.next
  }
  return found
}

/// What a node's answer is that does not fit the question.
func unexpected() -> DatabaseError {
  DatabaseError(.corruption, "the node's answer is of another kind than what was asked")
}
