package import RoostCausality
package import RoostCluster

/// The time at which an event is handled.
package struct Instant: Hashable, Sendable {
  /// The physical clock, milliseconds since 1970.
  package var physicalMilliseconds: UInt64
  /// A fresh time of the hybrid logical clock, above all that were issued or observed.
  package var timestamp: Timestamp
  /// No time above it is issued before it was raised durably; after a restart all are above it.
  package var bound: Timestamp
  /// Milliseconds that never go back, for deadlines.
  package var monotonicMilliseconds: UInt64

  package init(
    physicalMilliseconds: UInt64, timestamp: Timestamp, bound: Timestamp, monotonicMilliseconds: UInt64
  ) {
    self.physicalMilliseconds = physicalMilliseconds
    self.timestamp = timestamp
    self.bound = bound
    self.monotonicMilliseconds = monotonicMilliseconds
  }
}

/// What a participant has on disk of a transaction that it voted yes for.
package struct PreparedRecord: Hashable, Sendable {
  package var transaction: TransactionID
  package var timestamp: Timestamp
  package var writes: [TransactionWrite]
  package var writers: [MemberID]
  package var isSynced: Bool

  package init(
    transaction: TransactionID, timestamp: Timestamp, writes: [TransactionWrite], writers: [MemberID],
    isSynced: Bool
  ) {
    self.transaction = transaction
    self.timestamp = timestamp
    self.writes = writes
    self.writers = writers
    self.isSynced = isSynced
  }
}

package enum Outcome: Hashable, Sendable {
  case committed(Timestamp)
  case aborted
}

/// What a participant's store is told to write: each in one batch.
package enum ParticipantWrite: Hashable, Sendable {
  /// The prepared record.
  case prepare(PreparedRecord)
  /// The versions, the outcome, and the prepared record goes.
  case commit(TransactionID, Timestamp, [TransactionWrite])
  /// The prepared record goes. Nothing more: who presumes abort needs no record of it.
  case abort(TransactionID)
  /// It will not prepare: the outcome `aborted`, for those who ask, and the prepared record, if any,
  /// goes.
  case refuse(TransactionID)
  /// An operator's decision: as commit or abort, and a record of it that is kept.
  case force(TransactionID, Outcome, [TransactionWrite])
}

package enum ParticipantEvent: Sendable {
  case received(Envelope)
  /// A write that this participant asked for is done: durable where it had to be; or failed. After a
  /// failure nobody knows whether it is on disk.
  case written(UInt64, failure: String?)
  /// The store refused a write before any of it was written: it has no room, or writes nothing more.
  case notWritten(UInt64, reason: String)
  /// A snapshot read, from anyone; answered by `.read`.
  case snapshot(request: UInt64, TransactionRead, at: Timestamp, waitMilliseconds: UInt64)
  /// A timer that this participant set has run out. Any may come early or twice.
  case timer
  /// An operator decides a transaction that is in doubt here.
  case force(request: UInt64, TransactionID, Outcome)
  /// A partition is about to be handed over: no new locks; `.drained` once none are held.
  case freeze(partition: Int)
  /// A drained partition is another's, or about to be: nothing of it is read here any more.
  case giveUp(partition: Int)
  /// The partition is served here, again or from now on.
  case thaw(partition: Int)
  /// What the store has recorded of a transaction, as `.lookUp` of the same number asked; or it could
  /// not be read.
  case found(UInt64, Outcome?, failure: String?)
}

package enum ParticipantEffect: Hashable, Sendable {
  case send(to: Endpoint, Message)
  /// Answer with `.written` of the same number; synced first where `isForced`.
  case write(UInt64, ParticipantWrite, isForced: Bool)
  /// Read the newest versions, and send the answer as `.acquired`.
  case readLocked(to: Endpoint, TransactionID, request: UInt64, TransactionRead)
  /// Read as of a timestamp: all that committed at or below it is on disk.
  case readSnapshot(request: UInt64, TransactionRead, at: Timestamp)
  case snapshotFailed(request: UInt64, Refusal)
  case forced(request: UInt64, Refusal?)
  case drained(partition: Int)
  /// Answer with `.found` of the same number. Only for transactions older than what is kept in memory.
  case lookUp(UInt64, TransactionID)
  /// Call again with `.timer` at this time.
  case wake(atMonotonicMilliseconds: UInt64)
  /// Worth a line in the log of whoever runs the process.
  case warn(String)
}

/// A transaction that a participant cannot decide.
package struct InDoubt: Hashable, Sendable {
  package var transaction: TransactionID
  /// Since when it is prepared, by this participant's clock.
  package var since: Timestamp
  /// Whom it has asked and had no answer from.
  package var waitsFor: [Endpoint]

  package init(_ transaction: TransactionID, since: Timestamp, waitsFor: [Endpoint]) {
    self.transaction = transaction
    self.since = since
    self.waitsFor = waitsFor
  }
}
