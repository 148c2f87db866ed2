package import RoostCausality
package import RoostCluster

/// One store's part in transactions: its locks, its votes, and what it does about decisions that do
/// not come. Two-phase commit with presumed abort.
///
/// What must hold:
/// - It votes yes only after the writes are on disk under exclusive locks, at a timestamp chosen under
///   those locks; then it neither aborts nor releases before it knows the decision.
/// - What it said once it says again: a message that comes twice has its effect once.
/// - Whoever was aborted, refused or wounded here is never granted anything again. That is remembered
///   until the transaction is so old that it is refused for its age.
/// - A write is seen once it is on disk and every clock has passed its timestamp; a snapshot read waits
///   for all that might still commit at or below its time.
///
/// A plain value: no I/O, no clock. The driver observes the timestamps of envelopes, commits and
/// snapshot reads *before* it hands them over, so `at.timestamp` is above them.
package struct Participant: Sendable {
  package let member: MemberID
  /// Random at each opening: locks of another epoch are lost.
  package let epoch: UInt64
  package let times: ProtocolTimes
  /// Which partitions are this store's, where others are on other nodes: by the ring as the node has it.
  let serves: (@Sendable (Int) -> Bool)?

  /// How a transaction ended here.
  enum Finish: Hashable, Sendable {
    case committed(Timestamp)
    /// Given up here, for this reason; nothing of it is on disk, or a refusal.
    case dead(Refusal)
    case forced(Outcome)

    var isForced: Bool { if case .forced = self { true } else { false } }
  }

  enum PendingWrite: Sendable {
    case prepare
    case refuse
    case commit
    case commitAtOnce
    case force(request: UInt64)
    /// Of a prepared transaction that is aborted: its locks in these partitions are released.
    case abort(partitions: Set<Int>)

    func concerns(_ partition: Int) -> Bool {
      if case .abort(let partitions) = self { partitions.contains(partition) } else { false }
    }
  }

  enum Lookup: Sendable {
    case inquiry(Endpoint)
    case commitAtOnce(Endpoint, request: UInt64)
  }

  struct WaitingSnapshot: Sendable {
    var read: TransactionRead
    var time: Timestamp
    var deadline: UInt64
  }

  enum Alarm: Hashable, Sendable {
    case branch(TransactionID)
    case snapshot(UInt64)
    case opening

    func hash(into hasher: inout Hasher) { hasher.combine(_rawHashValue(seed: 0)) }

    func _rawHashValue(seed: Int) -> Int {
      switch self {
      case .branch(let transaction): transaction._rawHashValue(seed: seed)
      case .snapshot(let request): request.scattered(seed)
      case .opening: seed
      }
    }
  }

  var locks = LockTable()
  var branches: [TransactionID: Branch] = [:]
  var finished: [TransactionID: Finish] = [:]
  var snapshots: [UInt64: WaitingSnapshot] = [:]
  var writes: [UInt64: (TransactionID, PendingWrite)] = [:]
  /// Who asked about a transaction whose refusal is being written.
  var refusals: [TransactionID: Set<Endpoint>] = [:]
  var lookups: [UInt64: (TransactionID, Lookup)] = [:]
  /// How far a partition is that is being handed over, or was.
  enum Handover: Hashable, Sendable {
    case frozen
    /// And that it is drained was said.
    case drained
    /// Nothing of it is read here any more; all that was, was read below this time.
    case givenUp(Timestamp)
  }

  var frozen: [Int: Handover] = [:]
  /// A transaction that began up to then may have been given up before this participant was opened.
  let openedAt: Timestamp
  /// The last commit from before the opening: nothing is read before every clock has passed it.
  var opensAfter: Timestamp?
  /// Requests that have their locks, but came before that.
  var grantedEarly: [LockTable.Ticket] = []
  var deadlines = Deadlines<Alarm>()
  var wakesAt: UInt64?
  var lastNumber: UInt64 = 0
  var sweepsAt = 1_024
  var wounds = 0

  /// The event being handled: its time and what came of it so far.
  var now: Instant
  var effects: [ParticipantEffect] = []

  /// - Parameters:
  ///   - epoch: random, another at each opening.
  ///   - prepared: the store's prepared records. Their keys are locked again.
  ///   - outcomes: recorded outcomes of transactions that began within twice the longest duration, at
  ///     least; older ones are looked up.
  ///   - forced: all that operators decided in this store: a coordinator may still have another word.
  ///   - serves: whether a partition is this store's; `nil` where whoever asks has seen to that.
  ///   - now: its timestamp must lie above everything issued before the restart.
  ///
  /// Call ``receive(_:at:)`` with `.timer` at once: it says what to do first.
  package init(
    _ member: MemberID, epoch: UInt64, times: ProtocolTimes, prepared: [PreparedRecord],
    outcomes: [TransactionID: Outcome], forced: [TransactionID: Outcome],
    serves: (@Sendable (Int) -> Bool)? = nil, at now: Instant
  ) {
    self.member = member
    self.serves = serves
    self.epoch = epoch
    self.times = times
    self.now = now
    openedAt = now.timestamp
    for (transaction, outcome) in outcomes {
      if case .committed(let timestamp) = outcome, !times.hasPassed(timestamp, at: now) {
        opensAfter = max(opensAfter ?? timestamp, timestamp)
      }
      if times.isOver(transaction, at: now) { continue }
      switch outcome {
      case .committed(let timestamp): finished[transaction] = .committed(timestamp)
      case .aborted: finished[transaction] = .dead(.refusedBefore)
      }
    }
    for (transaction, outcome) in forced { finished[transaction] = .forced(outcome) }
    if let opensAfter { deadlines.set(.opening, times.passing(opensAfter, at: now)) }
    for record in prepared {
      var branch = Branch(expires: .max)
      branch.phase = .prepared(record.timestamp)
      branch.writes = record.writes
      branch.writers = record.writers
      branch.isSynced = record.isSynced
      branch.isRecovered = true
      branch.nextAsk = now.monotonicMilliseconds
      branch.askWait = times.firstRetryMilliseconds
      locks.adopt(record.writes.map(\.target), for: record.transaction)
      branches[record.transaction] = branch
      schedule(record.transaction)
    }
  }

  package mutating func receive(_ event: ParticipantEvent, at now: Instant) -> [ParticipantEffect] {
    self.now = now
    switch event {
    case .received(let envelope): received(envelope)
    case .written(let number, let failure): written(number, failure)
    case .notWritten(let number, let reason): notWritten(number, reason)
    case .snapshot(let request, let read, let time, let wait):
      snapshot(request, read, at: time, waitMilliseconds: wait)
    case .timer: break
    case .force(let request, let transaction, let outcome): force(request, transaction, outcome)
    case .freeze(let partition): freeze(partition)
    case .giveUp(let partition): giveUp(partition)
    case .thaw(let partition): frozen[partition] = nil
    case .found(let number, let outcome, let failure): found(number, outcome, failure)
    }
    // Whatever the event was, time has passed.
    while let alarm = deadlines.next(at: now.monotonicMilliseconds) { ring(alarm) }
    sayDrained()
    wake()
    defer { effects.removeAll() }
    return effects
  }

  private mutating func received(_ envelope: Envelope) {
    let transaction = envelope.message.transaction
    switch envelope.message.body {
    case .acquire(let request): acquire(request, transaction, envelope)
    case .prepare(let request): prepare(request, transaction, envelope)
    case .commit(let timestamp): commit(transaction, at: timestamp, from: envelope.from)
    case .abort: abort(transaction)
    case .commitAtOnce(let request): commitAtOnce(request, transaction, envelope)
    case .inquire: inquired(transaction, from: envelope.from)
    case .answer(let answer): answered(transaction, answer, from: envelope.from)
    // The driver does these.
    case .effect, .forgetEffects: break
    // A coordinator's.
    case .acquired, .refused, .wounded, .vote, .acknowledged, .committedAtOnce, .effectDone,
      .effectFailed:
      break
    }
  }

  // MARK: What others ask about it

  /// What is prepared here, has had no decision in time, and asks for it.
  package var inDoubt: [InDoubt] {
    branches.compactMap { transaction, branch -> InDoubt? in
      guard branch.isRecovered || !branch.asked.isEmpty else { return nil }
      switch branch.phase {
      case .prepared(let since), .silent(let since):
        let waitsFor = branch.asked.isEmpty ? [.coordinator(transaction.coordinator)] : branch.asked
        return InDoubt(transaction, since: since, waitsFor: waitsFor.sorted(by: Self.precedes))
      default: return nil
      }
    }.sorted { $0.transaction < $1.transaction }
  }

  static func precedes(_ a: Endpoint, _ b: Endpoint) -> Bool {
    switch (a, b) {
    case (.coordinator(let a), .coordinator(let b)): a < b
    case (.participant(let a), .participant(let b)): a < b
    case (.coordinator, .participant): true
    case (.participant, .coordinator): false
    }
  }

  /// Whether a partition is frozen and nothing of it is locked, prepared or being written: it stays so.
  package func isDrained(_ partition: Int) -> Bool {
    switch frozen[partition] {
    case .drained, .givenUp: true
    case .frozen, nil: false
    }
  }

  /// A time above all those at which a partition was read that was given up.
  package func highestRead(_ partition: Int) -> Timestamp? {
    if case .givenUp(let highest) = frozen[partition] { highest } else { nil }
  }

  /// Whether no transaction holds or waits for anything, and nothing is being written.
  package var isIdle: Bool { branches.isEmpty && writes.isEmpty && snapshots.isEmpty }

  /// Whether nothing of a transaction is under way here, and nothing new would be taken: what is not on
  /// record never will be.
  func isSettled(_ transaction: TransactionID, at now: Instant) -> Bool {
    branches[transaction] == nil && refusals[transaction] == nil && times.isOver(transaction, at: now)
  }

  /// Whether an outcome of a transaction is being written, or failed to become durable.
  func isWritingOutcome(_ transaction: TransactionID) -> Bool {
    if refusals[transaction] != nil { return true }
    return switch branches[transaction]?.phase {
    case .committingAtOnce, .lost, .refusing: true
    default: false
    }
  }

  /// Whether no other transaction than this one has locks or waits for them.
  package func isAlone(_ transaction: TransactionID) -> Bool {
    branches.count <= (branches[transaction] == nil ? 0 : 1)
  }

  /// Whether a transaction that nothing was promised to still has the locks of a request that was granted.
  /// It has had them since: whoever loses its locks is never granted anything again.
  package func holds(request: UInt64, of transaction: TransactionID) -> Bool {
    guard let branch = branches[transaction], case .open = branch.phase,
      let known = branch.requests[request]
    else { return false }
    return known.deadline == nil
  }

  /// How many transactions that are over it remembers.
  package var rememberedCount: Int { finished.count }

  package var counts: ParticipantCounts {
    var counts = ParticipantCounts()
    counts.active = branches.count
    counts.waiting = locks.waitingCount
    counts.undecided = branches.values.count { if case .prepared = $0.phase { true } else { false } }
    counts.waitingSnapshots = snapshots.count
    counts.wounds = wounds
    return counts
  }

  // MARK: What all concerns use

  mutating func send(_ endpoint: Endpoint, _ transaction: TransactionID, _ body: Message.Body) {
    effects.append(.send(to: endpoint, Message(transaction, body)))
  }

  mutating func write(
    _ write: ParticipantWrite, of transaction: TransactionID, _ pending: PendingWrite, isForced: Bool
  ) {
    lastNumber += 1
    writes[lastNumber] = (transaction, pending)
    effects.append(.write(lastNumber, write, isForced: isForced))
  }

  mutating func finish(_ transaction: TransactionID, _ how: Finish) {
    // Operators' decisions are few, and stay: a coordinator may speak against them at any time.
    if !how.isForced, times.isOver(transaction, at: now) { return }
    finished[transaction] = how
    guard finished.count > sweepsAt else { return }
    finished = finished.filter { $0.value.isForced || !times.isOver($0.key, at: now) }
    sweepsAt = 2 * finished.count + 1_024
  }

  /// Sets the time at which the branch is looked after next.
  mutating func schedule(_ transaction: TransactionID) {
    deadlines.set(.branch(transaction), branches[transaction]?.due(times, at: now))
  }

  /// One wake for all deadlines: said when it gets earlier, and again after it ran out.
  private mutating func wake() {
    if let set = wakesAt, set <= now.monotonicMilliseconds { wakesAt = nil }
    guard let earliest = deadlines.earliest, earliest < wakesAt ?? .max else { return }
    wakesAt = earliest
    effects.append(.wake(atMonotonicMilliseconds: earliest))
  }

  private mutating func ring(_ alarm: Alarm) {
    switch alarm {
    case .branch(let transaction): lookAfter(transaction)
    case .snapshot(let request):
      if snapshots.removeValue(forKey: request) != nil {
        effects.append(.snapshotFailed(request: request, .deadline))
      }
    case .opening: open()
    }
  }
}
