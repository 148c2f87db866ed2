import RoostEnvironment
import RoostSimulation
import Synchronization
import SystemPackage
import TestSupport
import Testing

@testable import RoostStorage

/// Rule 8: a key that is there is never found absent because a flush slipped in between.
// Budget: 6 s
@Suite(.serialized) struct Rule08FalseAbsentTests {
  /// One key is overwritten and flushed all the time. A reader that loaded the sequence number
  /// before it pinned the state could look for a version that is gone. The gap is two instructions
  /// wide: with the order broken on purpose this was not seen to fail, so it holds the answer, not
  /// the rule.
  @Test func aReadFindsTheKeyWhateverIsFlushedMeanwhile() throws {
    let world = SimulatedStore()
    // A reader that is not scheduled for a while holds the files of many flushes.
    world.fileSystem.openFileLimit = 1 << 20
    let store = try world.open(
      .small {
        $0.memtableBytes = 16 << 10
        $0.openFileLimit = 64
      })
    let tree = try store.tree("t")
    try tree.put("k", "0")
    let faults = Faults()
    let isDone = Atomic<Bool>(false)
    let first = Guarded<StoreError?>(nil)
    runThreads(7) { thread in
      if thread == 0 {
        for i in 1...4000 {
          let error = storeError {
            try tree.put("k", "\(i)")
            try tree.flush()
          }
          if let error { first.withLock { if $0 == nil { $0 = error } } }
          if i % 16 == 0 { world.workers.runAll() }
        }
        isDone.store(true, ordering: .releasing)
        return
      }
      while !isDone.load(ordering: .acquiring) {
        switch thread % 3 {
        case 0:
          var cursor = try? tree.cursor()
          let found = try? cursor?.next()
          faults.check(found == true)
        case 1: faults.check((try? tree.contains("k")) == true)
        default: faults.check(((try? tree.get("k")) ?? nil) != nil)
        }
      }
    }
    #expect(first.withLock { $0 } == nil)
    #expect(faults.total == 0, "first at line \(faults.firstLine)")
  }

  /// The same through snapshots, which must be known to a merge that runs while they are taken.
  @Test func aSnapshotFindsTheKeyWhateverIsMergedMeanwhile() throws {
    let world = SimulatedStore()
    // A reader that is not scheduled for a while holds the files of many flushes.
    world.fileSystem.openFileLimit = 1 << 20
    let store = try world.open(
      .small {
        $0.memtableBytes = 16 << 10
        $0.openFileLimit = 64
      })
    let tree = try store.tree("t")
    try tree.put("k", "0")
    let faults = Faults()
    let isDone = Atomic<Bool>(false)
    let first = Guarded<StoreError?>(nil)
    runThreads(5) { thread in
      if thread == 0 {
        for i in 1...3000 {
          let error = storeError {
            try tree.put("k", "\(i)")
            try tree.flush()
          }
          if let error { first.withLock { if $0 == nil { $0 = error } } }
          if i % 4 == 0 { world.workers.runAll() }
        }
        isDone.store(true, ordering: .releasing)
        return
      }
      while !isDone.load(ordering: .acquiring) {
        let snapshot = store.snapshot()
        faults.check(((try? tree.get("k", at: snapshot)) ?? nil) != nil)
        faults.check(((try? tree.multiGet(["k", "absent"])) ?? [])[0] != nil)
      }
    }
    #expect(first.withLock { $0 } == nil)
    #expect(faults.total == 0, "first at line \(faults.firstLine)")
  }

  /// A snapshot takes its number and registers under the lock under which the list is copied: a
  /// copy that is asked for in between has the snapshot in it.
  @Test func aSnapshotIsInEveryCopyThatIsMadeAfterItsNumberWasTaken() throws {
    let list = SnapshotList()
    let copies = Guarded<[[UInt64]]>([])
    let hasBegun = Atomic<Bool>(false)
    let isTaking = Atomic<Bool>(false)
    runThreads(2) { thread in
      if thread == 0 {
        _ = list.pin(at: 0) {
          isTaking.store(true, ordering: .releasing)
          while !hasBegun.load(ordering: .acquiring) { _ = ThreadStripe.current(of: 1) }
          // The other thread is about to copy: if it could, it would now.
          for _ in 0..<2_000_000 where copies.withLock({ !$0.isEmpty }) { break }
          return 42
        }
      } else {
        while !isTaking.load(ordering: .acquiring) {}
        hasBegun.store(true, ordering: .releasing)
        let copy = list.sequences()
        copies.withLock { $0.append(copy) }
      }
    }
    #expect(copies.withLock { $0 } == [[42]])
  }

  @Test func aHeldSnapshotKeepsItsVersionThroughFlushAndCompaction() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    try tree.put("k", "old")
    let snapshot = store.snapshot()
    try tree.put("k", "new")
    try tree.flush()
    #expect(try tree.get("k", at: snapshot) == Array("old".utf8))
    try tree.compact()
    #expect(try tree.get("k", at: snapshot) == Array("old".utf8))
    #expect(try tree.text("k") == "new")
  }
}
