import RoostCausality
import RoostCluster
public import RoostStorage
import RoostTransactions

// Plain calls on a transactional keyspace: a read is a snapshot's of this moment, a write a transaction
// of one key. So each is strictly serialisable with all transactions.

extension Keyspace {
  /// Reads keys as they are now: all that was acknowledged before the call is seen.
  @usableFromInline
  func getVersions(_ keys: [some ByteKey & Sendable]) async throws -> [Read] {
    var targets: [KeyReference] = []
    for key in keys { targets.append(try reference(key, in: database)) }
    let manager = try await database.transactions()
    let groups = Dictionary(grouping: targets, by: \.partition)
    let moment = SnapshotMoment(try manager.now(), isFixed: false, hold: nil)
    let found = try await moment.reading(later: { try await database.laterMoment(manager) }) { time in
      var found: [KeyReference: ReadEntry] = [:]
      for (partition, wanted) in groups {
        for entry in try await manager.read(.keys(wanted), of: partition, at: time).entries {
          found[entry.target] = entry
        }
      }
      return found
    }
    return targets.map { target in
      let binding = target.key.withKeyBytes { core.binding($0) }
      guard let entry = found[target] else { return Read(.absent, shown: [], binding: binding) }
      return Read(
        .sole(SoleRecord(committedAt: entry.timestamp, entry.value)), shown: [], binding: binding)
    }
  }

  /// Writes or deletes a key, in a transaction of its own.
  ///
  /// - Returns: a context of the key that has seen nothing: no write here takes one.
  func commit(
    _ key: some ByteKey & Sendable, _ value: [UInt8]?, _ durability: Durability?
  ) async throws -> CausalContext {
    let bytes = key.withKeyBytes { [UInt8](copying: $0) }
    try await database.transaction(durability) { txn in
      if let value {
        try await txn.put(bytes, value, in: self)
      } else {
        try await txn.delete(bytes, in: self)
      }
    }
    return CausalContext(binding: bytes.withKeyBytes { core.binding($0) }, vector: VersionVector())
  }
}

/// A walk over a transactional keyspace's keys in order, as they were at one moment, page by page.
///
/// Each partition is read some entries ahead. Not thread-safe.
struct VersionScan {
  private struct Run {
    /// What of the partition is not read.
    var rest: RangeReference?
    /// What is read and not shown, the last first.
    var ready: [VersionedEntry] = []
  }

  /// Entries that a partition is read ahead.
  private static let ahead = 64
  /// Bytes after which a page ends.
  private static let pageBytes = 1 << 20

  private let keyspace: Keyspace
  private let plan: ScanPlan
  private let snapshot: DatabaseSnapshot
  private var runs: [Run] = []
  private(set) var isAtEnd: Bool
  /// The last key that was shown.
  private(set) var position: [UInt8]?

  /// - Throws: `.wrongPolicy` for a descending order; `.foreignToken`; `.invalidArgument` for a tag
  ///   that no key can have.
  init(
    _ keyspace: Keyspace, _ range: ScanRange, _ order: ScanOrder, after token: ScanToken?
  ) async throws {
    guard order == .ascending else {
      throw DatabaseError(
        .wrongPolicy,
        "the keyspace `\(keyspace.name)` is transactional: it is scanned in ascending order only")
    }
    self.keyspace = keyspace
    position = try token?.position(in: keyspace.core, range, order)
    let partitions = keyspace.core.shared.partitionCount
    plan = try ScanPlan(range, order, after: position, partitionCount: partitions)
    isAtEnd = plan.isEmpty
    snapshot = try await keyspace.database.snapshot()
    if plan.isEmpty { return }
    for partition in plan.partition.map({ $0..<($0 + 1) }) ?? 0..<partitions {
      runs.append(
        Run(
          rest: RangeReference(
            keyspace: keyspace.core.schemaID, partition: partition, lower: plan.lower, upper: plan.upper)))
    }
  }

  /// The next entries; none at the end.
  ///
  /// - Throws: as ``DatabaseSnapshot/get(_:in:)``.
  /// - Complexity: O(partitions) for each entry, besides reading it.
  mutating func page(limit: Int) async throws -> ScanEntries {
    // What a page that failed had read is read again by the next one, which may be of another moment.
    let before = self
    let (scan, entries) = try await snapshot.reading { time in
      var scan = before
      let entries = try await scan.page(limit: limit, at: time)
      return (scan, entries)
    }
    self = scan
    return entries
  }

  private mutating func page(limit: Int, at time: Timestamp) async throws -> ScanEntries {
    var entries: [VersionedEntry] = []
    var bytes = 0
    while !isAtEnd, entries.count < limit, bytes < Self.pageBytes {
      guard let entry = try await next(limit, at: time) else {
        isAtEnd = true
        break
      }
      position = entry.key
      bytes += entry.key.count + entry.value.count
      entries.append(entry)
    }
    return ScanEntries(keyspace.core, entries)
  }

  private mutating func next(_ limit: Int, at time: Timestamp) async throws -> VersionedEntry? {
    var least: Int?
    for index in runs.indices {
      try await fill(index, min(limit, Self.ahead), at: time)
      guard let key = runs[index].ready.last?.key else { continue }
      if let other = least, !key.lexicographicallyPrecedes(runs[other].ready.last!.key) { continue }
      least = index
    }
    return least.flatMap { runs[$0].ready.popLast() }
  }

  private mutating func fill(_ index: Int, _ limit: Int, at time: Timestamp) async throws {
    while runs[index].ready.isEmpty, let rest = runs[index].rest {
      let page = try await snapshot.page(rest, limit: limit, at: time)
      runs[index].rest = page.next.map { rest.from($0) }
      runs[index].ready = page.entries.reversed().filter { plan.admits($0.key) }
    }
  }
}
