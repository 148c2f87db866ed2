public import RoostEnvironment

/// A cluster's directory in the memory of one process: for simulations and tests, where several nodes share
/// it. Gone with the process.
///
/// Observers are called on the thread that makes a change, before its call returns; leases that end are told
/// by ``poll()``. Thread-safe.
public final class MemoryDirectory: ClusterDirectory, @unchecked Sendable {
  private let time: any TimeSource
  private let observers = DirectoryObservers()
  private let lock = Lock()
  // Guarded by `lock`.
  private var state = DirectoryState()

  /// - Parameter time: by whose wall clock leases end.
  public init(_ time: any TimeSource) { self.time = time }

  private var now: UInt64 { time.wallClockNanoseconds / 1_000_000 }

  public func record(_ name: String) throws(DatabaseError) -> DirectoryRecord? {
    try DirectoryState.check(name: name)
    return lock.withLock { state.record(name, at: now) }
  }

  public func records(prefix: String) throws(DatabaseError) -> [DirectoryRecord] {
    lock.withLock { state.records(prefix: prefix, at: now) }
  }

  public func compareAndSet(
    _ name: String, version: UInt64, _ value: [UInt8]?, lease: DirectoryLease? = nil
  ) throws(DatabaseError) -> UInt64? {
    try change { (state, now) throws(DatabaseError) in
      try state.compareAndSet(name, version: version, value, lease: lease, at: now)
    }
  }

  public func grantLease(_ duration: Duration) throws(DatabaseError) -> DirectoryLease {
    try change { (state, now) throws(DatabaseError) in try state.grant(duration, at: now) }
  }

  public func renew(_ lease: DirectoryLease) throws(DatabaseError) -> Bool {
    try change { (state, now) throws(DatabaseError) in state.renew(lease, at: now) }
  }

  public func revoke(_ lease: DirectoryLease) throws(DatabaseError) {
    try change { (state, _) throws(DatabaseError) in _ = state.revoke(lease) }
  }

  public func watch(
    prefix: String, _ observer: @escaping @Sendable ([DirectoryRecord]) -> Void
  ) -> DirectoryWatch {
    let watch = observers.add(prefix: prefix, observer)
    poll()
    return watch
  }

  /// Looks whether leases have ended, and tells who watches.
  public func poll() {
    observers.tell { prefix in lock.withLock { state.records(prefix: prefix, at: now) } }
  }

  private func change<R>(
    _ body: (inout DirectoryState, UInt64) throws(DatabaseError) -> R
  ) throws(DatabaseError) -> R {
    let result = try lock.withLock { () throws(DatabaseError) in try body(&state, now) }
    poll()
    return result
  }
}
