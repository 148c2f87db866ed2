import RoostCluster

// Nodes that come and go while the cluster serves, as an operator has it.

extension SimulatedWorld {
  /// How many nodes there may have been, those that have left among them.
  static let mostNodes = 64

  /// A new machine asks to join, and a node is told to admit it. Its share of the partitions moves there as
  /// time passes; ``finishChange(within:)`` lets it.
  ///
  /// - Parameter node: is told.
  /// - Returns: the new node, which is up.
  /// - Throws: `DatabaseError`: `.busy` where another change is under way, and as opening a store.
  ///   ``SimulationError`` where the node is down, or 64 nodes were there already.
  @discardableResult
  public func join(through node: SimulatedNode) throws -> SimulatedNode {
    try add(1, through: node) { [.admit($0[0], weight: nil, zone: nil)] }[0]
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
    return try add(1, through: node) { [.replace(member, by: $0[0], isDead: isDead)] }[0]
  }

  /// A member gives its partitions to the others, and goes.
  ///
  /// - Throws: as ``replace(_:isDead:through:)``; `.tooManyReplicas` where too few would be left.
  public func remove(
    _ old: SimulatedNode, isDead: Bool = false, through node: SimulatedNode
  ) throws {
    try change([.remove(try member(old), isDead: isDead)], through: node)
  }

  /// Changes a member's share of the partitions, beside the others' hundred each: partitions move from it, or
  /// to it.
  ///
  /// - Parameter weight: 1 to 1000.
  /// - Throws: as ``join(through:)``, `.invalidArgument`.
  public func weigh(
    _ node: SimulatedNode, _ weight: Int, through operating: SimulatedNode
  ) throws {
    try change([.weigh(try member(node), weight)], through: operating)
  }

  /// Ends the change under way: what has moved stays where it is. Nothing happens where there is none.
  ///
  /// - Throws: as ``join(through:)``.
  public func cancelChange(through node: SimulatedNode) throws {
    _ = try running(node).changeMembers(.cancel)
  }

  private func change(_ changes: [MembersRequest.Change], through node: SimulatedNode) throws {
    let operating = try running(node)
    history.noteMembersChange()
    _ = try operating.changeMembers(MembersRequest(changes))
  }

  private func add(
    _ count: Int, through node: SimulatedNode, _ changes: ([MemberID]) -> [MembersRequest.Change]
  ) throws -> [SimulatedNode] {
    let operating = try running(node)
    guard hosts.count + count <= Self.mostNodes else {
      throw SimulationError("\(hosts.count) nodes were there already, of \(Self.mostNodes)")
    }
    history.noteMembersChange()
    let added = (0..<count).map { SimulatedHost(self, hosts.count + $0, seed: number()) }
    hosts += added
    do {
      let foundings = try added.map { try $0.founding(joins: true) }
      do {
        for founding in foundings { try founding.askToJoin() }
        _ = try operating.changeMembers(MembersRequest(changes(foundings.map(\.member))))
      } catch {
        // The node that was told may have failed right after the directory had it.
        let members = membership?.all ?? []
        guard !foundings.isEmpty, foundings.allSatisfy({ members.contains($0.member) }) else {
          for founding in foundings { founding.letGo() }
          throw error
        }
      }
      for (host, founding) in zip(added, foundings) {
        host.member = founding.member
        try host.start(founding)
      }
    } catch {
      // A machine that failed as it came stays down; those that never were the cluster's leave no trace.
      for host in added { giveUp(host) }
      if added.allSatisfy({ $0.member == nil }) { hosts.removeLast(count) }
      throw error
    }
    return added.map { SimulatedNode(index: $0.index) }
  }

  private func running(_ node: SimulatedNode) throws -> ClusterNode {
    guard let running = try host(node).node else { throw SimulationError("\(node) is down") }
    return running
  }

  private func member(_ node: SimulatedNode) throws -> MemberID {
    guard let member = try host(node).member else { throw SimulationError("\(node) was never a member") }
    return member
  }

  // MARK: - Those that are gone

  /// What the directory says of the members.
  var membership: DirectoryMembers? { try? DirectoryMembers(directory) }

