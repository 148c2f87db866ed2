/// Why transactions were aborted, as counters tell them apart.
package enum AbortKind: String, Sendable, CaseIterable {
  /// It met an older transaction.
  case conflict
  /// A lock was not free in time.
  case deadline
  /// A store restarted and lost its locks.
  case interrupted
  /// A partition was being handed to another store.
  case moving
  /// It took longer than a transaction may.
  case expired
  /// Its body threw, or asked for it, or nobody waited for it any more.
  case requested
  /// A store was out of reach.
  case unreachable
  /// A clock was found outside the bound.
  case clock
  /// A store failed before anything was decided.
  case failed
  /// A store has it on record, without the reason.
  case recorded
}

/// How transactions have ended. A plain value.
package struct OutcomeCounts: Sendable, Hashable {
  package var committed: UInt64 = 0
  package var aborted: [AbortKind: UInt64] = [:]
  /// Those whose callers were told that nobody knows. What became of one may be known later: then it counts
  /// as committed or aborted too.
  package var unknown: UInt64 = 0

  package init() {}

  package mutating func add(_ other: OutcomeCounts) {
    committed += other.committed
    aborted.merge(other.aborted) { $0 + $1 }
    unknown += other.unknown
  }
}

/// What a node has counted of transactions since they were opened, and how they are now. A plain value.
package struct TransactionFigures: Sendable, Hashable {
  /// Of those that this node coordinates.
  package var outcomes = OutcomeCounts()
  /// Begins of clients that were refused, and statements for which there was no room.
  package var clientsRefused: UInt64 = 0

  // Now.

  /// That this node coordinates, those among them that have committed and are not done everywhere.
  package var underWay = 0
  /// That this node's store has prepared and cannot decide alone.
  package var inDoubt = 0
  /// Transactions of clients, begun and not ended.
  package var clientsOpen = 0

  package init() {}
}
