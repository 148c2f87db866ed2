import RoostCluster
import RoostEnvironment
import RoostStorage
package import RoostTransactions

/// A database: partitioned keyspaces over one or several stores, in one process.
///
/// ```swift
/// let database = try await Database.open(at: ["/disk1/app", "/disk2/app"])
/// let posts = try await database.keyspace("posts", .eventual)
/// try await posts.counter("likes:42").increment()
/// ```
///
/// Each directory is a store. Keys are spread over them by consistent hashing; stores can be added,
/// removed and weighed anew while the database is in use.
///
/// Thread-safe. Ends with ``close()``, or when the last reference goes: then as after a kill, which
/// loses no acknowledged write.
public final class Database: Sendable {
  package let core: DatabaseCore
  private let opened: OpenedTransactions
  /// What makes this process one of a cluster; `nil` where the database is this process's alone.
  let membership: ClusterMembership?
  /// Ends ``run(drainingFor:)``.
  let ended = EndSignal()
  var node: ClusterNode? { membership?.node }

  package init(
    _ core: DatabaseCore, _ transport: any Transport = LocalTransport(),
    _ membership: ClusterMembership? = nil
  ) {
    self.core = core
    self.membership = membership
    opened = OpenedTransactions(transport, membership?.transactions)
  }

  /// Opens the database that the stores in these directories make up, or creates it there.
  ///
  /// - Parameters:
  ///   - directories: one a store, in any order; all stores of the database.
  ///   - options: resources and defaults, and what a new database is like.
  ///   - environment: the outside world.
  /// - Throws: ``DatabaseError`` with `.invalidArgument`, `.invalidOption`; `.missingStore` (a store
  ///   of the database was left out: names it and the partitions out of reach); `.notAMember`,
  ///   `.foreignStore` (a directory that is not of this database); `.tooManyReplicas` (more than
  ///   stores); `.newerFormat`, `.corruption`; `.storage` with what the engine threw.
  /// - Complexity: that of opening each store (``Store/open(at:_:environment:)``).
  public static func open(
    at directories: [String], _ options: DatabaseOptions = DatabaseOptions(),
    environment: Environment = .posix()
  ) async throws -> Database {
    try await open(at: directories, options, environment: environment, transport: LocalTransport())
  }

  /// Opens it with another way for transactions' messages: one that stops in between, say.
  ///
  /// - Throws: as ``open(at:_:environment:)-([String],_,_)``.
  package static func open(
    at directories: [String], _ options: DatabaseOptions, environment: Environment = .posix(),
    transport: any Transport
  ) async throws -> Database {
    let workers = environment.makeWorkers()
    defer { workers.shutdown() }
    return try await onWorkers(workers) { () throws(DatabaseError) in
      let core = try DatabaseOpening.open(directories, options, environment)
      let database = Database(core, transport)
      // What an earlier process left undecided holds its locks again before anyone can ask.
      if core.mayHaveTransactions {
        do throws(DatabaseError) { _ = try database.opened.manager(of: core) } catch {
          try? core.close()
          throw error
        }
      }
      return database
    }
  }

  /// Opens the database in one directory.
  ///
  /// - Throws: as ``open(at:_:environment:)-([String],_,_)``.
  public static func open(
    at directory: String, _ options: DatabaseOptions = DatabaseOptions(),
    environment: Environment = .posix()
  ) async throws -> Database {
    try await open(at: [directory], options, environment: environment)
  }

  /// Makes everything durable and lets go of the directories. Later calls throw `.closed`; closing
  /// twice does nothing.
  ///
  /// Moves of partitions and builds of indexes end where they are, and go on at the next open.
  ///
  /// - Throws: the first failure; every store is closed all the same.
  public func close() async throws { try await close(drainingFor: .seconds(5)) }

  /// - Parameter patience: how long a node of a cluster lets what is under way go on.
  func close(drainingFor patience: Duration) async throws {
    ended.signal()
    let workers = core.shared.environment.makeWorkers()
    defer { workers.shutdown() }
    let (core, opened, membership) = (core, opened, membership)
    try await onWorkers(workers) { () throws(DatabaseError) in
      var failure: DatabaseError?
      do throws(DatabaseError) { try opened.close() } catch { failure = error }
      if let membership { try membership.leave(drainingFor: patience) } else { try core.close() }
      if let failure { throw failure }
    }
  }

  /// Names the database: the same in all its stores.
  public var id: DatabaseID { core.id }

  /// The keyspace of that name, created where it is missing.
  ///
  /// - Parameters:
  ///   - name: 1 to 64 letters, digits, dots, dashes and underscores.
  ///   - policy: what it promises: kept from its creation on.
  ///   - indexes: the secondary indexes that writes keep from now on, as long as the database is
  ///     open. One that is new, that has another version than before, or that a program wrote past,
  ///     is built in the background: ``Keyspace/indexProgress(_:)`` says how far it is.
  /// - Throws: `.invalidArgument`; `.wrongPolicy` where it exists with another policy; `.invalidOption`
  ///   (quorums without a cluster); `.tooManyReplicas`; `.closed`; creating may throw `.storage`.
  public func keyspace(
    _ name: String, _ policy: KeyspacePolicy, indexes: [Index] = []
  ) async throws -> Keyspace {
    try await opened(name, policy, indexes)
  }

  /// The keyspace of that name, which must exist.
  ///
  /// One whose siblings are resolved on read shows them unresolved, unless it was opened with its
  /// policy.
  ///
  /// - Throws: `.unknownKeyspace`, and as ``keyspace(_:_:)``.
  public func keyspace(_ name: String) async throws -> Keyspace { try await opened(name, nil, []) }

