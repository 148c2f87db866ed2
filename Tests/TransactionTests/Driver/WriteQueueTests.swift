import Foundation
import RoostEnvironment
import RoostSimulation
import RoostStorage
import TestSupport
import Testing

@testable import RoostCluster
@testable import RoostTransactions

/// The queue of what writes to one store: its order, who does the work, and what becomes of it when a
/// write fails or the store is closed.
// Budget: 2 s
@Suite struct WriteQueueTests {
  private let world: QueueWorld

  init() throws { world = try QueueWorld() }

  @Test func `what nothing stands before is done at once, by who asks`() {
    for number in 0..<3 {
      world.ask(number)
      #expect(world.done == Array(0...number))
    }
    #expect(world.workers.count == 0)
  }

  @Test func `while the store syncs nobody waits, and one turn does all that came`() throws {
    try world.whileSyncing { world in
      for number in 0..<5 { world.ask(number) }
      #expect(world.done == [])
    }
    #expect(world.done == [] && world.workers.count == 1)
    world.workers.runOne()
    #expect(world.done == [0, 1, 2, 3, 4] && world.workers.count == 0)
    // With nothing before it, the next one is done at once again.
    world.ask(5)
    #expect(world.done.last == 5)
  }

  /// Who asks does what waits then and no more, however much follows from it; and so does each turn of
  /// the worker, whose next job may be the sync that these wait for.
  @Test func `a turn ends, whatever its writes lead to`() {
    world.queue.run { [world] _ in
      world.ask(1)
      world.ask(2) { world in
        world.ask(3)
        world.ask(4)
      }
      #expect(world.done == [])
      world.note(0)
    }
    #expect(world.done == [0] && world.workers.count == 1)
    world.ask(5)
    #expect(world.done == [0])
    world.workers.runOne()
    #expect(world.done == [0, 1, 2, 5] && world.workers.count == 1)
    world.workers.runOne()
    #expect(world.done == [0, 1, 2, 5, 3, 4] && world.workers.count == 0)
  }

  @Test func `the order is that in which they were asked for`() throws {
    try withSeeds("TransactionTests.WriteQueueTests/order", count: TestSize.of(quick: 50, full: 2_000)) {
      _, random in
      let world = try QueueWorld()
      // Each leads to up to two others.
      func ask(_ world: QueueWorld, _ depth: Int, _ random: inout SplitMix64) {
        let seeds = (0..<random.below(depth > 3 ? 1 : 3)).map { _ in random.next() }
        world.askNumbered { world in
          for seed in seeds {
            var random = SplitMix64(seed: seed)
            ask(world, depth + 1, &random)
          }
        }
      }
      for _ in 0..<30 {
        switch random.below(4) {
        case 0: ask(world, 0, &random)
        case 1:
          var inner = SplitMix64(seed: random.next())
          try world.whileSyncing { world in
            for _ in 0..<3 { ask(world, 2, &inner) }
          }
        default: world.workers.runOne()
        }
      }
      while world.workers.runOne() {}
      try #require(world.done == Array(0..<world.askedCount))
      try #require(world.mostAtOnce <= 1)
    }
  }

  @Test func `a write that is refused keeps nobody from writing`() throws {
    let answers = try answers { world in
      ["a", "b", "", "d", "e"].map { key in { try world.tree.put(key, "v") } }
    }
    #expect(answers == [nil, nil, .invalidArgument, nil, nil])
  }

  @Test func `a write that fails is told so, and so are those behind it`() throws {
    let answers = try answers { world in
      (0..<5).map { number in { try world.tree.put("k\(number)", "v") } }
    } before: { world in
      world.fileSystem.inject(FaultRule([.write], pathSuffix: ".log", occurrence: 3, .fail(.noSpace)))
    }
    #expect(answers == [nil, nil, .outcomeUnknown, .readOnly, .readOnly])
  }

  /// Has writes wait for a sync, then lets the worker do them.
  ///
  /// - Returns: what each threw, in the order in which they were done.
  private func answers(
    _ writes: (QueueWorld) -> [() throws -> Void], before: (QueueWorld) -> Void = { _ in }
  ) throws -> [StoreError.Code?] {
    let world = try QueueWorld { $0.logAccess = .calls }
    let answers = Guarded<[StoreError.Code?]>([])
    let writes = writes(world)
    try world.whileSyncing { world in
      for (number, write) in writes.enumerated() {
        world.ask(number) { _ in
          var code: StoreError.Code?
          do { try write() } catch { code = (error as? StoreError)?.code }
          answers.withLock { $0.append(code) }
        }
      }
    }
    #expect(world.done == [])
    before(world)
    world.workers.runOne()
    #expect(world.done == Array(writes.indices))
    return answers.withLock { $0 }
  }

  @Test func `what waits when the store is closed has its turn, once`() throws {
    try world.whileSyncing { world in
      for number in 0..<3 { world.ask(number) }
    }
    #expect(world.done == [] && world.workers.count == 1)
    try world.member.close()
    #expect(world.done == [0, 1, 2])
    #expect(!world.workers.runOne())
    // Nothing can be written any more: who asks now is told by the write.
    let failure = Guarded<StoreError.Code?>(nil)
    world.queue.run { [world] _ in
      do throws(StoreError) { try world.tree.put("late", "v") } catch {
        failure.withLock { $0 = error.code }
      }
    }
    #expect(failure.withLock { $0 } == .closed)
    #expect(world.done == [0, 1, 2])
  }

  @Test func `what is asked for while it closes has its turn too`() throws {
    try world.whileSyncing { world in
      world.ask(0) { world in
        world.ask(1) { world in world.ask(2) }
      }
    }
    try world.member.close()
    #expect(world.done == [0, 1, 2])
  }
}

/// The same from many threads, with workers that have threads of their own.
// Budget: 2 s
@Suite struct WriteQueueThreadTests {
  @Test func `each thread's writes keep their order, and one is done at a time`() throws {
    let folder = try TemporaryDirectory()
    let environment = Environment.posix()
    let path = folder.appending("db").string
    let store = try Store.open(at: path, VersionWorld.options(), environment: environment)
    let member = try QueueWorld.member(store, path, environment)
    let queue = WriteQueue(member)
    let tree = try store.tree("t")
    let (threads, count) = (4, TestSize.of(quick: 300, full: 5_000))
    let log = Guarded<(order: [[Int]], running: Int, most: Int)>(
      ([[Int]](repeating: [], count: threads), 0, 0))
    let group = DispatchGroup()
    for thread in 0..<threads {
      group.enter()
      Thread {
        for number in 0..<count {
          queue.run { _ in
            log.withLock {
              $0.running += 1
              $0.most = max($0.most, $0.running)
            }
            try? tree.put("\(thread):\(number)", "v")
            log.withLock {
              $0.running -= 1
              $0.order[thread].append(number)
            }
          }
          // Syncs keep the writers apart from the store's leader now and then.
          if number % 50 == 0 { member.calls.sync { _ in } }
        }
        group.leave()
      }.start()
    }
    group.wait()
    try member.close()
    let found = log.withLock { $0 }
    #expect(found.most == 1)
    #expect(found.order.allSatisfy { $0 == Array(0..<count) })
  }
}
