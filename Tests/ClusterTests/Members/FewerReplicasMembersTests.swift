import RoostCausality
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// Nodes that come and go beside a keyspace with fewer replicas than the cluster's: it is at the first places
/// of the lists all along, and only a move to such a place brings it.
// Budget: 15 s
@Suite struct FewerReplicasMembersTests {
  private static let keys = (0..<60).map { "k\($0)" }

  /// Writes a value and counts up under each key, each from another node.
  private static func write(_ world: NodeWorld, _ value: String) throws {
    for (number, key) in keys.enumerated() {
      let index = world.running[number % world.running.count]
      let context = try world.get(key, at: index).context
      try world.put(key, value, at: index, context: context)
      try world.increment("n" + key, at: index)
    }
  }

  /// That every node reads what was written, and that just those hold it that are to.
  private static func check(
    _ world: NodeWorld, _ value: String, counts: Int64, _ comment: Comment? = nil
  ) throws {
    let replicas = try world[world.running[0]].keyspace("k").replicas
    for key in keys {
      for index in world.running {
        #expect(try world.values(key, at: index) == [value], comment)
        #expect(try world.count("n" + key, at: index) == counts, comment)
      }
      let holders = try FewerReplicasTests.nodes(of: key, world).holders
      #expect(holders.count == replicas, comment)
      for index in world.running {
        let holds = try world.held(key, at: index) != nil
        #expect(holds == holders.contains(index), comment)
      }
      #expect(try world.agree(on: key), comment)
    }
    for index in world.running {
      #expect(try world.scan(limit: 50, at: [index]).count == 2 * keys.count, comment)
      #expect(try FewerReplicasTests.told(world, at: index).count == 2 * keys.count, comment)
    }
  }

  /// The lists as the directory has them.
  private static func lists(_ world: NodeWorld) throws -> [[MemberID]] {
    let ring = try world.database().ring.ring
    return (0..<ring.partitionCount).map { ring.replicas(of: $0) }
  }

