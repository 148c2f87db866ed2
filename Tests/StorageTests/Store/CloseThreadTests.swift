import Foundation
import RoostEnvironment
import RoostSimulation
import Synchronization
import TestSupport
import Testing

@testable import RoostStorage

/// Closing beside compactions that callers run on their own threads.
// Budget: 2 s
@Suite struct CloseThreadTests {
  /// A world whose clock stands still, so that no deadline passes.
  static func world() -> SimulatedStore {
    SimulatedStore(SimulatedEnvironment(time: SimulatedTime(waiting: .blocks)))
  }

  static func filled(_ world: SimulatedStore) throws -> (Store, Tree) {
    let store = try world.open(.small { $0.blockCacheBytes = 0 })
    let tree = try store.tree("t")
    for round in 0..<3 {
      try tree.fill(200, seed: UInt64(round))
      try tree.flush()
    }
    return (store, tree)
  }

  /// The directory is another's once `close` has returned, so a compaction that still runs must have
  /// ended by then.
  @Test func closeWaitsForACompactionOfACaller() throws {
    let world = Self.world()
    let (store, tree) = try Self.filled(world)
    let (blocked, release) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
    let isArmed = Atomic<Bool>(true)
    world.fileSystem.onOperation { operation in
      if operation.kind == .read, isArmed.exchange(false, ordering: .relaxed) {
        blocked.signal()
        release.wait()
      }
    }
    let compactionError = Guarded<StoreError?>(nil)
    let (compacted, closed) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
    let isClosed = Atomic<Bool>(false)
    Thread {
      let error = storeError { try tree.compact() }
      compactionError.withLock { $0 = error }
      compacted.signal()
    }.start()
    blocked.wait()
    Thread {
      _ = storeError { try store.close() }
      isClosed.store(true, ordering: .releasing)
      closed.signal()
    }.start()
    // The store takes no more calls, but is not closed while the compaction stands in a read.
    while !store.shared.isClosed.load(ordering: .acquiring) { sched_yield() }
    var turns = 0
    while turns < 20_000, !isClosed.load(ordering: .acquiring) {
      sched_yield()
      turns += 1
    }
    let closedTooEarly = isClosed.load(ordering: .acquiring)
    #expect(!closedTooEarly)
    #expect(world.openError()?.code == .locked)
    release.signal()
    closed.wait()
    // Nothing happens in the directory any more.
    let operations = world.fileSystem.counts.operations
    compacted.wait()
    #expect(world.fileSystem.counts.operations == operations)
    #expect(compactionError.withLock { $0?.code } == .closed)
    world.fileSystem.onOperation(nil)
    #expect(try world.open().tree("t").keys().count == 200)
  }

  /// Workers whose waiters find the store closed: the store is closed by one, at the moment when
  /// the compaction that it waits for has just ended.
  final class ClosingWorkers: Workers, @unchecked Sendable {
    let inner = ManualWorkers()
    private let lock = Lock()
    private var body: (() -> Void)?

    func onNextWait(_ body: @escaping () -> Void) { lock.withLock { self.body = body } }
    func submit(_ lane: WorkLane, _ job: @escaping @Sendable () -> Void) { inner.submit(lane, job) }
    func shutdown() { inner.shutdown() }

    func runOneHere() -> Bool {
      let body = lock.withLock {
        defer { self.body = nil }
        return self.body
      }
      guard let body else { return inner.runOneHere() }
      body()
      return true
    }
  }

  /// A caller's compaction that was about to begin when the store was closed does not begin.
  @Test func aCompactionThatComesTooLateTouchesNothing() throws {
    let simulated = SimulatedEnvironment()
    let workers = ClosingWorkers()
    var environment = simulated.environment
    environment.makeWorkers = { workers }
    let store = try Store.open(
      at: SimulatedStore.path, .small { $0.blockCacheBytes = 0 }, environment: environment)
    let tree = try store.tree("t")
    for round in 0..<3 {
      try tree.fill(20, seed: UInt64(round))
      try tree.flush()
    }
    store.stateLock.withLock { tree.core.isCompacting = true }
    workers.onNextWait {
      _ = storeError { try store.close() }
      store.stateLock.withLock { tree.core.isCompacting = false }
      simulated.fileSystem.recordsTrace = true
    }
    #expect(storeError { try store.compact(tree.core, .all) }?.code == .closed)
    #expect(simulated.fileSystem.recordsTrace)
    #expect(simulated.fileSystem.trace == [])
  }
}
