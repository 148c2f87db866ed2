import RoostCausality
import RoostCluster

/// What a coordinator has in memory of a transaction that is under way.
struct ActiveTransaction: Sendable {
  enum Phase: Hashable, Sendable {
    /// Its body reads and locks.
    case running
    /// The locks of all that it writes are being taken.
    case locking
    /// PREPARE is out.
    case preparing
    /// COMMIT is being written: from here on it is never aborted.
    indirect case logging(CommitRecord)
    /// COMMIT could not be written, or may have been. Nobody is told anything before the log is opened
    /// anew.
    case lost
    /// All that it writes was sent to one participant, to commit.
    case atOnce(MemberID, attempts: Int)
    /// That was not answered in time, and the caller was told that nobody knows.
    case unknownAtOnce(MemberID)
    case committed(Timestamp)
  }

  /// A request for locks that is not answered.
  struct Acquire: Sendable {
    var member: MemberID
    var message: Message
    /// The caller's; `nil` for the locks that a commit takes.
    var answers: UInt64?
    /// The physical clock at the first sending.
    var sentAt: UInt64
    var isAnswered = false
  }

  let transaction: TransactionID
  let age: TransactionID
  /// Monotonic milliseconds.
  let deadline: UInt64
  var phase: Phase = .running
  /// All that were contacted: with the epoch, once it is known.
  var participants: [MemberID: UInt64?] = [:]
  var acquires: [UInt64: Acquire] = [:]
  var call: CommitCall?
  /// The callers' requests that wait for the outcome.
  var callers: [UInt64] = []
  var votes: [MemberID: Vote] = [:]
  /// When PREPARE or a commit at once was first sent, by the physical clock.
  var sentAt: UInt64 = 0

  // Committed.

  var unacknowledged: Set<MemberID> = []
  /// Whether some store has writes of it, and records what became of it.
  var hasWriters = true
  /// Of those that only read: they are told for a while, and ask for themselves later.
  var readers: Set<MemberID> = []
  var readersUntil: UInt64 = 0
  var effects: [Int: EventualEffect] = [:]
  var effectTargets: Set<MemberID> = []
  var isLogged = false

  // Sending again, on the monotonic clock.

  var nextRetry: UInt64?
  var retryWait: UInt64 = 0

  init(_ transaction: TransactionID, age: TransactionID, deadline: UInt64) {
    self.transaction = transaction
    self.age = age
    self.deadline = deadline
  }

  /// Those that write, by the call.
  var writers: [MemberID] {
    (call?.writes ?? [:]).filter { !$0.value.isEmpty }.keys.sorted()
  }

  /// Whether it may still be aborted.
  var isUndecided: Bool {
    switch phase {
    case .running, .locking, .preparing: true
    default: false
    }
  }

  func due(_ times: ProtocolTimes, at now: Instant) -> UInt64? {
    var due = nextRetry
    func consider(_ time: UInt64) { due = min(due ?? time, time) }
    switch phase {
    case .running, .locking, .preparing, .atOnce: consider(deadline)
    case .committed(let timestamp) where !callers.isEmpty: consider(times.passing(timestamp, at: now))
    default: break
    }
    return due
  }
}
