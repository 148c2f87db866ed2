import RoostEnvironment
import TestSupport
import Testing

@testable import RoostCluster

/// The plain token ring, against its definition and against published figures.
// Budget: 10 s
@Suite struct TokenRingTests {
  private func randomMembers(_ count: Int, _ generator: inout SplitMix64) -> [RingMember] {
    RandomMembers(usesWeights: false, usesZones: false).members(count, &generator)
  }

  @Test func `a key belongs to the first token at or behind its hash`() throws {
    try withSeeds(#function, count: TestSize.of(quick: 20, full: 300)) { _, generator in
      let members = RandomMembers(usesWeights: generator.below(2) == 0, usesZones: false)
        .members(1 + generator.below(6), &generator)
        .map { RingMember(id: $0.id, name: $0.name, weight: min($0.weight, 9)) }
      let nodes = 1 + generator.below(20)
      let ring = try TokenRing(members: members, virtualNodes: nodes)
      let all = ring.members.enumerated().flatMap { place, member in
        VirtualNodes.positions(of: member.id, count: member.weight * nodes).map { ($0, place) }
      }.sorted { $0.0 < $1.0 }
      for _ in 0..<50 {
        var hash = generator.next()
        switch generator.below(4) {
        case 0: hash = all[generator.below(all.count)].0
        case 1: hash = all[generator.below(all.count)].0 &+ 1
        default: break
        }
        let walk = all.filter { $0.0 >= hash }.map(\.1) + all.map(\.1)
        #expect(ring.owner(ofHash: hash) == walk[0])
        var distinct: [Int] = []
        for place in walk where !distinct.contains(place) { distinct.append(place) }
        #expect(ring.replicas(ofHash: hash, count: 3) == Array(distinct.prefix(3)))
      }
      #expect(abs(ring.shares.reduce(0, +) - 1) < 1e-9)
    }
  }

  @Test func `shares are what keys find`() throws {
    let ring = try TokenRing(members: RingTests.members(5), virtualNodes: 16)
    var generator = SplitMix64(seed: 1)
    var counts = Array(repeating: 0, count: 5)
    for _ in 0..<100_000 { counts[ring.owner(ofHash: generator.next())] += 1 }
    for (count, share) in zip(counts, ring.shares) {
      #expect(abs(Double(count) / 100_000 - share) < 0.01)
    }
    #expect(try TokenRing(members: RingTests.members(1), virtualNodes: 1).shares == [1])
  }

  /// Ten equal members with V virtual nodes each, many times over.
  @Test(arguments: [
    (1, 0.88, 2.95, 2000, 8000), (8, 0.33, 1.62, 1000, 4000), (16, 0.23, 1.43, 500, 3000),
    (64, 0.12, 1.21, 150, 1000), (128, 0.08, 1.14, 80, 600), (256, 0.06, 1.10, 50, 400),
    (1024, 0.03, 1.05, 12, 200),
  ])
  func `balance is as published`(
    nodes: Int, deviation: Double, largest: Double, quick: Int, full: Int
  ) throws {
    let rings = TestSize.of(quick: quick, full: full)
    var generator = SplitMix64(seed: UInt64(nodes))
    var deviations = 0.0
    var largests = 0.0
    for _ in 0..<rings {
      let shares = try TokenRing(members: randomMembers(10, &generator), virtualNodes: nodes).shares
      let squares = shares.reduce(0) { $0 + ($1 * 10 - 1) * ($1 * 10 - 1) }
      deviations += (squares / 10).squareRoot()
      largests += shares.max()! * 10
    }
    // The table is rounded to two places.
    let found = (deviations / Double(rings), largests / Double(rings))
    #expect(abs(found.0 - deviation) < 0.005 + 0.06 * deviation, "\(found.0)")
    #expect(abs(found.1 - largest) < 0.005 + 0.035 * (largest - 0.8), "\(found.1)")
  }

  @Test func `who joins takes from all, who leaves gives to all, nobody else moves`() throws {
    let small = try TokenRing(members: RingTests.members(4), virtualNodes: 128)
    let large = try TokenRing(members: RingTests.members(5), virtualNodes: 128)
    var generator = SplitMix64(seed: 2)
    var moved = 0
    for _ in 0..<50_000 {
      let hash = generator.next()
      let (before, after) = (small.owner(ofHash: hash), large.owner(ofHash: hash))
      if before == after { continue }
      moved += 1
      try #require(after == 4)
    }
    #expect(abs(Double(moved) / 50_000 - large.shares[4]) < 0.01)
    #expect(abs(large.shares[4] - 0.2) < 0.04)
  }

