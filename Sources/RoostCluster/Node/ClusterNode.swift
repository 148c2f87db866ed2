import RoostCausality
package import RoostEnvironment
import RoostStorage
import Synchronization

// How keys of eventual keyspaces are replicated between processes. Each node holds one store of the database,
// opened without the others (`FoundingStore`); the others are other nodes'.
//
// - Any replica of a key coordinates a write: it changes the record that it holds, as in one process, and
//   sends the new state to the other replicas, which join it into theirs (`QuorumWrite`). A node that is no
//   replica hands the request on to one.
// - A read joins what a quorum of replicas holds (`QuorumRead`), and sends the join to those that had less.
// - What a replica missed is kept as a hint, by the next node behind the preference list or by the
//   coordinator, and handed over when the replica is there again.
//
// Nothing here waits with a lock held, and no thread of the transport runs what may wait for a disk: that is
// the workers' part.

/// One process of a cluster: a store of the cluster's database, and what replicates its keys.
///
/// Thread-safe.
package final class ClusterNode: NodeMessageHandler, @unchecked Sendable {
  package typealias Answer<Value> = @Sendable (Result<Value, DatabaseError>) -> Void

  /// The part of the database that is here.
  package let core: DatabaseCore
  package let options: ClusterOptions
  /// The store that is here.
  package let local: Member
  let transport: any NodeTransport
  let directory: any ClusterDirectory
  let environment: Environment
  package let hints: HintStore
  let peers = NodePeers()
  let counters = NodeCounters()
  let reaping: NodeReaping
  package let observer: (any NodeObserver)?
  /// How fast it works in the background.
  let paces: NodePaces
  /// Its part in changes of the members.
  let moves = NodeMoves()
  /// What it gives away of transactional partitions.
  let handovers: NodeHandovers
  /// Whether the ring is about to be looked for.
  let isRefreshing = Atomic<Bool>(false)
  let address: NodeAddress
  let connect: @Sendable ([NodeID: NodeAddress]) -> Void
  /// Runs what writes; what only reads goes on beside it.
  let workers: any Workers
  let readers: any Workers
  /// Sees to the directory, whatever else there is to do: a node that is late there counts as down.
  let keepers: any Workers
  /// Of comparisons with other replicas, which read for long: nothing else waits behind them.
  let comparers: any Workers
  let timers: Timers
  let keepsTime: Bool
  let lock = Lock()
  let peersChanged: Condition
  // Guarded by `lock`.
  var keyspaces: [UInt64: KeyspaceCore] = [:]
  var underWay: [UInt64: any UnderWay] = [:]
  var nextNumber: UInt64 = 0
  var isTicking = false
  var isHandingOver = false
  var isSweeping = false
  /// Takes messages about transactions.
  weak var transactionHandler: (any NodeTransactionHandler)?
  /// What that has counted, once it is gone.
  var endedTransactions = TransactionFigures()
  /// Whether another process says that it has this node's store.
  var isSuperseded = false
  /// Whether the directory says already that the cluster has transactions.
  var hasNotedTransactions = false
  var isClosed = false
  var lease: DirectoryLease?
  var watch: DirectoryWatch?
  var ringWatch: DirectoryWatch?
  /// What the routes of this process say; changed with all key locks held.
  var ringView: RingView
  private var broken: NodeSubversions
  /// Its own comparisons with other replicas, and the last one that ended.
  let repairs = NodeRepairs()

  /// Takes part in a cluster: founds it with others, or comes back to it.
  ///
  /// - Parameters:
  ///   - path: the directory of the node's store; made where it is missing.
  ///   - options: of the store, and of the database where it is founded: all founders say the same.
  ///   - records: where the cluster's nodes agree.
  ///   - transport: carries the messages; it is to this node what `connect` says.
  ///   - address: where others reach this node.
  ///   - connect: told where the nodes listen, whenever that changes, this node's own place among them. Must
  ///     not wait.
  /// - Throws: `.invalidOption`, `.deadlineExceeded` (too few founders came), `.notAMember` (the cluster was
  ///   founded without this store), `.foreignStore`, `.tooManyReplicas`, and what opening a store or the
  ///   directory throws.
  package static func start(
    at path: String, _ options: DatabaseOptions, _ cluster: ClusterOptions,
    directory records: any ClusterDirectory, transport: any NodeTransport, address: NodeAddress,
    connect: @escaping @Sendable ([NodeID: NodeAddress]) -> Void, _ environment: Environment
  ) throws(DatabaseError) -> ClusterNode {
    try start(
      try ClusterFounding(at: path, options, cluster, directory: records, address: address, environment),
      transport: transport, address: address, connect: connect)
  }

  /// Takes part with a store that has registered.
  ///
  /// - Parameters:
  ///   - keepsTime: whether it ticks and beats by itself; a simulation does that in its place.
  ///   - observer: is told what the node does.
  /// - Throws: as ``start(at:_:_:directory:transport:address:connect:_:)``.
  package static func start(
    _ founding: ClusterFounding, transport: any NodeTransport, address: NodeAddress, keepsTime: Bool = true,
    observer: (any NodeObserver)? = nil, connect: @escaping @Sendable ([NodeID: NodeAddress]) -> Void
  ) throws(DatabaseError) -> ClusterNode {
    let core = try founding.finish()
    do throws(DatabaseError) {
      let node = try ClusterNode(core, founding, transport, address, keepsTime, observer, connect)
      try node.begin()
      return node
    } catch {
      try? core.close()
      throw error
    }
  }

  private init(
    _ core: DatabaseCore, _ founding: ClusterFounding, _ transport: any NodeTransport,
    _ address: NodeAddress, _ keepsTime: Bool, _ observer: (any NodeObserver)?,
    _ connect: @escaping @Sendable ([NodeID: NodeAddress]) -> Void
  ) throws(DatabaseError) {
    guard let local = core.presentMembers.first else {
      throw DatabaseError(.closed, "the database is closed")
    }
    self.core = core
    self.local = local
    self.transport = transport
    self.address = address
    self.connect = connect
    self.keepsTime = keepsTime
    self.observer = observer
    options = founding.cluster
    paces = try NodePaces(founding.cluster, at: founding.environment.time.monotonicNanoseconds)
    broken = founding.cluster.subversions
    directory = founding.directory
    environment = founding.environment
    let shown = core.shown.now
    ringView = RingView(
      shown.ringState, nil, isConfirmed: false, hasFewerReplicas: shown.schema.hasFewerReplicas)
    var hintLimits = HintStore.Limits()
    hintLimits.age = founding.cluster.hintAge
    hintLimits.waitingBytes = founding.cluster.waitingHintBytes
    hints = try HintStore(local.store, hintLimits)
    handovers = try NodeHandovers(local)
    reaping = NodeReaping(try ReapingRule(founding.cluster, founding.options))
    workers = environment.makeWorkers()
    readers = environment.makeWorkers()
    keepers = environment.makeWorkers()
    peersChanged = Condition(lock)
    comparers = environment.makeWorkers()
    timers = Timers(environment.time, environment.makeWorkers())
  }

  func begin() throws(DatabaseError) {
    // Before anybody hears that the node is there.
    transport.attach(self)
    do throws(DatabaseError) {
      try beat()
      // The watch may tell of it later only: requests that come at once are to find the others.
      adopt(try directory.records(prefix: ClusterRecordName.nodes))
    } catch {
      // By now others may have heard of it, and asked for something.
      leave()
      throw error
    }
    let watch = directory.watch(prefix: ClusterRecordName.nodes) { [weak self] records in
      self?.adopt(records)
    }
    // In the background: the observer must not wait for the store.
    let ringWatch = directory.watch(prefix: ClusterRecordName.database) { [weak self] records in
      let found = records.first { $0.name == ClusterRecordName.database }
      guard let self, let record = found else { return }
      run(.background) { [weak self] in
        guard let self, !hasClosed, !subversions.isDeaf else { return }
        do throws(DatabaseError) { try adopt(try DatabaseRecord(decoding: record.value)) } catch {
          core.options.warn("the cluster's ring could not be taken over: \(error)")
        }
      }
    }
    lock.withLock {
      self.watch = watch
      self.ringWatch = ringWatch
    }
    scheduleBeat()
  }

  /// Rules that a test breaks on purpose.
  package var subversions: NodeSubversions {
    get { lock.withLock { broken } }
    set { lock.withLock { broken = newValue } }
  }

  /// Takes over where the nodes are.
  func adopt(_ records: [DirectoryRecord]) {
    _ = peers.adopt(records)
    let view = view
    connect(peers.retain { view.knows($0) })
    lock.withLock { peersChanged.broadcast() }
    guard let holder = peers.node(of: local.id), holder != transport.node else { return }
    let isNews = lock.withLock {
      defer { isSuperseded = true }
      return !isSuperseded
    }
    if isNews {
      core.options.warn(
        "node \(holder) says that it has this node's store: one of the two is a copy; this one stops serving")
    }
  }

  /// Waits until each member's node has said where it is, or until the deadline: a cluster that was founded
  /// just now is not all there yet.
  package func waitForOthers(until deadline: UInt64) {
    let members = core.ring.members.map(\.id)
    lock.withLock {
      while !isClosed, now < deadline, members.contains(where: { peers.isSuspected($0, at: now) }) {
        _ = environment.time.wait(on: peersChanged, untilMonotonicNanoseconds: deadline)
      }
    }
  }

  /// Takes no more requests of clients, and calls `done` once those in hand are answered. What replicas ask
  /// goes on.
  package func drain(_ done: @escaping @Sendable () -> Void) { counters.drain(done) }

  /// - Throws: `.closed`; `.notAMember` where the cluster has no place for it any more; `.unreachable` where
  ///   another process has this node's store.
  func checkServing() throws(DatabaseError) {
    let (isClosed, isSuperseded) = lock.withLock { (self.isClosed, self.isSuperseded) }
    if isClosed { throw DatabaseError(.closed, "the node is closed") }
    if isDismissed {
      throw DatabaseError(.notAMember, "\(local.path) is no member of the cluster any more")
    }
    if isSuperseded { throw DatabaseError(.unreachable, "another process has this node's store") }
  }

  // MARK: - The end

  /// Leaves: what is under way fails, the store keeps what it has, and the directory is told.
  ///
  /// - Throws: the first failure; the store is closed all the same.
  package func close() throws(DatabaseError) {
    leave()
    try core.close()
  }

  /// Takes part no more: all but the store is ended.
  private func leave() {
    let (operations, lease, watches) = lock.withLock {
      () -> ([any UnderWay], DirectoryLease?, [DirectoryWatch?]) in
      if isClosed { return ([], nil, []) }
      isClosed = true
      peersChanged.broadcast()
      defer {
        underWay = [:]
        self.lease = nil
        self.watch = nil
        ringWatch = nil
      }
      return (underWay.sorted { $0.key < $1.key }.map(\.value), self.lease, [self.watch, ringWatch])
    }
    for watch in watches { watch?.cancel() }
    repairs.end()
    moves.end()
    for operation in operations { operation.end() }
    observer?.counted(figures)
    // Where the directory cannot be told, the lease tells.
    if let lease { try? directory.revoke(lease) }
    timers.stop()
    timers.shutdown()
    keepers.shutdown()
    workers.shutdown()
    readers.shutdown()
    comparers.shutdown()
  }
}
