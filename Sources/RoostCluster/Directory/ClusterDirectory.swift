// The place where the nodes of a cluster agree on what all must agree on: which members there are, where
// each listens, which ring is in force. It is asked when something changes, and on the way of a request only
// where that shows a node that it may have missed a change: one of another ring, of a keyspace that the node
// does not know, or handed on to it as a replica that it is not.
//
// It is a small map of named records. Each change names the version it was made from and fails where
// another came first (compare-and-set), so that of two nodes that change the ring at once one sees the
// other's and thinks again. A record may hang on a lease, which its holder renews: when a node dies, what it
// said of itself goes with it.

/// A record of a cluster's directory. A plain value.
public struct DirectoryRecord: Hashable, Sendable {
  /// 1 to 255 bytes of UTF-8.
  public var name: String
  /// Of the change that wrote it: rises with each change of the directory, and no two changes share one.
  public var version: UInt64
  public var value: [UInt8]
  /// The lease that it goes with; `nil` for one that stays.
  public var lease: DirectoryLease?

  public init(name: String, version: UInt64, value: [UInt8], lease: DirectoryLease? = nil) {
    self.name = name
    self.version = version
    self.value = value
    self.lease = lease
  }
}

/// The name of a lease: whoever knows it may renew it.
public struct DirectoryLease: Hashable, Sendable, Comparable {
  public let rawValue: UInt64

  public init(rawValue: UInt64) { self.rawValue = rawValue }

  public static func < (a: DirectoryLease, b: DirectoryLease) -> Bool { a.rawValue < b.rawValue }
}

/// Where a cluster keeps what its nodes must agree on.
///
/// All calls may wait for a file or a service, with a deadline of their own; none is on the way of reads and
/// writes of keys. What one call wrote, every later call of any node sees. Thread-safe.
public protocol ClusterDirectory: AnyObject, Sendable {
  /// - Returns: `nil` where there is no such record.
  /// - Throws: ``DatabaseError`` with `.invalidArgument` (the name), `.storage`, `.corruption`,
  ///   `.newerFormat`, `.deadlineExceeded`.
  func record(_ name: String) throws(DatabaseError) -> DirectoryRecord?

  /// The records whose names begin with `prefix`, in order of their names.
  ///
  /// - Throws: as ``record(_:)``.
  func records(prefix: String) throws(DatabaseError) -> [DirectoryRecord]

  /// Writes a record if it still is what the caller knows.
  ///
  /// - Parameters:
  ///   - version: the record's, as it was read; 0 for one that does not exist.
  ///   - value: at most ``DirectoryLimits/valueBytes``; `nil` removes the record.
  ///   - lease: what it goes with from now on; `nil` where it is to stay.
  /// - Returns: the change's version; `nil` where the record is another by now: nothing was written.
  /// - Throws: ``DatabaseError`` with `.invalidArgument` (a name or a value beyond its limits, a lease that
  ///   is over), `.busy` (the directory is full), `.indeterminate` (it may have been written), and as
  ///   ``record(_:)``.
  func compareAndSet(
    _ name: String, version: UInt64, _ value: [UInt8]?, lease: DirectoryLease?
  ) throws(DatabaseError) -> UInt64?

  /// A lease that is over once nobody has renewed it for `duration`: then the records that hang on it go.
  ///
  /// - Parameter duration: 100 ms to a day.
  /// - Throws: as ``compareAndSet(_:version:_:lease:)``.
  func grantLease(_ duration: Duration) throws(DatabaseError) -> DirectoryLease

  /// Keeps a lease for its duration from now on.
  ///
  /// - Returns: `false` where it is over.
  /// - Throws: as ``compareAndSet(_:version:_:lease:)``.
  func renew(_ lease: DirectoryLease) throws(DatabaseError) -> Bool

  /// Ends a lease at once, and what hangs on it.
  ///
  /// - Throws: as ``compareAndSet(_:version:_:lease:)``.
  func revoke(_ lease: DirectoryLease) throws(DatabaseError)

  /// Calls `observer` with the records under a prefix: now, and whenever they have changed, until the watch
  /// is released. Changes that follow one another fast may be told as one; the last is always told.
  ///
  /// The calls come one after the other, from any thread, and must not wait for long.
  func watch(
    prefix: String, _ observer: @escaping @Sendable ([DirectoryRecord]) -> Void
  ) -> DirectoryWatch
}

/// What a directory takes at most.
public enum DirectoryLimits {
  public static let nameBytes = 255
  public static let valueBytes = 1 << 20
  public static let records = 16_384
  public static let leases = 16_384
  /// Names and values of all records together.
  public static let bytes = 16 << 20
  public static let leaseDuration: ClosedRange<Duration> = .milliseconds(100) ... .seconds(86_400)
}

/// Keeps an observer of a directory called, until it is released or cancelled. Thread-safe.
public final class DirectoryWatch: Sendable {
  private let whenCancelled: @Sendable () -> Void

  /// - Parameter whenCancelled: may be called twice.
  public init(_ whenCancelled: @escaping @Sendable () -> Void) { self.whenCancelled = whenCancelled }

  deinit { whenCancelled() }

  /// The observer is called no more, but for a call that is under way.
  public func cancel() { whenCancelled() }
}
