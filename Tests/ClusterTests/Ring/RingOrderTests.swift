import RoostEnvironment
import TestSupport
import Testing

@testable import RoostCluster

/// Plans that keep the order of the lists: only a move changes who has which place. So what the first members
/// of a list hold, and the others do not, is where the ring says as long as moves bring it.
// Budget: 20 s
@Suite struct RingOrderTests {
  /// Who holds what is at the first places of each list: for each number of them, by partition.
  private struct Holders {
    private(set) var held: [Int: [Set<MemberID>]] = [:]

    init(_ ring: Ring) {
      for count in 1...ring.replicas {
        held[count] = (0..<ring.partitionCount).map { Set(ring.replicas(of: $0).prefix(count)) }
      }
    }

    /// What carrying out a move does: the receiver gets what its new place is to have, from who had that
    /// place, who deletes it.
    ///
    /// - Returns: whether who gave it had it all.
    mutating func carry(_ move: PartitionMove) -> Bool {
      var hadAll = true
      for count in held.keys where move.slot < count {
        if held[count]![move.partition].remove(move.from) == nil { hadAll = false }
        if !held[count]![move.partition].insert(move.to).inserted { hadAll = false }
      }
      for count in held.keys where move.slot >= count {
        if held[count]![move.partition].contains(move.from) { hadAll = false }
      }
      return hadAll
    }

    /// A partition of which other members hold something than the ring says.
    func difference(from ring: Ring) -> Int? {
      for (count, sets) in held {
        for (partition, set) in sets.enumerated()
        where set != Set(ring.replicas(of: partition).prefix(count)) { return partition }
      }
      return nil
    }
  }

  private static func lists(_ ring: Ring) -> [[MemberID]] {
    (0..<ring.partitionCount).map { ring.replicas(of: $0) }
  }

  /// What must hold of a plan before anything moves.
  private static func expectStable(_ plan: RingPlan, from ring: Ring) throws {
    try #require(lists(plan.start) == lists(ring), "the start has another order")
    try #require(plan.isEmpty == (plan.start == ring))
    for partition in 0..<ring.partitionCount {
      let (old, new) = (ring.replicas(of: partition), plan.target.replicas(of: partition))
      for (place, member) in old.enumerated() {
        guard let now = new.firstIndex(of: member) else { continue }
        try #require(now == place, "\(member) goes from \(place) to \(now) in partition \(partition)")
      }
      let moves = plan.moves.filter { $0.partition == partition }
      try #require(Set(moves.map(\.slot)) == Set(old.indices.filter { old[$0] != new[$0] }))
      try #require(moves.allSatisfy { $0.from == old[$0.slot] && $0.to == new[$0.slot] })
    }
  }

  /// A cluster plans what is left of a change so, whatever the lists hold: the next plan finds nothing to
  /// change before its moves.
  @Test func `what is left of a plan that did not keep the order does`() throws {
    try withSeeds(#function, count: TestSize.of(quick: 200, full: 2_000)) { _, generator in
      let random = RandomMembers(
        usesWeights: generator.below(3) > 0, usesZones: generator.below(3) > 0)
      let replicas = 1 + generator.below(4)
      let old = try Ring(
        partitionCount: 1 + generator.below(32), replicas: replicas,
        members: random.members(replicas + generator.below(6), &generator))
      var ring = try old.plan(to: random.changed(old.members, least: replicas, &generator)).start
      while true {
        let rest = try ring.plan(to: ring.staying, keepsOrder: true)
        try Self.expectStable(rest, from: ring)
        let again = try rest.start.plan(to: rest.start.staying, keepsOrder: true)
        try #require(again.isEmpty)
        guard let move = again.moves.first else { break }
        ring = rest.start
        try ring.apply(move)
      }
    }
  }

