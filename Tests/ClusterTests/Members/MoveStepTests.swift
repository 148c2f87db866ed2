import RoostCausality
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// The steps in which partitions move between nodes: what a kill at each leaves, who counts when, and what
/// each rule is good for.
// Budget: 20 s
@Suite struct MoveStepTests {
  private static func still(_ options: inout ClusterOptions) { options.repairInterval = nil }

  /// Three nodes of two replicas, and a fourth that has begun to join and stands before a step.
  private static func joining(
    before steps: Set<MoveStep>, seed: UInt64 = 1, keys: [String] = []
  ) throws -> (NodeWorld, new: Int) {
    let world = try NodeWorld(3, replicas: 2, seed: seed, still)
    try world.make()
    for (number, key) in keys.enumerated() { try world.put(key, "before", at: number % 3) }
    world.subvert { $0.stopsBefore = steps }
    let new = try world.join()
    try world.beat()
    return (world, new)
  }

  /// The move under way, with the places of who gives the partition and who has it too, and a key of it.
  private static func underWay(
    _ world: NodeWorld
  ) throws -> (move: PartitionMove, from: Int, other: Int, third: Int, key: String) {
    let state = try world.database().ring
    let move = try #require(state.copies.first)
    let replicas = state.ring.replicas(of: move.partition)
    let from = try #require((0..<3).first { world.id($0) == move.from })
    let other = try #require((0..<3).first { $0 != from && replicas.contains(world.id($0)) })
    return (move, from, other, 3 - from - other, key(in: move.partition, world))
  }

  private static func key(in partition: Int, _ world: NodeWorld) -> String {
    (0..<10_000).lazy.map { "key\($0)" }.first {
      world[world.running[0]].partition(of: Array($0.utf8)) == partition
    }!
  }

  // MARK: - Kills

