import RoostCluster

/// A cluster's directory as one process sees it: nothing that a process does after its end gets there.
final class HostDirectory: ClusterDirectory {
  private let process: HostProcess

  init(_ process: HostProcess) { self.process = process }

  private func reached() throws(DatabaseError) -> MemoryDirectory {
    guard process.isAlive else { throw DatabaseError(.storage, "the directory is out of reach") }
    guard !process.host.world.hidesDirectory.contains(process.host.index) else {
      throw DatabaseError(.storage, "the directory is out of reach for now")
    }
    return process.host.world.directory
  }

  func record(_ name: String) throws(DatabaseError) -> DirectoryRecord? { try reached().record(name) }

  func records(prefix: String) throws(DatabaseError) -> [DirectoryRecord] {
    try reached().records(prefix: prefix)
  }

  func compareAndSet(
    _ name: String, version: UInt64, _ value: [UInt8]?, lease: DirectoryLease?
  ) throws(DatabaseError) -> UInt64? {
    try reached().compareAndSet(name, version: version, value, lease: lease)
  }

  func grantLease(_ duration: Duration) throws(DatabaseError) -> DirectoryLease {
    try reached().grantLease(duration)
  }

  func renew(_ lease: DirectoryLease) throws(DatabaseError) -> Bool { try reached().renew(lease) }
  func revoke(_ lease: DirectoryLease) throws(DatabaseError) { try reached().revoke(lease) }

  func watch(
    prefix: String, _ observer: @escaping @Sendable ([DirectoryRecord]) -> Void
  ) -> DirectoryWatch {
    process.host.world.directory.watch(prefix: prefix, observer)
  }
}