  /// Joins, leaves, weights and zones at random, one change after the other, some of them while the one
  /// before is half done, some after a restart.
  @Test func `who holds what changes by moves only`() throws {
    var (moves, replans) = (0, 0)
    try withSeeds(#function, count: TestSize.of(quick: 300, full: 4_000)) { _, generator in
      let random = RandomMembers(
        usesWeights: generator.below(3) > 0, usesZones: generator.below(3) > 0)
      let replicas = 1 + generator.below(4)
      var ring = try Ring(
        partitionCount: 1 + generator.below(32), replicas: replicas,
        members: random.members(replicas + generator.below(6), &generator))
      // With lists as they are left by plans that did not keep their order.
      if generator.below(2) == 0 {
        let plan = try ring.plan(to: random.changed(ring.members, least: replicas, &generator))
        ring = generator.below(2) == 0 ? plan.start : plan.target
      }
      var holders = Holders(ring)
      for _ in 0..<5 {
        let wanted = random.changed(ring.staying, least: replicas, &generator)
        let plan = try ring.plan(to: wanted, keepsOrder: true)
        try Self.expectStable(plan, from: ring)
        // It costs no more than one that does not.
        let least = try ring.plan(to: wanted).moves.count
        try #require(plan.moves.count == least)
        try RingRules.expectDistinct(plan.target)
        try RingRules.expectSpread(plan.target)
        try RingRules.expectBalance(plan.target)
        ring = plan.start
        // Moves of different partitions in any order.
        var left = plan.moves
        var count = generator.below(3) == 0 ? generator.below(left.count + 1) : left.count
        while count > 0 {
          let chosen = left[generator.below(left.count)].partition
          let move = left.remove(at: left.firstIndex { $0.partition == chosen }!)
          let isCarried = holders.carry(move)
          try #require(isCarried, "\(move) finds nothing to bring")
          try ring.apply(move)
          count -= 1
          moves += 1
        }
        if left.isEmpty { try #require(ring == plan.target) }
        if generator.below(2) == 0 { ring = try Ring(decoding: ring.encoded()) }
        try #require(holders.difference(from: ring) == nil)
        // What is left is planned as it was: nothing is put in another order for it.
        let rest = try ring.plan(to: ring.staying, keepsOrder: true)
        try #require(rest.isEmpty)
        try Self.expectStable(rest, from: ring)
        if !left.isEmpty { replans += 1 }
      }
    }
    #expect(moves > 1_000 && replans > 50)
  }

  /// So the rule is needed: else lists change their order, and members have places whose keys they lack.
  @Test func `plans that do not keep the order put members where they hold nothing`() throws {
    var lost = 0
    try withSeeds(#function, count: 100) { _, generator in
      let random = RandomMembers(usesWeights: true, usesZones: true)
      let members = random.members(4 + generator.below(4), &generator)
      let ring = try Ring(partitionCount: 32, replicas: 3, members: members)
      var holders = Holders(ring)
      let plan = try ring.plan(to: random.changed(members, least: 3, &generator))
      for move in plan.moves { _ = holders.carry(move) }
      if holders.difference(from: plan.target) != nil { lost += 1 }
    }
    #expect(lost > 20)
  }

  /// Who comes may take any of the places that become free; those who go stay where they are.
  @Test func `lists stay as well spread on the way as before and after`() throws {
    try withSeeds(#function, count: TestSize.of(quick: 100, full: 2_000)) { _, generator in
      let random = RandomMembers(usesWeights: generator.below(2) == 0, usesZones: true)
      let replicas = 2 + generator.below(3)
      let members = random.members(replicas + generator.below(5), &generator)
      let ring = try Ring(partitionCount: 1 + generator.below(32), replicas: replicas, members: members)
      let wanted =
        generator.below(2) == 0
        ? random.members(replicas + generator.below(3), &generator)
        : random.changed(members, least: replicas, &generator)
      let plan = try ring.plan(to: wanted, keepsOrder: true)
      try Self.expectStable(plan, from: ring)
      let zones = RingRules.zones(plan.start.members)
      func zoneCount(_ ring: Ring, _ partition: Int) -> Int {
        Set(ring.replicas(of: partition).map { zones[$0]! }).count
      }
      var current = plan.start
      for move in plan.moves {
        try current.apply(move)
        let least = min(zoneCount(plan.start, move.partition), zoneCount(plan.target, move.partition))
        try #require(zoneCount(current, move.partition) >= least, "\(move)")
      }
      #expect(current == plan.target)
    }
  }
}
