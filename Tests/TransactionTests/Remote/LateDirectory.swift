import RoostEnvironment

@testable import RoostCluster

/// A directory in memory that cannot tell of some changes whether they were made. Used by one thread.
final class LateDirectory: ClusterDirectory, @unchecked Sendable {
  enum Fate {
    case told
    /// It is made, and who asked for it is told `.indeterminate`.
    case unheard
    /// The same, and it is not made before ``deliver()``.
    case late
  }

  private let inner: MemoryDirectory
  private var late: [(name: String, version: UInt64, value: [UInt8]?, lease: DirectoryLease?)] = []
  /// What becomes of a change of a record, by its name and its new value.
  var fate: (String, [UInt8]?) -> Fate = { _, _ in .told }

  init(_ time: any TimeSource) { inner = MemoryDirectory(time) }

  /// How many changes are on their way.
  var lateCount: Int { late.count }

  /// Lets the first change that is on its way arrive.
  ///
  /// - Returns: whether it was made: the record was as it was when it was asked for.
  func deliver() throws(DatabaseError) -> Bool {
    let next = late.removeFirst()
    return try inner.compareAndSet(next.name, version: next.version, next.value, lease: next.lease) != nil
  }

  func record(_ name: String) throws(DatabaseError) -> DirectoryRecord? { try inner.record(name) }

  func records(prefix: String) throws(DatabaseError) -> [DirectoryRecord] {
    try inner.records(prefix: prefix)
  }

  func compareAndSet(
    _ name: String, version: UInt64, _ value: [UInt8]?, lease: DirectoryLease?
  ) throws(DatabaseError) -> UInt64? {
    switch fate(name, value) {
    case .told: return try inner.compareAndSet(name, version: version, value, lease: lease)
    case .unheard: _ = try inner.compareAndSet(name, version: version, value, lease: lease)
    case .late: late.append((name, version, value, lease))
    }
    throw DatabaseError(.indeterminate, "the directory does not answer")
  }

  func grantLease(_ duration: Duration) throws(DatabaseError) -> DirectoryLease {
    try inner.grantLease(duration)
  }

  func renew(_ lease: DirectoryLease) throws(DatabaseError) -> Bool { try inner.renew(lease) }

  func revoke(_ lease: DirectoryLease) throws(DatabaseError) { try inner.revoke(lease) }

  func watch(
    prefix: String, _ observer: @escaping @Sendable ([DirectoryRecord]) -> Void
  ) -> DirectoryWatch {
    inner.watch(prefix: prefix, observer)
  }
}
