import RoostCausality
import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// Nodes of one cluster in a simulated world: a disk each, one clock, calls in place of a network.
final class NodeWorld {
  let time = SimulatedTime()
  let directory: TestDirectory
  let messages: LocalNodes
  let wire = TestWire()
  let replicas: Int
  private(set) var disks: [SimulatedEnvironment]
  private(set) var nodes: [ClusterNode?]
  private(set) var numbers: [NodeID]
  private var lastNumber: UInt64
  private var cuts: [(from: Int, to: Int)] = []
  /// Of nodes that are started from now on.
  var observer: (any NodeObserver)?

  /// Of the nodes that are started from now on.
  var subversions = NodeSubversions()
  /// The clocks of those that are started from now on and have one of their own.
  var clocks: [Int: any TimeSource] = [:]
  /// The same of workers.
  var makeWorkers: [Int: @Sendable () -> any Workers] = [:]

  private let configure: (inout ClusterOptions) -> Void

  /// - Parameters:
  ///   - largestBody: of a message, in bytes.
  ///   - configure: changes how each node takes part.
  init(
    _ count: Int = 3, replicas: Int = 3, seed: UInt64 = 1, largestBody: Int = 16 << 20,
    _ configure: @escaping (inout ClusterOptions) -> Void = { _ in }
  ) throws {
    let time = time
    self.configure = configure
    directory = TestDirectory(time)
    messages = LocalNodes(time: time, largestBody: largestBody)
    self.replicas = replicas
    disks = (0..<count).map { SimulatedEnvironment(seed: seed &* 1_000 &+ UInt64($0), time: time) }
    numbers = (0..<count).map { NodeID(rawValue: UInt64($0) + 1) }
    lastNumber = UInt64(count)
    nodes = disks.map { _ in nil }
    let founders = try (0..<count).map { try founding($0) }
    for index in 0..<count { try start(index, founders[index]) }
  }

  static var options: DatabaseOptions {
    var options = DatabaseOptions()
    options.partitionCount = 16
    options.store.memtableBytes = 64 << 10
    options.store.memoryBudgetBytes = 4 << 20
    options.store.blockCacheBytes = 1 << 20
    options.store.logSegmentBytes = 64 << 10
    options.store.logLimitBytes = 256 << 10
    return options
  }

  static func address(_ index: Int) throws -> NodeAddress {
    try NodeAddress(host: "127.0.0.1", port: 7_420 + index)
  }

  func founding(_ index: Int, of count: Int? = nil, joins: Bool = false) throws -> ClusterFounding {
    var cluster = ClusterOptions(cluster: "test")
    cluster.joins = joins
    cluster.subversions = subversions
    cluster.foundingNodes = count ?? disks.count
    cluster.replicas = replicas
    configure(&cluster)
    return try ClusterFounding(
      at: "/disk/db", Self.options, cluster, directory: directory,
      address: try Self.address(index), environment(index))
  }

  private func environment(_ index: Int) -> Environment {
    var environment = disks[index].environment
    if let clock = clocks[index] { environment.time = clock }
    if let make = makeWorkers[index] { environment.makeWorkers = make }
    return environment
  }

  private func start(_ index: Int, _ founding: ClusterFounding) throws {
    nodes[index] = try ClusterNode.start(
      founding, transport: wire.transport(messages.transport(of: numbers[index])),
      address: try Self.address(index), observer: observer
    ) { _ in }
  }

  // MARK: - Members

  /// A machine with an empty disk, whose node is not started.
  func addHost() -> Int {
    let index = disks.count
    disks.append(SimulatedEnvironment(seed: 77_000 + UInt64(index), time: time))
    nodes.append(nil)
    lastNumber += 1
    numbers.append(NodeID(rawValue: lastNumber))
    return index
  }

