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
  /// - Parameter current: slots that each member has now: of equal remainders, those are rounded up that
  ///   have a slot more already, so that the least moves.
  static func targets(
    members: [RingMember], spread: ZoneSpread, partitionCount: Int, replicas: Int, current: [Int]
  ) -> [Int] {
    let quotas = quotas(members, spread, partitionCount, replicas)
    var byZone = Array(repeating: [Int](), count: spread.zoneCount)
    for (member, zone) in spread.zone.enumerated() { byZone[zone].append(member) }
    // Slots that a member has beyond its quota rounded down: where there are any, rounding up keeps one
    // of them.
    let excess = quotas.indices.map { current[$0] - quotas[$0].floor }

    // Each zone's members in the order in which they are rounded up, and who of them is the first not
    // to be where the zone is rounded down.
    let orders = byZone.map { $0.sorted { isRoundedUp(quotas, excess, $0, before: $1) } }
    let sums = byZone.map { Quota.sum($0.map { quotas[$0] }) }
    let next = sums.indices.map { zone in
      let ups = sums[zone].floor - byZone[zone].reduce(0) { $0 + quotas[$1].floor }
      return ups < orders[zone].count ? excess[orders[zone][ups]] : 0
    }
    let zoneOrder = sums.indices.sorted { isRoundedUp(sums, next, $0, before: $1) }
    let zoneTotals = rounded(sums, to: partitionCount * replicas, in: zoneOrder)
    var targets = Array(repeating: 0, count: members.count)
    for (zone, inside) in byZone.enumerated() {
      let rounded = rounded(quotas, to: zoneTotals[zone], in: orders[zone])
      for member in inside { targets[member] = rounded[member] }
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

  /// Whether `a` is rounded up rather than `b`: the larger remainder; of equal ones the larger excess;
  /// then the lower place.
  private static func isRoundedUp(_ quotas: [Quota], _ excess: [Int], _ a: Int, before b: Int) -> Bool {
    // a / c > b / d, in whole numbers.
    let left = quotas[a].remainder * quotas[b].denominator
    let right = quotas[b].remainder * quotas[a].denominator
    if left != right { return left > right }
    return excess[a] != excess[b] ? excess[a] > excess[b] : a < b
  }

  /// The quotas rounded down, but up for the first in `order`, so that those in `order` sum up to
  /// `total`.
  private static func rounded(_ quotas: [Quota], to total: Int, in order: [Int]) -> [Int] {
    var result = quotas.map(\.floor)
    let missing = total - order.reduce(0) { $0 + result[$1] }
    precondition(missing >= 0 && missing <= order.count { quotas[$0].remainder > 0 })
    for place in order.prefix(missing) { result[place] += 1 }
    return result
  }
}
