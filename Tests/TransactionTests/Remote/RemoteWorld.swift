import RoostCausality
import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster
@testable import RoostTransactions

/// Nodes of one cluster in one thread, with a disk and a wall clock each, and transactions over them.
///
/// A message is a call, unless the wire says otherwise. Nothing else happens by itself: ``step()`` delivers
/// what the wire holds, and then lets time pass to the first timer of all nodes. Used by one thread.
final class RemoteWorld: @unchecked Sendable {
  let time = SimulatedTime()
  let directory: LateDirectory
  let messages: LocalNodes
  let wire: Wire
  private(set) var hosts: [RemoteHost]
  private let replicas: Int
  private let founders: Int
  private let seed: UInt64
  /// How much time a step lets pass, in nanoseconds, where a timer is further away.
  var longestStep: UInt64 = .max
  /// Of the nodes that are started from now on; see ``subvert(_:_:)``.
  private var subversions = NodeSubversions()
  private let configure: (Int, inout DatabaseOptions) -> Void
  /// Of nodes that are started from now on: how they take part, and who is told what they do.
  var takesPart: (inout ClusterOptions) -> Void = { _ in }
  var observer: (any NodeObserver)?
  private var lastNode: UInt64 = 0
  private var lastBeat: UInt64 = 0
  private(set) var accounts: UInt64 = 0
  private(set) var statistics: UInt64 = 0
  /// What nodes warned of.
  let warnings = Guarded<[String]>([])

  init(
    _ count: Int = 3, replicas: Int = 3, seed: UInt64 = 1, clockBound: Duration = .milliseconds(4),
    largestBody: Int = 16 << 20, statisticsReplicas: Int? = nil,
    _ configure: @escaping (Int, inout DatabaseOptions) -> Void = { _, _ in }
  ) throws {
    let time = time
    self.replicas = min(replicas, count)
    self.seed = seed
    founders = count
    directory = LateDirectory(time)
    messages = LocalNodes(time: time, largestBody: largestBody)
    wire = Wire(messages, time)
    self.configure = { index, options in
      options.transactions.clockBound = clockBound
      configure(index, &options)
    }
    hosts = (0..<count).map { RemoteHost(time, seed: seed &* 100 &+ UInt64($0)) }
    let foundings = try hosts.indices.map { try founding($0) }
    for index in hosts.indices { try start(index, foundings[index]) }
    try node(0).makeKeyspace(KeyspaceRequest(name: "accounts", kind: .transactional))
    try node(0).makeKeyspace(
      KeyspaceRequest(name: "statistics", kind: .keep, replicas: statisticsReplicas))
    for entry in try node(0).core.keyspaceEntries {
      if entry.name == "accounts" { accounts = entry.id } else { statistics = entry.id }
    }
  }

  private func founding(_ index: Int, joins: Bool = false) throws -> ClusterFounding {
    var options = DatabaseOptions()
    options.partitionCount = 16
    options.store.memtableBytes = 64 << 10
    options.store.memoryBudgetBytes = 4 << 20
    options.store.blockCacheBytes = 1 << 20
    options.store.logSegmentBytes = 64 << 10
    options.store.logLimitBytes = 256 << 10
    options.warn = { [warnings] text in warnings.withLock { $0.append(text) } }
    configure(index, &options)
    var cluster = ClusterOptions(cluster: "test")
    cluster.foundingNodes = founders
    cluster.replicas = replicas
    cluster.joins = joins
    cluster.subversions = subversions
    cluster.repairInterval = nil
    takesPart(&cluster)
    return try ClusterFounding(
      at: "/disk/db", options, cluster, directory: directory, address: try address(index),
      hosts[index].environment)
  }

  private func address(_ index: Int) throws -> NodeAddress {
    try NodeAddress(host: "127.0.0.1", port: 7_420 + index)
  }

  private func start(_ index: Int, _ founding: ClusterFounding) throws {
    lastNode += 1
    let number = NodeID(rawValue: lastNode)
    let node = try ClusterNode.start(
      founding, transport: wire.transport(of: number), address: try address(index), keepsTime: false,
      observer: observer
    ) { _ in }
    let transactions = NodeTransactions(node)
    hosts[index].begin(node, transactions, number)
    try transactions.start()
  }

  // MARK: - Nodes

