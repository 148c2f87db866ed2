public import RoostCausality
public import RoostCluster
public import RoostStorage

/// A named map of keys to records, spread over the stores of a ``Database``.
///
/// A key holds plain values, written with ``put(_:_:context:timeToLive:_:)``, or one typed state:
/// a ``counter(_:)``, ``set(_:)``, ``map(_:)``, ``flag(_:)`` or ``register(_:)``. Concurrent writes
/// of plain values are kept as siblings until a write hands back the context of a read that saw
/// them; typed states merge.
///
/// In a transactional keyspace a read shows what was committed last, and a plain write is a transaction of
/// one key; contexts, times to live, typed states, indexes and changes it does not have.
///
/// Keys have 1 to 65,533 bytes, 32,761 in a transactional keyspace. What stands between the first `{`
/// and the next `}` of a key, where that is not empty, is its tag: keys of one tag share a partition.
///
/// Thread-safe; keeps its database open.
public struct Keyspace: Sendable {
  public let database: Database
  package let core: KeyspaceCore

  /// What `Codable` values are encoded with through this value of the keyspace: JSON unless another
  /// is set.
  public var codec: any Codec = .json

  @usableFromInline let isTransactional: Bool
  /// Whether keys are replicated between processes.
  @usableFromInline let isReplicated: Bool
  /// What its operations show at least; see ``within(_:)``.
  var session: DatabaseSession?
  @usableFromInline var isInSession = false

  init(_ database: Database, _ core: KeyspaceCore) {
    self.database = database
    self.core = core
    isTransactional = core.kind == .transactional
    isReplicated = database.node != nil
  }

  public var name: String { core.name }
  public var policy: KeyspacePolicy { core.policy }

  // MARK: - Reading

  /// Reads a key.
  ///
  /// - Parameter key: 1 to 65,533 bytes.
  /// - Returns: its values and the context to hand back with a write that replaces them; no values
  ///   where it is absent, deleted or expired.
  /// - Throws: `.invalidArgument`, `.unreachable` (no open store holds its partition), `.corruption`,
  ///   `.storage`, `.closed`; within a ``DatabaseSession`` also `.behindSession` and `.foreignToken`; in a
  ///   transactional keyspace as ``DatabaseSnapshot/get(_:in:)``.
  /// - Complexity: one lookup in a store (``Tree/get(_:)``), one a replica where there are several.
  @inlinable
  public func get(_ key: some ByteKey & Sendable) async throws -> Read {
    if isTransactional { return try await getVersions([key])[0] }
    if isReplicated { return try await getReplicated(key) }
    if isInSession { return try getInSession(key) }
    return try key.withKeyBytes { bytes throws(DatabaseError) in try getBytes(bytes) }
  }

  // The generic calls are thin and inlined into the caller's module, where the key's type is known;
  // the work is behind these.

  @usableFromInline
  func getBytes(_ key: RawSpan) throws(DatabaseError) -> Read { try core.read(key) }

  /// - Returns: `nil`, and nothing is written, where the write may wait or must be synced.
  @usableFromInline
  func putBytesAtOnce(
    _ key: RawSpan, _ value: RawSpan, _ context: CausalContext?, _ timeToLive: Duration?,
    _ durability: Durability?
  ) throws(DatabaseError) -> CausalContext? {
    let isSynced = (durability ?? core.shared.options.durability) == .synced
    if isTransactional || isReplicated || isSynced || isInSession { return nil }
    return try core.putAtOnce(key, value, context: context, timeToLive: timeToLive)
  }

  @usableFromInline
  func putBytes(
    _ key: some ByteKey & Sendable, _ value: [UInt8], _ context: CausalContext?,
    _ timeToLive: Duration?, _ durability: Durability?
  ) async throws -> CausalContext {
    if isTransactional {
      if context != nil || timeToLive != nil { try core.checkEventual() }
      return try await commit(key, value, durability)
    }
    if let node = database.node {
      return try await put(key, value, context, timeToLive, durability, isConditional: false, at: node)
    }
    return try await write(key, durability) { key throws(DatabaseError) in
      try core.put(key, value, context: context, timeToLive: timeToLive)
    }
  }

  /// Reads several keys, in their order. Each as ``get(_:)``, at its own moment; in a transactional
  /// keyspace all at one. At a node of a cluster 16 are asked for at a time.
  public func multiGet(_ keys: [some ByteKey & Sendable]) async throws -> [Read] {
    if isTransactional { return try await getVersions(keys) }
    if isReplicated { return try await multiGetReplicated(keys) }
    var reads: [Read] = []
    reads.reserveCapacity(keys.count)
    for key in keys {
      if isInSession {
        reads.append(try getInSession(key))
        continue
      }
      reads.append(try key.withKeyBytes { bytes throws(DatabaseError) in try core.read(bytes) })
    }
    return reads
  }

  // MARK: - Writing