  /// Counts the partitions that are another member's first of all than when this was called last: that has
  /// their transactional keys.
  func noteOwners() {
    guard hasTransactions, let now = membership?.owners else { return }
    flips += zip(owners, now).count { $0.0 != $0.1 }
    owners = now
  }

  /// Those that are up, and have a part in the cluster.
  var servingNodes: [SimulatedNode] {
    hosts.filter { $0.node?.isDismissed == false }.map { SimulatedNode(index: $0.index) }
  }

  /// A machine whose store is of no use any more.
  private func giveUp(_ host: SimulatedHost) {
    host.die(leaving: SimulatedFileSystem())
    host.isLost = true
  }

  /// Closes the nodes that are no members any more; they stay down.
  func takeOutDeparted() {
    guard let members = membership?.all else { return }
    for host in hosts where !host.isLost {
      guard let member = host.member, !members.contains(member) else { continue }
      try? host.close()
      giveUp(host)
    }
  }

  /// The members whose stores are gone for good, in the order of their hosts.
  private var lostMembers: [(member: MemberID, isStaying: Bool)] {
    guard let members = membership else { return [] }
    return hosts.compactMap { host in
      guard host.isLost, let member = host.member, members.all.contains(member) else { return nil }
      return (member, members.staying.contains(member))
    }
  }

  var hasLostMembers: Bool { !lostMembers.isEmpty }

  /// Calls the members dead whose stores are gone for good; new machines take their places where too few
  /// others would be left.
  ///
  /// - Throws: as ``replace(_:isDead:through:)``.
  func replaceLost(through node: SimulatedNode) throws {
    let lost = lostMembers
    let staying = lost.filter(\.isStaying).count
    let others = (membership?.staying.count ?? 0) - staying
    let count = min(staying, max(0, ringReplicaCount - others))
    _ = try add(count, through: node) { candidates in
      var left = candidates[...]
      return lost.map { member, isStaying in
        if isStaying, let candidate = left.popFirst() {
          return .replace(member, by: candidate, isDead: true)
        }
        return .remove(member, isDead: true)
      }
    }
  }

  // MARK: - The end of a change

  /// Lets the world run until no change of the members is under way at any node that is up. Nodes that are no
  /// members any more are closed then, and stay down.
  ///
  /// - Returns: whether it came to that in time.
  /// - Throws: ``SimulationError`` where no more events may happen.
  public func finishChange(within duration: Duration) throws -> Bool {
    try run(untilTrue: { isAtRest }, within: duration)
    guard isAtRest else { return false }
    takeOutDeparted()
    return true
  }

  private var isAtRest: Bool {
    let isQuiet = hosts.allSatisfy { host in
      guard let node = host.node, !node.isDismissed else { return true }
      return !node.changeProgress.isUnderWay
    }
    return isQuiet && membership?.isChanging != true
  }

  /// Has a change that is under way come to its end, with all else well. Where it waits for a store that is
  /// gone for good, it does what an operator would: it cancels the change, and calls the member dead.
  ///
  /// - Throws: ``SimulationError`` where it does not end, or no more events may happen.
  func settleMembers() throws {
    takeOutDeparted()
    // What moves slowly takes longer.
    let (longest, longestCancel) = isPaced ? (900, 240) : (300, 60)
    for attempt in 0..<4 {
      // Where nothing is lost, what a node waits for is brought sooner or later.
      if try finishChange(within: .seconds(attempt == 0 && hasLostMembers ? 40 : longest)) { return }
      guard attempt < 3, hasLostMembers, let node = servingNodes.first else { break }
      try cancelChange(through: node)
      try run(untilTrue: { membership?.mayBegin == true }, within: .seconds(longestCancel))
      try replaceLost(through: node)
    }
    let waits = hosts.compactMap { host -> String? in
      guard let progress = host.node?.changeProgress, !progress.waitsFor.isEmpty else { return nil }
      return "node \(host.index + 1) waits: \(progress.waitsFor)"
    }
    throw SimulationError("a change of the members does not end; " + waits.joined(separator: "; "))
  }
}
