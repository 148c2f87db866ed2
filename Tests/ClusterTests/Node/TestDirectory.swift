import RoostEnvironment

@testable import RoostCluster

/// A directory in memory that fails, or is overtaken, where a test wants it. Used by one thread.
final class TestDirectory: ClusterDirectory, @unchecked Sendable {
  enum Call: Hashable {
    case record(String)
    case records(String)
    case compareAndSet(String)
    case grantLease
    case renew(DirectoryLease)
    case revoke(DirectoryLease)

    /// Whether it may change what the directory has.
    var changes: Bool {
      switch self {
      case .record, .records: false
      default: true
      }
    }
  }

  private let inner: MemoryDirectory
  /// Called before each call, which fails with what it throws. May use the directory itself.
  var before: ((Call) throws(DatabaseError) -> Void)?
  /// Whether somebody else comes before a change of a record.
  var isOvertaken: (String) -> Bool = { _ in false }

  init(_ time: any TimeSource) { inner = MemoryDirectory(time) }

  func record(_ name: String) throws(DatabaseError) -> DirectoryRecord? {
    try before?(.record(name))
    return try inner.record(name)
  }

  func records(prefix: String) throws(DatabaseError) -> [DirectoryRecord] {
    try before?(.records(prefix))
    return try inner.records(prefix: prefix)
  }

  func compareAndSet(
    _ name: String, version: UInt64, _ value: [UInt8]?, lease: DirectoryLease?
  ) throws(DatabaseError) -> UInt64? {
    try before?(.compareAndSet(name))
    if isOvertaken(name) { return nil }
    return try inner.compareAndSet(name, version: version, value, lease: lease)
  }

  func grantLease(_ duration: Duration) throws(DatabaseError) -> DirectoryLease {
    try before?(.grantLease)
    return try inner.grantLease(duration)
  }

  func renew(_ lease: DirectoryLease) throws(DatabaseError) -> Bool {
    try before?(.renew(lease))
    return try inner.renew(lease)
  }

  func revoke(_ lease: DirectoryLease) throws(DatabaseError) {
    try before?(.revoke(lease))
    try inner.revoke(lease)
  }

  func watch(
    prefix: String, _ observer: @escaping @Sendable ([DirectoryRecord]) -> Void
  ) -> DirectoryWatch { inner.watch(prefix: prefix, observer) }

  func poll() { inner.poll() }
}
