/// Which members hold which partition while that is being worked out: the flow of a network.
///
/// Each partition sends one unit for each replica. In each zone it has places that it must fill,
/// `spread.least`, and one more where `spread.most` is larger, of which it fills `spread.free` in all.
/// Each place takes one unit to a member of the zone, no two to the same, and each member takes as
/// many units as its target says. A unit costs nothing where the member holds the partition already,
/// and 1, a move, elsewhere.
///
/// Not thread-safe; one solver owns it.
struct SlotAssignment {
  let replicas: Int
  let partitionCount: Int
  let spread: ZoneSpread
  let targets: [Int]
  let nodes: VirtualNodes
  /// What each partition holds as things are: places of members, or -1.
  let current: [Int]
  /// What each partition shall hold, in no order; -1 where that is not found yet.
  private(set) var slots: [Int]
  /// Slots that each member holds in `slots`.
  private(set) var held: [Int]

  /// Keeps of `current` what the zones allow.
  init(
    replicas: Int, current: [Int], spread: ZoneSpread, targets: [Int], nodes: VirtualNodes
  ) {
    self.replicas = replicas
    partitionCount = current.count / replicas
    self.spread = spread
    self.targets = targets
    self.nodes = nodes
    self.current = current
    slots = Array(repeating: -1, count: current.count)
    held = Array(repeating: 0, count: targets.count)
    for partition in 0..<partitionCount {
      for place in places(of: partition) where current[place] >= 0 {
        if canFill(partition, with: current[place]) { set(place, current[place]) }
      }
    }
  }

  @inline(__always)
  func places(of partition: Int) -> Range<Int> {
    partition &* replicas..<(partition &+ 1) &* replicas
  }

  func missing(_ member: Int) -> Int { targets[member] - held[member] }

  func holds(_ partition: Int, _ member: Int) -> Bool {
    places(of: partition).contains { slots[$0] == member }
  }

  /// What it costs that the member holds the partition.
  func cost(_ partition: Int, _ member: Int) -> Int {
    places(of: partition).contains { current[$0] == member } ? 0 : 1
  }

  /// Members of a zone that hold the partition.
  func count(_ partition: Int, inZone zone: Int) -> Int {
    places(of: partition).count { slots[$0] >= 0 && spread.zone[slots[$0]] == zone }
  }

  func vacancy(_ partition: Int) -> Int? { places(of: partition).first { slots[$0] < 0 } }

  /// Whether the member may take an empty place of the partition, if there is one.
  func canFill(_ partition: Int, with member: Int) -> Bool {
    if holds(partition, member) { return false }
    let zone = spread.zone[member]
    let inZone = count(partition, inZone: zone)
    if inZone < spread.least[zone] { return true }
    if inZone >= spread.most[zone] { return false }
    // One of the free units: those in use stand above what their zone has at least.
    var used = 0
    for place in places(of: partition) where slots[place] >= 0 {
      let other = spread.zone[slots[place]]
      // Counted at the first member of each zone.
      if places(of: partition).first(where: { slots[$0] >= 0 && spread.zone[slots[$0]] == other })
        == place
      {
        used += max(0, count(partition, inZone: other) - spread.least[other])
      }
    }
    return used < spread.free
  }

  /// Whether `member`, which does not hold the partition, may take the place of `old`, which does.
  func canReplace(_ partition: Int, _ old: Int, with member: Int) -> Bool {
    if holds(partition, member) { return false }
    let from = spread.zone[old]
    let to = spread.zone[member]
    if from == to { return true }
    return count(partition, inZone: from) > spread.least[from]
      && count(partition, inZone: to) < spread.most[to]
  }

  mutating func fill(_ partition: Int, with member: Int) {
    guard let place = vacancy(partition), canFill(partition, with: member) else {
      preconditionFailure("no room for member \(member) in partition \(partition)")
    }
    set(place, member)
  }

  mutating func replace(_ partition: Int, _ old: Int, with member: Int) {
    guard canReplace(partition, old, with: member),
      let place = places(of: partition).first(where: { slots[$0] == old })
    else { preconditionFailure("member \(member) cannot replace \(old) in partition \(partition)") }
    held[old] -= 1
    slots[place] = -1
    set(place, member)
  }

  private mutating func set(_ place: Int, _ member: Int) {
    slots[place] = member
    held[member] += 1
  }
}
