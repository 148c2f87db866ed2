import RoostCluster
import RoostEnvironment

/// Why a simulation cannot go on: it was used wrongly, or is at the end of its steps.
public struct SimulationError: Error, Sendable, CustomStringConvertible {
  public var message: String

  public init(_ message: String) { self.message = message }

  public var description: String { message }
}

/// A node of a simulated cluster: a machine, its disk, and the process that runs on it while it is up.
public struct SimulatedNode: Hashable, Sendable, CustomStringConvertible {
  /// From 0.
  public let index: Int

  public var description: String { "node \(index + 1)" }
}

/// A cluster of nodes in one thread, all that surrounds it, and what clients were told: one seed gives one
/// course of events.
///
/// What happens is an event: a message that arrives, a job of a node's workers, a timeout. Time stands still
/// within an event, and passes from one to the next. Nothing happens by itself: calls of a client, and
/// ``run(for:)``, let events happen. Used by one thread.
public final class SimulatedWorld: @unchecked Sendable {
  static let keyspace = "data"
  /// Of a cluster that reaps.
  static let tombstoneHorizon = Duration.seconds(32)
  /// How far apart any two clocks may be while transactions run.
  static let clockBoundMilliseconds: Int64 = 200

  public let seed: UInt64
  /// How many events may happen.
  public var eventLimit = 20_000_000
  /// How many may be planned at a time, and how many bytes the messages under way may have. A cluster that
  /// feeds on itself meets them long before the machine has no memory left.
  var queueLimit = (events: 200_000, bytes: 256 << 20)
  /// How many have happened.
  public private(set) var events = 0
  /// Begins where the simulation begins, and is what no node sees: each has clocks of its own.
  let clock = SimulatedTime()
  let directory: MemoryDirectory
  let history = CallHistory()
  private(set) var network: SimulatedNetwork!
  var hosts: [SimulatedHost] = []
  private(set) var subversion = Subversion.none
  /// Conditions of reaping that nodes leave out which are started from now on.
  var brokenReaping: Set<ReapingCondition> = []
  /// Hosts from which the cluster's directory cannot be reached.
  var hidesDirectory: Set<Int> = []
  /// Those that come at random, while they do.
  var faults: RandomFaults?
  /// How many replicas a read asks, and how many stores a write waits for; a majority for `nil`.
  private(set) var readQuorum: Int?
  private(set) var writeQuorum: Int?
  /// How many replicas the keyspace has, where they are not as many as the cluster's.
  private(set) var keyspaceReplicas: Int?
  private(set) var hasEnded = false
  /// Whether nodes do their background work so slowly that it has to wait for its rates.
  private(set) var isPaced = false
  /// Whether a transaction was begun.
  var hasTransactions = false
  /// Who owned the transactional keys of each partition when that was looked at last, and how many times it
  /// was another than before.
  var owners: [MemberID] = []
  var flips = 0
  /// Accounts between which money is moved, and how much there is.
  var bank: (accounts: [String], total: Int)?
  /// Whether clocks were ever apart by more than that.
  var clocksWereApart = false
  /// What is wrong with transactions, as it was found when the world settled.
  var transactionProblems: [String] = []
  private(set) var databaseOptions = DatabaseOptions()
  private(set) var clusterOptions = ClusterOptions(cluster: "simulated")
  private var queue = EventQueue()
  private var random: SplitMix64
  private var trace = TraceHash()
  private var lastNode: UInt64 = 0
  private var formerNodes: [NodeID: Int] = [:]
  private let origin: UInt64
  /// Why no more events may happen, but for their limit.
  private var exhaustion: String?

  init(seed: UInt64) {
    self.seed = seed
    random = SplitMix64(seed: seed)
    directory = MemoryDirectory(clock)
    origin = clock.monotonicNanoseconds
    network = SimulatedNetwork(self)
  }

  /// The nodes of the cluster, those that are gone for good among them.
  public var nodes: [SimulatedNode] { hosts.map { SimulatedNode(index: $0.index) } }

  /// Those that are up.
  public var runningNodes: [SimulatedNode] {
    hosts.filter { $0.process != nil }.map { SimulatedNode(index: $0.index) }
  }

  /// Those that are up, or may be again.
  var presentNodes: [SimulatedNode] {
    hosts.filter { !$0.isLost }.map { SimulatedNode(index: $0.index) }
  }

  /// A checksum over all events so far: the same for the same seed.
  public var traceHash: UInt64 { trace.value }

  /// How much time has passed.
  public var elapsed: Duration { .nanoseconds(Int64(clamping: clock.monotonicNanoseconds - origin)) }

  var nanoseconds: UInt64 { clock.monotonicNanoseconds - origin }
  var milliseconds: UInt64 { nanoseconds / 1_000_000 }

