import RoostCausality
import RoostCluster
import RoostStorage

/// Does transactions' effects on eventual keyspaces, each once. Thread-safe, where no effect of one
/// number comes twice at a time.
///
/// An effect is done at the store that has its key, in one batch with a mark. The mark is looked for in
/// every open store, because the key's partition may have moved since: a store that did the effect keeps
/// the mark, wherever the key goes; one that leaves hands its marks over first. The mark goes once the
/// coordinator will not tell the effect again; what it told before that and comes late is passed over.
final class EffectWriter: Sendable {
  private let core: DatabaseCore
  private let stores: OpenStores
  /// Sends what was done to the key's other replicas; `nil` where they are in this process.
  private let node: ClusterNode?
  private let forgotten = ForgottenEffects()

  init(_ core: DatabaseCore, _ stores: OpenStores, _ node: ClusterNode?) {
    self.core = core
    self.stores = stores
    self.node = node
  }

  /// Does an effect, and makes it durable, before anyone sees it. Waits for the disk.
  ///
  /// - Parameters:
  ///   - outcome: when the transaction committed, where nobody else records it.
  ///   - told: when the coordinator told it, by the coordinator's clock.
  /// - Returns: whether it is done. Where not, the transaction may be one of long ago, whose marks are gone,
  ///   and nothing is to be answered: if it is another, the effect is told again.
  /// - Throws: what writing to the keyspace throws, `.unreachable` among it.
  func apply(
    _ effect: EventualEffect, of transaction: TransactionID, index: Int, outcome: Timestamp?,
    told: Timestamp, at now: Timestamp
  ) throws(DatabaseError) -> Bool {
    let keyspace = try core.keyspace(id: effect.keyspace)
    let owners = keyspace.owners(of: effect.key).map(\.id)
    guard stores.beginEffect(at: owners) else {
      throw DatabaseError(.busy, "the store that has the key is about to leave, or has just come")
    }
    defer { stores.endEffect(at: owners) }
    for store in stores.all where try store.hasDone(transaction, index: index) {
      // Perhaps it was cut short on its way to the other replicas: whoever hears that it is done forgets it.
      if owners.count > 1 {
        try effect.key.withKeyBytes { key throws(DatabaseError) in try keyspace.repair(key) }
      }
      return true
    }
    // After the marks, which go after this is noted.
    if forgotten.contains(transaction) { return true }
    if forgotten.isPassed(told) { return false }
    // The mark may be in a store that is missing. In a cluster it is in the one store that an effect is told
    // to, and that is here.
    guard node != nil || core.isWhole else {
      throw DatabaseError(.unreachable, "it may have been done at a store that is not open")
    }
    let mark = { [stores] (member: MemberID, batch: inout WriteBatch) -> Void in
      stores[member]?.mark(transaction, index: index, outcome: outcome, at: now, in: &batch)
    }
    try effect.key.withKeyBytes { key throws(DatabaseError) in
      switch effect.change {
      case .increment(let amount): try keyspace.increment(key, by: amount, marking: mark)
      case .put(let value, let context):
        try keyspace.put(key, value, context: try decoded(context), marking: mark)
      case .delete(let context):
        try keyspace.delete(key, context: try decoded(context), marking: mark)
      }
    }
    return true
  }

  /// Says that the marks of a transaction are about to go: all its effects are done, and that is durable.
  ///
  /// - Parameter told: when the coordinator said so, by the coordinator's clock.
  func forget(_ transaction: TransactionID, told: Timestamp) { forgotten.add(transaction, told: told) }

  private func decoded(_ context: [UInt8]?) throws(DatabaseError) -> CausalContext? {
    guard let context else { return nil }
    return try CausalContext(bytes: context)
  }

  /// Calls back once what was done is durable in the stores that have the key; in a cluster, in most of them.
  /// What is told again, because that failed, is sent to the others again.
  func sync(_ effect: EventualEffect, _ answer: @escaping @Sendable (DatabaseError?) -> Void) {
    let keyspace: KeyspaceCore
    do throws(DatabaseError) { keyspace = try core.keyspace(id: effect.keyspace) } catch {
      return answer(error)
    }
    SyncedAnswers.sync(keyspace.owners(of: effect.key)) { [node] failure in
      guard failure == nil, let node else { return answer(failure) }
      node.replicate(effect.key, of: keyspace, isSynced: true, deadline: node.requestDeadline) { result in
        if case .failure(let error) = result { answer(error) } else { answer(nil) }
      }
    }
  }

  /// Whether trying again cannot help: what the key holds does not take the change.
  static func isPermanent(_ error: DatabaseError) -> Bool {
    switch error.code {
    case .wrongKind, .counterOverflow, .unknownKeyspace, .wrongPolicy, .foreignContext, .invalidArgument,
      .damagedToken:
      true
    default: false
    }
  }
}
