import RoostCluster
import RoostEnvironment
import RoostTransactions

/// One machine of a simulated cluster: a disk, clocks, and the process that runs on it now, if any.
/// Used by one thread.
final class SimulatedHost: @unchecked Sendable {
  static let path = "/disk/db"

  let index: Int
  unowned let world: SimulatedWorld
  let time: HostTime
  /// Goes on over restarts and lost disks: no two incarnations draw the same.
  let randomness: SeededRandomness
  var fileSystem = SimulatedFileSystem()
  var process: HostProcess?
  /// How many times as long as others it takes for everything.
  var slowness: UInt64 = 1
  /// Whether its disk was wiped, so that the cluster takes it no more.
  var isLost = false
  /// Whether a process of it has ever been up.
  private(set) var hasServed = false
  /// Whether its disk has failed, so that its store may need to be opened again.
  var hasDiskFaults = false
  /// What a crash in the middle of an event has left of the disk, until the event is over.
  var crashedDisk: SimulatedFileSystem?
  /// The store that it began with.
  var member: MemberID?

  init(_ world: SimulatedWorld, _ index: Int, seed: UInt64) {
    self.world = world
    self.index = index
    time = HostTime(world.clock, offset: UInt64(index + 1) &* 3_600_000_000_000)
    randomness = SeededRandomness(seed: seed)
    time.plan = { [weak self] nanoseconds, job in
      guard let self else { return }
      let label = EventLabel(kind: .alarm, from: index, to: index)
      // The property: the parameter of that name would be held by the clock, and so by the world itself.
      self.world.plan(after: nanoseconds &+ workDelay(), label, job)
    }
  }

  /// How long a job waits for its turn.
  func workDelay() -> UInt64 { UInt64(5_000 + world.below(150_000)) * slowness }

  var node: ClusterNode? { process?.node }

  // MARK: - The process

  /// - Parameter joins: whether it asks for a place in the cluster that there is.
  func founding(joins: Bool = false) throws -> ClusterFounding {
    // It lost its power as it was closed.
    if let disk = crashedDisk { die(leaving: disk) }
    let process = HostProcess(self, world.newNodeID(of: index))
    self.process = process
    do {
      var options = world.databaseOptions
      options.keepsIncarnations = world.subversion == .keepsIncarnations
      var cluster = world.clusterOptions
      cluster.joins = joins
      cluster.subversions = world.nodeSubversions
      cluster.brokenReaping = world.brokenReaping
      let founding = try ClusterFounding(
        at: Self.path, options, cluster, directory: process.directory,
        address: address, process.environment)
      process.phase = .starting
      return founding
    } catch {
      failed(process)
      throw error
    }
  }

  var address: NodeAddress {
    get throws { try NodeAddress(host: "10.0.0.\(index + 1)", port: 7_420) }
  }

  /// Starts the process that has registered.
  func start(_ founding: ClusterFounding) throws {
    guard let process else { return }
    do {
      let node = try ClusterNode.start(
        founding, transport: SimulatedTransport(process), address: try address, keepsTime: false
      ) { _ in }
      member = node.local.id
      do { try process.begin(node) } catch {
        process.shut()
        process.letGo()
        throw error
      }
      world.network.add(process)
      hasServed = true
    } catch {
      failed(process)
      throw error
    }
  }

  /// Closes the process in good order.
  func close() throws {
    guard let process else { return }
    self.process = nil
    world.network.remove(process)
    defer {
      process.end()
      process.letGo()
    }
    let transactions = Result { try process.transactions?.close(waits: false) }
    do {
      try process.node?.close()
      try transactions.get()
    } catch {
      exit()
      throw error
    }
  }

  private func failed(_ process: HostProcess) {
    self.process = nil
    process.isOver = true
    process.letGo()
    exit()
  }

  /// A program that failed ends, and with it go its locks, as on a real machine.
  private func exit() {
    if crashedDisk == nil { fileSystem = fileSystem.processKillClone() }
  }

  /// The process is gone, and the disk is another one.
  func die(leaving disk: SimulatedFileSystem) {
    let old = fileSystem
    crashedDisk = nil
    fileSystem = disk
    guard let process else { return }
    self.process = nil
    process.isOver = true
    world.network.remove(process)
    old.onOperation(nil)
    old.powerOff()
    // What it still does reaches nobody; it is closed so that its memory is let go of.
    process.end()
    process.shut()
    process.letGo()
  }

  /// The machine loses its power after so many more operations of its disk: in the middle of whatever it
  /// does then.
  func loseThePower(afterOperations count: Int, _ policy: CrashPolicy, seed: UInt64) {
    guard process != nil else { return }
    let counter = Countdown(count)
    let disk = fileSystem
    disk.onOperation { [weak self, weak disk] _ throws(FileSystemError) in
      guard let self, let disk, counter.hits(), fileSystem === disk, crashedDisk == nil else { return }
      crashedDisk = disk.crashClone(policy, seed: seed)
      disk.powerOff()
    }
  }
}

