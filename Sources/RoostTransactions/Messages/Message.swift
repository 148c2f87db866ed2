package import RoostCausality
package import RoostCluster

/// Where a message goes, and where it comes from.
package enum Endpoint: Hashable, Sendable {
  case coordinator(CoordinatorID)
  /// A store.
  case participant(MemberID)

  package func hash(into hasher: inout Hasher) { hasher.combine(rawValue) }

  package func _rawHashValue(seed: Int) -> Int { rawValue.scattered(seed) }

  private var rawValue: UInt64 {
    switch self {
    case .coordinator(let id): id.rawValue
    case .participant(let id): ~id.rawValue
    }
  }
}

/// A message and what the receiver's clock must know of the sender's.
package struct Envelope: Hashable, Sendable {
  package var from: Endpoint
  package var to: Endpoint
  /// The sender's hybrid logical time: the receiver's rises above it.
  package var timestamp: Timestamp
  /// The sender's physical clock, in milliseconds since 1970: clocks further apart than the bound
  /// are found by it.
  package var physicalMilliseconds: UInt64
  package var message: Message

  package init(
    from: Endpoint, to: Endpoint, timestamp: Timestamp, physicalMilliseconds: UInt64, _ message: Message
  ) {
    self.from = from
    self.to = to
    self.timestamp = timestamp
    self.physicalMilliseconds = physicalMilliseconds
    self.message = message
  }
}

/// What coordinators and participants tell each other about one transaction.
///
/// Every message may be lost, doubled, delayed and overtaken: receivers must not mind.
package struct Message: Hashable, Sendable {
  package var transaction: TransactionID
  package var body: Body

  package init(_ transaction: TransactionID, _ body: Body) {
    self.transaction = transaction
    self.body = body
  }

  package enum Body: Hashable, Sendable {
    // To a participant.

    /// Take locks, all of them, then read.
    case acquire(AcquireRequest)
    /// Vote. Without writes a vote to hold the read locks until the commit timestamp is known.
    case prepare(PrepareRequest)
    /// The transaction has committed at this timestamp.
    case commit(Timestamp)
    case abort
    /// One participant writes all: take its locks and commit, in one batch.
    case commitAtOnce(CommitAtOnceRequest)
    /// Do this effect, once; `index` names it within the transaction. Of one that writes nothing else, record
    /// with it that the transaction committed, at `outcome`.
    case effect(EventualEffect, index: Int, outcome: Timestamp?)
    /// The mark of the transaction's effects may go: END is durable.
    case forgetEffects

    // To a coordinator.

    case acquired(request: UInt64, epoch: UInt64, ReadAnswer)
    /// An acquire or a commit at once came to nothing: the participant holds no locks of it.
    case refused(request: UInt64, Refusal)
    /// An older transaction took the locks: the transaction is dead at this participant.
    case wounded
    case vote(Vote)
    case acknowledged
    case committedAtOnce(request: UInt64, Timestamp)
    case effectDone(index: Int)
    /// The effect cannot be done, by a rule that retrying will not change; the text says why.
    case effectFailed(index: Int, String)

    // To either.

    /// What became of the transaction? From a participant in doubt.
    case inquire
    case answer(Answer)
  }
}

package struct AcquireRequest: Hashable, Sendable {
  package var request: UInt64
  /// The transaction's first attempt: its age among others, kept over retries.
  package var age: TransactionID
  package var locks: [LockTarget]
  /// What to read under the locks.
  package var read: TransactionRead?
  /// The epoch of the participant at the transaction's first lock there; `nil` for the first.
  package var epoch: UInt64?
  /// How long to wait for the locks.
  package var waitMilliseconds: UInt64

  package init(
    request: UInt64, age: TransactionID, locks: [LockTarget], read: TransactionRead?, epoch: UInt64?,
    waitMilliseconds: UInt64
  ) {
    self.request = request
    self.age = age
    self.locks = locks
    self.read = read
    self.epoch = epoch
    self.waitMilliseconds = waitMilliseconds
  }
}

package struct PrepareRequest: Hashable, Sendable {
  /// The participant's epoch, as it said with the locks.
  package var epoch: UInt64
  package var writes: [TransactionWrite]
  /// All that write, this one included: whom to ask when in doubt.
  package var writers: [MemberID]
  package var isSynced: Bool

  package init(epoch: UInt64, writes: [TransactionWrite], writers: [MemberID], isSynced: Bool) {
    self.epoch = epoch
    self.writes = writes
    self.writers = writers
    self.isSynced = isSynced
  }
}

package struct CommitAtOnceRequest: Hashable, Sendable {
  package var request: UInt64
  package var age: TransactionID
  /// `nil` where the transaction holds no locks there yet.
  package var epoch: UInt64?
  package var writes: [TransactionWrite]
  package var waitMilliseconds: UInt64
  package var isSynced: Bool

  package init(
    request: UInt64, age: TransactionID, epoch: UInt64?, writes: [TransactionWrite],
    waitMilliseconds: UInt64, isSynced: Bool
  ) {
    self.request = request
    self.age = age
    self.epoch = epoch
    self.writes = writes
    self.waitMilliseconds = waitMilliseconds
    self.isSynced = isSynced
  }
}

package enum Vote: Hashable, Sendable {
  /// Prepared, durably, at this timestamp.
  case yes(Timestamp)
  /// Nothing was written here. The locks are held until the commit timestamp is told; no writer that
  /// comes after a restart of the participant gets a timestamp at or below `bound`, so the
  /// transaction must commit at or below it.
  case readOnly(Timestamp, bound: Timestamp)
  case no(Refusal)
}

/// Why a participant will not.
package enum Refusal: Hashable, Sendable {
  /// An older transaction took the locks, or the participant aborted the transaction.
  case wounded
  /// The locks were not free in time.
  case deadline
  /// It restarted since the transaction locked there, and lost the locks.
  case restarted
  /// The partition is another store's.
  case notOwner
  /// The partition is being handed over; try again later.
  case moving
  /// It answered a participant in doubt that the transaction is aborted.
  case refusedBefore
  /// The transaction is older than a transaction may be, or was given up here for that.
  case expired
  /// Its clock differs from the sender's by more than the bound.
  case clock
  /// The store failed; the text says how.
  case failed(String)
}

/// What someone asked knows of a transaction.
package enum Answer: Hashable, Sendable {
  case committed(Timestamp)
  case aborted
  /// It is under way, or nothing is known that would prove anything.
  case unknown
}
