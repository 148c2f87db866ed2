import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostStorage

/// What a caller who flushes waits for.
// Budget: 1 s
@Suite struct FlushTests {
  /// Runs jobs when somebody waits for them, and lets a test do something after each.
  final class InterruptedWorkers: Workers, @unchecked Sendable {
    let inner = ManualWorkers()
    private let lock = Lock()
    private var interruption: (() -> Void)?
    private var isInterrupted = false
    private(set) var runs = 0

    func interrupt(_ body: (() -> Void)?) { lock.withLock { interruption = body } }

    func submit(_ lane: WorkLane, _ job: @escaping @Sendable () -> Void) { inner.submit(lane, job) }

    func runOneHere() -> Bool {
      let ran = inner.runOneHere()
      let body: (() -> Void)? = lock.withLock {
        if isInterrupted { return nil }
        runs += 1
        isInterrupted = true
        return interruption
      }
      guard let body else { return ran }
      body()
      lock.withLock { isInterrupted = false }
      return true
    }

    func shutdown() { inner.shutdown() }
  }

  /// Others go on writing and fill one memtable after the other: a flush waits for what was there
  /// when it was called, and no longer.
  @Test func waitsForItsOwnMemtableOnly() throws {
    let simulated = SimulatedEnvironment()
    let workers = InterruptedWorkers()
    var environment = simulated.environment
    environment.makeWorkers = { workers }
    let store = try Store.open(at: "/data/store", .small(), environment: environment)
    let tree = try store.tree("t")
    try tree.put("mine", "v")
    var i = 0
    workers.interrupt {
      // Stops by itself, so that a flush that waits for everything ends too.
      while workers.runs < 50, store.statistics.trees[0].immutableMemtables == 0 {
        try? tree.put(Tree.key("k", i), String(repeating: "v", count: 1000))
        i += 1
      }
    }
    try tree.flush()
    workers.interrupt(nil)
    #expect(i > 0)
    #expect(workers.runs <= 2)
    #expect(store.statistics.flushes >= 1)
    // Its own is in a table.
    #expect(store.statistics.trees[0].levels[0].tables >= 1)
    #expect(store.statistics.trees[0].immutableMemtables == 1)
    workers.inner.runAll()
    #expect(try tree.keys().count == i + 1)
  }

  @Test func anEmptyTreeHasNothingToFlush() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    try tree.flush()
    #expect(store.statistics.flushes == 0)
    try tree.put("k", "v")
    try tree.flush()
    try tree.flush()
    #expect(store.statistics.flushes == 1)
  }
}
