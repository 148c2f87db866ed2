import RoostEnvironment
import TestSupport
import Testing

@testable import RoostCluster

/// Plans: they move the least, and the ring keeps its promises on the way.
// Budget: 20 s
@Suite struct RingPlanTests {
  /// What members lack to their new number of slots: no plan can move less.
  private func lowerBound(_ plan: RingPlan) -> Int {
    plan.target.members.reduce(0) {
      $0 + max(0, plan.target.load(of: $1.id).slots - plan.start.load(of: $1.id).slots)
    }
  }

  @Test func `a fifth member takes a fifth`() throws {
    let ring = try Ring(partitionCount: 1000, replicas: 1, members: RingTests.members(4))
    let plan = try ring.plan(to: RingTests.members(5))
    #expect(plan.moves.count == 200 && plan.incoming(MemberID(rawValue: 5)) == 200)
    #expect((1...4).allSatisfy { plan.outgoing(MemberID(rawValue: $0)) == 50 })
    #expect(plan.start.epoch == 2 && plan.target.epoch == 202 && !plan.isEmpty)
    #expect(plan.start.load(of: MemberID(rawValue: 5)).slots == 0)
    try RingRules.expectSettled(plan.target)
  }

  @Test func `a member that leaves gives away what it holds, and nothing else moves`() throws {
    let ring = try Ring(partitionCount: 1000, replicas: 3, members: RingTests.members(5))
    let gone = MemberID(rawValue: 3)
    let plan = try ring.plan(to: ring.members.filter { $0.id != gone })
    #expect(plan.moves.count == 600 && plan.moves.allSatisfy { $0.from == gone })
    #expect(plan.start.leaving.map(\.id) == [gone] && plan.target.member(gone) == nil)
    var current = plan.start
    for (index, move) in plan.moves.enumerated() {
      #expect((current.member(gone) != nil) == (index < plan.moves.count))
      try current.apply(move)
    }
    #expect(current == plan.target)
  }

  @Test func `a heavier member takes more, a lighter one less`() throws {
    var members = RingTests.members(4)
    let ring = try Ring(partitionCount: 700, replicas: 1, members: members)
    members[1].weight = 4
    let plan = try ring.plan(to: members)
    #expect(plan.target.loads.map(\.slots) == [100, 400, 100, 100])
    #expect(plan.moves.count == 225 && plan.moves.allSatisfy { $0.to == members[1].id })
    members[1].weight = 1
    let back = try plan.target.plan(to: members)
    #expect(back.moves.count == 225 && back.moves.allSatisfy { $0.from == members[1].id })
    #expect(back.target.loads.map(\.slots) == [175, 175, 175, 175])
  }

  @Test func `a change of name is a new epoch without a move`() throws {
    var members = RingTests.members(3)
    let ring = try Ring(partitionCount: 64, replicas: 2, members: members)
    members[0].name = "renamed"
    let plan = try ring.plan(to: members)
    #expect(plan.moves.isEmpty && !plan.isEmpty && plan.start == plan.target)
    #expect(plan.target.epoch == 2 && plan.target.slots == ring.slots)
    #expect(plan.target.members[0].name == "renamed")
  }

  @Test func `one leaves and another comes in its place`() throws {
    let ring = try Ring(partitionCount: 300, replicas: 2, members: RingTests.members(3))
    let plan = try ring.plan(
      to: [RingTests.member(1), RingTests.member(2), RingTests.member(9)])
    #expect(plan.moves.count == 200)
    #expect(plan.moves.allSatisfy { $0.from.rawValue == 3 && $0.to.rawValue == 9 })
  }

  /// Each has 10/3 slots to come. The newcomer has none of them yet, so of the equal remainders it is
  /// not its own that is rounded up: it takes 3 and not 4.
  @Test func `rounding up goes to who has more already`() throws {
    let ring = try Ring(
      partitionCount: 10, replicas: 1, members: [RingTests.member(2), RingTests.member(3)])
    let plan = try ring.plan(to: RingTests.members(3))
    #expect(plan.moves.count == 3 && plan.incoming(MemberID(rawValue: 1)) == 3)
    #expect(plan.target.loads.map(\.slots).sorted() == [3, 3, 4])
  }

  /// Equal members without zones: exactly what those who lack something lack.
  @Test func `joins and leaves move the least that is possible`() throws {
    try withSeeds(#function, count: TestSize.of(quick: 60, full: 1500)) { _, generator in
      let random = RandomMembers(usesWeights: false, usesZones: false)
      let replicas = 1 + generator.below(3)
      let members = random.members(replicas + 1 + generator.below(6), &generator)
      var ring = try Ring(
        partitionCount: 64 + generator.below(128), replicas: replicas, members: members)
      for _ in 0..<3 {
        let plan = try ring.plan(
          to: random.changed(ring.members, least: replicas + 1, &generator))
        #expect(plan.moves.count == lowerBound(plan))
        ring = plan.target
      }
    }
  }