  @Test func `a heavier member has as much more, and takes only from others`() throws {
    func ring(_ weight: Int) throws -> TokenRing {
      try TokenRing(
        members: RingTests.members(4) + [RingTests.member(9, weight: weight)], virtualNodes: 256)
    }
    let (light, heavy) = (try ring(1), try ring(4))
    #expect(abs(light.shares[4] - 1.0 / 5) < 0.03 && abs(heavy.shares[4] - 4.0 / 8) < 0.05)
    var generator = SplitMix64(seed: 3)
    for _ in 0..<20_000 {
      let hash = generator.next()
      let after = heavy.owner(ofHash: hash)
      try #require(after == light.owner(ofHash: hash) || after == 4)
    }
  }

  @Test func `what no token ring can be made of`() {
    func code(_ members: [RingMember], _ nodes: Int) -> RingError.Code? {
      do { _ = try TokenRing(members: members, virtualNodes: nodes) } catch { return error.code }
      return nil
    }
    let members = RingTests.members(3)
    #expect(code(members, 1) == nil && code(members, 4096) == nil)
    #expect(code(members, 0) == .virtualNodeCount && code(members, 4097) == .virtualNodeCount)
    #expect(code(members, Int.max) == .virtualNodeCount, "without overflow")
    let heavy = (1...10).map { RingTests.member(UInt64($0), weight: 1000) }
    #expect(code(heavy, 420) == .virtualNodeCount)
    #expect(code([], 1) == .tooFewMembers)
    #expect(code(members + members, 1) == .duplicateMember)
  }
}

/// What moves when servers come and go: by division, by the ring, by tokens.
// Budget: 5 s
@Suite struct MovementTests {
  /// The reference case: songs on four servers, and a fifth comes. (In full size by `roost ring
  /// compare`, in CommandTests.)
  @Test func `of all songs four fifths move by division, one fifth by a ring`() throws {
    let count = 100_000
    let partitions = 1024
    let ring = try Ring(partitionCount: partitions, replicas: 1, members: RingTests.members(4))
    let larger = try ring.plan(to: RingTests.members(5)).target
    let tokens = try TokenRing(members: RingTests.members(4), virtualNodes: 128)
    let moreTokens = try TokenRing(members: RingTests.members(5), virtualNodes: 128)
    var moved = (division: 0, ring: 0, tokens: 0)
    for number in 0..<count {
      let key = Array("song:\(number)".utf8)
      let hash = unsafe Placement.hash(key.span.bytes)
      let partition = Placement.partition(ofHash: hash, count: partitions)
      if hash % 4 != hash % 5 { moved.division += 1 }
      if ring.replicas(of: partition) != larger.replicas(of: partition) { moved.ring += 1 }
      if tokens.owner(ofHash: hash) != moreTokens.owner(ofHash: hash) { moved.tokens += 1 }
    }
    #expect(abs(moved.division - 80_000) < 800, "\(moved)")
    #expect(abs(moved.ring - 20_000) < 800, "\(moved)")
    #expect(abs(moved.tokens - 20_000) < 4000, "\(moved)")
  }

  /// A member of n that joins gets 1/n of all slots, and one that leaves gives away 1/n: no more moves.
  @Test(arguments: [(1, 4), (3, 4), (1, 9), (2, 16)])
  func `a member's worth moves`(replicas: Int, count: Int) throws {
    let ring = try Ring(
      partitionCount: 1024, replicas: replicas, members: RingTests.members(count))
    let join = try ring.plan(to: RingTests.members(count + 1))
    let share = Double(1024 * replicas) / Double(count + 1)
    #expect(abs(Double(join.moves.count) - share) < 1)
    let leave = try join.target.plan(to: RingTests.members(count))
    #expect(leave.moves.count == join.moves.count)
    // From all members, and to all, about as much.
    let others = (1...count).map { MemberID(rawValue: UInt64($0)) }
    let each = Double(join.moves.count) / Double(count)
    #expect(others.allSatisfy { abs(Double(join.outgoing($0)) - each) < 2 })
    #expect(others.allSatisfy { abs(Double(leave.incoming($0)) - each) < 2 })
  }

  /// The partitions of a member that is lost are held by all others, so all help to make them anew.
  @Test func `each pair of members shares partitions`() throws {
    let ring = try Ring(partitionCount: 1024, replicas: 3, members: RingTests.members(10))
    var together: [Set<MemberID>: Int] = [:]
    for partition in 0..<1024 {
      let list = ring.replicas(of: partition)
      for (a, b) in [(0, 1), (0, 2), (1, 2)] { together[[list[a], list[b]], default: 0] += 1 }
    }
    // 3072 pairs of replicas over 45 pairs of members: 68 each.
    #expect(together.count == 45)
    #expect(together.values.allSatisfy { $0 > 20 && $0 < 180 }, "\(together.values.sorted())")
  }
}
