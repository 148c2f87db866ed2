// From what each partition holds, and the members that shall be, to what it shall hold:
//
// 1. Targets: how many slots each member shall have (`SlotTargets`).
// 2. Keep what is there, as far as the zones allow (`SlotAssignment`).
// 3. Walk the paths that cost nothing: another choice of what to keep (`CheapestPaths`).
// 4. Fill and replace directly, one move each: each member below its target takes the partitions that
//    prefer it most from empty places and from members above theirs. Nothing is cheaper by now.
// 5. Walk the paths for the rest, cheapest first.
// 6. Put each list in order: who stays keeps the place, a newcomer takes that of a member that goes;
//    then the coordinators are balanced.
//
// Steps 3 to 5 are one run of successive shortest paths, so no assignment with these targets and
// zones keeps more.

/// Works out rings. Pure functions.
enum RingSolver {
  /// What each partition shall hold, in order of preference: places in `members`.
  ///
  /// - Parameters:
  ///   - members: who shall be in the ring, by rising id.
  ///   - current: what each partition holds now, `replicas` each: places in `members`, or -1 for nobody
  ///     and for those that shall go.
  ///   - keepsOrder: leaves out the balancing of the coordinators: who is in a list and stays keeps the
  ///     place.
  static func solve(
    members: [RingMember], replicas: Int, current: [Int], keepsOrder: Bool = false
  ) -> [Int] {
    let spread = ZoneSpread(members, replicas: replicas)
    let nodes = VirtualNodes(members)
    var held = Array(repeating: 0, count: members.count)
    for member in current where member >= 0 { held[member] += 1 }
    let targets = SlotTargets.targets(
      members: members, spread: spread, partitionCount: current.count / replicas, replicas: replicas,
      current: held)
    var assignment = SlotAssignment(
      replicas: replicas, current: current, spread: spread, targets: targets, nodes: nodes)
    if !isDone(assignment) {
      // Only where zones made us drop something can anything be had for nothing.
      if zip(assignment.slots, current).contains(where: { $0.0 != $0.1 }) {
        var paths = CheapestPaths(assignment)
        paths.run(upTo: 0)
        assignment = paths.assignment
      }
      fillDirectly(&assignment)
      if !isDone(assignment) {
        var paths = CheapestPaths(assignment)
        paths.run(upTo: Int.max)
        assignment = paths.assignment
      }
      precondition(isDone(assignment), "the targets cannot be met")
    }
    var lists = arranged(assignment)
    if !keepsOrder {
      CoordinatorBalance.balance(&lists, replicas: replicas, loads: assignment.held)
    }
    return lists
  }

  private static func isDone(_ assignment: SlotAssignment) -> Bool {
    assignment.held == assignment.targets
  }

  // MARK: Direct moves

  private struct Wish {
    var distance: UInt64
    var partition: Int
    var member: Int
  }

  private static func fillDirectly(_ assignment: inout SlotAssignment) {
    for wish in wishes(assignment) { grant(wish.partition, wish.member, &assignment) }
    // Whoever is left over: each empty place takes the next member that may.
    let members = assignment.targets.indices
    let nodes = assignment.nodes
    for partition in 0..<assignment.partitionCount {
      while assignment.vacancy(partition) != nil {
        let fitting = members.filter {
          assignment.missing($0) > 0 && assignment.canFill(partition, with: $0)
        }
        let distance = { nodes.distance(from: partition, to: $0) }
        guard let next = fitting.min(by: { distance($0) < distance($1) }) else { break }
        assignment.fill(partition, with: next)
      }
    }
  }

  /// What the members below their targets would like, the most preferred first: each names a few times
  /// as many partitions as it lacks, the nearest.
  private static func wishes(_ assignment: SlotAssignment) -> [Wish] {
    var wishes: [Wish] = []
    for member in assignment.targets.indices where assignment.missing(member) > 0 {
      var own: [Wish] = []
      for partition in 0..<assignment.partitionCount where !assignment.holds(partition, member) {
        let isUseful =
          assignment.vacancy(partition) != nil
          || assignment.places(of: partition).contains {
            assignment.missing(assignment.slots[$0]) < 0
          }
        guard isUseful else { continue }
        let distance = assignment.nodes.distance(from: partition, to: member)
        own.append(Wish(distance: distance, partition: partition, member: member))
      }
      own.sort { ($0.distance, $0.partition) < ($1.distance, $1.partition) }
      wishes += own.prefix(4 * assignment.missing(member) + 16)
    }
    return wishes.sorted {
      ($0.distance, $0.partition, $0.member) < ($1.distance, $1.partition, $1.member)
    }
  }

  private static func grant(_ partition: Int, _ member: Int, _ assignment: inout SlotAssignment) {
    guard assignment.missing(member) > 0 else { return }
    if assignment.vacancy(partition) != nil {
      if assignment.canFill(partition, with: member) { assignment.fill(partition, with: member) }
      return
    }
    let holders = assignment.places(of: partition).map { assignment.slots[$0] }
    let givers = holders.filter {
      assignment.missing($0) < 0 && assignment.canReplace(partition, $0, with: member)
    }
    // Who has most to give.
    guard
      let giver = givers.min(by: { (assignment.missing($0), $0) < (assignment.missing($1), $1) })
    else { return }
    assignment.replace(partition, giver, with: member)
  }

  // MARK: Order

  /// The lists with those that stay at their places, and new ones at the places of those that go.
  private static func arranged(_ assignment: SlotAssignment) -> [Int] {
    var lists = assignment.current
    for partition in 0..<assignment.partitionCount {
      let places = assignment.places(of: partition)
      let wanted = places.map { assignment.slots[$0] }
      var new = wanted.filter { assignment.cost(partition, $0) == 1 }
      // The nearest first.
      let distance = { assignment.nodes.distance(from: partition, to: $0) }
      new.sort { (distance($0), $0) < (distance($1), $1) }
      let vacant = places.filter { lists[$0] < 0 || !wanted.contains(lists[$0]) }
      for (place, member) in zip(vacant, new) { lists[place] = member }
    }
    return lists
  }
}