  @Test(arguments: MoveStep.allCases)
  func `whoever is killed at any step, the change goes on and nothing is lost`(step: MoveStep) throws {
    let keys = (0..<24).map { "k\($0)" }
    for victim in 0..<3 {
      let comment: Comment = "killed before \(step): \(victim)"
      let (world, new) = try Self.joining(before: [step], seed: UInt64(victim) + 1, keys: keys)
      for (number, key) in keys.enumerated() {
        let context = try world.get(key, at: (number + 1) % 4).context
        try world.put(key, "after", at: number % 4, context: context)
      }
      let killed = [new, 0, 1][victim]
      world.crash(killed, .random, seed: UInt64(victim) &* 31 &+ 5)
      world.subvert { $0.stopsBefore = [] }
      try world.beat()
      try world.restart(killed)
      try world.settle()
      let ring = try world.database().ring.ring
      #expect(ring.members.count == 4 && ring.loads.allSatisfy { $0.slots == 8 }, comment)
      for key in keys {
        for index in 0..<4 { #expect(try world.values(key, at: index) == ["after"], comment) }
        #expect(try world.agree(on: key), comment)
        #expect(try (0..<4).count { try world.held(key, at: $0) != nil } == 2, comment)
      }
    }
  }

  // MARK: - Who counts

  @Test func `whom a partition is moving to gets every write`() throws {
    for isBroken in [false, true] {
      let (world, new) = try Self.joining(before: [.flip])
      let (_, from, _, third, key) = try Self.underWay(world)
      world.subvert { $0.dropsForwards = isBroken }
      try world.put(key, "v", at: from)
      #expect(try (world.held(key, at: new) == nil) == isBroken)
      try world.put(key + "x", "v", at: third)
      world.subvert { $0 = NodeSubversions() }
      try world.settle()
      #expect(try world.values(key, at: new) == ["v"])
    }
  }

  @Test func `whom a partition is moving to counts for no quorum, and is asked by no read`() throws {
    for isBroken in [false, true] {
      let (world, new) = try Self.joining(before: [.flip])
      let (_, from, other, third, key) = try Self.underWay(world)
      world.cut(from, other)
      world.cut(from, third)
      world.subvert { $0.countsPending = isBroken }
      #expect(code { try world.put(key, "v", at: from) } == (isBroken ? nil : .indeterminate))
      #expect(try world.held(key, at: new) != nil, "it has it all the same")
      #expect(code { _ = try world.get(key, at: from) } == .unreachable)
      world.heal()
      world.subvert { $0 = NodeSubversions() }
      try world.settle()
      #expect(try world.values(key, at: other) == ["v"])
    }
  }

  @Test func `a write that the receiver missed is kept for it`() throws {
    let (world, new) = try Self.joining(before: [.flip])
    let (_, from, _, _, key) = try Self.underWay(world)
    world.cut(from, new)
    try world.put(key, "v", at: from)
    #expect(try world.held(key, at: new) == nil)
    #expect(world[from].hints.statistics.hints[world.id(new)] == 1)
    world.heal()
    try world.beat(2)
    #expect(try world.held(key, at: new) != nil)
  }

  // MARK: - Dropping

  @Test func `a partition is dropped only once the replicas have what its source has`() throws {
    for isBroken in [false, true] {
      let (world, new) = try Self.joining(before: [.flip, .compare])
      let (move, from, _, _, key) = try Self.underWay(world)
      world.cut(from, new)
      try world.put(key, "v", at: from)
      _ = try world[from].hints.forget(world.id(new))
      // The receiver takes the place without having caught up on this.
      try world[0].changeRecord { record in
        guard let next = try? record.ring.moved(move) else { return false }
        record.ring = next
        return true
      }
      world.heal()
      #expect(try world.held(key, at: new) == nil)
      #expect(try world.held(key, at: from) != nil)
      world.subvert([from]) {
        $0.stopsBefore = []
        $0.dropsUncompared = isBroken
      }
      try world.beat(2)
      #expect(try world.held(key, at: from) == nil, "it is dropped")
      #expect(try (world.held(key, at: new) == nil) == isBroken)
    }
  }

  // MARK: - Old rings

  @Test func `a coordinator with an old ring is told, catches up and asks again`() throws {
    let world = try NodeWorld(3, replicas: 2, Self.still)
    try world.make()
    world.subvert([0]) { $0.isDeaf = true }
    for index in [1, 2] { world.subvert([index]) { $0.stopsBefore = [.compare] } }
    try world.join()
    try world.beat(40)
    let (old, new) = (world[0].view, world[1].view)
    #expect(old.revision < new.revision)
    let stale = (0..<16).filter { old.print(of: $0).print != new.print(of: $0).print }
    let partition = try #require(stale.first { old.isReplica(world.id(0), of: $0) })
    let key = Self.key(in: partition, world)
    try world.put(key, "v", at: 0)
    #expect(world[0].view.revision >= new.revision, "it has learned")
    for index in world.running where new.isReplica(world.id(index), of: partition) {
      #expect(try world.held(key, at: index) != nil)
    }
    #expect(try world.values(key, at: 1) == ["v"])
    world.subvert { $0 = NodeSubversions() }
    try world.settle()
    #expect(try world.values(key, at: 0) == ["v"])
    #expect(try world.agree(on: key))
  }

  @Test func `a node that was cut off from all while its partitions moved on learns of it from the others`()
    throws
  {
    let world = try NodeWorld(4, replicas: 3, Self.still)
    try world.make()
    for number in 0..<20 { try world.put("k\(number)", "v", at: number % 4) }
    world.subvert([3]) { $0.isDeaf = true }
    for index in 0..<3 { world.cut(index, 3) }
    // It goes on thinking that it is a replica; the others have called it dead.
    _ = try world[0].changeMembers(MembersRequest([.remove(world.id(3), isDead: true)], isForced: true))
    try world.settle()
    #expect(try world.database().ring.ring.member(world.id(3)) == nil)
    world.heal()
    for number in 0..<20 { _ = try? world.put("k\(number)", "late", at: 3) }
    try world.beat(2)
    #expect(world[3].isDismissed)
    #expect(code { try world.put("k1", "more", at: 3) } == .notAMember)
    for number in 0..<20 {
      #expect(try world.values("k\(number)", at: 0).contains("v"))
    }
  }

  // MARK: - Interleaving 2

  @Test func `interleaving 2: a partition that left and came back is held by a new incarnation`() throws {
    for keepsIncarnation in [false, true] {
      let world = try NodeWorld(4, replicas: 3, Self.still)
      try world.make()
      world.subvert { $0.keepsIncarnation = keepsIncarnation }
      let partition = 5
      let replicas = world[0].view.replicas(of: partition)
      let holders = (0..<4).filter { replicas.contains(world.id($0)) }
      let (a, b, c) = (holders[0], holders[1], holders[2])
      let d = 6 - a - b - c
      let key = Self.key(in: partition, world)
      // `v` is at a and c; b has missed it, and nobody brings it there.
      for other in [a, c, d] { world.cut(b, other) }
      try world.put(key, "v", at: a)
      for index in 0..<4 { _ = try world[index].hints.forget(world.id(b)) }
      world.subvert([a]) { $0.dropsUncompared = true }
      _ = try world.move(partition, from: a, to: d)
      try world.beat(2)
      #expect(
        try world.held(key, at: d) != nil && world.held(key, at: a) == nil && world.held(key, at: b) == nil)
      // It comes back to a from b, the only one within its reach.
      world.heal()
      world.cut(a, c)
      world.cut(a, d)
      _ = try world.move(partition, from: b, to: a)
      try world.beat(2)
      #expect(world[a].view.isReplica(world.id(a), of: partition))
      try world.put(key, "w", at: a, quorum: 1)
      world.heal()
      try world.beat(3)
      #expect(try world.values(key, at: c, quorum: 3) == (keepsIncarnation ? ["w"] : ["v", "w"]))
    }
  }
}
