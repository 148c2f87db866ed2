import Roost
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// Indexes of keyspaces whose partitions move, by programs that declare them, do so late, or never.
// Budget: 10 s
@Suite struct IndexMoveTests {
  private static let keys = (0..<300).map { "n\($0)" }

  private func fill(_ world: IndexWorld) throws {
    for (number, key) in Self.keys.enumerated() { try world.put(key, "w\(number % 7),x") }
  }

  /// The directories of the stores that have built the index.
  private func built(_ world: IndexWorld) throws -> Set<String> {
    let index = try world.notes.keptIndex("words")
    return Set(
      world.core.presentMembers.filter {
        index.stores[$0.slot]?.isDone.load(ordering: .acquiring) == true
      }.map(\.path))
  }

  /// A database of two stores in which a third is on its way in, some partitions having arrived.
  private func midway(_ random: inout SplitMix64) throws -> IndexWorld {
    let world = try IndexWorld(stores: 2)
    try fill(world)
    _ = try world.core.addStore("/disk2/db", weight: 100, zone: "")
    let moves = world.core.rebalance.movesLeft
    while world.core.rebalance.movesLeft == moves { world.work(1) }
    world.work(random.below(4))
    #expect(world.core.rebalance.movesLeft > 0)
    return world
  }

  /// As the command line moves: without the extractor.
  @Test func `a move without the extractor has the index built where the keys came`() throws {
    let first = try IndexWorld(stores: 2)
    try fill(first)
    let expected = try first.query()
    let trees = first.indexTrees
    try first.core.close()
    let mover = try IndexWorld(first.world, stores: 2, version: nil)
    _ = try mover.core.addStore("/disk2/db", weight: 100, zone: "")
    _ = try mover.core.waitUntilBalanced(.seconds(60))
    try mover.core.close()
    let after = try IndexWorld(first.world, stores: 3)
    #expect(try built(after) == ["/disk0/db", "/disk1/db"])
    #expect(thrownCode { _ = try after.query() } == .indexNotReady)
    after.work()
    #expect(try after.query() == expected)
    #expect(try after.entryCount() == expected.count)
    #expect(after.indexTrees == trees)
  }

  /// The receiver has built the index, of other partitions: it must not pass for built with those that
  /// come without their entries.
  @Test func `a store that has built the index has to again when keys come without entries`() throws {
    let first = try IndexWorld(stores: 2)
    try fill(first)
    let expected = try first.query()
    try first.core.close()
    let mover = try IndexWorld(first.world, stores: 2, version: nil)
    let receiver = try mover.core.memberID(at: "/disk1/db")
    try mover.core.changeStore(receiver, weight: 300, zone: nil)
    try mover.core.waitUntilBalanced(.seconds(60))
    // Durable before the first key is.
    for policy in [CrashPolicy.dropAll, .keepAll] {
      let crashed = SimulatedEnvironment(seed: 6, fileSystem: mover.world.fileSystem.crashClone(policy))
      let after = try IndexWorld(crashed, stores: 2)
      #expect(try built(after) == ["/disk0/db"])
      after.work()
      #expect(try after.query() == expected)
      #expect(try after.entryCount() == expected.count)
    }
  }

  /// The mover goes on with the database's opening, before the program has declared its indexes.
  @Test func `a restart on the way builds the index in the receiver alone`() throws {
    try withSeeds(#function, count: TestSize.of(quick: 12, full: 120)) { seed, random in
      let first = try midway(&random)
      let expected = try first.query()
      let trees = first.indexTrees
      let clones = [
        first.world.fileSystem.processKillClone(), first.world.fileSystem.crashClone(.keepAll),
      ]
      for files in clones {
        let second = try IndexWorld(
          SimulatedEnvironment(seed: seed, fileSystem: files), stores: 3, version: nil,
          sliceRecords: 8)
        second.work(random.below(12))
        try second.declare(1)
        #expect(second.indexTrees == trees)
        let done = try built(second)
        #expect(done.isSuperset(of: ["/disk0/db", "/disk1/db"]), "\(done)")
        // Writes go on, on either side of the walk.
        for _ in 0..<10 {
          let key = Self.keys[random.below(300)]
          try second.put(key, "w1,y\(random.below(3))", try second.context(key))
          second.work(random.below(3))
        }
        second.work()
        try second.core.waitUntilBalanced(.seconds(60))
        let found = try second.query()
        #expect(found == (try second.expected(Self.keys)))
        #expect(try second.entryCount() == found.count)
        #expect(found.count >= expected.count - 10)
        try second.core.close()
      }
    }
  }

  /// Both stores have entries already, of other partitions of the same keyspace: those stay as they
  /// are, and what moves is found once, while it moves and after.
  @Test func `a partition moves between two stores that both have entries of the index`() throws {
    let world = try IndexWorld(stores: 2)
    try fill(world)
    let expected = try world.query()
    let ring = world.core.ringSnapshot.ring
    let receiver = try world.core.memberID(at: "/disk1/db")
    #expect(ring.load(of: receiver).slots == 4)
    let owned = (0..<8).filter { ring.replicas(of: $0) == [receiver] }
    try world.core.changeStore(receiver, weight: 300, zone: nil)
    var steps = 0
    while world.core.rebalance.movesLeft > 0 {
      #expect(try world.query(limit: 50) == expected)
      // One entry goes and comes back, wherever its key is.
      let key = Self.keys[steps * 7 % 300]
      let value = "w\(steps * 7 % 300 % 7),x"
      try world.put(key, "x", try world.context(key))
      try world.put(key, value, try world.context(key))
      world.work(1)
      steps += 1
    }
    try world.core.waitUntilBalanced(.seconds(60))
    #expect(steps > 2)
    let after = world.core.ringSnapshot.ring
    #expect(after.load(of: receiver).slots == 6)
    #expect(owned.allSatisfy { after.replicas(of: $0) == [receiver] })
    #expect(try world.query() == expected)
    #expect(try world.entryCount() == expected.count)
    // It comes back to where it had entries before: none of those of that time is left.
    for key in Self.keys { try world.put(key, "z", try world.context(key)) }
    try world.core.changeStore(receiver, weight: 100, zone: nil)
    try world.core.waitUntilBalanced(.seconds(60))
    #expect(try world.query() == world.expected(Self.keys))
    #expect(try world.entryCount() == 300)
    try world.core.close()
  }
}
