import RoostCausality
import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// Replicas that compare by the leaves that they keep: what is read, and what becomes of leaves that lie.
// Budget: 10 s
@Suite struct KeptLeavesRepairTests {
  private static func putAlone(_ key: String, _ world: NodeWorld, at index: Int) throws {
    let request = KeyRequest(
      .put(Array("alone".utf8), timeToLiveMilliseconds: nil), Array(key.utf8), in: "k")
    _ = try world[index].keyspace("k").write(request)
  }

  /// Holds each running node's leaves against its records.
  ///
  /// - Returns: of how many partitions, counted for each node, there are whole ones.
  @discardableResult
  private static func check(_ world: NodeWorld, _ comment: @autoclosure () -> String) throws -> Int {
    try world.running.reduce(0) { sum, index in
      try sum + LeafStore.check(world[index].keyspace("k"), world[index].local, "node \(index), \(comment())")
    }
  }

  private static func scanned(_ world: NodeWorld) -> [UInt64] {
    world.running.map { world[$0].figures.treesScanned }
  }

  private static func leaves(_ world: NodeWorld, at index: Int) throws -> KeptLeaves {
    try #require(try world[index].keyspace("k").parts[world[index].local.slot]?.leaves)
  }

  @Test func `a comparison of equal partitions reads no records`() throws {
    let world = try NodeWorld(3)
    try world.make()
    for number in 0..<200 { try world.put("k\(number)", "v", at: number % 3) }
    let first = try world.repair(at: 0)
    #expect(first.differing == 0 && first.scanned == 16)
    #expect(Self.scanned(world) == [16, 16, 16])
    for number in 0..<50 { try world.put("k\(number)", "w", at: number % 3) }
    for index in 0..<3 {
      let report = try world.repair(at: index)
      #expect(report.compared == 32 && report.differing == 0 && report.scanned == 0)
      #expect(report.keys == 200)
    }
    #expect(Self.scanned(world) == [16, 16, 16])
    // Two each of its own for 16 partitions, and what the two others asked; and in the first pass node 0 took
    // its second ones from what it had read.
    #expect(world.running.map { world[$0].figures.treesKept } == [64, 64, 64])
    // Nor after all have been closed and opened again.
    for index in 0..<3 {
      try world.close(index)
      try world.restart(index)
    }
    #expect(try world.repair(at: 1).scanned == 0 && Self.scanned(world) == [0, 0, 0])
    #expect(try Self.check(world, "reopened") == 48)
  }