  /// Whatever the zones and weights: as much as the cheapest flow keeps, found by a textbook's search
  /// over all places.
  @Test func `no assignment with the same loads moves less`() throws {
    try withSeeds(#function, count: TestSize.of(quick: 150, full: 3000)) { _, generator in
      let random = RandomMembers(
        usesWeights: generator.below(3) > 0, usesZones: generator.below(4) > 0)
      let replicas = 1 + generator.below(4)
      let members = random.members(replicas + generator.below(5), &generator)
      let ring = try Ring(
        partitionCount: 1 + generator.below(20), replicas: replicas, members: members)
      let plan = try ring.plan(to: random.changed(members, least: replicas, &generator))
      #expect(plan.moves.count >= lowerBound(plan))
      #expect(plan.moves.count == CheapestFlow.moves(from: ring, to: plan.target))
    }
  }

  /// Each zone has some replicas of every partition then, and some zones one more. The same members,
  /// weighed and put into zones anew.
  @Test func `zones that are fewer than the replicas keep what each must have`() throws {
    try withSeeds(#function, count: TestSize.of(quick: 100, full: 2000)) { _, generator in
      let replicas = 3 + generator.below(3)
      func members() -> [RingMember] {
        (1...UInt64(replicas + 3)).map { number in
          RingMember(
            id: MemberID(rawValue: number), name: "m\(number)", weight: 1 + generator.below(5),
            zone: ["a", "b", "c"][generator.below(3)])
        }
      }
      let ring = try Ring(
        partitionCount: 1 + generator.below(16), replicas: replicas, members: members())
      let plan = try ring.plan(to: members())
      #expect(plan.moves.count == CheapestFlow.moves(from: ring, to: plan.target))
      try RingRules.expectSettled(plan.target)
    }
  }

  @Test func `random changes keep all rules on the way`() throws {
    try withSeeds(#function, count: TestSize.of(quick: 100, full: 2500)) { _, generator in
      let random = RandomMembers(
        usesWeights: generator.below(3) > 0, usesZones: generator.below(3) > 0)
      let replicas = 1 + generator.below(4)
      var ring = try Ring(
        partitionCount: 1 + generator.below(64), replicas: replicas,
        members: random.members(replicas + generator.below(6), &generator))
      for _ in 0..<3 {
        let wanted = random.changed(ring.members, least: replicas, &generator)
        let plan = try ring.plan(to: wanted)
        try expectSound(plan, from: ring, to: wanted)
        ring = try carryOut(plan, &generator)
        #expect(ring == plan.target)
        try RingRules.expectSettled(ring)
      }
    }
  }

