// Successive shortest paths (Ahuja, Magnanti, Orlin: Network Flows, 1993, section 9.7), on members
// instead of on all nodes of the network:
//
// 1. A path begins where there is a unit too many: at a member above its target, or at a partition
//    with an empty place. It ends at a member below its target.
// 2. A step from member x to member y replaces x by y in some partition. It costs what y costs there
//    less what x costs there: -1, 0 or 1.
// 3. The cheapest path, of the cheapest that with the fewest steps, is walked: its steps are done.
//
// The flow stays the cheapest of its value if it was so at the beginning, and paths never get cheaper
// again. Of the cheapest paths one with the fewest steps changes no partition in two ways that need
// each other: a shortcut through that partition would be as cheap.

/// Finds the cheapest way to bring all members to their targets, path by path.
///
/// `steps` counts the possible steps between all members by cost, so that a search looks at members
/// only. It follows every change of the assignment. Not thread-safe.
struct CheapestPaths {
  var assignment: SlotAssignment
  private let memberCount: Int
  /// By cost + 1, from, to: how many partitions allow that step.
  private var steps: [[Int32]]
  /// Partitions with an empty place.
  private var incomplete: [Int]

  /// A path's label is its cost, shifted by so many bits, plus its steps, of which there are fewer than
  /// members.
  private static let unitBits = 12

  init(_ assignment: SlotAssignment) {
    self.assignment = assignment
    memberCount = assignment.targets.count
    steps = Array(repeating: Array(repeating: 0, count: memberCount * memberCount), count: 3)
    incomplete = (0..<assignment.partitionCount).filter { assignment.vacancy($0) != nil }
    for partition in 0..<assignment.partitionCount { count(partition, 1) }
  }

  /// Walks cheapest paths until none costs `limit` or less.
  mutating func run(upTo limit: Int) {
    while let path = cheapestPath(), path.cost <= limit { walk(path) }
  }

  // MARK: Searching

  private struct Path {
    var cost: Int
    /// The partition that is filled first, if the path begins at one.
    var partition: Int?
    var members: [Int]
  }

  private func cheapestPath() -> Path? {
    var label = Array(repeating: Int.max, count: memberCount)
    var before = Array(repeating: -1, count: memberCount)
    var partition: [Int?] = Array(repeating: nil, count: memberCount)
    var queue: [Int] = []
    var isQueued = Array(repeating: false, count: memberCount)
    for member in 0..<memberCount where assignment.missing(member) < 0 { label[member] = 0 }
    for candidate in incomplete {
      for member in 0..<memberCount where assignment.canFill(candidate, with: member) {
        let cost = (assignment.cost(candidate, member) << Self.unitBits) + 1
        if cost < label[member] {
          label[member] = cost
          partition[member] = candidate
        }
      }
    }
    for member in 0..<memberCount where label[member] < Int.max {
      queue.append(member)
      isQueued[member] = true
    }
    var next = 0
    while next < queue.count {
      let from = queue[next]
      next += 1
      isQueued[from] = false
      for to in 0..<memberCount {
        guard let cost = cost(from, to) else { continue }
        let through = label[from] + (cost << Self.unitBits) + 1
        if through < label[to] {
          label[to] = through
          before[to] = from
          partition[to] = nil
          if !isQueued[to] {
            queue.append(to)
            isQueued[to] = true
          }
        }
      }
    }
    let ends = (0..<memberCount).filter { assignment.missing($0) > 0 && label[$0] < Int.max }
    guard let end = ends.min(by: { (label[$0], $0) < (label[$1], $1) }) else { return nil }
    var members = [end]
    while before[members[members.count - 1]] >= 0 { members.append(before[members[members.count - 1]]) }
    let start = members[members.count - 1]
    return Path(cost: label[end] >> Self.unitBits, partition: partition[start], members: members.reversed())
  }

  /// The least that a step costs; `nil` where there is none.
  private func cost(_ from: Int, _ to: Int) -> Int? {
    let place = from &* memberCount &+ to
    return (0..<3).first { steps[$0][place] > 0 }.map { $0 - 1 }
  }

  // MARK: Walking

  private mutating func walk(_ path: Path) {
    // Decided before anything changes.
    let costs = zip(path.members, path.members.dropFirst()).map { cost($0, $1) ?? 1 }
    if let partition = path.partition {
      change(partition) { $0.fill(partition, with: path.members[0]) }
      incomplete.removeAll { $0 == partition && assignment.vacancy($0) == nil }
    }
    for (step, cost) in costs.enumerated() {
      let from = path.members[step]
      let to = path.members[step + 1]
      guard let partition = partition(from, to, cost) else {
        preconditionFailure("no partition allows the step that was found")
      }
      change(partition) { $0.replace(partition, from, with: to) }
    }
  }

  /// Of the partitions that allow a step at that cost the one that prefers the new member most.
  private func partition(_ from: Int, _ to: Int, _ cost: Int) -> Int? {
    var best: (distance: UInt64, partition: Int)?
    for partition in 0..<assignment.partitionCount where assignment.holds(partition, from) {
      guard assignment.canReplace(partition, from, with: to),
        assignment.cost(partition, to) - assignment.cost(partition, from) == cost
      else { continue }
      let distance = assignment.nodes.distance(from: partition, to: to)
      if best.map({ distance < $0.distance }) ?? true { best = (distance, partition) }
    }
    return best?.partition
  }

  private mutating func change(_ partition: Int, _ body: (inout SlotAssignment) -> Void) {
    count(partition, -1)
    body(&assignment)
    count(partition, 1)
  }

  /// Adds the steps that a partition allows, or takes them away.
  private mutating func count(_ partition: Int, _ sign: Int32) {
    for place in assignment.places(of: partition) {
      let from = assignment.slots[place]
      if from < 0 { continue }
      let cost = assignment.cost(partition, from)
      for to in 0..<memberCount where assignment.canReplace(partition, from, with: to) {
        steps[assignment.cost(partition, to) - cost + 1][from &* memberCount &+ to] += sign
      }
    }
  }
}