  /// Writes a value.
  ///
  /// With the context of a read it replaces exactly what that read saw; without one it replaces
  /// nothing, and stands beside what is there (in a keyspace where the last writer wins it always
  /// replaces what its store has).
  ///
  /// - Parameters:
  ///   - key: 1 to 65,533 bytes.
  ///   - value: up to 1 GiB, less what the store's memory budget allows.
  ///   - context: from a read of the same key.
  ///   - timeToLive: after that time the value counts as deleted, on every replica alike; whole
  ///     milliseconds. `nil` for never.
  ///   - durability: what the write must survive; the database's default when `nil`.
  /// - Returns: a context that has seen this write.
  /// - Throws: `.invalidArgument`, `.foreignContext` (the context is another key's), `.wrongKind`
  ///   (the key holds a typed state), `.unreachable`, `.closed`; `.indeterminate` (it may still
  ///   appear); `.storage` with what the engine threw. In a transactional keyspace `.wrongPolicy` for a
  ///   context or a time to live, and as ``Database/transaction(_:_:)``.
  @discardableResult
  @inlinable
  public func put(
    _ key: some ByteKey & Sendable, _ value: some ByteValue & Sendable,
    context: CausalContext? = nil, timeToLive: Duration? = nil, _ durability: Durability? = nil
  ) async throws -> CausalContext {
    let written = try key.withKeyBytes { keyBytes throws(DatabaseError) in
      try value.withValueBytes { valueBytes throws(DatabaseError) in
        try putBytesAtOnce(keyBytes, valueBytes, context, timeToLive, durability)
      }
    }
    if let written { return written }
    let value = value.withValueBytes { [UInt8](copying: $0) }
    return try await putBytes(key, value, context, timeToLive, durability)
  }

  /// Writes a value if nothing was written to the key since `context` was read.
  ///
  /// Checked at one replica: it spares a useless write and is no mutual exclusion. Of two that race
  /// at two servers both may succeed, and leave siblings.
  ///
  /// - Throws: `.conditionFailed` where the key has changed, and as
  ///   ``put(_:_:context:timeToLive:_:)``.
  @discardableResult
  public func put(
    _ key: some ByteKey & Sendable, _ value: some ByteValue & Sendable,
    ifUnchangedSince context: CausalContext, timeToLive: Duration? = nil,
    _ durability: Durability? = nil
  ) async throws -> CausalContext {
    let value = value.withValueBytes { [UInt8](copying: $0) }
    if let node = database.node {
      return try await put(key, value, context, timeToLive, durability, isConditional: true, at: node)
    }
    return try await write(key, durability) { key throws(DatabaseError) in
      try core.put(key, value, context: context, isConditional: true, timeToLive: timeToLive)
    }
  }

  /// Deletes a key, values and typed states alike.
  ///
  /// With the context of a read it deletes exactly what that read saw; without one what a read would
  /// show now. What is written concurrently stays.
  ///
  /// - Throws: as ``put(_:_:context:timeToLive:_:)``.
  @discardableResult
  public func delete(
    _ key: some ByteKey & Sendable, context: CausalContext? = nil, _ durability: Durability? = nil
  ) async throws -> CausalContext {
    if isTransactional {
      if context != nil { try core.checkEventual() }
      return try await commit(key, nil, durability)
    }
    if let node = database.node {
      return try await perform(.delete, key, context, durability, at: node).context
    }
    return try await write(key, durability) { key throws(DatabaseError) in
      try core.delete(key, context: context)
    }
  }

  /// Deletes a key if nothing was written to it since `context` was read. As
  /// ``put(_:_:ifUnchangedSince:timeToLive:_:)``.
  @discardableResult
  public func delete(
    _ key: some ByteKey & Sendable, ifUnchangedSince context: CausalContext,
    _ durability: Durability? = nil
  ) async throws -> CausalContext {
    if let node = database.node {
      return try await perform(.delete, key, context, durability, isConditional: true, at: node).context
    }
    return try await write(key, durability) { key throws(DatabaseError) in
      try core.delete(key, context: context, isConditional: true)
    }
  }

  // MARK: - How writes run

  /// Runs a write: on this thread where it will not wait, else on one that may; then waits for its
  /// durability (rule 16: no thread of asynchronous code is held up). Of one process: a node of a cluster
  /// has others do it too (``perform(_:_:_:_:isConditional:at:)``).
  func write<R: Sendable>(
    _ key: some ByteKey & Sendable, _ durability: Durability?,
    _ body: @Sendable @escaping (RawSpan) throws(DatabaseError) -> R
  ) async throws(DatabaseError) -> R {
    let use = try beginInSession(key)
    let waits = key.withKeyBytes { core.mayWait($0) }
    let result: R
    if waits {
      result = try await core.whileOpen { () throws(DatabaseError) in
        guard let member = key.withKeyBytes({ core.member(for: $0) }) else {
          return try key.withKeyBytes { bytes throws(DatabaseError) in try body(bytes) }
        }
        return try await member.running { () throws(DatabaseError) in
          try key.withKeyBytes { bytes throws(DatabaseError) in try body(bytes) }
        }
      }
    } else {
      result = try key.withKeyBytes { bytes throws(DatabaseError) in try body(bytes) }
    }
    if (durability ?? core.shared.options.durability) == .synced {
      do throws(DatabaseError) {
        try await core.whileOpen { () throws(DatabaseError) in
          for member in key.withKeyBytes({ core.owners(for: $0) }) { try await member.syncing() }
        }
      } catch {
        // It was applied: who takes this for a write that did not happen would count twice.
        throw DatabaseError(
          .indeterminate, "the write was applied, and could not be made durable: \(error.message)",
          cause: error.cause)
      }
    }
    try remember(use, key)
    return result
  }
}

extension KeyspaceCore {
  /// Does again what a store refused because it left the database before its turn came: whoever has
  /// the key now does it.
  func whileOpen<R>(
    _ body: () async throws(DatabaseError) -> R
  ) async throws(DatabaseError) -> R {
    while true {
      do throws(DatabaseError) { return try await body() } catch {
        guard error.code == .closed, !shared.isClosed else { throw error }
      }
    }
  }
}

extension [UInt8] {
  @usableFromInline
  init(copying bytes: RawSpan) {
    self = unsafe bytes.withUnsafeBytes { unsafe [UInt8]($0) }
  }
}
