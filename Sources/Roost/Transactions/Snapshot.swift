public import RoostCausality
import RoostCluster
public import RoostStorage
import RoostTransactions

/// The transactional keyspaces as they were at one moment, across all stores: no locks, and nobody
/// waits for its reader. Copies are of the same moment.
///
/// Reads wait for transactions that may have committed before the moment and are not decided yet.
///
/// In a cluster the moment of a snapshot of now becomes fixed with the first read, or look at its timestamp:
/// a node that was started again keeps nothing from before that, and its clock may be seconds ahead. A
/// snapshot of which nothing was read then moves above it.
public struct DatabaseSnapshot: Sendable {
  private let database: Database
  private let manager: TransactionManager
  private let moment: SnapshotMoment

  /// - Parameter isFixed: whether its holder chose the time.
  init(_ time: Timestamp, isFixed: Bool, _ database: Database, _ manager: TransactionManager) {
    self.database = database
    self.manager = manager
    moment = SnapshotMoment(time, isFixed: isFixed, hold: manager.hold(time))
  }

  /// The moment. From now on it is this one, whatever was read so far.
  public var timestamp: Timestamp { moment.fix() }

  /// Reads at the moment: see ``SnapshotMoment/reading(later:_:)``.
  func reading<R>(_ body: (Timestamp) async throws -> R) async throws -> R {
    try await moment.reading(later: { try await database.laterMoment(manager) }, body)
  }

  /// Reads a key.
  ///
  /// - Returns: `nil` where it was absent.
  /// - Throws: `.invalidArgument`, `.wrongPolicy`, `.unreachable`, `.corruption`, `.closed`;
  ///   `.snapshotTooOld` (its versions may be gone, and the snapshot was read before or is of a given time);
  ///   `.deadlineExceeded` (a transaction that may lie before it was not decided in time).
  /// - Complexity: one or two lookups in a store.
  public func get(_ key: some ByteKey & Sendable, in keyspace: Keyspace) async throws -> [UInt8]? {
    let target = try keyspace.reference(key, in: database)
    return try await reading { time in
      try await manager.read(.keys([target]), of: target.partition, at: time).entries.first?.value
    }
  }

  /// Reads a key's value, decoded by the keyspace's codec. As ``get(_:in:)``, and throws `.codec`.
  // Not inlined: the optimiser of Swift 6.3 fails on it in its caller's loop.
  @inline(never)
  public func get<Value: Decodable>(
    _ key: some ByteKey & Sendable, _ type: Value.Type, in keyspace: Keyspace
  ) async throws -> Value? {
    guard let bytes = try await get(key, in: keyspace) else { return nil }
    return try keyspace.codec.decoded(type, bytes)
  }

  /// Reads keys in order.
  ///
  /// - Parameters:
  ///   - start: the first key; empty for the keyspace's first.
  ///   - end: the key behind the last; `nil` for the keyspace's end.
  ///   - limit: how many entries at most: 1 to 10,000. Go on from the last key and a zero byte.
  /// - Throws: as ``get(_:in:)``.
  /// - Complexity: up to `limit` entries read in each partition.
  public func scan(
    from start: [UInt8] = [], to end: [UInt8]? = nil, limit: Int = 1_000, in keyspace: Keyspace
  ) async throws -> [(key: [UInt8], value: [UInt8])] {
    guard limit >= 1, limit <= 10_000 else {
      throw DatabaseError(.invalidArgument, "a limit of \(limit): it must be 1 to 10000")
    }
    let ranges = try keyspace.ranges(from: start, to: end, in: database)
    return try await reading { time in try await entries(of: ranges, limit: limit, at: time) }
  }

  private func entries(
    of ranges: [RangeReference], limit: Int, at time: Timestamp
  ) async throws -> [(key: [UInt8], value: [UInt8])] {
    var merged: [(key: [UInt8], value: [UInt8])] = []
    for range in ranges {
      var rest: RangeReference? = range
      var count = 0
      while let part = rest, count < limit {
        let answer = try await manager.read(
          .range(part, limit: limit - count), of: part.partition, at: time)
        merged += answer.entries.map { ($0.target.key, $0.value) }
        count += answer.entries.count
        rest = answer.isComplete ? nil : answer.next.map { part.from($0) }
      }
      merged.sort { $0.key.lexicographicallyPrecedes($1.key) }
      if merged.count > limit { merged.removeLast(merged.count - limit) }
    }
    return merged
  }

  /// A part of a partition's range, at the time that ``reading(_:)`` gives.
  func page(_ range: RangeReference, limit: Int, at time: Timestamp) async throws -> VersionedPage {
    let answer = try await manager.read(.range(range, limit: limit), of: range.partition, at: time)
    var page = VersionedPage()
    page.entries = answer.entries.map {
      VersionedEntry(key: $0.target.key, value: $0.value, timestamp: $0.timestamp)
    }
    page.next = answer.isComplete ? nil : answer.next
    return page
  }

  /// Reads the keys that begin with `prefix`, in order. As ``scan(from:to:limit:in:)``.
  public func scan(
    prefix: some ByteKey & Sendable, limit: Int = 1_000, in keyspace: Keyspace
  ) async throws -> [(key: [UInt8], value: [UInt8])] {
    let start = prefix.withKeyBytes { [UInt8](copying: $0) }
    return try await scan(from: start, to: start.successorOfPrefix, limit: limit, in: keyspace)
  }
}

extension TransactionManager {
  /// Reads at a time, wherever the partition is: one that is being handed over is waited for.
  ///
  /// - Throws: `.busy` where that takes longer than a lock may; `.unreachable`; what reading throws.
  func read(
    _ read: TransactionRead, of partition: Int, at time: Timestamp
  ) async throws(DatabaseError) -> ReadAnswer {
    let deadline = readDeadline
    var attempt = 0
    while true {
      let owner = try self.owner(of: partition)
      let result: Result<ReadAnswer, DatabaseError> = await handedOver { handOver in
        snapshot(read, at: time, of: owner, handOver)
      }
      switch result {
      case .success(let answer): return answer
      case .failure(let error):
        guard mustLookAgain(error), isBefore(deadline) else { throw error }
      }
      attempt += 1
      try await pause(afterAttempt: min(attempt, 4))
    }
  }
}

extension Database {
  /// The transactional keyspaces as they are now, or were at a time.
  ///
  /// - Parameter timestamp: `nil` for now: then it shows all that was acknowledged before the call.
  ///   One from the past must lie within ``TransactionOptions/versionRetention``; one from the future
  ///   within the clocks' bound.
  /// - Throws: `.clockOutOfBound`, `.snapshotTooOld`, `.closed`.
  public func snapshot(at timestamp: Timestamp? = nil) async throws -> DatabaseSnapshot {
    let manager = try await transactions()
    return try await blocking { [self] () throws(DatabaseError) in
      DatabaseSnapshot(try manager.moment(timestamp), isFixed: timestamp != nil, self, manager)
    }
  }
}