  func node(_ index: Int) throws -> ClusterNode { try #require(hosts[index].node, "node \(index) is down") }

  /// The transactions of a node, as a caller there has them: who uses a keyspace has asked for it.
  func manager(_ index: Int) throws -> TransactionManager {
    try node(index).learn(keyspaces: [accounts, statistics])
    return try #require(hosts[index].transactions).manager()
  }

  var running: [Int] { hosts.indices.filter { hosts[$0].node != nil } }

  /// The process is gone; with a policy, so is the machine's power.
  func kill(_ index: Int, losing policy: CrashPolicy? = nil, seed: UInt64 = 3) {
    let host = hosts[index]
    wire.end(host.number)
    let disk = policy.map { host.disk.crashClone($0, seed: seed) } ?? host.disk.processKillClone()
    host.end(leaving: disk)
  }

  func restart(_ index: Int) throws { try start(index, try founding(index)) }

  // MARK: - Members

  /// Has a new node ask to join, makes a change of what it is, and starts it.
  @discardableResult
  func join(
    _ change: (MemberID) -> MembersRequest.Change = { .admit($0, weight: nil, zone: nil) }
  ) throws -> Int {
    let index = hosts.count
    hosts.append(RemoteHost(time, seed: seed &* 100 &+ UInt64(index)))
    let founding = try founding(index, joins: true)
    try founding.askToJoin()
    _ = try node(running[0]).changeMembers(MembersRequest([change(founding.member)]))
    try start(index, founding)
    return index
  }

  func leave(_ index: Int, askedAt other: Int) throws {
    let member = try #require(hosts[index].member)
    _ = try node(other).changeMembers(MembersRequest([.remove(member, isDead: false)]))
  }

  /// What the directory says of the database.
  func database() throws -> DatabaseRecord {
    try DatabaseRecord(decoding: try #require(try directory.record(ClusterRecordName.database)).value)
  }

  /// Lets things happen until no change of the members is under way.
  func settleMembers(_ steps: Int = 6_000) throws {
    for _ in 0..<steps {
      let record = try database()
      if record.change == nil, record.ring.copies.isEmpty, record.ring.drops.isEmpty { return }
      step()
    }
    let progress = try running.map { "\($0): \(try node($0).changeProgress)" }.joined(separator: "\n")
    Issue.record("it goes on after \(steps) steps:\n\(progress)")
  }

  /// Breaks rules at all nodes that there are and will be, or at some.
  func subvert(_ indices: [Int]? = nil, _ change: (inout NodeSubversions) -> Void) throws {
    if indices == nil { change(&subversions) }
    for index in indices ?? running { change(&(try node(index)).subversions) }
  }

  // MARK: - Time

  /// Delivers a message that is held, if any; else lets time pass to the first timer, and calls it.
  ///
  /// - Parameter message: which of those that are held.
  func step(_ message: Int = 0) {
    if wire.deliver(message) { return }
    let timers = running.compactMap { hosts[$0].transactions?.current?.services.timers }
    let first = timers.filter { $0.nextTime != nil }.min { $0.nextTime! < $1.nextTime! }
    let now = time.monotonicNanoseconds
    if let first, max(first.nextTime!, now) - now <= longestStep {
      _ = first.runOneHere()
    } else {
      time.advance(byNanoseconds: min(longestStep, 100_000_000))
    }
    for index in running { hosts[index].node?.tick() }
    messages.expire()
    if time.monotonicNanoseconds > lastBeat + 2_000_000_000 {
      lastBeat = time.monotonicNanoseconds
      for index in running { try? hosts[index].node?.beat() }
    }
  }

  /// Lets things happen until something is so.
  func settle(_ steps: Int = 3_000, until condition: () throws -> Bool) throws {
    for _ in 0..<steps {
      if try condition() { return }
      step()
    }
    try #require(try condition(), "it did not come to be so")
  }

  func pass(seconds: UInt64) {
    let end = time.monotonicNanoseconds + seconds * 1_000_000_000
    var steps = 0
    while time.monotonicNanoseconds < end, steps < 20_000 {
      step()
      steps += 1
    }
  }

  // MARK: - Keys

  func partition(_ name: String) -> Int {
    Placement.partition(ofHash: name.withKeyBytes { Placement.hash($0) }, count: 16)
  }

  func reference(_ name: String) -> KeyReference {
    KeyReference(keyspace: accounts, partition: partition(name), key: Array(name.utf8))
  }

  /// The host that has a key.
  func owner(_ name: String) throws -> Int {
    let member = try node(running[0]).transactionalOwner(partition(name))
    return try #require(hosts.firstIndex { $0.member == member })
  }

  /// The first keys that a host has.
  func names(_ count: Int = 1, at index: Int) throws -> [String] {
    Array(try (0..<200).map { "account\($0)" }.filter { try owner($0) == index }.prefix(count))
  }

  /// The hosts that have a key of the eventual keyspace.
  func replicas(of name: String) throws -> [Int] {
    let node = try node(running[0])
    let members = node.core.ring.replicas(of: partition(name)).prefix(node.replicas(ofKeyspace: statistics))
    return hosts.indices.filter { members.contains(hosts[$0].member!) }
  }

  // MARK: - Transactions

  func begin(
    _ writes: [String: String], counter: String? = nil, at index: Int
  ) throws -> TransactionCore {
    let transaction = try TransactionCore(try manager(index))
    for (name, value) in writes.sorted(by: { $0.key < $1.key }) {
      try transaction.write(reference(name), Array(value.utf8))
    }
    if let counter {
      try transaction.add(
        keyspace: statistics, Array(counter.utf8), partition: partition(counter), .increment(1))
    }
    return transaction
  }

  /// Asks for a commit; the outcome comes as things happen.
  func commit(_ transaction: TransactionCore) throws -> Guarded<TransactionOutcome?> {
    let outcome = Guarded<TransactionOutcome?>(nil)
    try transaction.commit(isSynced: true) { told in
      outcome.withLock {
        #expect($0 == nil, "answered twice")
        $0 = told
      }
    }
    return outcome
  }

  /// Writes in one transaction, to the end.
  @discardableResult
  func write(_ writes: [String: String], counter: String? = nil, at index: Int) throws -> TransactionOutcome {
    let outcome = try commit(try begin(writes, counter: counter, at: index))
    try settle { outcome.withLock { $0 != nil } }
    return outcome.withLock { $0! }
  }

  func read(
    _ name: String, in transaction: TransactionCore, forUpdate: Bool = true,
    _ reply: @escaping @Sendable (Result<String?, TransactionAborted>) -> Void
  ) throws {
    let target = reference(name)
    let (_, owner) = try transaction.look(target)
    transaction.manager.acquire(
      transaction.id, at: owner, [forUpdate ? .exclusive(target) : .shared(target)], .keys([target])
    ) { result in
      reply(result.map { $0.entries.first.map { String(decoding: $0.value, as: UTF8.self) } })
    }
  }

  /// The values of keys as they are now, read at a node: at a later time, where a store has not the versions
  /// of this one.
  func values(_ names: [String], at index: Int) throws -> [String?] {
    let manager = try manager(index)
    let moment = SnapshotMoment(try manager.now(), isFixed: false, hold: nil)
    for moves in 0... {
      let time = moment.current
      do {
        let values = try self.values(names, at: index, time)
        if moment.settle(at: time) { return values }
      } catch let error as DatabaseError {
        if try moment.moves(after: error, at: time, moves: moves) {
          moment.move(from: time, to: try manager.now(), hold: nil)
        }
      }
    }
    return []
  }

  /// The values of keys as of a time.
  func values(_ names: [String], at index: Int, _ time: Timestamp) throws -> [String?] {
    let manager = try manager(index)
    return try names.map { name in
      let target = reference(name)
      let found = Guarded<Result<ReadAnswer, DatabaseError>?>(nil)
      manager.snapshot(.keys([target]), at: time, of: try manager.owner(of: target.partition)) { result in
        found.withLock { $0 = result }
      }
      try settle { found.withLock { $0 != nil } }
      return try found.withLock { $0! }.get().entries.first.map { String(decoding: $0.value, as: UTF8.self) }
    }
  }

  /// - Parameter steps: how much may happen meanwhile.
  func outcome(of transaction: TransactionID, at index: Int, steps: Int = 3_000) throws -> KnownOutcome {
    let found = Guarded<Result<KnownOutcome, DatabaseError>?>(nil)
    try manager(index).outcome(of: transaction) { result in found.withLock { $0 = result } }
    try settle(steps) { found.withLock { $0 != nil } }
    return try found.withLock { $0! }.get()
  }

  /// What a counter of the eventual keyspace is in one node's own store.
  func count(_ counter: String, at index: Int) throws -> Int64 {
    let held = try node(index).keyspace("statistics").held(Array(counter.utf8))
    return try held?.state(as: PNCounter.self).value() ?? 0
  }

  var isInDoubt: Bool {
    running.contains { !(hosts[$0].transactions?.current?.inDoubt.isEmpty ?? true) }
  }
}

/// A machine of the world, and the process that runs on it. Used by one thread.
final class RemoteHost: @unchecked Sendable {
  let time: SkewedTime
  /// Goes on over restarts: no two processes draw the same.
  private let randomness: SeededRandomness
  private(set) var disk = SimulatedFileSystem()
  private(set) var node: ClusterNode?
  private(set) var transactions: NodeTransactions?
  private(set) var number = NodeID(rawValue: 0)
  private(set) var member: MemberID?

  init(_ time: SimulatedTime, seed: UInt64) {
    self.time = SkewedTime(time)
    randomness = SeededRandomness(seed: seed)
  }

  var environment: Environment {
    Environment(
      fileSystem: disk, time: time, randomness: randomness, makeWorkers: { ManualWorkers() })
  }

  func begin(_ node: ClusterNode, _ transactions: NodeTransactions, _ number: NodeID) {
    self.node = node
    self.transactions = transactions
    self.number = number
    member = node.local.id
  }

  func end(leaving disk: SimulatedFileSystem) {
    node = nil
    transactions = nil
    self.disk = disk
  }
}

/// A clock whose wall time is off. Used by one thread.
final class SkewedTime: TimeSource, @unchecked Sendable {
  private let base: SimulatedTime
  var aheadMilliseconds: Int64 = 0

  init(_ base: SimulatedTime) { self.base = base }

  var monotonicNanoseconds: UInt64 { base.monotonicNanoseconds }

  var wallClockNanoseconds: UInt64 {
    UInt64(clamping: Int64(clamping: base.wallClockNanoseconds) + aheadMilliseconds * 1_000_000)
  }

  func wait(on condition: Condition, untilMonotonicNanoseconds deadline: UInt64) -> Bool {
    base.wait(on: condition, untilMonotonicNanoseconds: deadline)
  }
}
