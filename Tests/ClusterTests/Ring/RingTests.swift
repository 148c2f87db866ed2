import TestSupport
import Testing

@testable import RoostCluster

/// A ring as it is made: who holds what, and what it refuses.
// Budget: 8 s
@Suite struct RingTests {
  static func member(_ id: UInt64, weight: Int = 1, zone: String = "") -> RingMember {
    RingMember(id: MemberID(rawValue: id), name: "disk\(id)", weight: weight, zone: zone)
  }

  static func members(_ count: Int) -> [RingMember] { (1...count).map { member(UInt64($0)) } }

  @Test func `one member holds everything`() throws {
    let ring = try Ring(partitionCount: 16, replicas: 1, members: Self.members(1))
    #expect((0..<16).allSatisfy { ring.replicas(of: $0) == [MemberID(rawValue: 1)] })
    #expect(ring.share(of: MemberID(rawValue: 1)) == 1 && ring.epoch == 1)
    #expect(ring.share(of: MemberID(rawValue: 2)) == 0)
    #expect(ring.member(MemberID(rawValue: 2)) == nil)
    #expect(ring.member(MemberID(rawValue: 1))?.name == "disk1")
  }

  @Test(arguments: [(64, 1, 5), (64, 3, 5), (256, 2, 7), (1024, 3, 10), (100, 3, 3), (5, 1, 9)])
  func `equal members hold k or k + 1`(partitions: Int, replicas: Int, count: Int) throws {
    let ring = try Ring(
      partitionCount: partitions, replicas: replicas, members: Self.members(count))
    try RingRules.expectSettled(ring)
    let k = partitions * replicas / count
    let slots = ring.loads.map(\.slots)
    #expect(slots.allSatisfy { $0 == k || $0 == k + 1 })
    let mean = Double(partitions * replicas) / Double(count)
    if k > 0 { #expect(Double(slots.max()!) / mean <= 1 + 1 / Double(k)) }
    for partition in 0..<partitions {
      #expect(ring.replica(of: partition, slot: 0) == ring.replicas(of: partition)[0])
    }
  }

  @Test func `weights are honoured`() throws {
    let members = [1, 2, 3, 4].map { Self.member(UInt64($0), weight: $0) }
    let ring = try Ring(partitionCount: 1000, replicas: 2, members: members)
    #expect(ring.loads.map(\.slots) == [200, 400, 600, 800])
    #expect(ring.loads.map(\.coordinated) == [100, 200, 300, 400])
    #expect(ring.share(of: MemberID(rawValue: 4)) == 0.4)
    let wide = try Ring(
      partitionCount: 1001, replicas: 1,
      members: [Self.member(1, weight: 1), Self.member(2, weight: 1000)])
    #expect(wide.loads.map(\.slots) == [1, 1000])
  }

  @Test func `nobody holds a partition twice, however heavy`() throws {
    let members = [Self.member(1, weight: 1000), Self.member(2), Self.member(3)]
    let ring = try Ring(partitionCount: 100, replicas: 2, members: members)
    try RingRules.expectSettled(ring)
    #expect(ring.loads.map(\.slots) == [100, 50, 50])
  }

  @Test func `zones are kept apart before shares are`() throws {
    let two = [
      Self.member(1, zone: "a"), Self.member(2, zone: "a"), Self.member(3, zone: "a"),
      Self.member(4, zone: "b"),
    ]
    let ring = try Ring(partitionCount: 90, replicas: 2, members: two)
    try RingRules.expectSettled(ring)
    #expect(ring.loads.map(\.slots) == [30, 30, 30, 90])
    // Fewer zones than replicas: as even as it goes.
    let three = try Ring(partitionCount: 90, replicas: 3, members: two)
    try RingRules.expectSettled(three)
    #expect(three.loads.map(\.slots) == [60, 60, 60, 90])
  }

  @Test func `the order of members does not matter, nor their names`() throws {
    let random = RandomMembers(usesWeights: true, usesZones: true)
    try withSeeds(#function, count: 20) { _, generator in
      let members = random.members(3 + generator.below(8), &generator)
      let ring = try Ring(partitionCount: 64, replicas: 3, members: members)
      var shuffled = members
      shuffled.shuffle(using: &generator)
      #expect(try Ring(partitionCount: 64, replicas: 3, members: shuffled) == ring)
      let renamed = members.map {
        RingMember(id: $0.id, name: "other", weight: $0.weight, zone: $0.zone)
      }
      let other = try Ring(partitionCount: 64, replicas: 3, members: renamed)
      #expect(other.slots == ring.slots && other != ring)
    }
  }

  /// Members take what lies next to their virtual nodes: a ring with one member more gives most
  /// partitions to those that have them in the smaller ring, though nothing but the ids is shared.
  @Test func `rings of nearly the same members are nearly the same`() throws {
    let small = try Ring(partitionCount: 1024, replicas: 1, members: Self.members(9))
    let large = try Ring(partitionCount: 1024, replicas: 1, members: Self.members(10))
    let same = (0..<1024).count { small.replicas(of: $0) == large.replicas(of: $0) }
    #expect(same > 700, "\(same)")
  }

  @Test func `random rings keep all rules`() throws {
    try withSeeds(#function, count: TestSize.of(quick: 150, full: 3000)) { _, generator in
      let random = RandomMembers(
        usesWeights: generator.below(3) > 0, usesZones: generator.below(3) > 0)
      let replicas = 1 + generator.below(4)
      let members = random.members(replicas + generator.below(8), &generator)
      let partitions = 1 + generator.below(generator.below(4) == 0 ? 200 : 64)
      let ring = try Ring(partitionCount: partitions, replicas: replicas, members: members)
      try RingRules.expectSettled(ring)
      let again = try ring.plan(to: members)
      #expect(again.isEmpty && again.moves.isEmpty && again.start == ring && again.target == ring)
    }
  }

  @Test func `what no ring can be made of`() throws {
    func code(
      _ partitions: Int = 64, _ replicas: Int = 2, _ members: [RingMember] = RingTests.members(3),
      epoch: UInt64 = 1
    ) -> RingError.Code? {
      do {
        _ = try Ring(
          partitionCount: partitions, replicas: replicas, members: members, epoch: epoch)
        return nil
      } catch { return error.code }
    }
    #expect(code() == nil)
    #expect(code(0) == .partitionCount && code(-1) == .partitionCount)
    #expect(code(32_769) == .partitionCount && code(Int.max) == .partitionCount)
    #expect(code(64, 0) == .replicaCount && code(64, 33) == .replicaCount)
    #expect(code(64, 4) == .tooFewMembers && code(64, 1, []) == .tooFewMembers)
    #expect(code(64, 1, Self.members(1025)) == .tooManyMembers)
    #expect(code(64, 1, Self.members(2) + [Self.member(1, weight: 2)]) == .duplicateMember)
    for weight in [0, -1, 1001, Int.min, Int.max] {
      #expect(code(64, 1, [Self.member(1, weight: weight)]) == .weightOutOfRange)
    }
    #expect(code(64, 1, [Self.member(1, weight: 1000)]) == nil)
    #expect(code(64, 1, [Self.member(1, zone: String(repeating: "z", count: 256))]) == .nameTooLong)
    #expect(code(64, 1, [Self.member(1, zone: String(repeating: "z", count: 255))]) == nil)
    #expect(code(epoch: 1 << 62) == nil && code(epoch: (1 << 62) + 1) == .epochOutOfRange)
    do { _ = try Ring(partitionCount: 8, replicas: 3, members: Self.members(2)) } catch {
      #expect("\(error)" == "tooFewMembers: 3 replicas need as many members, and there are 2")
    }
  }
}