  @Test func `what differs is found by kept leaves, and all of it`() throws {
    let world = try NodeWorld(3)
    try world.make()
    for number in 0..<300 { try world.put("k\(number)", "v", at: number % 3) }
    try world.repair(at: 0)
    for number in 0..<10 { try Self.putAlone("k\(number * 7)", world, at: number % 3) }
    let report = try world.repair(at: 0)
    #expect(report.differing >= 10 && report.mended == report.differing && report.scanned == 0)
    for number in 0..<300 { #expect(try world.agree(on: "k\(number)")) }
    #expect(try world.repair(at: 1).differing == 0)
    #expect(Self.scanned(world) == [16, 16, 16])
    #expect(try Self.check(world, "mended") == 48)
  }

  /// Interleaving 4 with leaves that do not follow their records: the delete shows in no kept tree, until the
  /// records are read.
  @Test func `leaves that lie hide a delete, and a full comparison finds both`() throws {
    let world = try NodeWorld(3)
    try world.make()
    for number in 0..<40 { try world.put("k\(number)", "v", at: 0) }
    try world.repair(at: 0)
    for index in 0..<2 { try Self.leaves(world, at: index).isBroken.store(true, ordering: .relaxed) }
    world.cut(0, 2)
    world.cut(1, 2)
    _ = try world.perform(KeyRequest(.delete, Array("k1".utf8), in: "k"), at: 0)
    for index in 0..<2 { _ = try world[index].hints.forget(world[2].local.id) }
    world.heal()
    for index in 0..<2 { try Self.leaves(world, at: index).isBroken.store(false, ordering: .relaxed) }
    let hidden = try world.repair(at: 2)
    #expect(hidden.differing == 0 && hidden.compared == 32)
    #expect(try world.held("k1", at: 2)?.isTombstone == false)
    let full = try world.repair(at: 2, isFull: true)
    #expect(full.differing == 1 && full.mended == 1 && full.wrongLeaves == 0)
    #expect(world[0].figures.wrongLeaves == 1 && world[1].figures.wrongLeaves == 1)
    #expect(try world.agree(on: "k1"))
    #expect(try Self.check(world, "mended") == 48)
    #expect(try world.repair(at: 0).differing == 0)
  }

  @Test func `a leaf that is wrong costs a look at keys, until it is mended`() throws {
    let world = try NodeWorld(2, replicas: 2)
    try world.make()
    for number in 0..<60 { try world.put("k\(number)", "v", at: 0) }
    try world.repair(at: 0)
    let leaves = try Self.leaves(world, at: 0)
    try leaves.tree.put(LeafKey.leaf(9, partition: 3).bytes, TreeLeaf(hash: 5, keys: 1).encoded())
    let before = try world.repair(at: 1)
    #expect(before.differing == 0 && before.notCompared == 0)
    let full = try world.repair(at: 0, isFull: true)
    #expect(full.wrongLeaves == 1 && full.scanned == 16)
    let after = try world.repair(at: 1)
    #expect(after.differing == 0 && after.bytes < before.bytes)
  }

  @Test func `in the background some comparisons are full`() throws {
    let world = try NodeWorld(2, replicas: 2) {
      $0.repairInterval = .seconds(60)
      $0.fullRepairEvery = 4
    }
    try world.make()
    for number in 0..<60 { try world.put("k\(number)", "v", at: 0) }
    try world.repair(at: 0)
    #expect(Self.scanned(world) == [16, 16])
    try Self.leaves(world, at: 1).tree.put(
      LeafKey.leaf(9, partition: 3).bytes, TreeLeaf(hash: 5, keys: 1).encoded())
    // Some thirty passes of two nodes: that none of them reads partition 3 has a chance of (3/4)^60.
    try world.beat(30 * 61)
    #expect(world[1].figures.wrongLeaves == 1)
    let (kept, scanned) = (world[0].figures.treesKept, world[0].figures.treesScanned)
    #expect(scanned > 16 && kept > scanned, "\(kept) and \(scanned)")
    #expect(try Self.check(world, "the end") == 32)
  }

  @Test func `cuts, crashes, rolled-back disks and comparisons leave leaves that fit`() throws {
    try withSeeds("leavesInTheWorld", count: TestSize.of(quick: 6, full: 100)) { seed, random in
      let world = try NodeWorld(3, seed: seed)
      try world.make()
      var old = (index: 1, disk: world.snapshot(1))
      for step in 0..<60 {
        let (key, index) = ("k\(random.below(25))", random.below(3))
        switch random.below(14) {
        case 0...3: _ = try? world.put(key, "v\(step)", at: index, isSynced: random.below(3) == 0)
        case 4: _ = try? world.perform(KeyRequest(.delete, Array(key.utf8), in: "k"), at: index)
        case 5: _ = try? world.increment("n\(random.below(3))", at: index)
        case 6: try? Self.putAlone(key, world, at: index)
        case 7: world.cut(index, (index + 1) % 3)
        case 8: world.heal()
        case 9:
          world.crash(index, .random, seed: random.next())
          try world.restart(index)
        case 10: try world.repair(at: index, isFull: random.below(3) == 0)
        case 11: _ = try? world.get(key, at: index)
        case 12: old = (index, world.snapshot(index))
        default:
          if random.below(3) > 0 {
            try world.beat()
          } else {
            world.rollBack(old.index, to: old.disk.crashed(.keepAll, seed: random.next()))
            try world.restart(old.index)
          }
        }
        if step % 6 == 0 { try Self.check(world, "seed \(seed), step \(step)") }
      }
      world.heal()
      try world.beat(2)
      for index in [0, 1] { try #require(try world.repair(at: index).notCompared == 0, "seed \(seed)") }
      for index in 0..<3 { try #require(try world.repair(at: index).differing == 0, "seed \(seed)") }
      for number in 0..<25 { try #require(try world.agree(on: "k\(number)"), "seed \(seed): k\(number)") }
      let whole = try Self.check(world, "seed \(seed), the end")
      try #require(whole == 48)
      try #require(world.running.allSatisfy { world[$0].figures.wrongLeaves == 0 }, "seed \(seed)")
    }
  }

  @Test func `partitions that move take up their leaves, and leave none behind`() throws {
    let world = try NodeWorld(3, replicas: 2) { $0.repairInterval = nil }
    try world.make()
    for number in 0..<80 { try world.put("k\(number)", "v", at: number % 3) }
    for index in 0..<3 { try world.repair(at: index) }
    let new = try world.join()
    for number in 0..<80 { try world.put("k\(number)", "w", at: number % 3) }
    try world.settle()
    for number in 0..<40 { try world.put("k\(number)", "x", at: number % 4) }
    for index in 0..<4 { #expect(try world.repair(at: index).notCompared == 0) }
    #expect(try Self.check(world, "moved") == 32)
    let ring = try world.database().ring.ring
    for index in 0..<4 {
      let leaves = try Self.leaves(world, at: index)
      for partition in 0..<16 where !ring.replicas(of: partition).contains(world.id(index)) {
        let kept = try leaves.read(partition)
        #expect(!kept.isWhole && kept.tree == HashTree(), "partition \(partition) at \(index)")
      }
    }
    #expect(try (0..<16).contains { try Self.leaves(world, at: new).read($0).tree.keyCount > 0 })
    #expect(world.running.allSatisfy { world[$0].figures.wrongLeaves == 0 })
  }

  @Test func `what is reaped leaves its leaf`() throws {
    let world = try NodeWorld(3) {
      $0.replicaTimeout = .milliseconds(500)
      $0.requestTimeout = .seconds(1)
      $0.repairTimeout = .seconds(1)
      $0.repairInterval = nil
      $0.hintAge = .seconds(5)
      $0.tombstoneHorizon = .seconds(40)
    }
    try world.make()
    for number in 0..<20 { try world.put("k\(number)", "v", at: 0) }
    try world.repair(at: 0)
    for number in 0..<10 {
      _ = try world.perform(KeyRequest(.delete, Array("k\(number)".utf8), in: "k"), at: 1)
    }
    try world.beat(60)
    #expect(world.running.allSatisfy { world[$0].figures.reaped == 10 })
    #expect(try Self.check(world, "reaped") == 48)
    let report = try world.repair(at: 2)
    #expect(report.keys == 10 && report.scanned == 0 && report.differing == 0)
  }

  @Test func `one process, and keyspaces of one replica, keep no leaves`() throws {
    for (count, replicas) in [(2, 1), (3, 2)] {
      let world = try NodeWorld(count, replicas: replicas)
      try world.make(replicas: 1)
      for number in 0..<20 { try world.put("k\(number)", "v", at: number % count) }
      for index in 0..<count {
        #expect(try world[index].keyspace("k").parts[world[index].local.slot]?.leaves == nil)
        #expect(!world[index].local.store.treeNames.contains { $0.hasPrefix(KeyspaceCore.leafTrees) })
      }
    }
    let disk = SimulatedEnvironment(seed: 4)
    let core = try DatabaseOpening.open(["/a", "/b"], NodeWorld.options, disk.environment)
    let keyspace = try core.keyspace("k", KeyspacePolicy.eventual)
    _ = try unsafe keyspace.put(Array("a".utf8).span.bytes, [1], context: nil)
    #expect(core.presentMembers.allSatisfy { keyspace.parts[$0.slot]?.leaves == nil })
    try core.close()
  }
}
