import RoostCausality
package import RoostCluster
import RoostEnvironment
import RoostStorage

// What a node's transactions do where partitions move between nodes and members leave: see
// `PartitionHandover.swift` and `TransactionLeave.swift` in RoostCluster.

extension TransactionManager: NodeTransactionMoves {
  // MARK: - Effects

  /// Says for good who does a transaction's effects, right before its coordinator is told, and tells it.
  ///
  /// - Parameter commit: gives the coordinator the effects; `nil` where some partition's only replica is
  ///   about to give it away.
  func naming(
    _ effects: [EventualEffect], _ commit: ([EventualEffect]?) -> Void
  ) throws(DatabaseError) {
    guard let node = services.node, !effects.isEmpty else { return commit(effects) }
    // What the coordinator is told by then it knows when it is asked: its machine takes it in before this
    // returns.
    try tickets.choosing(by: node.ringRevision) { () throws(DatabaseError) in
      // One for all of a partition, of the keyspaces that have as many replicas.
      var targets: [[Int]: MemberID] = [:]
      var named: [EventualEffect] = []
      for var effect in effects {
        let partition = partition(of: effect.key)
        let replicas = node.replicas(ofKeyspace: effect.keyspace)
        guard
          let target = targets[[partition, replicas]]
            ?? node.lastingTarget(partition, ofFirst: replicas, effect.target)
        else { return commit(nil) }
        targets[[partition, replicas]] = target
        effect.target = target
        named.append(effect)
      }
      commit(named)
    }
  }

  private func partition(of key: [UInt8]) -> Int {
    key.withKeyBytes { bytes in
      Placement.partition(ofHash: Placement.hash(bytes), count: core.shared.partitionCount)
    }
  }

  package func unfinished(naming member: MemberID, in partition: Int?, since revision: UInt64) -> Int {
    // First those on their way: one that is on its way no more is in a machine.
    let choosing = tickets.count(before: revision)
    let drivers = lock.withLock { Array(state.coordinators.values) }
    return choosing
      + drivers.reduce(0) { sum, driver in
        guard let partition else { return sum + driver.unfinished(naming: member) }
        return sum
          + driver.unfinishedEffects(at: member) { [self] in self.partition(of: $0.key) == partition }
      }
  }

  // MARK: - Leaving

  package func retire() -> Bool {
    let drivers = lock.withLock { Array(state.coordinators.values) }
    for driver in drivers { driver.retire() }
    return drivers.allSatisfy(\.isIdle)
  }

  package func records(
    after key: [UInt8], byteLimit: Int
  ) throws(DatabaseError) -> (bequest: TransactionBequest, next: [UInt8]?) {
    guard let store = stores.all.first else {
      throw DatabaseError(.closed, "the transactions of this node are not open")
    }
    return try store.records(after: key, byteLimit: byteLimit)
  }

  package var coordinators: [UInt64] { lock.withLock { state.logs.map(\.log.id.rawValue) } }

  package func inherit(_ bequest: TransactionBequest) throws(DatabaseError) {
    guard let store = stores.all.first else {
      throw DatabaseError(.closed, "the transactions of this node are not open")
    }
    try store.take(bequest)
    var ended = bequest.ended.map { CoordinatorID(rawValue: $0) }
    for id in ended { try store.noteEnded(id, at: try services.instant().timestamp) }
    // Those that had ended at the other one before.
    ended += bequest.records.compactMap { record in
      TransactionKey.split(record.key).flatMap { $0.kind == .ended ? $0.transaction.coordinator : nil }
    }
    for id in ended where lock.withLock({ state.coordinators[id] == nil && !state.isClosed }) {
      let driver = try makeEnded(id)
      lock.withLock { state.coordinators[id] = driver }
    }
  }
}
