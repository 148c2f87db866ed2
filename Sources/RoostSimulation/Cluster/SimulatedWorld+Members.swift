import RoostCluster

// Nodes that come and go while the cluster serves, as an operator has it.

extension SimulatedWorld {
  /// A new machine asks to join, and a node is told to admit it. Its share of the partitions moves there as
  /// time passes; ``finishChange(within:)`` lets it.
  ///
  /// - Parameter node: is told.
  /// - Returns: the new node, which is up.
  /// - Throws: `DatabaseError`: `.busy` where another change is under way, and as opening a store.
  ///   ``SimulationError`` where the node is down, or 64 nodes were there already.
  @discardableResult
  public func join(through node: SimulatedNode) throws -> SimulatedNode {
    try add(through: node) { .admit($0, weight: nil, zone: nil) }
  }

  /// A new machine takes the place of a member.
  ///
  /// - Parameters:
  ///   - old: the member.
  ///   - isDead: its store is gone for good: the others bring what it had.
  ///   - node: is told.
  /// - Throws: as ``join(through:)``; `.invalidArgument` where a member is called dead that seems to be
  ///   there: it takes some seconds until it is missed.
  @discardableResult
  public func replace(
    _ old: SimulatedNode, isDead: Bool = false, through node: SimulatedNode
  ) throws -> SimulatedNode {
    let member = try member(old)
    return try add(through: node) { .replace(member, by: $0, isDead: isDead) }
  }

  /// A member gives its partitions to the others, and goes.
  ///
  /// - Throws: as ``replace(_:isDead:through:)``; `.tooManyReplicas` where too few would be left.
  public func remove(
    _ old: SimulatedNode, isDead: Bool = false, through node: SimulatedNode
  ) throws {
    _ = try running(node).changeMembers(MembersRequest([.remove(try member(old), isDead: isDead)]))
  }

  /// Lets the world run until no change of the members is under way at any node that is up. Nodes that are no
  /// members any more are closed then, and stay down.
  ///
  /// - Returns: whether it came to that in time.
  /// - Throws: ``SimulationError`` where no more events may happen; what closing a store throws.
  public func finishChange(within duration: Duration) throws -> Bool {
    try run(untilTrue: { isAtRest }, within: duration)
    guard isAtRest, let ring = hosts.lazy.compactMap(\.node).first(where: { !$0.isDismissed })?.core.ring
    else { return false }
    for host in hosts {
      guard let member = host.member, ring.member(member) == nil else { continue }
      try host.close()
      host.isLost = true
    }
    return true
  }

  private var isAtRest: Bool {
    hosts.allSatisfy { host in
      guard let node = host.node, !node.isDismissed else { return true }
      return !node.changeProgress.isUnderWay
    }
  }

  private func add(
    through node: SimulatedNode, _ change: (MemberID) -> MembersRequest.Change
  ) throws -> SimulatedNode {
    let operating = try running(node)
    guard hosts.count < 64 else { throw SimulationError("64 nodes are there already") }
    let host = SimulatedHost(self, hosts.count, seed: number())
    hosts.append(host)
    // A hint counts for a write from now on, and a read does not ask who keeps it.
    history.checksReads = false
    do {
      let founding = try host.founding(joins: true)
      do {
        try founding.askToJoin()
        _ = try operating.changeMembers(MembersRequest([change(founding.member)]))
      } catch {
        founding.letGo()
        throw error
      }
      try host.start(founding)
    } catch {
      // It was never one of the cluster's, or its machine failed as it came: it stays down.
      host.die(leaving: SimulatedFileSystem())
      host.isLost = true
      throw error
    }
    return SimulatedNode(index: host.index)
  }

  private func running(_ node: SimulatedNode) throws -> ClusterNode {
    guard let running = try host(node).node else { throw SimulationError("\(node) is down") }
    return running
  }

  private func member(_ node: SimulatedNode) throws -> MemberID {
    guard let member = try host(node).member else { throw SimulationError("\(node) was never a member") }
    return member
  }
}
