import RoostCausality
package import RoostCluster

/// Who decides transactions: two-phase commit with presumed abort, a coordinator's side.
///
/// What must hold:
/// - It says "committed" to anyone only after its COMMIT record is logged, at a timestamp that is at
///   least every prepare timestamp, and within the bound of every participant that only read.
/// - It says "aborted" only of what it has not begun to log and never will; from absence only where it
///   knows its whole log, and only to a participant in doubt. What nobody knows it calls unknown.
/// - END comes after all writers acknowledged and all effects are done, and a target may forget an
///   effect only once END is durable.
/// - The caller hears of a commit when every clock has passed its timestamp.
///
/// A plain value: no I/O, no clock. The driver observes the timestamps of envelopes before it hands
/// them over, and appends to the log in the order of the effects.
package struct Coordinator: Sendable {
  package let id: CoordinatorID
  package let times: ProtocolTimes
  /// Its log was fully replayed and is no copy: what it has no record of is not committed.
  package let presumesAbort: Bool

  enum Finish: Hashable, Sendable {
    case committed(Timestamp)
    case aborted(AbortReason)
  }

  /// END is written, and durable with the next forced record.
  struct Ended: Sendable {
    var transaction: TransactionID
    var targets: Set<MemberID>
    /// The number of the last COMMIT before it.
    var after: UInt64
  }

  var active: [TransactionID: ActiveTransaction] = [:]
  var finished: [TransactionID: Finish] = [:]
  /// In the order they were added: who goes first when there are too many.
  var finishedOrder: [TransactionID] = []
  var finishedStart = 0
  var commits: [UInt64: TransactionID] = [:]
  var lastCommit: UInt64 = 0
  var ended: [Ended] = []
  var lastRequest: UInt64 = 0
  var logFailure: String?
  /// Whose messages show clocks too far apart; and until when, monotonic, that is believed without
  /// another: who begins nothing hears nothing.
  var suspects: [Endpoint: UInt64] = [:]
  var deadlines = Deadlines<TransactionID>()
  var wakesAt: UInt64?
  /// How transactions have ended since it was made.
  package private(set) var counts = OutcomeCounts()

  var now: Instant
  var effects: [CoordinatorEffect] = []

  /// - Parameters:
  ///   - committed: COMMIT records without END: they are finished.
  ///   - outcomes: what else is recorded, and not older than outcomes are kept.
  ///   - presumesAbort: the log was fully replayed, and is the one this identity was minted for.
  ///
  /// Call ``receive(_:at:)`` with `.timer` at once: it says what to do first.
  package init(
    _ id: CoordinatorID, times: ProtocolTimes, committed: [CommitRecord],
    outcomes: [TransactionID: Outcome], presumesAbort: Bool, at now: Instant
  ) {
    self.id = id
    self.times = times
    self.presumesAbort = presumesAbort
    self.now = now
    for (transaction, outcome) in outcomes.sorted(by: { $0.key < $1.key }) {
      switch outcome {
      case .committed(let timestamp): remember(transaction, .committed(timestamp))
      case .aborted: remember(transaction, .aborted(.recorded))
      }
    }
    for record in committed {
      var recovered = ActiveTransaction(
        record.transaction, age: record.transaction, deadline: .max)
      recovered.phase = .committed(record.timestamp)
      recovered.isLogged = true
      recovered.unacknowledged = Set(record.writers)
      recovered.hasWriters = !record.writers.isEmpty
      for (index, effect) in record.effects.enumerated() {
        recovered.effects[index] = effect
        recovered.effectTargets.insert(effect.target)
      }
      recovered.nextRetry = now.monotonicMilliseconds
      recovered.retryWait = times.firstRetryMilliseconds
      active[record.transaction] = recovered
      schedule(record.transaction)
    }
  }

  // MARK: What callers ask

  /// Names a transaction and watches over it from now on: what is due is said with the next event, and
  /// before that it holds nothing.
  ///
  /// - Parameters:
  ///   - age: the first attempt's id, where this is another.
  ///   - now: its timestamp must be fresh: it becomes the id.
  package mutating func begin(
    age: TransactionID?, at now: Instant
  ) -> Result<TransactionID, BeginRefusal> {
    suspects = suspects.filter { $0.value > now.monotonicMilliseconds }
    if isFenced { return .failure(.clock) }
    if let logFailure { return .failure(.logFailed(logFailure)) }
    if active.count >= times.activeLimit { return .failure(.tooManyActive(active.count)) }
    let transaction = TransactionID(start: now.timestamp, coordinator: id)
    guard active[transaction] == nil, finished[transaction] == nil else {
      return .failure(.timeUsedTwice)
    }
    self.now = now
    active[transaction] = ActiveTransaction(
      transaction, age: age ?? transaction,
      deadline: now.monotonicMilliseconds &+ times.durationMilliseconds)
    schedule(transaction)
    return .success(transaction)
  }

  /// What it knows of one of its transactions.
  package func outcome(of transaction: TransactionID, at now: Instant) -> KnownOutcome {
    if let found = active[transaction] {
      if case .committed(let timestamp) = found.phase { return .committed(timestamp) }
      return .undecided
    }
    switch finished[transaction] {
    case .committed(let timestamp): return .committed(timestamp)
    case .aborted(let reason): return .aborted(reason)
    case nil: return times.isForgotten(transaction, at: now) ? .expired : .noRecord
    }
  }

  /// What a caller may be told of a commit already; `nil` where it must wait, or cannot know.
  func finalOutcome(of transaction: TransactionID) -> TransactionOutcome? {
    let known: Finish
    if let found = active[transaction] {
      guard case .committed(let timestamp) = found.phase else { return nil }
      known = .committed(timestamp)
    } else if let found = finished[transaction] {
      known = found
    } else {
      return nil
    }
    switch known {
    case .committed(let timestamp):
      return times.hasPassed(timestamp, at: now) ? .committed(at: timestamp) : nil
    case .aborted(let reason): return .aborted(reason)
    }
  }

  /// Whether its clock was seen near the bound: it begins nothing then.
  package var isFenced: Bool { !suspects.isEmpty }

  /// The stores that have yet to acknowledge what it decided, or to do its effects.
  var unfinished: Set<MemberID> {
    active.values.reduce(into: []) { members, found in
      guard case .committed = found.phase else { return }
      members.formUnion(found.unacknowledged)
      for effect in found.effects.values { members.insert(effect.target) }
    }
  }

  /// Whether all that it decided is done.
  package var isIdle: Bool { active.isEmpty }

  // MARK: Events

  package mutating func receive(_ event: CoordinatorEvent, at now: Instant) -> [CoordinatorEffect] {
    self.now = now
    switch event {
    case .received(let envelope): received(envelope)
    case .acquire(let request, let transaction, let member, let locks, let read):
      acquire(request, transaction, at: member, locks, read)
    case .commit(let call): commit(call)
    case .abort(let transaction, let reason):
      if active[transaction]?.isUndecided ?? false { abort(transaction, reason) }
    case .logged(let number, let failure): logged(number, failure)
    case .timer: break
    case .undeliverable(let envelope, let text): undeliverable(envelope, text)
    }
    while let transaction = deadlines.next(at: now.monotonicMilliseconds) { lookAfter(transaction) }
    wake()
    defer { effects.removeAll() }
    return effects
  }

  private mutating func received(_ envelope: Envelope) {
    watchClock(envelope)
    guard case .participant(let member) = envelope.from else { return }
    let transaction = envelope.message.transaction
    switch envelope.message.body {
    case .acquired(let request, let epoch, let answer):
      acquired(transaction, request, epoch, answer, from: member, envelope)
    case .refused(let request, let refusal):
      refused(transaction, request, refusal, from: member)
    case .wounded: wounded(transaction, from: member)
    case .vote(let vote): voted(transaction, vote, from: member, envelope)
    case .acknowledged: acknowledged(transaction, from: member)
    case .committedAtOnce(let request, let timestamp):
      committedAtOnce(transaction, request, timestamp, from: member)
    case .effectDone(let index): effectDone(transaction, index, from: member)
    case .effectFailed(let index, let text):
      warn("\(transaction): effect \(index) cannot be done: \(text)")
      effectDone(transaction, index, from: member)
    case .inquire: inquired(transaction, from: envelope.from)
    case .answer(let answer): answered(transaction, answer, from: member)
    // A participant's.
    case .acquire, .prepare, .commit, .abort, .commitAtOnce, .effect, .forgetEffects: break
    }
  }

  // MARK: What all concerns use

  mutating func send(_ member: MemberID, _ transaction: TransactionID, _ body: Message.Body) {
    effects.append(.send(to: member, Message(transaction, body)))
  }

  mutating func warn(_ text: String) { effects.append(.warn("coordinator \(id): \(text)")) }

  /// Sets the time at which the transaction is looked after next.
  mutating func schedule(_ transaction: TransactionID) {
    deadlines.set(transaction, active[transaction]?.due(times, at: now))
  }

  /// Begins to send again what goes unanswered.
  mutating func expectAnswer(_ transaction: TransactionID) {
    active[transaction]?.retryWait = times.firstRetryMilliseconds
    active[transaction]?.nextRetry =
      now.monotonicMilliseconds &+ max(times.firstRetryMilliseconds, 1)
    schedule(transaction)
  }

  /// Now it is known what became of a transaction.
  mutating func conclude(_ transaction: TransactionID, _ how: Finish) {
    switch how {
    case .committed: counts.committed += 1
    case .aborted(let reason): counts.aborted[reason.kind, default: 0] += 1
    }
    remember(transaction, how)
  }

  /// Callers are told that nobody knows.
  mutating func countUnknown() { counts.unknown += 1 }

  /// Keeps an outcome, for those who ask, and lets the oldest go where there are too many.
  mutating func remember(_ transaction: TransactionID, _ how: Finish) {
    if finished.updateValue(how, forKey: transaction) == nil { finishedOrder.append(transaction) }
    while finishedStart < finishedOrder.count {
      let oldest = finishedOrder[finishedStart]
      let isDue = finished.count > times.outcomeLimit || times.isForgotten(oldest, at: now)
      guard isDue, oldest != transaction else { break }
      finished[oldest] = nil
      finishedStart += 1
    }
    if finishedStart > 1_024, finishedStart * 2 > finishedOrder.count {
      finishedOrder.removeFirst(finishedStart)
      finishedStart = 0
    }
  }

  private mutating func wake() {
    if let set = wakesAt, set <= now.monotonicMilliseconds { wakesAt = nil }
    guard let earliest = deadlines.earliest, earliest < wakesAt ?? .max else { return }
    wakesAt = earliest
    effects.append(.wake(atMonotonicMilliseconds: earliest))
  }
}
