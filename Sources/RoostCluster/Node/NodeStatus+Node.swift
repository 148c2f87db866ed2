import RoostCausality

extension ClusterNode {
  /// What this node knows of itself and of the cluster.
  package var status: NodeStatus {
    let ring = core.ring
    let now = now
    var shares: [MemberID: Int] = [:]
    for partition in 0..<ring.partitionCount {
      for member in ring.replicas(of: partition) { shares[member, default: 0] += 1 }
    }
    let members = ring.members.map { member in
      NodeStatus.Member(
        id: member.id, name: member.name, address: peers.entry(of: member.id)?.address.description ?? "",
        zone: member.zone, weight: member.weight, partitions: shares[member.id] ?? 0,
        state: state(of: member.id, at: now))
    }
    let kept = hints.statistics
    var counted = NodeStatus.Counters()
    counted.hints = UInt64(kept.hints.values.reduce(0, +))
    counted.hintBytes = UInt64(kept.bytes)
    counted.hintsRefused = kept.refused
    counted.hintsHandedOver = kept.handedOver
    counted.repairedByReads = counters.repairs.load(ordering: .relaxed)
    counted.writes = counters.writes.load(ordering: .relaxed)
    counted.reads = counters.reads.load(ordering: .relaxed)
    counted.indeterminateWrites = counters.indeterminateWrites.load(ordering: .relaxed)
    counted.unavailableReads = counters.unavailableReads.load(ordering: .relaxed)
    var status = NodeStatus(
      cluster: options.cluster, database: core.id, epoch: ring.epoch, partitionCount: ring.partitionCount,
      replicas: ring.replicas, members: members,
      keyspaces: core.keyspaceEntries.map {
        NodeStatus.Keyspace(
          name: $0.name, kind: $0.kind, replicas: $0.hasFewerReplicas ? $0.replicas : nil,
          quorums: $0.quorums)
      },
      counters: counted, lastPass: lastPass)
    status.change = changeProgress
    return status
  }

  private func state(of member: MemberID, at nanoseconds: UInt64) -> NodeStatus.Member.State {
    if member == local.id { return .this }
    return peers.isSuspected(member, at: nanoseconds) ? .unreachable : .reachable
  }
}