  private func opened(
    _ name: String, _ policy: KeyspacePolicy?, _ indexes: [Index]
  ) async throws -> Keyspace {
    let (core, node) = (core, node)
    let keyspace = try await blocking { () throws(DatabaseError) in
      if let node {
        if let policy {
          try node.makeKeyspace(
            KeyspaceRequest(
              name: name, kind: policy.kind, replicas: policy.replicas, quorums: policy.quorums))
        } else {
          try node.learn(keyspace: name)
        }
      }
      return try core.keyspace(name, policy, indexes: indexes)
    }
    return Keyspace(self, keyspace)
  }

  /// The transactions of this process; begins them where nobody has used them yet.
  func transactions() async throws -> TransactionManager {
    if let manager = opened.current { return manager }
    let (core, opened) = (core, opened)
    return try await blocking { () throws(DatabaseError) in try opened.manager(of: core) }
  }

  /// Joins the replicas of every key, so that all have the same and the feed tells all: worth its
  /// while after writes that failed as `.indeterminate`, or were made while a store was missing. Reads
  /// do the same for the keys they read.
  ///
  /// - Throws: `.corruption`, `.unreachable`, `.storage`; `.closed`, soon after the database is closed
  ///   meanwhile. What was repaired stays so.
  /// - Complexity: reads every record of every replica; in a cluster the leaves of hash trees that this node
  ///   and the other replicas keep, and the records of partitions that differ.
  @discardableResult
  public func repair() async throws -> RepairSummary {
    if let node {
      let result: Result<RepairReport, DatabaseError> = await handedOver { handOver in
        node.repair(until: .max, handOver)
      }
      let report = try result.get()
      guard report.notCompared == 0 else {
        throw DatabaseError(
          .unreachable,
          "\(report.notCompared) partitions could not be compared with another node: \(report.problem)")
      }
      return RepairSummary(keys: Int(clamping: report.keys))
    }
    // It may take hours: no sync, no query and no close must stand behind it.
    return try await onOwnWorkers { core throws(DatabaseError) in try core.repair() }
  }

  /// The names of all keyspaces, sorted.
  public var keyspaceNames: [String] { core.keyspaceEntries.map(\.name) }

  /// Runs a call that takes long, and must not keep a store's other calls waiting, on workers of its
  /// own.
  func onOwnWorkers<R: Sendable>(
    _ body: @escaping @Sendable (DatabaseCore) throws(DatabaseError) -> R
  ) async throws(DatabaseError) -> R {
    let core = core
    let workers = core.shared.environment.makeWorkers()
    defer { workers.shutdown() }
    return try await onWorkers(workers) { () throws(DatabaseError) in try body(core) }
  }

  /// Runs a call that may block on a thread that may: not on the one where syncs wait, since a page of
  /// a query or a join is hundreds of reads or writes.
  package func blocking<R: Sendable>(
    _ body: @escaping @Sendable () throws(DatabaseError) -> R
  ) async throws(DatabaseError) -> R {
    while true {
      guard let member = core.presentMembers.first else {
        throw DatabaseError(.closed, "the database is closed")
      }
      do throws(DatabaseError) { return try await member.running(.background, body) } catch {
        // The store left the database before the call had its turn there.
        guard error.code == .closed, !core.shared.isClosed else { throw error }
      }
    }
  }
}

/// A database's transactions, once they are needed. Thread-safe.
private final class OpenedTransactions: @unchecked Sendable {
  private let transport: any Transport
  /// A node's, which other nodes may have begun; `nil` where the database is this process's alone.
  private let shared: NodeTransactions?
  private let lock = Lock()
  // Guarded by `lock`.
  private var open: TransactionManager?
  private var isClosed = false

  init(_ transport: any Transport, _ shared: NodeTransactions?) {
    self.transport = transport
    self.shared = shared
  }

  var current: TransactionManager? { shared.map(\.current) ?? lock.withLock { open } }

  func manager(of core: DatabaseCore) throws(DatabaseError) -> TransactionManager {
    if let shared { return try shared.manager() }
    return try lock.withLock { () throws(DatabaseError) in
      if let open { return open }
      if isClosed { throw DatabaseError(.closed, "the database is closed") }
      let manager = try TransactionManager(core, transport: transport)
      open = manager
      return manager
    }
  }

  func close() throws(DatabaseError) {
    if let shared { return try shared.close() }
    let manager = lock.withLock {
      isClosed = true
      return open
    }
    try manager?.close()
  }
}

extension Member {
  /// Runs a call that may block on one of the store's threads.
  func running<R: Sendable>(
    _ lane: WorkLane = .urgent,
    _ body: @escaping @Sendable () throws(DatabaseError) -> R
  ) async throws(DatabaseError) -> R {
    let result: Result<R, DatabaseError> = await handedOver { handOver in
      calls.run(lane) {
        do throws(DatabaseError) { handOver(.success(try body())) } catch { handOver(.failure(error)) }
      } refused: { error in
        handOver(.failure(error!))
      }
    }
    return try result.get()
  }

  /// Waits until every write that has returned is durable in the store.
  func syncing() async throws(DatabaseError) {
    let failure: DatabaseError? = await handedOver { handOver in calls.sync(handOver) }
    if let failure { throw failure }
  }
}

/// Runs a call that may block on workers of its own.
func onWorkers<R: Sendable>(
  _ workers: any Workers, _ body: @escaping @Sendable () throws(DatabaseError) -> R
) async throws(DatabaseError) -> R {
  let result: Result<R, DatabaseError> = await handedOver { handOver in
    workers.submit(.urgent) {
      do throws(DatabaseError) { handOver(.success(try body())) } catch { handOver(.failure(error)) }
    }
    // Simulated workers have no threads: then the caller's has to do.
    while workers.runOneHere() {}
  }
  return try result.get()
}