  /// How many nodes hold each key, and how many stores acknowledge a write before its client is told.
  var replicaCount: Int { keyspaceReplicas ?? ringReplicaCount }
  /// How many members a partition's list has.
  var ringReplicaCount: Int { clusterOptions.replicas ?? 1 }
  /// Whether tombstones are reaped.
  var reaps: Bool { clusterOptions.tombstoneHorizon != nil }
  var writeQuorumCount: Int { writeQuorum ?? replicaCount / 2 + 1 }

  /// What all calls of clients asked and were told so far, one JSON object a line, for outside checkers. The
  /// format is described in `docs/simulation.md`.
  public var jsonHistory: String { history.jsonLines }

  /// Breaks a rule from now on, until the world settles.
  package func subvert(_ subversion: Subversion) {
    self.subversion = subversion
    for host in hosts { host.node?.subversions = nodeSubversions }
  }

  // MARK: - Chance

  func below(_ bound: Int) -> Int { bound <= 1 ? 0 : random.below(bound) }
  func chance(_ inAThousand: Int) -> Bool { inAThousand > 0 && random.below(1_000) < inAThousand }
  func number() -> UInt64 { random.next() }

  /// In one of three seeds hints are handed over, replicas compared and partitions moved at a few KiB a
  /// second, so that all three have to wait for their rates. To be called before there is a cluster.
  ///
  /// It draws from numbers of its own: whatever else the seed decides stays as it is.
  ///
  /// - Parameter minutes: in which data comes to be: of that there is as much more, and so are the rates.
  func choosePaces(minutes: Double) {
    var numbers = SplitMix64(seed: seed ^ 0x7061_6365)
    guard numbers.below(3) == 0 else { return }
    isPaced = true
    let scale = max(1, Int(minutes.rounded(.up)))
    let rates = (0..<3).map { _ in (1_024 + numbers.below(15 * 1_024 + 1)) * scale }
    clusterOptions.hintBytesPerSecond = rates[0]
    clusterOptions.repairBytesPerSecond = rates[1]
    clusterOptions.moveBytesPerSecond = rates[2]
    // Else nothing is compared in the background within some minutes.
    clusterOptions.repairInterval = .seconds(60)
  }

  // MARK: - Building

  /// Founds a cluster.
  ///
  /// - Parameters:
  ///   - count: how many nodes it has: 1 to 64.
  ///   - replicas: how many of them hold each key (N): 1 to 16; 3, or all where they are fewer, where nothing
  ///     is said.
  ///   - readQuorum: how many of these a read asks (R): a majority where nothing is said.
  ///   - writeQuorum: how many stores acknowledge a write before its client is told (W): a majority where
  ///     nothing is said.
  ///   - keyspaceReplicas: how many nodes hold each key, where the keyspace is to have a number of its own:
  ///     1 to N, which then is what the cluster has.
  ///   - reaping: whether tombstones are reaped, after 32 s. Hints then live for four, and a disk that goes
  ///     back further is refused.
  /// - Throws: ``SimulationError`` where the world has one already, or a number is out of its limits;
  ///   `DatabaseError` with `.invalidOption`.
  @discardableResult
  public func cluster(
    of count: Int, replicas: Int? = nil, readQuorum: Int? = nil, writeQuorum: Int? = nil,
    keyspaceReplicas: Int? = nil, reaping: Bool = false
  ) throws -> [SimulatedNode] {
    guard hosts.isEmpty else { throw SimulationError("the world has a cluster already") }
    guard (1...64).contains(count) else { throw SimulationError("a cluster of \(count) nodes: 1 to 64") }
    let replicas = replicas ?? min(3, count)
    guard (1...min(16, count)).contains(replicas) else {
      throw SimulationError("\(replicas) replicas: 1 to \(min(16, count))")
    }
    let holders = keyspaceReplicas ?? replicas
    guard (1...replicas).contains(holders) else {
      throw SimulationError("\(holders) replicas of a keyspace: 1 to \(replicas)")
    }
    self.keyspaceReplicas = keyspaceReplicas
    for quorum in [readQuorum, writeQuorum].compactMap({ $0 }) {
      guard (1...holders).contains(quorum) else {
        throw SimulationError("a quorum of \(quorum): 1 to \(holders)")
      }
    }
    self.readQuorum = readQuorum
    self.writeQuorum = writeQuorum
    let majority = holders / 2 + 1
    let (read, write) = (readQuorum ?? majority, writeQuorum ?? majority)
    // Else a hint counts for a write, and a read does not ask who keeps it. Where one store is enough, that
    // is the replica which the client's node handed the write on to.
    history.checksReads = (count == holders || write == 1) && read + write > holders
    databaseOptions.partitionCount = count <= 8 ? 16 : 128
    // Small, so that memtables are flushed and tables are merged.
    databaseOptions.store.memtableBytes = 64 << 10
    databaseOptions.store.memoryBudgetBytes = 4 << 20
    databaseOptions.store.blockCacheBytes = 1 << 20
    databaseOptions.store.logSegmentBytes = 64 << 10
    databaseOptions.store.logLimitBytes = 256 << 10
    // A writer that waits for a full disk holds up the whole world.
    databaseOptions.store.stallDeadline = .seconds(1)
    databaseOptions.transactions.clockBound = .milliseconds(Self.clockBoundMilliseconds)
    clusterOptions.foundingNodes = count
    clusterOptions.replicas = replicas
    clusterOptions.requestTimeout = .seconds(3)
    clusterOptions.replicaTimeout = .milliseconds(600)
    if reaping {
      // As near as the others' limits allow: so that it comes within a minute.
      clusterOptions.repairTimeout = .seconds(3)
      clusterOptions.hintAge = .seconds(4)
      clusterOptions.tombstoneHorizon = Self.tombstoneHorizon
    }
    hosts = (0..<count).map { SimulatedHost(self, $0, seed: number()) }
    // All register before one of them founds: none waits for the others.
    let foundings = try hosts.map { try $0.founding() }
    for (host, founding) in zip(hosts, foundings) { try host.start(founding) }
    try hosts[0].node?.makeKeyspace(
      KeyspaceRequest(name: Self.keyspace, kind: .keep, replicas: keyspaceReplicas))
    for host in hosts { _ = try host.node?.keyspace(Self.keyspace) }
    run(for: .seconds(1))
    return nodes
  }

