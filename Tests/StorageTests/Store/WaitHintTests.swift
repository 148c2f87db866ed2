import RoostEnvironment
import RoostSimulation
import Synchronization
import TestSupport
import Testing

@testable import RoostStorage

/// `Store.mayWait`: a hint that comes before the wait does, and goes when its reason has gone.
// Budget: 3 s
@Suite struct WaitHintTests {
  /// Workers that run nothing by themselves and count how often a writer was about to wait.
  final class CountingWorkers: Workers {
    let inner = ManualWorkers()
    let waits = Atomic<Int>(0)
    /// Whether compactions run only where nothing else is left, so that level 0 grows.
    let holdsBackground: Bool
    let held = ManualWorkers()

    init(holdsBackground: Bool) { self.holdsBackground = holdsBackground }

    func submit(_ lane: WorkLane, _ job: @escaping @Sendable () -> Void) {
      (holdsBackground && lane == .background ? held : inner).submit(lane, job)
    }

    func runOneHere() -> Bool {
      waits.wrappingAdd(1, ordering: .relaxed)
      return inner.runOneHere() || held.runOneHere()
    }

    func runAll() { while inner.runAll() + held.runAll() > 0 {} }

    func shutdown() {
      inner.shutdown()
      held.shutdown()
    }

    var waitCount: Int { waits.load(ordering: .relaxed) }
  }

  func open(
    _ options: StoreOptions, holdsBackground: Bool = false
  ) throws -> (Store, CountingWorkers) {
    let workers = CountingWorkers(holdsBackground: holdsBackground)
    var environment = SimulatedEnvironment().environment
    environment.makeWorkers = { workers }
    return (try Store.open(at: "/data/store", options, environment: environment), workers)
  }

  @Test func aFullMemtableBehindOneThatIsNotFlushed() throws {
    let (store, workers) = try open(.small { $0.logSegmentBytes = 512 << 10 })
    let tree = try store.tree("t")
    let other = try store.tree("other")
    #expect(!store.mayWait)
    var i = 0
    func put() throws {
      try tree.put(Tree.key("k", i), String(repeating: "v", count: 200))
      i += 1
    }
    while store.statistics.trees[0].immutableMemtables == 0 {
      #expect(!store.mayWait)
      try put()
    }
    // One memtable waits, and there is room in the next.
    #expect(!store.mayWait)
    try other.put("k", "v")
    #expect(!store.mayWait)
    while !store.mayWait { try put() }
    #expect(workers.waitCount == 0)
    let charged = try #require(store.statistics.trees.first).memtableBytes
    #expect(charged >= (64 << 10) / 4 * 7)
    workers.runAll()
    #expect(!store.mayWait)
    // And the other way round: nearly full first, and then one that waits.
    try put()
    #expect(!store.mayWait && workers.waitCount == 0)
    // The dropped tree's reasons go with it.
    while !store.mayWait { try put() }
    try store.dropTree("t")
    #expect(!store.mayWait)
    try store.close()
  }

  /// Whatever a write waits for, the hint was there before.
  @Test func noSmallWriteWaitsUnannounced() throws {
    var waits = 0
    var calm = 0
    try withSeeds("noSmallWriteWaitsUnannounced", count: TestSize.of(quick: 12, full: 40)) {
      seed, random in
      let holds = random.below(2) == 0
      let treeCount = 1 + random.below(4)
      let (store, workers) = try open(
        .small {
          $0.memtableBytes = (16 << 10) << random.below(3)
          // Empty memtables alone must not come near it.
          $0.memoryBudgetBytes = max($0.memtableBytes * (2 + random.below(6)), treeCount * 64 << 10)
          $0.logSegmentBytes = (16 << 10) << random.below(5)
          $0.logLimitBytes = $0.logSegmentBytes * (2 + random.below(20))
        }, holdsBackground: holds)
      let trees = try (0..<treeCount).map { try store.tree("t\($0)") }
      for i in 0..<2500 {
        let hint = store.mayWait
        let before = workers.waitCount
        let tree = trees[random.below(trees.count)]
        let durability: Durability = random.below(20) == 0 ? .synced : .applied
        if random.below(100) == 0 {
          try tree.deleteRange(from: Tree.key("k", random.below(i + 1)), to: Tree.key("k", i + 1), durability)
        } else {
          try tree.put(
            Tree.key("k", random.below(100_000)), [UInt8](repeating: 1, count: random.below(400)),
            durability)
        }
        if workers.waitCount > before {
          waits += 1
          try #require(hint, "write \(i) of seed \(seed) waited, and nothing had told of it")
        } else if !hint {
          calm += 1
        }
        if random.below(400) == 0 { workers.runAll() }
      }
      // What is left to wait for then is the log's, which goes with the next few writes, or the budget's
      // middle, which goes when they have filled what is left of it.
      workers.runAll()
      var more = 0
      while store.mayWait, more < 300 {
        try trees[0].put("k", [UInt8](repeating: 1, count: 400))
        workers.runAll()
        more += 1
      }
      let memory = store.shared.memory
      try #require(
        !store.mayWait,
        """
        seed \(seed): budget \(store.options.memoryBudgetBytes), memtables \(memory.memtableBytes), of it \
        waiting \(memory.waitingBytes), log \(memory.logBytes), \
        strained \(store.shared.strainedTrees.count), ending \(store.log.isEnding)
        """)
      try store.close()
    }
    // The hint is neither never needed nor always there.
    #expect(waits > 100)
    #expect(calm > 5000)
  }

  @Test func aGrowingLevelZero() throws {
    let (store, workers) = try open(.small(), holdsBackground: true)
    let tree = try store.tree("t")
    for round in 0..<Store.slowdownFiles {
      #expect(!store.mayWait)
      try tree.put("k\(round)", "v")
      try tree.flush()
    }
    #expect(store.mayWait)
    workers.runAll()
    #expect(store.statistics.trees[0].levels[0].tables < Store.slowdownFiles)
    #expect(!store.mayWait)
  }

  @Test func aSegmentThatEnds() throws {
    let (store, _) = try open(.small { $0.memtableBytes = 1 << 20 })
    let tree = try store.tree("t")
    let first = store.writer.segment.number
    while !store.mayWait { try tree.put("k", String(repeating: "v", count: 100)) }
    #expect(store.writer.segment.number == first)
    #expect(store.writer.isEnding)
    while store.writer.segment.number == first {
      #expect(store.mayWait)
      try tree.put("k", String(repeating: "v", count: 100))
    }
    #expect(!store.mayWait)
  }

  @Test func aRunningSync() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    let seen = Guarded<[Bool]>([])
    world.fileSystem.onOperation { [unowned store] operation in
      if operation.kind == .sync { seen.withLock { $0.append(store.mayWait) } }
    }
    try tree.put("k", "v", .synced)
    world.fileSystem.onOperation(nil)
    #expect(seen.withLock { $0 } == [true])
    #expect(!store.mayWait)
  }
}