  /// Has a new node ask to join, makes a change of what it is, and starts it.
  @discardableResult
  func join(
    weight: Int? = nil, _ change: (MemberID) -> MembersRequest.Change? = { _ in nil }
  ) throws -> Int {
    let index = addHost()
    let founding = try founding(index, joins: true)
    try founding.askToJoin()
    let request = MembersRequest(
      [change(founding.member) ?? .admit(founding.member, weight: weight, zone: nil)])
    _ = try self[running[0]].changeMembers(request)
    try start(index, founding)
    return index
  }

  func id(_ index: Int) -> MemberID { self[index].local.id }

  /// Beats until no change is under way any more.
  func settle(_ beats: Int = 120) throws {
    for _ in 0..<beats {
      try beat()
      let record = try database()
      if record.change == nil, record.ring.copies.isEmpty, record.ring.drops.isEmpty { return }
    }
    let progress = running.map { "\(self[$0].changeProgress)" }.joined(separator: "\n")
    Issue.record("it goes on after \(beats) beats:\n\(progress)")
  }

  /// What the directory says of the database.
  func database() throws -> DatabaseRecord {
    try DatabaseRecord(decoding: try #require(try directory.record(ClusterRecordName.database)).value)
  }

  /// Breaks rules at nodes, or, where none are named, at all that there are and will be.
  func subvert(_ indices: [Int]? = nil, _ change: (inout NodeSubversions) -> Void) {
    if indices == nil { change(&subversions) }
    for index in indices ?? running { change(&self[index].subversions) }
  }

  /// Writes down that a partition moves, without a plan.
  func move(_ partition: Int, from: Int, to: Int) throws -> PartitionMove {
    let slot = try #require(try database().ring.ring.replicas(of: partition).firstIndex(of: id(from)))
    let move = PartitionMove(partition: partition, slot: slot, from: id(from), to: id(to))
    let node = self[running[0]]
    try node.changeRecord { record in
      // As a plan would have it: who gets it is a member.
      record.ring = record.ring.copying(move)
      return true
    }
    return move
  }

  subscript(_ index: Int) -> ClusterNode { nodes[index]! }

  var running: [Int] { nodes.indices.filter { nodes[$0] != nil } }

  // MARK: - Faults

  /// The node is gone, as after a kill and the loss of power: what was not synced may be lost.
  func crash(_ index: Int, _ policy: CrashPolicy = .random, seed: UInt64 = 7) {
    nodes[index] = nil
    disks[index] = disks[index].crashed(policy, seed: seed)
  }

  func close(_ index: Int) throws {
    try self[index].close()
    nodes[index] = nil
  }

  /// The disk as it is now, to go back to.
  func snapshot(_ index: Int) -> SimulatedEnvironment { disks[index].crashed(.keepAll, seed: 11) }

  func rollBack(_ index: Int, to disk: SimulatedEnvironment) {
    nodes[index] = nil
    disks[index] = disk
  }

  func wipe(_ index: Int) {
    nodes[index] = nil
    disks[index] = SimulatedEnvironment(seed: 99 + UInt64(index), time: time)
  }

  func restart(_ index: Int) throws {
    lastNumber += 1
    numbers[index] = NodeID(rawValue: lastNumber)
    try start(index, try founding(index))
    for cut in cuts where cut.from == index || cut.to == index { apply(cut) }
  }

  func cut(_ one: Int, _ other: Int) {
    for pair in [(from: one, to: other), (from: other, to: one)] {
      cuts.append(pair)
      apply(pair)
    }
  }

  private func apply(_ cut: (from: Int, to: Int)) {
    messages.cut(from: numbers[cut.from], to: numbers[cut.to])
  }

  func heal() {
    for cut in cuts { messages.mend(from: numbers[cut.from], to: numbers[cut.to]) }
    cuts = []
  }

  /// Lets each node do what it does now and then.
  func beat(_ times: Int = 1) throws {
    for _ in 0..<times {
      time.advance(byNanoseconds: 1_000_000_000)
      for index in running { try self[index].beat() }
    }
  }

  // MARK: - Calls

  func perform(_ request: KeyRequest, at index: Int) throws -> KeyAnswer {
    let answer = Guarded<Result<KeyAnswer, DatabaseError>?>(nil)
    self[index].perform(request, deadline: time.monotonicNanoseconds + 5_000_000_000) { result in
      answer.withLock {
        #expect($0 == nil, "answered twice")
        $0 = result
      }
    }
    // Whoever has not answered by now is lost: the deadline decides.
    if answer.withLock({ $0 == nil }) {
      time.advance(byNanoseconds: 6_000_000_000)
      messages.expire()
      self[index].tick()
    }
    return try #require(answer.withLock { $0 }, "never answered").get()
  }

  func make(
    _ keyspace: String = "k", _ kind: KeyspacePolicy.Kind = .keep, replicas: Int? = nil
  ) throws {
    try self[0].makeKeyspace(KeyspaceRequest(name: keyspace, kind: kind, replicas: replicas))
  }

  @discardableResult
  func put(
    _ key: String, _ value: String, at index: Int, context: CausalContext? = nil, quorum: Int? = nil,
    isSynced: Bool = false
  ) throws -> CausalContext {
    let operation = KeyRequest.Operation.put(Array(value.utf8), timeToLiveMilliseconds: nil)
    var request = KeyRequest(operation, Array(key.utf8), in: "k")
    request.context = context
    request.quorum = quorum
    request.isSynced = isSynced
    return try perform(request, at: index).context
  }

  @discardableResult
  func increment(
    _ key: String, by amount: Int64 = 1, at index: Int, isSynced: Bool = false
  ) throws -> KeyAnswer {
    var request = KeyRequest(.increment(amount), Array(key.utf8), in: "k")
    request.isSynced = isSynced
    return try perform(request, at: index)
  }

  func get(_ key: String, at index: Int, quorum: Int? = nil) throws -> KeyAnswer {
    var request = KeyRequest(.get, Array(key.utf8), in: "k")
    request.quorum = quorum
    return try perform(request, at: index)
  }

  func values(_ key: String, at index: Int, quorum: Int? = nil) throws -> [String] {
    let record = try get(key, at: index, quorum: quorum).record
    return (record?.siblings.elements ?? []).map { String(decoding: $0.value, as: UTF8.self) }.sorted()
  }

  func count(_ key: String, at index: Int, quorum: Int? = nil) throws -> Int64 {
    try get(key, at: index, quorum: quorum).record?.state(as: PNCounter.self).value() ?? 0
  }

  /// What a node itself holds of a key.
  func held(_ key: String, at index: Int) throws -> Record? {
    try self[index].keyspace("k").held(Array(key.utf8))
  }

  /// Whether all replicas hold the same of a key.
  func agree(on key: String) throws -> Bool {
    let keyspace = try self[running[0]].keyspace("k")
    let replicas = self[running[0]].core.ring.replicas(of: try keyspace.partition(of: Array(key.utf8)))
      .prefix(keyspace.replicas)
    let holders = running.filter { replicas.contains(self[$0].local.id) }
    let first = try held(key, at: holders[0])
    return try holders.allSatisfy { try held(key, at: $0) == first }
  }

  @discardableResult
  func repair(at index: Int, isFull: Bool = false) throws -> RepairReport {
    let answer = Guarded<Result<RepairReport, DatabaseError>?>(nil)
    self[index].repair(until: time.monotonicNanoseconds + 600_000_000_000, isFull: isFull) { result in
      answer.withLock {
        #expect($0 == nil, "answered twice")
        $0 = result
      }
    }
    return try #require(answer.withLock { $0 }, "never answered").get()
  }
}

/// The code of what a call throws.
func code(_ body: () throws -> Void) -> DatabaseError.Code? {
  do {
    try body()
    return nil
  } catch { return (error as? DatabaseError)?.code }
}