  /// What must hold of a plan before anything is moved.
  private func expectSound(_ plan: RingPlan, from ring: Ring, to wanted: [RingMember]) throws {
    #expect(plan.start.staying == wanted.sorted { $0.id < $1.id })
    #expect(plan.target.members == plan.start.staying)
    for partition in 0..<ring.partitionCount {
      try #require(
        Set(plan.start.replicas(of: partition)) == Set(ring.replicas(of: partition)),
        "the start moves nothing")
    }
    #expect(plan.isEmpty == (plan.start == ring))
    #expect(plan.start.epoch == ring.epoch + (plan.isEmpty ? 0 : 1))
    #expect(plan.target.epoch == plan.start.epoch + UInt64(plan.moves.count))
    #expect(plan.target.members.reduce(0) { $0 + plan.incoming($1.id) } == plan.moves.count)
    #expect(plan.start.members.reduce(0) { $0 + plan.outgoing($1.id) } == plan.moves.count)
    // The first moves of all partitions, then the second ones.
    var rounds: [Int: Int] = [:]
    var last = 1
    for move in plan.moves {
      let round = rounds[move.partition, default: 0] + 1
      try #require(round >= last, "\(move) comes too late")
      rounds[move.partition] = round
      last = round
    }
  }

  /// Applies a plan as an executor does that copies several partitions at once: the moves of a
  /// partition in order, one at a time, those of different ones in any order.
  private func carryOut(_ plan: RingPlan, _ generator: inout SplitMix64) throws -> Ring {
    let zones = RingRules.zones(plan.start.members)
    func zoneCount(_ ring: Ring, _ partition: Int) -> Int {
      Set(ring.replicas(of: partition).map { zones[$0]! }).count
    }
    let least = (0..<plan.start.partitionCount).map {
      min(zoneCount(plan.start, $0), zoneCount(plan.target, $0))
    }
    var waiting = plan.moves
    var inFlight: [PartitionMove] = []
    var current = plan.start
    while !waiting.isEmpty || !inFlight.isEmpty {
      if inFlight.count < 4,
        let next = waiting.firstIndex(where: { move in
          !inFlight.contains { $0.partition == move.partition }
        })
      {
        inFlight.append(waiting.remove(at: next))
        continue
      }
      let move = inFlight.remove(at: generator.below(inFlight.count))
      let before = current
      try current.apply(move)
      try #require(current.epoch == before.epoch + 1)
      // One partition changed, by one member; its list stays as well spread as it can.
      let old = Set(before.replicas(of: move.partition))
      let new = Set(current.replicas(of: move.partition))
      try #require(new.count == current.replicas && old.subtracting(new) == [move.from])
      try #require(zoneCount(current, move.partition) >= least[move.partition])
      try #require(current.leaving.allSatisfy { current.load(of: $0.id).slots > 0 })
    }
    try RingRules.expectDistinct(current)
    return current
  }

  /// Four members in three zones go, and four in three other zones come, in each of which there are two of
  /// one zone: those of the same zone must not come first.
  @Test func `a list that is replaced as a whole is on the way as well spread as before and after`() throws {
    var decreases = 0
    for first in UInt64(1)...20 {
      let old = ["a", "b", "c", "c"].enumerated().map {
        RingTests.member(first * 100 + UInt64($0.offset), zone: $0.element)
      }
      let new = ["f", "f", "d", "e"].enumerated().map {
        RingTests.member(first * 50 + UInt64($0.offset), zone: $0.element)
      }
      let ring = try Ring(partitionCount: 32, replicas: 4, members: old)
      let plan = try ring.plan(to: new)
      #expect(plan.moves.count == 128)
      let zones = RingRules.zones(plan.start.members)
      var current = plan.start
      for move in plan.moves {
        let before = Set(current.replicas(of: move.partition).map { zones[$0]! }).count
        try current.apply(move)
        let after = Set(current.replicas(of: move.partition).map { zones[$0]! }).count
        try #require(after >= 3, "partition \(move.partition) of ring \(first)")
        if after < before { decreases += 1 }
      }
      #expect(current == plan.target)
    }
    // For a while there are four.
    #expect(decreases > 0)
  }

  @Test func `what is left of a plan is planned anew, and costs no more`() throws {
    try withSeeds(#function, count: TestSize.of(quick: 60, full: 1000)) { _, generator in
      let random = RandomMembers(
        usesWeights: generator.below(2) == 0, usesZones: generator.below(2) == 0)
      let replicas = 1 + generator.below(3)
      let members = random.members(replicas + generator.below(5), &generator)
      let ring = try Ring(
        partitionCount: 1 + generator.below(64), replicas: replicas, members: members)
      let plan = try ring.plan(to: random.changed(members, least: replicas, &generator))
      var current = plan.start
      let done = generator.below(plan.moves.count + 1)
      for move in plan.moves.prefix(done) { try current.apply(move) }
      // As after a restart.
      current = try Ring(decoding: current.encoded())
      let rest = try current.plan(to: current.staying)
      #expect(done + rest.moves.count <= plan.moves.count)
      #expect(rest.target.members == plan.target.members)
      try RingRules.expectSettled(rest.target)
      // A change of mind half-way: back to where it began, with what has moved.
      let back = try current.plan(to: members)
      // Where equal remainders are rounded as they were; which of them go up may cost a move.
      if back.target.loads == ring.loads { #expect(back.moves.count <= done) }
      try RingRules.expectSettled(back.target)
    }
  }

  @Test func `moves that do not fit are refused, and change nothing`() throws {
    let ring = try Ring(partitionCount: 16, replicas: 2, members: RingTests.members(3))
    let plan = try ring.plan(to: RingTests.members(4))
    let move = try #require(plan.moves.first)
    func code(_ ring: Ring, _ move: PartitionMove) -> RingError.Code? {
      var copy = ring
      do { try copy.apply(move) } catch {
        #expect(copy == ring)
        return error.code
      }
      return nil
    }
    #expect(code(plan.start, move) == nil)
    #expect(code(ring, move) == .unknownMember, "the newcomer is no member before the start")
    var moved = plan.start
    try moved.apply(move)
    #expect(code(moved, move) == .staleMove)
    for (partition, slot) in [(-1, 0), (16, 0), (Int.max, 0), (0, -1), (0, 2)] {
      #expect(
        code(plan.start, PartitionMove(partition: partition, slot: slot, from: move.from, to: move.to))
          == .staleMove)
    }
    let list = ring.replicas(of: 0)
    #expect(
      code(ring, PartitionMove(partition: 0, slot: 0, from: list[0], to: list[1])) == .staleMove)
    #expect(
      code(ring, PartitionMove(partition: 0, slot: 1, from: list[0], to: list[0])) == .staleMove)
  }

  @Test func `no plan to what no ring can be made of`() throws {
    let ring = try Ring(partitionCount: 16, replicas: 2, members: RingTests.members(3))
    func code(_ members: [RingMember]) -> RingError.Code? {
      do { _ = try ring.plan(to: members) } catch { return error.code }
      return nil
    }
    #expect(code([]) == .tooFewMembers && code(RingTests.members(1)) == .tooFewMembers)
    #expect(code(RingTests.members(3) + RingTests.members(1)) == .duplicateMember)
    #expect(code(RingTests.members(2) + [RingTests.member(7, weight: 0)]) == .weightOutOfRange)
    let last = try Ring(
      partitionCount: 16, replicas: 1, members: RingTests.members(2), epoch: 1 << 62)
    #expect(throws: RingError.self) { try last.plan(to: RingTests.members(3)) }
    #expect(try last.plan(to: RingTests.members(2)).isEmpty)
  }
}
