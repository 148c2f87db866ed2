import RoostEnvironment
import Synchronization
import TestSupport
import Testing

@testable import RoostStorage

/// A tree that keeps a filter of its keys answers as one that does not: whatever of it the filter covers, and
/// whatever becomes of the filter. ``ModelTests`` holds it against a model; here are the cases by name.
// Budget: 4 s.
@Suite struct FilteredTreeTests {
  private func key(_ number: Int) -> String { Tree.key("k", number) }

  private func covers(_ tree: Tree) -> Bool { tree.core.pin().coversAll }

  private func generation(_ tree: Tree) -> UInt64 { tree.core.pin().filterGeneration }

  /// Which of the numbers up to `count` are found.
  private func found(_ tree: Tree, _ count: Int) throws -> [Int] {
    try (0..<count).filter { try tree.contains(key($0)) }
  }

  @Test func `a new tree is covered, through flushes and compactions`() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    #expect(generation(tree) == 0 && !covers(tree))
    try tree.keepKeyFilter()
    #expect(generation(tree) == 1 && covers(tree))
    for round in 0..<6 {
      for number in 0..<500 { try tree.put(key(number * 6 + round), "v\(round)") }
      #expect(covers(tree))
      try tree.flush()
      #expect(covers(tree))
    }
    world.workers.runAll()
    #expect(covers(tree))
    try tree.compact()
    #expect(covers(tree))
    #expect(generation(tree) == 1)
    #expect(try found(tree, 3_100) == Array(0..<3_000))
    let filter = try #require(tree.core.pin().keyFilter)
    let denied = (3_000..<6_000).count { number in
      [UInt8](key(number).utf8).withByteView { !filter.mayContain(BloomFilter.hash($0)) }
    }
    #expect(denied > 2_850)
    #expect(store.statistics.keyFilterBytes == filter.byteCount)
    // Asked again, nothing changes.
    try tree.keepKeyFilter()
    #expect(generation(tree) == 1 && covers(tree))
    try store.close()
  }

  /// What the filter does not cover may be hidden by what it covers: deletions, and range tombstones.
  @Test func `what is covered hides what is not`() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    for number in 0..<10 { try tree.put(key(number), "old") }
    try tree.flush()
    try tree.keepKeyFilter()
    #expect(generation(tree) == 1 && !covers(tree))
    let before = store.snapshot()
    try tree.delete(key(1))
    try tree.deleteRange(from: key(3), to: key(6))
    try tree.put(key(4), "new")
    try tree.put(key(20), "new")
    try checkHidden(tree, before)
    // The deletions in a table of their own, above the one that is not covered.
    try tree.flush()
    #expect(!covers(tree))
    try checkHidden(tree, before)
    try tree.compact()
    #expect(covers(tree))
    try checkHidden(tree, before)
    try store.close()
  }

  private func checkHidden(_ tree: Tree, _ before: borrowing Snapshot) throws {
    #expect(try found(tree, 30) == [0, 2, 4, 6, 7, 8, 9, 20])
    #expect(try tree.text(key(4)) == "new")
    #expect(try tree.text(key(6)) == "old")
    for number in 0..<10 {
      let old = try tree.get(key(number), at: before)
      #expect(old == Array("old".utf8))
    }
    let absent = try tree.get(key(20), at: before)
    #expect(absent == nil)
  }

  @Test func `a memtable in use is covered once it was flushed`() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    try tree.put(key(0), "v")
    try tree.keepKeyFilter()
    try tree.put(key(1), "v")
    #expect(generation(tree) == 0)
    #expect(try found(tree, 3) == [0, 1])
    try tree.flush()
    #expect(generation(tree) == 1 && covers(tree))
    #expect(try found(tree, 3) == [0, 1])
    try store.close()
  }

  @Test func `after an open, tables are covered as they are compacted`() throws {
    let world = SimulatedStore()
    do {
      let store = try world.open()
      let tree = try store.tree("t")
      try tree.keepKeyFilter()
      for number in 0..<400 { try tree.put(key(number), "v") }
      try tree.flush()
      for number in 400..<500 { try tree.put(key(number), "v") }
      // In the log, and nowhere else.
      try store.close()
    }
    let store = try world.open()
    let tree = try store.tree("t")
    try tree.keepKeyFilter()
    #expect(generation(tree) == 1 && !covers(tree))
    #expect(try found(tree, 600) == Array(0..<500))
    try tree.delete(key(7))
    try tree.put(key(550), "v")
    let right = Array(0..<7) + Array(8..<500) + [550]
    #expect(try found(tree, 600) == right)
    try tree.compact()
    #expect(covers(tree))
    #expect(try found(tree, 600) == right)
    try store.close()
  }

  @Test func `a filter that is full is given up, and another begins when keys are few again`() throws {
    let world = SimulatedStore()
    let store = try world.open(.small { $0.keyFilterBytes = 8 << 10 })
    let tree = try store.tree("t")
    try tree.keepKeyFilter()
    var largest = 0
    for number in 0..<8_000 {
      try tree.put(key(number), "v")
      largest = max(largest, store.shared.filterMemory.byteCount - store.shared.filterMemory.remaining)
      if number % 1_000 == 0 { #expect(try found(tree, number).count == number) }
    }
    #expect(largest > 1 << 10 && largest <= 8 << 10)
    try tree.flush()
    world.workers.runAll()
    for _ in 0..<4 { store.shared.epochs.reclaim() }
    #expect(generation(tree) == 0)
    #expect(store.statistics.keyFilterBytes == 0)
    #expect(try found(tree, 8_100).count == 8_000)

    try tree.deleteRange(from: key(0), to: key(7_500))
    try tree.compact()
    try tree.put(key(9_000), "v")
    try tree.flush()
    #expect(generation(tree) == 2 && !covers(tree))
    let right = Array(7_500..<8_000) + [9_000]
    #expect(try found(tree, 9_100) == right)
    try tree.put(key(9_001), "v")
    try tree.compact()
    #expect(generation(tree) == 2 && covers(tree))
    #expect(try found(tree, 9_100) == right + [9_001])
    try store.close()
  }

  @Test func `no memory, no filter`() throws {
    let world = SimulatedStore()
    let store = try world.open(.small { $0.keyFilterBytes = 0 })
    let tree = try store.tree("t")
    try tree.keepKeyFilter()
    for number in 0..<1_000 { try tree.put(key(number), "v") }
    try tree.compact()
    #expect(generation(tree) == 0 && !covers(tree))
    #expect(try found(tree, 1_100) == Array(0..<1_000))
    try store.close()
    #expect(world.openError(.small { $0.keyFilterBytes = -1 })?.code == .invalidOption)
  }

  /// Threads that look for keys of which they were told, while one writes, flushes, compacts and deletes
  /// what is behind; with memory for all keys, and with so little that filters come and go.
  @Test(arguments: [1 << 20, 8 << 10, 1 << 10])
  func `whoever was told of a key finds it`(_ filterBytes: Int) throws {
    let world = SimulatedStore()
    world.fileSystem.openFileLimit = 1 << 20
    let store = try world.open(
      .small {
        $0.memtableBytes = 16 << 10
        $0.keyFilterBytes = filterBytes
        $0.openFileLimit = 64
      })
    let tree = try store.tree("t")
    try tree.keepKeyFilter()
    let rounds = TestSize.of(quick: 10, full: 60)
    let batch = 300
    final class Marks: Sendable {
      /// Keys up to this, and from `floor` on, are there.
      let told = Atomic<Int>(0)
      let floor = Atomic<Int>(0)
      let isDone = Atomic<Bool>(false)
    }
    let marks = Marks()
    let faults = Faults()
    let first = Guarded<StoreError?>(nil)
    runThreads(4) { thread in
      if thread == 0 {
        let error = storeError {
          for round in 0..<rounds {
            for number in (round * batch)..<((round + 1) * batch) {
              try tree.put(Tree.key("k", number), "v")
              marks.told.store(number + 1, ordering: .releasing)
              if number % 150 == 0 { world.workers.runAll() }
            }
            try tree.flush()
            guard round % 3 == 2 else { continue }
            // Said before they go.
            marks.floor.store(round * batch, ordering: .sequentiallyConsistent)
            try tree.deleteRange(from: Tree.key("k", 0), to: Tree.key("k", round * batch))
            try tree.compact()
          }
        }
        if let error { first.withLock { $0 = error } }
        marks.isDone.store(true, ordering: .releasing)
        return
      }
      var random = SplitMix64(seed: UInt64(thread))
      while !marks.isDone.load(ordering: .acquiring) {
        let floor = marks.floor.load(ordering: .acquiring)
        let told = marks.told.load(ordering: .acquiring)
        guard told > floor else { continue }
        let number = random.below(3) == 0 ? told - 1 : floor + random.below(told - floor)
        let key = Tree.key("k", number)
        let isThere: Bool
        if thread == 1 {
          let snapshot = store.snapshot()
          isThere = ((try? tree.get(key, at: snapshot)) ?? nil) != nil
        } else {
          isThere = (try? tree.contains(key)) == true
        }
        faults.check(isThere || number < marks.floor.load(ordering: .sequentiallyConsistent))
      }
    }
    #expect(first.withLock { $0 } == nil)
    #expect(faults.total == 0, "first at line \(faults.firstLine)")
    let all = try tree.keys()
    #expect(try found(tree, rounds * batch).map(key) == all)
  }
}