  func host(_ node: SimulatedNode) throws -> SimulatedHost {
    guard hosts.indices.contains(node.index) else { throw SimulationError("there is no \(node)") }
    return hosts[node.index]
  }

  func newNodeID(of host: Int) -> NodeID {
    lastNode += 1
    let node = NodeID(rawValue: lastNode)
    formerNodes[node] = host
    return node
  }

  /// The host on which a node is or was.
  func host(ofFormer node: NodeID) -> Int? { formerNodes[node] }

  // MARK: - Events

  /// - Parameter byteCount: of the message that the event brings.
  func plan(
    after nanoseconds: UInt64, _ label: EventLabel, byteCount: Int = 0,
    _ action: @escaping @Sendable () -> Void
  ) {
    if hasEnded || exhaustion != nil { return }
    queue.plan(at: clock.monotonicNanoseconds &+ nanoseconds, label, byteCount: byteCount, action)
    if queue.count > queueLimit.events {
      exhaustion = "too many events: \(queue.count) are planned, \(events) have happened"
    } else if queue.byteCount > queueLimit.bytes {
      exhaustion = "too many events: messages of \(queue.byteCount) bytes are under way"
    }
  }

  /// Lets the next event happen, if it is due by `limit`.
  ///
  /// - Returns: `false` where there is none: then it is `limit`.
  private func step(until limit: UInt64) -> Bool {
    guard !isExhausted, let time = queue.nextTime, time <= limit, let event = queue.next() else {
      move(to: limit)
      return false
    }
    move(to: time)
    events += 1
    trace.add(event.label, at: event.time)
    event.action()
    afterEvent()
    return true
  }

  private func move(to time: UInt64) {
    let now = clock.monotonicNanoseconds
    // Somebody who waited may have moved it further already.
    if time > now { clock.advance(byNanoseconds: time - now) }
  }

  private func afterEvent() {
    for host in hosts {
      if let disk = host.crashedDisk { host.die(leaving: disk) }
    }
  }

  /// Whether no more events may happen.
  public var isExhausted: Bool { events >= eventLimit || exhaustion != nil }

  /// - Throws: ``SimulationError`` where no more events may happen.
  func checkSteps() throws {
    guard isExhausted else { return }
    throw SimulationError(exhaustion ?? "too many events: \(eventLimit) have happened, and no more may")
  }

  /// Lets the world run for so long.
  public func run(for duration: Duration) {
    let limit = clock.monotonicNanoseconds &+ Self.nanoseconds(duration)
    while step(until: limit) {}
  }

  /// Lets the world run until something is so, but no longer than this.
  ///
  /// - Throws: ``SimulationError`` where no more events may happen.
  func run(untilTrue condition: () -> Bool, within duration: Duration) throws {
    let limit = clock.monotonicNanoseconds &+ Self.nanoseconds(duration)
    while !condition(), step(until: limit) {}
    try checkSteps()
  }

  static func nanoseconds(_ duration: Duration) -> UInt64 {
    let (seconds, attoseconds) = duration.components
    return UInt64(max(0, seconds)) * 1_000_000_000 + UInt64(max(0, attoseconds) / 1_000_000_000)
  }

  /// Lets go of everything. Nothing may be asked of the world afterwards.
  func end() {
    faults?.end()
    faults = nil
    for host in hosts { try? host.close() }
    hasEnded = true
    queue.removeAll()
    network.end()
  }
}
