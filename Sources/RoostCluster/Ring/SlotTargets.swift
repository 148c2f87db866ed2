// 1. Each member's quota, a fraction, is its weight's share of all slots, but no member has more than
//    one slot of a partition, and no zone fewer or more than its spread says. What a limit takes or
//    gives is shared by weight among the members that no limit holds.
// 2. Quotas are rounded: first the sums of the zones, each up or down, then within each zone its
//    members, each up or down. The largest remainders are rounded up. A member's own rounding never
//    goes past the next whole number either way, and limits, being whole numbers, still hold.
//
// The quotas are found as flexible lengths are in CSS: share out; where the limits that were
// overstepped ask for more than they give back, fix the zones that have too little, else those that
// have too much; share the rest out again.

/// How many slots each member should have. Pure functions.
enum SlotTargets {
  /// The number of slots of each member; their sum is `partitionCount` times the replicas.
  ///
  /// - Parameters:
  ///   - current: slots that each member has now: of equal remainders, who has more is rounded up, so
  ///     that the least moves.
  ///   - tie: decides where these are equal too.
  static func targets(
    members: [RingMember], spread: ZoneSpread, partitionCount: Int, replicas: Int, current: [Int]
  ) -> [Int] {
    let quotas = quotas(members, spread, partitionCount, replicas)
    var byZone = Array(repeating: [Int](), count: spread.zoneCount)
    for (member, zone) in spread.zone.enumerated() { byZone[zone].append(member) }

    let sums = byZone.map { Quota.sum($0.map { quotas[$0] }) }
    let held = byZone.map { $0.reduce(0) { $0 + current[$1] } }
    let zoneTotals = rounded(sums, to: partitionCount * replicas) { a, b in
      // Slots above the floor, not in all: zones differ in size.
      (held[a] - sums[a].floor, b) > (held[b] - sums[b].floor, a)
    }
    var targets = Array(repeating: 0, count: members.count)
    for (zone, inside) in byZone.enumerated() {
      let rounded = rounded(inside.map { quotas[$0] }, to: zoneTotals[zone]) { a, b in
        let excess = { (place: Int) in current[inside[place]] - quotas[inside[place]].floor }
        return (excess(a), b) > (excess(b), a)
      }
      for (member, target) in zip(inside, rounded) { targets[member] = target }
    }
    return targets
  }

  /// A fraction of slots, exactly.
  struct Quota {
    var numerator: Int
    var denominator: Int

    var floor: Int { numerator / denominator }
    var remainder: Int { numerator % denominator }

    /// The members of a zone share a denominator, but for those at their limit, which have 1.
    static func sum(_ quotas: [Quota]) -> Quota {
      let denominator = quotas.reduce(1) { max($0, $1.denominator) }
      let numerator = quotas.reduce(0) {
        $0 + ($1.denominator == denominator ? $1.numerator : $1.numerator * denominator)
      }
      return Quota(numerator: numerator, denominator: denominator)
    }

    static func < (a: Quota, whole: Int) -> Bool { a.numerator < whole * a.denominator }
    static func > (a: Quota, whole: Int) -> Bool { a.numerator > whole * a.denominator }
  }

  private static func quotas(
    _ members: [RingMember], _ spread: ZoneSpread, _ partitionCount: Int, _ replicas: Int
  ) -> [Quota] {
    var quotas = Array(repeating: Quota(numerator: 0, denominator: 1), count: members.count)
    var open = Set(0..<spread.zoneCount)
    var total = partitionCount * replicas
    while !open.isEmpty {
      let pool = members.indices.filter { open.contains(spread.zone[$0]) }
      for (member, quota) in zip(pool, shares(pool.map { members[$0].weight }, total, partitionCount)) {
        quotas[member] = quota
      }
      // Which zones have too little or too much, and by how much in all.
      var low: [Int] = []
      var high: [Int] = []
      var balance = 0.0
      for zone in open.sorted() {
        let sum = Quota.sum(pool.filter { spread.zone[$0] == zone }.map { quotas[$0] })
        let least = spread.least[zone] * partitionCount
        let most = spread.most[zone] * partitionCount
        let value = Double(sum.numerator) / Double(sum.denominator)
        if sum < least {
          low.append(zone)
          balance += Double(least) - value
        } else if sum > most {
          high.append(zone)
          balance += Double(most) - value
        }
      }
      if low.isEmpty && high.isEmpty { break }
      let isLow = high.isEmpty || (balance >= 0 && !low.isEmpty)
      for zone in isLow ? low : high {
        let bound = (isLow ? spread.least[zone] : spread.most[zone]) * partitionCount
        let inside = pool.filter { spread.zone[$0] == zone }
        for (member, quota) in zip(inside, shares(inside.map { members[$0].weight }, bound, partitionCount)) {
          quotas[member] = quota
        }
        open.remove(zone)
        total -= bound
      }
    }
    return quotas
  }

  /// A total shared out by weight, none getting more than `limit`.
  private static func shares(_ weights: [Int], _ total: Int, _ limit: Int) -> [Quota] {
    var shares = Array(repeating: Quota(numerator: limit, denominator: 1), count: weights.count)
    var open = Array(weights.indices)
    var rest = total
    while !open.isEmpty {
      let sum = open.reduce(0) { $0 + weights[$1] }
      let below = open.filter { weights[$0] * rest < limit * sum }
      if below.count == open.count {
        for place in open { shares[place] = Quota(numerator: weights[place] * rest, denominator: sum) }
        break
      }
      rest -= limit * (open.count - below.count)
      open = below
    }
    return shares
  }

  /// The quotas rounded up or down, so that they sum up to `total`: up the largest remainders, of equal
  /// ones those that `first` puts first.
  private static func rounded(
    _ quotas: [Quota], to total: Int, first: (Int, Int) -> Bool
  ) -> [Int] {
    var result = quotas.map(\.floor)
    let missing = total - result.reduce(0, +)
    // By a / b > c / d, in whole numbers; a whole quota is never rounded up.
    let order = quotas.indices.filter { quotas[$0].remainder > 0 }.sorted { a, b in
      let left = quotas[a].remainder * quotas[b].denominator
      let right = quotas[b].remainder * quotas[a].denominator
      return left != right ? left > right : first(a, b)
    }
    for place in order.prefix(missing) { result[place] += 1 }
    return result
  }
}
