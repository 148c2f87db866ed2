import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostStorage

/// What a store says of itself.
// Budget: 2 s
@Suite struct StatisticsTests {
  @Test func countWhatWasDone() throws {
    let world = SimulatedStore()
    let store = try world.open(.small { $0.memtableBytes = 1 << 20 })
    var statistics = store.statistics
    #expect(statistics.identity.count == 33)
    #expect(statistics.lastSequence == 0 && statistics.trees.isEmpty && statistics.failure == nil)
    #expect(statistics.logSegments == 1 && statistics.logBytes > 0)
    #expect(statistics.manifestNumber > 0)
    let tree = try store.tree("t")
    try tree.fill(100)
    try tree.delete("k000000")
    try tree.put("x", "y", .synced)
    try store.sync()
    statistics = store.statistics
    #expect(statistics.lastSequence == 102)
    #expect(statistics.syncs == 2)
    #expect(statistics.flushes == 0)
    #expect(statistics.trees.map(\.name) == ["t"])
    #expect(statistics.trees[0].memtableEntries == 102)
    #expect(statistics.trees[0].memtableBytes > 102 * 100)
    #expect(statistics.trees[0].immutableMemtables == 0)
    #expect(statistics.memoryBytes >= statistics.trees[0].memtableBytes)
    try tree.flush()
    statistics = store.statistics
    #expect(statistics.flushes == 1)
    #expect(statistics.flushedBytes > 0)
    #expect(statistics.trees[0].memtableEntries == 0)
    let level0 = statistics.trees[0].levels[0]
    #expect(level0.level == 0 && level0.tables == 1)
    // The deleted key's put is gone, its deletion stays: something deeper may have it.
    #expect(level0.entries == 101 && level0.deletes == 1)
    #expect(Int64(statistics.flushedBytes) == level0.byteCount)
    try tree.compact()
    statistics = store.statistics
    #expect(statistics.compactions == 1)
    #expect(statistics.compactionBytesRead == UInt64(level0.byteCount))
    let bottom = statistics.trees[0].levels[6]
    #expect(bottom.tables == 1 && bottom.entries == 100 && bottom.deletes == 0)
    #expect(statistics.compactionBytesWritten == UInt64(bottom.byteCount))
    #expect(statistics.trees[0].byteCount == bottom.byteCount)
    #expect(statistics.trees[0].entries == 100)
  }

  @Test func countTheCacheAndOpenTables() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    try tree.fill(100)
    try tree.flush()
    let before = store.statistics
    #expect(try tree.get("k000001") != nil)
    let first = store.statistics
    #expect(first.openTables == 1)
    #expect(first.cacheMisses > before.cacheMisses)
    #expect(first.cacheBytes > 0)
    #expect(try tree.get("k000001") != nil)
    let second = store.statistics
    #expect(second.cacheMisses == first.cacheMisses)
    #expect(second.cacheHits > first.cacheHits)
  }

  @Test func countStallsWithTheirReason() throws {
    let world = SimulatedStore()
    let store = try world.open(.small { $0.memtableBytes = 16 << 10 })
    let tree = try store.tree("t")
    #expect(store.statistics.stalls == StallTimes())
    // Nobody but the writer runs the background work here, so it must wait for flushes.
    try tree.fill(3000)
    let stalls = store.statistics.stalls
    #expect(stalls.count > 0)
  }

  @Test func tellOfMovesAndTargets() throws {
    let world = SimulatedStore()
    let store = try world.open(.small { $0.memtableBytes = 64 << 10 })
    let tree = try store.tree("t")
    // Ascending keys: tables overlap nothing and are moved.
    for round in 0..<6 {
      try tree.fill(100, prefix: "\(round)")
      try tree.flush()
    }
    world.workers.runAll()
    #expect(store.statistics.tableMoves > 0)
    #expect(store.statistics.trees[0].levels[6].targetBytes > 0)
    #expect(store.statistics.trees[0].levels[1].targetBytes == 0)
  }

  @Test func theOpenFileLimitHolds() throws {
    let world = SimulatedStore()
    let store = try world.open(
      .small {
        $0.openFileLimit = 16
        $0.memtableBytes = 4 << 20
      })
    var options = TreeOptions()
    options.tableBytes = 16 << 10
    let tree = try store.tree("t", options)
    try tree.fill(5000)
    try tree.compact()
    #expect(store.statistics.trees[0].levels[6].tables > 20)
    for i in stride(from: 0, to: 5000, by: 50) { #expect(try tree.get(Tree.key("k", i)) != nil) }
    #expect(store.statistics.openTables <= 16)
    store.shared.epochs.reclaim()
    #expect(world.fileSystem.openFileCount <= 24)
    #expect(try tree.keys().count == 5000)
  }
}
