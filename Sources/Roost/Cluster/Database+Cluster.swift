public import RoostCluster
public import RoostEnvironment
public import RoostNetwork
import RoostTransactions

/// Where the nodes of a cluster agree on what all must agree on.
public enum ClusterDirectoryPlace: Sendable {
  /// A file in this folder, which all nodes reach: for nodes of one machine.
  case file(String)
  /// Another directory; whoever made it closes it.
  case given(any ClusterDirectory)
}

/// What makes a process one of a cluster.
package final class ClusterMembership: Sendable {
  let service: NodeService
  let node: ClusterNode
  let transactions: NodeTransactions

  init(_ service: NodeService, _ node: ClusterNode, _ transactions: NodeTransactions) {
    self.service = service
    self.node = node
    self.transactions = transactions
  }

  /// Lets what is under way end, for so long, and closes node, store and network.
  func leave(drainingFor patience: Duration) throws(DatabaseError) {
    _ = try service.stop(drainingFor: patience)
  }
}

extension Database {
  /// - Throws: `.wrongPolicy` where the database is a cluster's.
  func refuseInCluster(_ what: String) throws(DatabaseError) {
    if node != nil { throw DatabaseError(.wrongPolicy, "a node of a cluster cannot \(what)") }
  }

  /// Opens a database as one node of a cluster, with the store in a directory.
  ///
  /// The cluster is founded when as many nodes have joined as ``ClusterOptions/foundingNodes`` says: the
  /// partitions are divided among their stores, ``ClusterOptions/replicas`` each. A node that stops and comes
  /// back, by `join` with the same directory, is the same member. One that comes later with a store of its
  /// own asks for a place by ``ClusterOptions/joins``, and waits until an operator has admitted it; then its
  /// share of the partitions moves there. One whose place was taken away is told `.notAMember`.
  ///
  /// Keys of eventual keyspaces are read and written at a majority of their replicas, or as many as the
  /// keyspace's quorums say, from any node, plain values and typed handles alike; what a replica missed while
  /// it was away it is brought. Scans, and queries of indexes that all nodes declare, show the whole
  /// cluster's keys as so many of their replicas hold them; changes are those of all partitions, each from
  /// one replica.
  ///
  /// Transactional keyspaces are the whole cluster's. Each partition of theirs is on one node: that of the
  /// first replica of its preference list. Any node runs transactions, scans of transactional keyspaces and
  /// snapshots, over all of them; keys whose node is out of reach fail with `.unreachable`. The nodes' clocks
  /// may differ by ``TransactionOptions/clockBound``, the same at all nodes, or
  /// ``DatabaseOptions/maximumClockOffset`` where that is zero: a commit is answered when so much time has
  /// passed. The members are looked after by ``cluster``; once there is a transactional keyspace, written or
  /// not, none that has had partitions can be given up for dead.
  ///
  /// - Parameters:
  ///   - cluster: its name; nodes of others are refused.
  ///   - directory: of this node's store: one.
  ///   - listen: where to listen, `host:port`; others are told this host, so it must lead them here. Port 0
  ///     for any that is free.
  ///   - records: where the cluster's nodes agree.
  ///   - tls: how connections are secured.
  ///   - options: of the store; of the database too, where it is founded: all founders say the same.
  ///   - change: changes how the node takes part; see ``ClusterOptions``.
  /// - Throws: ``TransportError`` with `.invalidAddress`, `.invalidOption`, `.certificate`, `.notSecure`
  ///   (plain TCP off loopback), `.listen`; ``DatabaseError`` with `.deadlineExceeded` (too few founders came
  ///   in time), `.notAMember` (the cluster was founded without this store), `.foreignStore`,
  ///   `.tooManyReplicas`, and as ``open(at:_:environment:)``.
  public static func join(
    cluster: String, at directory: String, listen: String, directory records: ClusterDirectoryPlace,
    tls: TLSOptions, _ options: DatabaseOptions = DatabaseOptions(),
    network: NetworkOptions = NetworkOptions(), environment: Environment = .posix(),
    _ change: (inout ClusterOptions) -> Void = { _ in }
  ) async throws -> Database {
    var clusterOptions = ClusterOptions(cluster: cluster)
    change(&clusterOptions)
    try clusterOptions.validate()
    let service = try NodeService.listen(
      as: cluster, at: try NodeAddress(listen), tls: tls, network, environment: environment)
    let place: NodeService.Records =
      switch records {
      case .file(let path): .file(path)
      case .given(let directory): .given(directory)
      }
    let workers = environment.makeWorkers()
    defer { workers.shutdown() }
    let asked = clusterOptions
    do {
      let membership = try await onWorkers(workers) { () throws(DatabaseError) in
        let node = try service.join(at: directory, options, asked, directory: place)
        let transactions = NodeTransactions(node)
        // What an earlier process left undecided holds its locks again before anyone can ask.
        do throws(DatabaseError) { try transactions.start() } catch {
          try? transactions.close()
          throw error
        }
        return ClusterMembership(service, node, transactions)
      }
      return Database(membership.node.core, LocalTransport(), membership)
    } catch {
      _ = try? await onWorkers(workers) { () throws(DatabaseError) in try service.stop(drainingFor: .zero) }
      throw error
    }
  }

