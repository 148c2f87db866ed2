import RoostCausality
import RoostCluster
import RoostStorage

/// Does transactions' effects on eventual keyspaces. Thread-safe.
final class EffectWriter: Sendable {
  private let core: DatabaseCore

  init(_ core: DatabaseCore) { self.core = core }

  /// Makes the change at the store that holds the key, in one batch with the mark that it is made.
  ///
  /// - Throws: what writing to the keyspace throws; `.unreachable` where `member` holds the key no more.
  func apply(_ effect: EventualEffect, at member: Member, mark: BatchOperation) throws(DatabaseError) {
    let keyspace = try core.keyspace(id: effect.keyspace)
    try keyspace.apply(effect.key, effect.change, at: member, with: mark)
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
