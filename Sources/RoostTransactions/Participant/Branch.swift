import RoostCausality
import RoostCluster

/// What a participant has in memory of a transaction that is not over here.
struct Branch: Sendable {
  enum Phase: Hashable, Sendable {
    /// It locks and reads.
    case open
    /// It waits for the locks of a commit at once.
    case lockingAtOnce(request: UInt64)
    /// The batch that commits it at once is being written.
    case committingAtOnce(request: UInt64, Timestamp)
    /// That batch failed, and nobody knows whether it is on disk: nothing is said, and nothing
    /// released, until the store is opened anew.
    case lost(Timestamp)
    /// It voted, without writes.
    case readOnly(Timestamp, bound: Timestamp)
    /// The PREPARE record is being written.
    case preparing(Timestamp)
    /// That failed, and may be on disk all the same: the refusal is being written.
    case refusing(Timestamp, failure: String)
    /// The refusal failed as well: silent until the coordinator decides.
    case silent(Timestamp)
    /// It voted yes.
    case prepared(Timestamp)
    /// The decision is being written, the coordinator's or an operator's.
    case committing(Timestamp)
    case forcing(prepared: Timestamp, Outcome)
    /// The decision is known, but could not be written. Again when it is told again.
    case undone(Timestamp)
    /// Committed here, and not to be seen before every clock has passed the timestamp.
    case settling(Timestamp)
    /// The same without writes: the locks are held.
    case settlingReadOnly(Timestamp)
  }

  struct Request: Sendable {
    var from: Endpoint
    var read: TransactionRead?
    /// Monotonic milliseconds; `nil` once granted.
    var deadline: UInt64?
  }

  var phase: Phase = .open
  var requests: [UInt64: Request] = [:]
  /// When an undecided one that has not voted is given up, on the monotonic clock.
  var expires: UInt64
  var writes: [TransactionWrite] = []
  var writers: [MemberID] = []
  var isSynced = false
  /// Who wants to hear of the commit.
  var acknowledges: Set<Endpoint> = []
  /// The coordinator aborted it while PREPARE was being written.
  var isAborted = false
  /// An operator decided it.
  var isForced = false
  /// It has not voted: neither PREPARE nor a refusal is known to be on disk.
  var isSilent = false

  // In doubt.

  var isRecovered = false
  var asked: Set<Endpoint> = []
  var nextAsk: UInt64?
  var askWait: UInt64 = 0

  init(expires: UInt64) { self.expires = expires }

  /// The time that it commits at, or the least that it can, where it may come to have written
  /// something.
  var writingTimestamp: Timestamp? {
    switch phase {
    case .committingAtOnce(_, let t), .lost(let t), .preparing(let t), .refusing(let t, _),
      .silent(let t), .prepared(let t), .committing(let t), .undone(let t), .settling(let t):
      return t
    case .forcing(let prepared, .committed(let t)): return max(prepared, t)
    case .forcing(let prepared, .aborted): return prepared
    case .open, .lockingAtOnce, .readOnly, .settlingReadOnly: return nil
    }
  }

  /// Whether it has a vote to keep, or might have, and does not know the decision.
  var isUndecided: Bool {
    switch phase {
    case .prepared, .readOnly, .silent: true
    default: false
    }
  }

  /// Whether nothing was promised, so that it may be given up.
  var isFree: Bool {
    switch phase {
    case .open, .lockingAtOnce: true
    default: false
    }
  }

  /// The earliest time at which something is due, on the monotonic clock.
  func due(_ times: ProtocolTimes, at now: Instant) -> UInt64? {
    var due: UInt64?
    func consider(_ time: UInt64?) { if let time { due = min(due ?? time, time) } }
    if isFree {
      consider(expires)
      for request in requests.values { consider(request.deadline) }
    }
    if isUndecided { consider(nextAsk) }
    switch phase {
    case .settling(let t), .settlingReadOnly(let t): consider(times.passing(t, at: now))
    default: break
    }
    return due
  }
}

/// Statistics of a participant.
package struct ParticipantCounts: Hashable, Sendable {
  /// Transactions with locks or requests here.
  package var active = 0
  /// Requests that wait for locks.
  package var waiting = 0
  /// Prepared, and the decision is not known.
  package var undecided = 0
  /// Snapshot reads that wait for a commit.
  package var waitingSnapshots = 0
  /// Since the participant was made.
  package var wounds = 0
}