  /// Where other nodes and clients reach this one, `host:port`; `nil` where the database is of no cluster.
  public var address: String? { membership?.service.address.description }

  /// Reads a node's certificate, key and authority again, from the files that
  /// ``TLSOptions/mutual(certificate:key:authority:)`` named: connections made from now on use them, and
  /// those that stand stay as they are. With plain TCP nothing happens.
  ///
  /// Waits for the file system.
  ///
  /// - Throws: ``TransportError`` with `.certificate`, naming the file: what was in use stays in use;
  ///   ``DatabaseError`` with `.wrongPolicy` where the database is no node of a cluster.
  public func reloadCertificates() throws {
    guard let membership else {
      throw DatabaseError(.wrongPolicy, "a database that is no node of a cluster has no certificates")
    }
    try membership.service.reloadCertificates()
  }

  /// Runs until the task is cancelled or the database closed, then closes it. A node of a cluster leaves:
  /// what is under way ends first, as far as time allows. `RoostService` makes it a service of
  /// swift-service-lifecycle.
  ///
  /// - Parameter patience: how long a node lets what is under way go on: 0 to an hour.
  /// - Throws: `.invalidArgument` (the patience: the database stays open); as ``close()``.
  public func run(drainingFor patience: Duration = .seconds(5)) async throws {
    guard patience >= .zero, patience <= .seconds(3_600) else {
      throw DatabaseError(.invalidArgument, "draining for \(patience): it must be 0 to an hour")
    }
    await ended.wait()
    try await close(drainingFor: patience)
  }
}

/// Tells any number of tasks that something has ended. Thread-safe.
final class EndSignal: @unchecked Sendable {
  private let lock = Lock()
  // Guarded by `lock`.
  private var isOver = false
  private var waiting: [Int: CheckedContinuation<Void, Never>] = [:]
  private var nextNumber = 0

  func signal() {
    let all = lock.withLock {
      isOver = true
      defer { waiting = [:] }
      return waiting.values
    }
    for one in all { one.resume() }
  }

  /// Waits for the signal, or until the task is cancelled.
  func wait() async {
    let number = lock.withLock {
      nextNumber += 1
      return nextNumber
    }
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isOver = lock.withLock {
          if !self.isOver, !Task.isCancelled {
            waiting[number] = continuation
            return false
          }
          return true
        }
        if isOver { continuation.resume() }
      }
    } onCancel: {
      lock.withLock { waiting.removeValue(forKey: number) }?.resume()
    }
  }
}
