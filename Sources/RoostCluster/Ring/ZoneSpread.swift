/// How a partition's replicas spread over the zones: how many each zone must and may have of every
/// partition.
///
/// Filled level by level: every zone gets one replica before any gets a second, as long as it has
/// members for it. With L the level at which the replicas run out, a zone of n members has at least
/// min(n, L - 1) and at most min(n, L) of each partition. Where there are as many zones as replicas,
/// that is none or one.
///
/// Members that name no zone are a zone each.
struct ZoneSpread {
  /// Each member's zone, by its place.
  let zone: [Int]
  /// By zone: replicas of each partition that it has at least and at most. The two differ by 0 or 1.
  let least: [Int]
  let most: [Int]
  /// Replicas of a partition beyond what all zones have at least.
  let free: Int

  var zoneCount: Int { least.count }

  init(_ members: [RingMember], replicas: Int) {
    var known: [String: Int] = [:]
    var sizes: [Int] = []
    zone = members.map { member in
      if !member.zone.isEmpty, let zone = known[member.zone] {
        sizes[zone] += 1
        return zone
      }
      if !member.zone.isEmpty { known[member.zone] = sizes.count }
      sizes.append(1)
      return sizes.count - 1
    }
    var level = 1
    while sizes.reduce(0, { $0 + min($1, level) }) < replicas { level += 1 }
    least = sizes.map { min($0, level - 1) }
    most = sizes.map { min($0, level) }
    free = replicas - least.reduce(0, +)
  }
}
