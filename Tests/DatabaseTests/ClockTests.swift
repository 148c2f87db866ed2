import Roost
import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// The database's clock: ahead of the machine's by a bounded time, and raised where nobody waits.
// Budget: 2 s
@Suite struct ClockTests {
  private func lead(_ core: DatabaseCore) -> Int {
    Int(core.shared.clock.durableBound.milliseconds) - Int(core.shared.clock.physicalMilliseconds)
  }

  private func killed(_ database: SynchronousDatabase, seed: UInt64) throws -> SynchronousDatabase {
    try database.after(
      SimulatedEnvironment(
        seed: seed, fileSystem: database.world.fileSystem.processKillClone(),
        time: database.world.time))
  }

  @Test func `kill after kill in no time does not add up, and states are still exchanged`() throws {
    var killed = try SynchronousDatabase(SimulatedEnvironment(seed: 1))
    for round in 0..<12 {
      try killed.put("k\(round)", "v")
      killed = try self.killed(killed, seed: UInt64(10 + round))
    }
    try killed.put("last", "v")
    #expect(lead(killed.core) <= 4_000 + 13 * 10)
    let other = try SynchronousDatabase(SimulatedEnvironment(seed: 2))
    try killed.exchange(with: other)
    #expect(try other.values("last") == ["v"] && other.values("k0") == ["v"])
  }

  /// The bound is raised once in a while, not at each write, also while the clock is ahead.
  @Test(arguments: [false, true]) func `raising comes to rest`(isAhead: Bool) throws {
    var database = try SynchronousDatabase()
    try database.put("k", "v")
    if isAhead { database = try killed(database, seed: 4) }
    var bounds: Set<UInt64> = []
    for round in 0..<200 {
      try database.put("k\(round)", "v")
      // Runs what was put off.
      for member in database.core.presentMembers { while member.workers.runOneHere() {} }
      bounds.insert(database.core.shared.clock.durableBound.rawValue)
      database.world.time.advance(byNanoseconds: 1_000_000)
    }
    #expect(bounds.count <= 2, "\(bounds.count)")
    // As time goes on, about every two seconds.
    for round in 0..<200 {
      database.world.time.advance(byNanoseconds: 100_000_000)
      try database.put("k\(round)", "w")
      for member in database.core.presentMembers { while member.workers.runOneHere() {} }
      #expect(lead(database.core) >= 1_900)
      bounds.insert(database.core.shared.clock.durableBound.rawValue)
    }
    #expect(bounds.count >= 4 && bounds.count <= 14, "\(bounds.count)")
  }

  @Test func `a write that has to raise the bound first is one that may wait`() throws {
    let database = try SynchronousDatabase(stores: 2)
    func mayWait() -> Bool { "k".withKeyBytes { database.posts.mayWait($0) } }
    #expect(mayWait())
    try database.put("k", "v")
    #expect(!mayWait())
    database.world.time.advance(byNanoseconds: 3_900_000_000)
    #expect(!mayWait())
    database.world.time.advance(byNanoseconds: 101_000_000)
    #expect(mayWait())
    try database.put("k", "w")
    #expect(!mayWait())
    let after = try killed(database, seed: 2)
    let waitsAfterKill = "k".withKeyBytes { after.posts.mayWait($0) }
    #expect(waitsAfterKill)
  }

  /// `topology` is held over syncs: what asks for a look at the ring or the schema must not take it.
  @Test func `ring, rebalance and keyspaces are shown while the ring is being changed`() async throws {
    let database = try await Databases.open(stores: 2)
    _ = try await database.keyspace("posts", .eventual)
    let before = database.ring.ring
    database.core.topology.withLock {
      #expect(database.ring.ring == before)
      #expect(database.rebalance.isBalanced)
      #expect(database.keyspaceNames == ["posts"])
    }
    try await database.addStore(at: "/disk2/db")
    #expect(database.ring.ring.members.count == 3)
    #expect(!database.rebalance.isBalanced)
  }
}
