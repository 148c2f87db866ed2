public import RoostCausality
package import RoostCluster

/// What a coordinator has on disk of a transaction that it decided to commit.
package struct CommitRecord: Hashable, Sendable {
  package var transaction: TransactionID
  package var timestamp: Timestamp
  /// Those that must acknowledge.
  package var writers: [MemberID]
  package var effects: [EventualEffect]
  package var isSynced: Bool

  package init(
    transaction: TransactionID, timestamp: Timestamp, writers: [MemberID], effects: [EventualEffect],
    isSynced: Bool
  ) {
    self.transaction = transaction
    self.timestamp = timestamp
    self.writers = writers
    self.effects = effects
    self.isSynced = isSynced
  }
}

/// What became of a transaction, as its caller is told.
public enum TransactionOutcome: Hashable, Sendable {
  case committed(at: Timestamp)
  case aborted(AbortReason)
  /// Nobody knows yet, or can tell any more: ask `outcome(of:)` later. Do not do it again before.
  case unknown(TransactionID)
}

/// Why a transaction was aborted.
public enum AbortReason: Hashable, Sendable {
  /// It met an older transaction. Worth another try.
  case conflict
  /// A lock was not free in time. Worth another try.
  case deadline
  /// A store restarted and lost its locks. Worth another try.
  case interrupted
  /// A partition is being handed to another store, or was just now. Worth another try.
  case moving
  /// It took longer than a transaction may.
  case expired
  /// Its body threw, or asked for it.
  case requested
  /// A store is out of reach; the text names it.
  case unreachable(String)
  /// A clock was found outside the bound.
  case clock
  /// A store failed before anything was decided.
  case failed(String)
  /// Recorded as aborted; the reason is not kept.
  case recorded
}

extension AbortReason {
  /// As counters tell it apart.
  package var kind: AbortKind {
    switch self {
    case .conflict: .conflict
    case .deadline: .deadline
    case .interrupted: .interrupted
    case .moving: .moving
    case .expired: .expired
    case .requested: .requested
    case .unreachable: .unreachable
    case .clock: .clock
    case .failed: .failed
    case .recorded: .recorded
    }
  }
}

/// Why a coordinator begins no transaction now.
package enum BeginRefusal: Error, Hashable, Sendable {
  /// Its clock is near the bound, or beyond: it waits for a message that shows it back inside.
  case clock
  case tooManyActive(Int)
  /// Its log failed: nothing can be decided before it is opened anew.
  case logFailed(String)
  /// The time was given to another transaction already: a fault of the caller.
  case timeUsedTwice
}

/// What a coordinator knows of one of its transactions.
package enum KnownOutcome: Hashable, Sendable {
  /// It is not decided yet, or its decision is not known to be on disk.
  case undecided
  case committed(Timestamp)
  case aborted(AbortReason)
  /// There is no record of a decision here. It proves nothing to a caller: a commit at once is recorded
  /// at its participant, and old outcomes are kept there only. Ask the stores.
  case noRecord
  /// Too old: records of that time may be gone everywhere.
  case expired
}

package enum CoordinatorEvent: Sendable {
  case received(Envelope)
  /// A client's call on a transaction that `begin` named: locks and a read.
  case acquire(request: UInt64, TransactionID, at: MemberID, locks: [LockTarget], read: TransactionRead?)
  case commit(CommitCall)
  case abort(TransactionID, AbortReason)
  /// The COMMIT record with this number is durable, or failed: nobody knows then.
  case logged(UInt64, failure: String?)
  case timer
  /// A message could not be delivered: the receiver is not there.
  case undeliverable(Envelope, String)
}

package struct CommitCall: Sendable {
  package var request: UInt64
  package var transaction: TransactionID
  /// By participant; those that only read have an empty list.
  package var writes: [MemberID: [TransactionWrite]]
  package var effects: [EventualEffect]
  package var isSynced: Bool

  package init(
    request: UInt64, _ transaction: TransactionID, writes: [MemberID: [TransactionWrite]],
    effects: [EventualEffect], isSynced: Bool
  ) {
    self.request = request
    self.transaction = transaction
    self.writes = writes
    self.effects = effects
    self.isSynced = isSynced
  }
}

package enum CoordinatorEffect: Hashable, Sendable {
  case send(to: MemberID, Message)
  /// To a participant or another coordinator's participant that asked.
  case reply(to: Endpoint, Message)
  /// Append COMMIT to the log and answer with `.logged`; synced first where the record says so.
  case logCommit(UInt64, CommitRecord)
  /// Append END; never forced, no answer.
  case logEnd(TransactionID)
  case answerAcquire(request: UInt64, ReadAnswer)
  case failAcquire(request: UInt64, AbortReason)
  case answerCommit(request: UInt64, TransactionOutcome)
  case wake(atMonotonicMilliseconds: UInt64)
  case warn(String)
}

/// Times and limits of the transaction protocol.
package struct ProtocolTimes: Hashable, Sendable {
  /// How long a lock is waited for.
  package var lockWaitMilliseconds: UInt64 = 5_000
  /// How long a transaction may live before it is decided.
  package var durationMilliseconds: UInt64 = 10_000
  /// The greatest difference between any two members' physical clocks; 0 where there is one clock.
  package var clockBoundMilliseconds: UInt64 = 0
  /// When what is unanswered is sent again: first after this, then twice as long, up to the other.
  package var firstRetryMilliseconds: UInt64 = 200
  package var longestRetryMilliseconds: UInt64 = 10_000
  /// How long outcomes are kept for those who ask.
  package var outcomeRetentionMilliseconds: UInt64 = 3_600_000
  /// How many transactions a coordinator has under way at a time, about 1 KiB each and what they write.
  package var activeLimit = 10_000
  /// How many outcomes a coordinator keeps in memory, about 100 bytes each.
  package var outcomeLimit = 100_000

  package init() {}
}
