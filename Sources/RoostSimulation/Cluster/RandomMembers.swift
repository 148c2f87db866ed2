import RoostCluster

/// Has the members of a cluster change at random, one change at a time: nodes join, leave, are weighed anew,
/// are replaced, also those whose disk was lost. Now and then a change is cancelled, or who gives or gets a
/// partition goes down in the middle. Used by one thread.
///
/// Once there were transactions nobody is replaced: for a member that is dead the cluster refuses that, since
/// it alone has keys of theirs, and of one that lives it is a join and a leave.
final class RandomMembers: @unchecked Sendable {
  private unowned let world: SimulatedWorld
  /// How many members are to stay at least, and at most.
  private let limits: ClosedRange<Int>
  /// Has a node go down, where that is among what may go wrong.
  private let strike: (SimulatedNode) throws -> Void

  init(_ world: SimulatedWorld, strike: @escaping (SimulatedNode) throws -> Void) {
    self.world = world
    self.strike = strike
    let least = max(1, world.ringReplicaCount)
    limits = least...max(least, world.hosts.count) + 2
  }

  /// Looks how far the change is, and begins one where there is none.
  ///
  /// - Throws: what was not to be, for now: too few are up, say.
  func step() throws {
    world.takeOutDeparted()
    world.noteOwners()
    let nodes = world.servingNodes
    guard let members = world.membership, !nodes.isEmpty else { return }
    let operating = nodes[world.below(nodes.count)]
    if members.isChanging { try meddle(members, operating) } else { try begin(members, operating) }
  }

  private func meddle(_ members: DirectoryMembers, _ operating: SimulatedNode) throws {
    // Without an operator a change waits for a lost disk for ever.
    let hasLost = world.hasLostMembers
    if hasLost, members.mayBegin { return try world.replaceLost(through: operating) }
    if !members.isCancelled, world.below(hasLost ? 4 : 25) == 0 {
      return try world.cancelChange(through: operating)
    }
    guard !members.moves.isEmpty, world.below(3) == 0 else { return }
    let move = members.moves[world.below(members.moves.count)]
    let member = world.below(2) == 0 ? move.from : move.to
    if let host = world.hosts.first(where: { $0.member == member && $0.process != nil }) {
      try strike(world.nodes[host.index])
    }
  }

  private func begin(_ members: DirectoryMembers, _ operating: SimulatedNode) throws {
    if world.hasLostMembers { return try world.replaceLost(through: operating) }
    let staying = world.hosts.filter { host in host.member.map(members.staying.contains) == true }
    guard !staying.isEmpty else { return }
    let node = world.nodes[staying[world.below(staying.count)].index]
    switch world.below(8) {
    case 0...2 where staying.count < limits.upperBound: try world.join(through: operating)
    case 0...3 where staying.count > limits.lowerBound: try world.remove(node, through: operating)
    case 4 where !world.hasTransactions: try world.replace(node, through: operating)
    default: try world.weigh(node, 20 + world.below(300), through: operating)
    }
  }
}
