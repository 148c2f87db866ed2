import RoostEnvironment
import TestSupport
import Testing

@testable import RoostCluster

/// What a ring promises, checked by other means than the ring uses.
enum RingRules {
  static func expectDistinct(_ ring: Ring) throws {
    for partition in 0..<ring.partitionCount {
      let list = ring.replicas(of: partition)
      try #require(list.count == ring.replicas && Set(list).count == list.count, "\(partition): \(list)")
      try #require(list.allSatisfy { ring.member($0) != nil })
    }
  }

  /// All that holds of a ring that no plan is changing.
  static func expectSettled(_ ring: Ring) throws {
    try expectDistinct(ring)
    try #require(ring.leaving.isEmpty && ring.staying == ring.members)
    try expectSpread(ring)
    try expectBalance(ring)
    try expectCoordinators(ring)
  }

  /// The zone of each member; those without one have their own.
  static func zones(_ members: [RingMember]) -> [MemberID: String] {
    Dictionary(
      uniqueKeysWithValues: members.map { ($0.id, $0.zone.isEmpty ? "own \($0.id)" : $0.zone) })
  }

  /// No zone has two replicas more than another that could take one of them.
  static func expectSpread(_ ring: Ring) throws {
    let zone = zones(ring.members)
    var sizes: [String: Int] = [:]
    for name in zone.values { sizes[name, default: 0] += 1 }
    for partition in 0..<ring.partitionCount {
      var counts = sizes.mapValues { _ in 0 }
      for id in ring.replicas(of: partition) { counts[zone[id]!]! += 1 }
      let most = counts.values.max()!
      for (name, count) in counts {
        try #require(
          most <= count + 1 || count == sizes[name], "\(partition) has \(counts) of \(sizes)")
      }
      try #require(counts.values.count { $0 > 0 } == min(ring.replicas, sizes.count))
    }
  }

  /// Each member has its quota, rounded up or down.
  static func expectBalance(_ ring: Ring) throws {
    let quotas = quotas(ring)
    for (member, load) in zip(ring.members, ring.loads) {
      let quota = quotas[member.id]!
      let difference = abs(Double(load.slots) - quota)
      // A whole quota, found by bisection, is a little beside itself.
      let isWhole = abs(quota - quota.rounded()) < 1e-6
      try #require(
        isWhole ? difference < 1e-6 : difference < 1, "\(member) has \(load.slots) of \(quota)")
    }
  }

  static func expectCoordinators(_ ring: Ring) throws {
    for (member, load) in zip(ring.members, ring.loads) {
      let least = load.slots / ring.replicas
      let most = (load.slots + ring.replicas - 1) / ring.replicas
      try #require(least <= load.coordinated && load.coordinated <= most, "\(member): \(load)")
    }
  }

  /// The share of each member by weight within the limits of zones, found by bisection: the level λ at
  /// which everybody has the smaller of λ times the weight and one replica of everything, each zone
  /// kept within its limits.
  static func quotas(_ ring: Ring) -> [MemberID: Double] {
    let count = Double(ring.partitionCount)
    let zone = zones(ring.members)
    let groups = Dictionary(grouping: ring.members) { zone[$0.id]! }
    // Replicas that a zone has of each partition at least and at most: all equally many, but for those
    // that have not enough members.
    var level = 0
    while groups.values.reduce(0, { $0 + min($1.count, level) }) < ring.replicas { level += 1 }

    func sum(_ members: [RingMember], _ level: Double) -> Double {
      members.reduce(0) { $0 + min(count, Double($1.weight) * level) }
    }
    func bounded(_ members: [RingMember], _ lambda: Double) -> Double {
      let least = Double(min(members.count, level - 1)) * count
      let most = Double(min(members.count, level)) * count
      return min(max(sum(members, lambda), least), most)
    }
    func bisect(_ total: Double, _ value: (Double) -> Double) -> Double {
      var low = 0.0
      var high = 2 * count
      for _ in 0..<200 {
        let middle = (low + high) / 2
        if value(middle) < total { low = middle } else { high = middle }
      }
      return high
    }
    let all = bisect(count * Double(ring.replicas)) { lambda in
      groups.values.reduce(0) { $0 + bounded($1, lambda) }
    }
    var result: [MemberID: Double] = [:]
    for members in groups.values {
      let own = bisect(bounded(members, all)) { sum(members, $0) }
      for member in members { result[member.id] = min(count, Double(member.weight) * own) }
    }
    return result
  }
}

/// Random members and changes of them.
struct RandomMembers {
  var usesWeights: Bool
  var usesZones: Bool

  func member(_ random: inout SplitMix64) -> RingMember {
    let id = MemberID(rawValue: random.next())
    return RingMember(id: id, name: "m\(id)", weight: weight(&random), zone: zone(&random))
  }

  func members(_ count: Int, _ random: inout SplitMix64) -> [RingMember] {
    (0..<count).map { _ in member(&random) }
  }

  /// Some join, some leave, some change; at least `least` stay.
  func changed(_ members: [RingMember], least: Int, _ random: inout SplitMix64) -> [RingMember] {
    var result = members
    for _ in 0..<1 + random.below(3) {
      switch random.below(usesWeights || usesZones ? 3 : 2) {
      case 0: result.append(member(&random))
      case 1 where result.count > least: result.remove(at: random.below(result.count))
      default:
        let index = random.below(result.count)
        result[index].weight = weight(&random)
        result[index].zone = zone(&random)
      }
    }
    return result
  }

  private func weight(_ random: inout SplitMix64) -> Int {
    guard usesWeights else { return 1 }
    return random.below(4) == 0 ? 1 + random.below(1000) : 1 + random.below(4)
  }

  private func zone(_ random: inout SplitMix64) -> String {
    guard usesZones else { return "" }
    return ["", "a", "b", "c", "d"][random.below(5)]
  }
}
