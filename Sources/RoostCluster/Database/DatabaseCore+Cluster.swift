import RoostCausality
import RoostStorage

// A node's part of a database whose ring changes by its cluster's directory: this process has one of the
// stores, and takes over what was decided.

extension DatabaseCore {
  /// Takes over a ring state of the cluster: durable here first, then for all writers at once.
  ///
  /// A store that gets a partition which it may have had before takes a new incarnation first (interleaving
  /// 2): a dot that it minted then must not stand for writes that it is not brought back.
  ///
  /// - Parameters:
  ///   - renews: `false` only where a test wants to see what comes of it.
  ///   - change: runs with all key locks held, once the state is durable.
  /// - Returns: `false` where it is known already, or older than what is: nothing was done.
  /// - Throws: `.corruption` (a ring of another size), `.closed`, what writing to the store throws: what was
  ///   known goes on counting then.
  func adopt(
    _ next: RingState, renews: Bool, _ change: () -> Void
  ) throws(DatabaseError) -> Bool {
    try topology.withLock { () throws(DatabaseError) in
      try shared.checkOpen()
      let old = ringState
      guard next.revision > old.revision else { return false }
      guard next.ring.partitionCount == old.ring.partitionCount, next.ring.replicas == old.ring.replicas
      else {
        throw DatabaseError(.corruption, "the cluster's directory has the ring of another database")
      }
      guard let local = presentMembers.first else { throw DatabaseError(.closed, "the database is closed") }
      if renews, hasLostPartitions,
        next.copies.contains(where: { $0.to == local.id && !old.copies.contains($0) })
      {
        try local.takeNewIncarnation()
        hasLostPartitions = false
      }
      try local.writeSystem(Member.SystemKey.ring, next.encoded())
      let changed = (0..<next.ring.partitionCount).filter { partition in
        next.ring.replicas(of: partition) != old.ring.replicas(of: partition)
          || next.tenancies(of: partition) != old.tenancies(of: partition)
      }
      let moving = Set((next.copies + old.copies).map(\.partition))
      let affected = moving.union(changed)
      if affected.contains(where: { old.needs($0, at: local.id) && !next.needs($0, at: local.id) }) {
        hasLostPartitions = true
      }
      shared.locks.withAll {
        ringState = next
        change()
        for partition in affected { route(partition) }
      }
      topologyChanged.broadcast()
      shared.signal.wakeAll()
      return true
    }
  }

  /// Deletes a partition that moved away, durably.
  ///
  /// - Throws: what the store throws.
  func deleteMoved(_ partition: Int) throws(DatabaseError) {
    // The ring does not change meanwhile: what it gives back must not be deleted.
    try topology.withLock { () throws(DatabaseError) in
      try shared.checkOpen()
      guard let local = presentMembers.first, !ringState.needs(partition, at: local.id) else { return }
      try deletePartition(partition, in: local.store, Array(keyspaces.values))
    }
  }
}

extension RingState {
  fileprivate func tenancies(of partition: Int) -> ArraySlice<UInt64> {
    tenancies[partition * ring.replicas..<(partition + 1) * ring.replicas]
  }
}
