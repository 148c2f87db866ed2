import RoostCausality
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// Tombstones that go beside partitions that move.
// Budget: 5 s
@Suite struct ReapingMoveTests {
  private struct Place {
    var key: String
    var partition: Int
    /// The nodes of the second replica, and of the one that has none; node 0 has the first.
    var second: Int
    var outside: Int
  }

  /// A key of four nodes with three replicas.
  private static func place(_ world: NodeWorld) throws -> Place {
    func replicas(_ key: String) -> [MemberID] {
      world[0].view.replicas(of: world[0].partition(of: Array(key.utf8)))
    }
    let key = try #require((0..<1_000).lazy.map { "k\($0)" }.first { replicas($0)[0] == world.id(0) })
    return Place(
      key: key, partition: world[0].partition(of: Array(key.utf8)),
      second: try #require((1..<4).first { world.id($0) == replicas(key)[1] }),
      outside: try #require((1..<4).first { !replicas(key).contains(world.id($0)) }))
  }

  /// The replica that looks finds a tombstone, and before it asks the others the partition begins to move:
  /// then nobody can say who all of them are.
  @Test func `a partition that begins to move while it is looked through is put off`() throws {
    let world = try ReapingTests.world(4)
    let place = try Self.place(world)
    try world.put(place.key, "v", at: 0)
    try ReapingTests.delete(place.key, world, at: 0)
    world.subvert { $0.stopsBefore = [.catchUp] }
    // What a node is about to agree to it writes into the directory, after it has looked and before it asks.
    var hasBegun = false
    world.directory.before = { [unowned world] call in
      guard case .compareAndSet(let name) = call, name.hasPrefix("reaping/"), !hasBegun else { return }
      hasBegun = true
      _ = try? world.move(place.partition, from: place.second, to: place.outside)
    }
    for _ in 0..<60 where !hasBegun { try world.beat() }
    #expect(hasBegun && world[0].view.pending(of: place.partition) == world.id(place.outside))
    #expect(try ReapingTests.holders(place.key, world) == 3)
    try world.beat(5)
    #expect(try ReapingTests.holders(place.key, world) == 3)
    #expect(world.running.allSatisfy { world[$0].figures.reaped == 0 })
    world.directory.before = nil
    world.subvert { $0.stopsBefore = [] }
    try world.settle()
    try world.beat(60)
    #expect(try ReapingTests.holders(place.key, world) == 0)
  }

  /// Has node 0 give a partition away, the key's delete reaped at the others, and the partition come back.
  private static func moveAwayAndBack(_ world: NodeWorld, _ place: Place) throws {
    _ = try world.move(place.partition, from: 0, to: place.outside)
    try world.settle()
    #expect(try world.held(place.key, at: 0) == nil)
    try ReapingTests.delete(place.key, world, at: place.second)
    try world.beat(60)
    #expect(try ReapingTests.holders(place.key, world) == 0)
    _ = try world.move(place.partition, from: place.outside, to: 0)
    try world.settle()
    #expect(world[0].view.isReplica(world.id(0), of: place.partition))
  }

  /// Node 0 agreed to no reaping, as it had no part in it: so nothing in the directory speaks against its
  /// disk of before.
  @Test(arguments: [false, true])
  func `a disk that goes back to before a partition left and came back`(isBroken: Bool) throws {
    let world = try ReapingTests.world(4, breaking: isBroken ? [.earlierTenures] : [])
    let place = try Self.place(world)
    try world.put(place.key, "v", at: 0, quorum: 3)
    let old = world.snapshot(0)
    try Self.moveAwayAndBack(world, place)
    #expect(try world.directory.record(ReapingEvidence.name(world.id(0))) == nil)
    world.rollBack(0, to: old)
    try world.restart(0)
    #expect(try (world.held(place.key, at: 0) != nil) == isBroken)
    for index in 0..<4 { try world.repair(at: index) }
    for index in 0..<4 {
      #expect(try world.values(place.key, at: index, quorum: 3) == (isBroken ? ["v"] : []))
    }
  }

  @Test func `a partition that came back is kept over a close and a crash`() throws {
    let world = try ReapingTests.world(4)
    let place = try Self.place(world)
    try world.put(place.key, "v", at: 0, quorum: 3)
    try Self.moveAwayAndBack(world, place)
    try world.put(place.key, "w", at: 0, quorum: 3, isSynced: true)
    try world.close(0)
    try world.restart(0)
    #expect(try world.held(place.key, at: 0) != nil)
    world.crash(0, .dropAll)
    try world.restart(0)
    #expect(try world.held(place.key, at: 0) != nil)
    // And whoever had it all the while keeps it anyway.
    try world.close(place.second)
    try world.restart(place.second)
    #expect(try world.held(place.key, at: place.second) != nil)
  }
}
