import RoostEnvironment
import RoostSimulation
import SystemPackage
import TestSupport
import Testing

@testable import RoostStorage

/// Rule 1: a flush never makes half of a batch durable, and no log goes that a tree still needs.
// Budget: 2 s
@Suite struct Rule01FlushAndBatchesTests {
  @Test(arguments: [StoreOptions.LogAccess.mapped, .calls])
  func aFlushSyncsTheLogBeforeItsEdit(_ access: StoreOptions.LogAccess) throws {
    let world = SimulatedStore()
    let store = try world.open(.small { $0.logAccess = access })
    let a = try store.tree("a")
    let b = try store.tree("b")
    try store.write(.applied) { batch in
      batch.put("k", "of a", in: a)
      batch.put("k", "of b", in: b)
    }
    // Only A is flushed; B's half is in the log and in memory.
    try a.flush()
    #expect(store.statistics.flushes == 1)
    let after = world.crashed()
    let again = try after.open()
    #expect(try again.tree("a").text("k") == "of a")
    #expect(try again.tree("b").text("k") == "of b")
  }

  @Test func atEveryMomentOfAFlushABatchIsWhole() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let a = try store.tree("a")
    let b = try store.tree("b")
    try store.write(.applied) { batch in
      batch.put("k", "v", in: a)
      batch.put("k", "v", in: b)
    }
    let clones = Guarded<[SimulatedFileSystem]>([])
    world.fileSystem.onOperation { [fs = world.fileSystem] operation throws(FileSystemError) in
      if operation.changesDisk { clones.withLock { $0.append(fs.crashClone(.dropAll)) } }
    }
    try a.flush()
    world.fileSystem.onOperation(nil)
    let all = clones.withLock { $0 } + [world.fileSystem.crashClone(.dropAll)]
    #expect(all.count > 4)
    var whole = 0
    for clone in all {
      let again = try SimulatedStore(seed: 9, clone).open()
      let values = [try again.tree("a").text("k"), try again.tree("b").text("k")]
      #expect(values == [nil, nil] || values == ["v", "v"])
      if values == ["v", "v"] { whole += 1 }
    }
    #expect(whole > 0)
  }

  @Test func aLogGoesOnlyWhenEveryTreeHasFlushedPastIt() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let slow = try store.tree("slow")
    let busy = try store.tree("busy")
    try slow.put("only", "here")
    try busy.fill(3000)
    try busy.flush()
    // Many logs are full and all of B is flushed, but A's record keeps the oldest.
    let before = store.statistics.logSegments
    #expect(before > 3)
    let killed = world.killed()
    #expect(try killed.open().tree("slow").text("only") == "here")
    try slow.flush()
    #expect(store.statistics.logSegments == 1)
    #expect(try world.killed().open().tree("slow").text("only") == "here")
  }

  @Test func pastTheLogLimitTheTreeThatPinsTheOldestIsFlushed() throws {
    let world = SimulatedStore()
    let store = try world.open(.small { $0.logLimitBytes = 256 << 10 })
    let slow = try store.tree("slow")
    let busy = try store.tree("busy")
    try slow.put("only", "here")
    for round in 0..<8 {
      try busy.fill(1000, seed: UInt64(round))
      world.workers.runAll()
    }
    let statistics = store.statistics
    #expect(statistics.trees[0].levels[0].tables + statistics.trees[0].levels[6].tables > 0)
    // The limit, what is being filled, and what came while the flush ran.
    #expect(statistics.logBytes <= (256 << 10) + (256 << 10))
    #expect(try slow.text("only") == "here")
  }
}