/// Counts operations down. Used by one thread.
private final class Countdown: @unchecked Sendable {
  private var left: Int

  init(_ count: Int) { left = count }

  func hits() -> Bool {
    left -= 1
    return left == 0
  }
}

/// One run of the program on a host. Used by one thread.
final class HostProcess: @unchecked Sendable {
  /// Who asks for workers, told by when: a store as it is opened; then the member, the node and its timers,
  /// in this order.
  enum Phase { case opening, starting, running }

  let host: SimulatedHost
  let nodeID: NodeID
  private(set) var node: ClusterNode?
  private(set) var transactions: NodeTransactions?
  var phase = Phase.opening
  var isOver = false
  weak var handler: (any NodeMessageHandler)?
  var requests: [UInt64: SimulatedRequest] = [:]
  /// Calls of clients that it has not answered.
  var calls: [UInt64: ClientCall] = [:]
  private var nextRequest: UInt64 = 0
  /// Who is told when it is gone: clients of transactions that wait for an answer.
  private var waiting: [UInt64: @Sendable () -> Void] = [:]
  private var nextWaiting: UInt64 = 0

  init(_ host: SimulatedHost, _ nodeID: NodeID) {
    self.host = host
    self.nodeID = nodeID
  }

  /// Whether what it does reaches anybody.
  var isAlive: Bool { !isOver && host.crashedDisk == nil && !host.world.hasEnded }

  var directory: any ClusterDirectory { HostDirectory(self) }

  var environment: Environment {
    Environment(
      fileSystem: host.fileSystem, time: host.time, randomness: host.randomness,
      makeWorkers: { [self] in makeWorkers() })
  }

  private func makeWorkers() -> any Workers {
    switch phase {
    case .opening: return HostWorkers(self, .onRequestToo)
    case .starting, .running: return HostWorkers(self, .asEvents)
    }
  }

  /// - Throws: what opening the transactions throws, where an earlier process may have left some.
  func begin(_ node: ClusterNode) throws {
    self.node = node
    phase = .running
    let transactions = NodeTransactions(node)
    self.transactions = transactions
    try transactions.start()
    host.world.plan(after: UInt64(host.world.below(25_000_000)), label(.tick)) { [self] in tick() }
    host.world.plan(after: UInt64(host.world.below(1_000_000_000)), label(.beat)) { [self] in beat() }
  }

  private func label(_ kind: EventLabel.Kind) -> EventLabel {
    EventLabel(kind: kind, from: host.index, to: host.index)
  }

  private func tick() {
    guard isAlive, let node else { return }
    node.tick()
    host.world.plan(after: 25_000_000 * host.slowness, label(.tick)) { [self] in tick() }
  }

  private func beat() {
    guard isAlive, let node else { return }
    host.world.network.heartbeat(of: self)
    // A directory that cannot be reached is asked again the next time.
    try? node.beat()
    let jitter = UInt64(host.world.below(200_000_000))
    host.world.plan(after: 900_000_000 + jitter, label(.beat)) { [self] in beat() }
  }

  func newRequest(
    _ reply: @escaping @Sendable (Result<[UInt8], TransportError>) -> Void
  ) -> SimulatedRequest {
    nextRequest += 1
    let request = SimulatedRequest(self, nextRequest, reply)
    requests[nextRequest] = request
    return request
  }

  /// Ends what it has under way: its own requests are never answered, clients hear nothing, and who waits
  /// for its answers may learn that it is gone.
  func end() {
    isOver = true
    dropRequests()
    let lost = calls.sorted { $0.key < $1.key }.map(\.value)
    calls = [:]
    for call in lost { call.end(.lost) }
    let told = waiting.sorted { $0.key < $1.key }.map(\.value)
    waiting = [:]
    for tell in told { tell() }
    var waiting: [SimulatedRequest] = []
    for other in host.world.hosts {
      guard let process = other.process, process !== self else { continue }
      waiting += process.requests.sorted { $0.key < $1.key }.map(\.value).filter { $0.target == nodeID }
    }
    // Some connections end at once, others fall silent.
    host.world.network.disconnect(self, waiting.filter { _ in host.world.below(2) == 0 })
  }

  /// Has a client wait for it: told when it is gone, unless struck before.
  func enlist(_ isGone: @escaping @Sendable () -> Void) -> UInt64 {
    nextWaiting += 1
    waiting[nextWaiting] = isGone
    return nextWaiting
  }

  /// - Returns: whether it was still waiting.
  func strike(_ number: UInt64) -> Bool { waiting.removeValue(forKey: number) != nil }

  /// Closes what is open, whatever comes of it.
  func shut() {
    try? transactions?.close(waits: false)
    try? node?.close()
  }

  /// Lets go of the node, and of what it asked since the process ended: that is never answered.
  func letGo() {
    dropRequests()
    transactions = nil
    node = nil
  }

  private func dropRequests() {
    for (_, request) in requests.sorted(by: { $0.key < $1.key }) { request.drop() }
    requests = [:]
  }
}
