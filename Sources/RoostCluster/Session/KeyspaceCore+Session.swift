package import RoostCausality
import RoostStorage

// Sessions where all replicas are stores of this process. A read joins those that are open, and what another
// one has nobody will bring meanwhile: so nothing is waited for.

extension KeyspaceCore {
  /// Checks that a state of a key is one that a session may see.
  ///
  /// - Parameter context: of what the open stores hold together.
  /// - Throws: `.behindSession`; `.unreachable` (the session may have forgotten the key, and a store that has
  ///   it is not open); `.foreignToken`, `.foreignContext`, `.invalidArgument`, `.closed`.
  package func check(
    _ demand: SessionDemand, _ key: RawSpan, _ context: VersionVector
  ) throws(DatabaseError) {
    try demand.check(shared.id, binding: binding(key))
    let partition = try locate(key).partition
    if demand.asksAll {
      let count = try allParts(partition).owners.count
      guard count == replicas else {
        throw DatabaseError(
          .unreachable,
          "the session may have forgotten the key, and \(count) of \(replicas) stores that have it are open")
      }
    }
    guard demand.isCovered(by: context) else {
      throw demand.failure(context, "the open stores of partition \(partition)")
    }
  }

  /// What a session is to remember of a key whose context is this.
  package func mark(_ key: RawSpan, _ context: VersionVector) -> SessionMark {
    SessionMark(database: shared.id, seen: CausalContext(binding: binding(key), vector: context))
  }
}