  @Test(arguments: [1, 2])
  func `nodes join, are weighed anew and leave, while others write`(_ replicas: Int) throws {
    let world = try NodeWorld(4, replicas: 3, seed: UInt64(replicas))
    try world.make(replicas: replicas)
    try Self.write(world, "1")
    var before = try Self.lists(world)
    func change(_ value: String, _ begin: () throws -> Void) throws {
      world.subvert { $0.stopsBefore = [.flip] }
      try begin()
      try world.beat(2)
      try Self.write(world, value)
      world.subvert { $0.stopsBefore = [.drop] }
      try world.beat(2)
      world.subvert { $0.stopsBefore = [] }
      try world.settle()
      let after = try Self.lists(world)
      // Who stays keeps the place.
      for (old, new) in zip(before, after) {
        for (place, member) in old.enumerated() {
          if let now = new.firstIndex(of: member) { #expect(now == place) }
        }
      }
      #expect(before != after)
      before = after
    }
    try change("2") { try world.join() }
    try Self.check(world, "2", counts: 2)
    try change("3") { _ = try world[0].changeMembers(MembersRequest([.weigh(world.id(1), 30)])) }
    try Self.check(world, "3", counts: 3)
    try change("4") { _ = try world[0].changeMembers(MembersRequest([.remove(world.id(2), isDead: false)])) }
    try world.beat(2)
    try world.close(2)
    try world.beat(12)
    try Self.check(world, "4", counts: 4)
    try change("5") { _ = try world[0].changeMembers(MembersRequest([.weigh(world.id(1), 100)])) }
    try Self.check(world, "5", counts: 5)
  }

  /// A partition of which node 0 has the place, and a node that has none of it, with a key.
  private static func place(
    _ slot: Int, _ world: NodeWorld
  ) throws -> (key: String, partition: Int, outside: Int) {
    let ring = try world.database().ring.ring
    let partition = try #require((0..<16).first { ring.replica(of: $0, slot: slot) == world.id(0) })
    let key = try #require(
      (0..<1_000).lazy.map { "m\($0)" }.first { world[0].partition(of: Array($0.utf8)) == partition })
    let list = ring.replicas(of: partition)
    return (key, partition, try #require((1..<4).first { !list.contains(world.id($0)) }))
  }

  @Test(arguments: [0, 1, 2])
  func `only what the place is to have moves to it`(_ slot: Int) throws {
    let world = try NodeWorld(4, replicas: 3) { $0.repairInterval = nil }
    try world.make(replicas: 2)
    let (key, partition, outside) = try Self.place(slot, world)
    let isMoved = slot < 2
    try world.put(key, "before", at: 1)
    world.subvert { $0.stopsBefore = [.catchUp] }
    _ = try world.move(partition, from: 0, to: outside)
    try world.beat(2)
    let keyspace = try world[1].keyspace("k")
    #expect(world[1].view.pending(of: partition) == world.id(outside))
    #expect(world[1].view.pending(of: partition, in: keyspace) == (isMoved ? world.id(outside) : nil))
    // Whom it moves to has the writes since, and counts for nothing.
    try world.put(key, "meanwhile", at: 1, context: try world.get(key, at: 2).context)
    #expect(try (world.held(key, at: outside) != nil) == isMoved)
    #expect(try (world.held(key, at: 0) != nil) == isMoved)
    world.subvert { $0.stopsBefore = [] }
    try world.settle()
    #expect(try (world.held(key, at: outside) != nil) == isMoved)
    #expect(try world.held(key, at: 0) == nil)
    for index in 0..<4 { #expect(try world.values(key, at: index) == ["meanwhile"]) }
    #expect(try world.agree(on: key))
    #expect(try FewerReplicasTests.nodes(of: key, world).holders.contains(outside) == isMoved)
  }

  @Test func `a dead node is replaced, and what one other node had is at two again`() throws {
    let world = try NodeWorld(4, replicas: 3)
    try world.make(replicas: 2)
    try Self.write(world, "before")
    let dead = world.id(3)
    world.crash(3, .keepAll)
    try world.beat(12)
    world.subvert { $0.stopsBefore = [.flip] }
    let new = try world.join { .replace(dead, by: $0, isDead: true) }
    try world.beat(2)
    for key in Self.keys {
      try world.put(key, "after", at: 0, context: try world.get(key, at: 1, quorum: 1).context)
      try world.increment("n" + key, at: new)
    }
    world.subvert { $0.stopsBefore = [] }
    try world.settle()
    #expect(try world.database().ring.ring.load(of: world.id(new)).slots == 12)
    try world.beat(3)
    try Self.check(world, "after", counts: 2)
  }

  /// A majority of the list is there, and nobody who has the keyspace's keys.
  @Test func `what a dead node had alone moves when it is forced to`() throws {
    let world = try NodeWorld(4, replicas: 3)
    try world.make(replicas: 1)
    try Self.write(world, "v")
    let dead = world.id(3)
    let had = try Self.keys.count { try world.held($0, at: 3) != nil }
    world.crash(3, .keepAll)
    try world.beat(12)
    _ = try world[0].changeMembers(MembersRequest([.remove(dead, isDead: true)]))
    try world.beat(30)
    #expect(world[0].changeProgress.isUnderWay)
    #expect(world.running.contains { !world[$0].changeProgress.waitsFor.isEmpty })
    _ = try world[0].changeMembers(.cancel)
    try world.beat(2)
    _ = try world[0].changeMembers(MembersRequest([.remove(dead, isDead: true)], isForced: true))
    try world.settle()
    let left = try Self.keys.count { try world.values($0, at: 0) == ["v"] }
    #expect(left == Self.keys.count - had && had > 0)
  }

  /// A place of a keyspace with one replica has moved from node 0, which has yet to delete what it had, and
  /// the node that took it is gone.
  private static func moved(
    _ world: NodeWorld
  ) throws -> (key: String, drop: RingState.Drop, dead: MemberID) {
    try world.make(replicas: 1)
    let (key, partition, outside) = try place(0, world)
    try world.put(key, "v", at: 1)
    world.subvert { $0.stopsBefore = [.compare] }
    _ = try world.move(partition, from: 0, to: outside)
    try world.beat(2)
    let dead = world.id(outside)
    #expect(try world.database().ring.ring.replica(of: partition, slot: 0) == dead)
    #expect(try world.held(key, at: outside) != nil)
    #expect(try world.held(key, at: 0) != nil)
    world.crash(outside, .keepAll)
    try world.beat(12)
    return (key, RingState.Drop(partition: partition, member: world.id(0)), dead)
  }

  @Test func `what a dead node had alone is kept where it is to be deleted, unless that is forced`() throws {
    let world = try NodeWorld(4, replicas: 3) { $0.repairInterval = nil }
    let (key, drop, dead) = try Self.moved(world)
    _ = try world[0].changeMembers(MembersRequest([.remove(dead, isDead: true)]))
    world.subvert { $0.stopsBefore = [] }
    try world.beat(30)
    #expect(try world.held(key, at: 0) != nil, "it is the last copy")
    #expect(try world.database().ring.drops.contains(drop))
    _ = try world[0].changeMembers(.cancel)
    try world.beat(12)
    #expect(try world.held(key, at: 0) != nil)
    // Node 0 alone is left to take the place, and nothing comes to it before it has deleted what it had.
    _ = try world[0].changeMembers(MembersRequest([.remove(dead, isDead: true)], isForced: true))
    try world.settle()
    #expect(try world.values(key, at: 0) == [])
    #expect(try world.database().ring.ring.replica(of: drop.partition, slot: 0) == world.id(0))
  }

  @Test func `forced too, whoever takes a dead node's place is brought what is to be deleted`() throws {
    let world = try NodeWorld(5, replicas: 3) { $0.repairInterval = nil }
    let (key, drop, dead) = try Self.moved(world)
    world.subvert { $0.stopsBefore = [.flip] }
    // With so little weight node 0 has no place: another takes that of the dead.
    _ = try world[0].changeMembers(
      MembersRequest([.remove(dead, isDead: true), .weigh(world.id(0), 1)], isForced: true))
    try world.beat(10)
    #expect(try world.held(key, at: 0) != nil)
    #expect(try world.database().ring.drops.contains(drop))
    world.subvert { $0.stopsBefore = [] }
    try world.settle()
    #expect(try world.held(key, at: 0) == nil)
    for index in world.running { #expect(try world.values(key, at: index) == ["v"]) }
  }

  /// With a keyspace of one replica what a dead node had moves only when it is forced to: that must not cost
  /// the others what they can have.
  @Test func `forced or not, a replica that is only out of reach is waited for`() throws {
    let world = try NodeWorld(4, replicas: 3) { $0.repairInterval = nil }
    try world.make("few", replicas: 1)
    try world.make()
    let (key, partition, outside) = try Self.place(0, world)
    let others = (1..<4).filter { $0 != outside }
    let (holder, missed) = (others[0], others[1])
    for index in [0, holder, outside] { world.cut(index, missed) }
    try world.put(key, "v", at: holder)
    for index in 0..<4 { _ = try world[index].hints.forget(world.id(missed)) }
    world.heal()
    #expect(try world.held(key, at: holder) != nil)
    #expect(try world.held(key, at: missed) == nil)
    let dead = world.id(0)
    world.crash(0, .keepAll)
    world.crash(holder, .keepAll)
    try world.beat(12)
    _ = try world[outside].changeMembers(MembersRequest([.remove(dead, isDead: true)], isForced: true))
    try world.beat(30)
    #expect(try world.database().ring.ring.replica(of: partition, slot: 0) == dead)
    try world.restart(holder)
    try world.settle()
    #expect(try world.database().ring.ring.replica(of: partition, slot: 0) == world.id(outside))
    #expect(try world.held(key, at: outside) != nil)
    #expect(try world.values(key, at: missed) == ["v"])
  }

  /// Takes from the directory that it has such a keyspace.
  private static func setBack(_ world: NodeWorld) throws {
    var record = try world.database()
    record.hasFewerReplicas = false
    let found = try #require(try world.directory.record(ClusterRecordName.database))
    let version = try world.directory.compareAndSet(
      ClusterRecordName.database, version: found.version, record.encoded(), lease: nil)
    #expect(version != nil)
    #expect(try !world.database().hasFewerReplicas)
  }

  @Test func `a directory that was set back is told again, once, where nothing else changes`() throws {
    let world = try NodeWorld(4, replicas: 3)
    try world.make(replicas: 2)
    try Self.setBack(world)
    let revision = try world.database().ring.revision
    for _ in 0..<2 {
      try world[0].noteFewerReplicas()
      #expect(try world.database().hasFewerReplicas)
      #expect(try world.database().ring.revision == revision + 1)
    }
  }

  @Test func `a directory that was set back does not have lists change their order again`() throws {
    let world = try NodeWorld(4, replicas: 3)
    try world.make(replicas: 2)
    try Self.setBack(world)
    _ = try world[0].changeMembers(MembersRequest([.weigh(world.id(1), 30)]))
    #expect(try world.database().hasFewerReplicas)
    try world.settle()
  }

  /// Until then a change may put lists in another order.
  @Test func `the first such keyspace is made when members do not change, others at any time`() throws {
    let world = try NodeWorld(3, replicas: 2)
    try world.make("all")
    world.subvert { $0.stopsBefore = [.catchUp] }
    try world.join()
    try world.beat(2)
    #expect(code { try world.make(replicas: 1) } == .busy)
    #expect(try !world.database().hasFewerReplicas)
    try world.make("more", replicas: 2)
    world.subvert { $0.stopsBefore = [] }
    try world.settle()
    try world.make(replicas: 1)
    #expect(try world.database().hasFewerReplicas)
    world.subvert { $0.stopsBefore = [.flip] }
    _ = try world[0].changeMembers(MembersRequest([.weigh(world.id(0), 300)]))
    try world.beat(2)
    try world.make("few", replicas: 1)
    try Self.write(world, "v")
    world.subvert { $0.stopsBefore = [] }
    try world.settle()
    try Self.check(world, "v", counts: 1)
  }
}
