import RoostCausality
import RoostEnvironment
import RoostSimulation
import RoostStorage

@testable import RoostCluster
@testable import RoostTransactions

/// A store of a simulated world with a queue of writes, whose workers do nothing before they are told.
///
/// Used by one thread.
final class QueueWorld: @unchecked Sendable {
  let world = SimulatedEnvironment()
  let tree: Tree
  let workers = SteppedWorkers()
  let member: Member
  let queue: WriteQueue
  private(set) var done: [Int] = []
  private(set) var askedCount = 0
  private(set) var mostAtOnce = 0
  private var running = 0

  init(_ change: (inout StoreOptions) -> Void = { _ in }) throws {
    var options = VersionWorld.options()
    change(&options)
    let store = try Store.open(at: "/disk/db", options, environment: world.environment)
    tree = try store.tree("t")
    var environment = world.environment
    environment.makeWorkers = { [workers] in workers }
    member = try Self.member(store, "/disk/db", environment)
    queue = WriteQueue(member)
  }

  static func member(_ store: Store, _ path: String, _ environment: Environment) throws -> Member {
    let identity = IdentityRecord(
      database: DatabaseID(high: 1, low: 2), member: MemberID(rawValue: 3), isComplete: true,
      replica: ReplicaID(rawValue: 4), closed: nil)
    return Member(
      slot: 0, path: path, store: store, system: try store.tree(Member.systemTree), identity: identity,
      counter: 0, environment)
  }

  var fileSystem: SimulatedFileSystem { world.fileSystem }

  /// Runs `body` while the store's log is being synced: then a write would wait.
  func whileSyncing(_ body: @escaping (QueueWorld) -> Void) throws {
    var isDue = true
    // One thread does it all.
    nonisolated(unsafe) let once = { [unowned self] in
      guard isDue, tree.store.mayWait else { return }
      isDue = false
      body(self)
    }
    fileSystem.onOperation { operation in
      if operation.kind == .sync { unsafe once() }
    }
    try tree.put("synced", "v", .synced)
    fileSystem.onOperation(nil)
  }

  /// Asks for a job that notes its number, then does what else it is told.
  func ask(_ number: Int, _ more: @escaping (QueueWorld) -> Void = { _ in }) {
    nonisolated(unsafe) let more = more
    queue.run { [unowned self] _ in
      running += 1
      mostAtOnce = max(mostAtOnce, running)
      unsafe more(self)
      note(number)
      running -= 1
    }
  }

  /// The same with the number of all that were asked for before.
  func askNumbered(_ more: @escaping (QueueWorld) -> Void) {
    askedCount += 1
    ask(askedCount - 1, more)
  }

  func note(_ number: Int) { done.append(number) }
}

/// Workers that do a job when they are told, on the telling thread; never on that of who waits for it, as
/// workers with threads of their own do not.
final class SteppedWorkers: Workers, @unchecked Sendable {
  private let lock = Lock()
  // Guarded by `lock`.
  private var jobs: [@Sendable () -> Void] = []
  private var isShutDown = false

  var count: Int { lock.withLock { jobs.count } }

  func submit(_ lane: WorkLane, _ job: @escaping @Sendable () -> Void) {
    lock.withLock { if !isShutDown { jobs.append(job) } }
  }

  func runOneHere() -> Bool { false }

  func shutdown() {
    lock.withLock {
      isShutDown = true
      jobs = []
    }
  }

  @discardableResult
  func runOne() -> Bool {
    guard let job = lock.withLock({ jobs.isEmpty ? nil : jobs.removeFirst() }) else { return false }
    job()
    return true
  }
}
