import RoostCausality
import RoostCluster
import RoostTransactions

/// A simulated coordinator: the state machine, the driver that does its I/O, and the calls of the
/// clients that live in its process and die with it.
final class CoordinatorNode {
  let index: Int
  /// Under which it coordinates now.
  private(set) var id: CoordinatorID
  /// Under which it did before its log was found to be a copy: it finishes what it had decided.
  private var formerIDs: [CoordinatorID] = []
  unowned let cluster: SimulatedCluster
  let clock: NodeClock
  var disk = SimulatedDisk(LogState())
  private var machines: [CoordinatorID: Coordinator] = [:]
  /// The log was lost, and this is a copy or a new one: what is not in it proves nothing.
  var presumesAbort = true
  private var incarnation: UInt64 = 0
  private var requests: UInt64 = 0
  private var reads: [UInt64: (ReadResult) -> Void] = [:]
  private var commits: [UInt64: (TransactionOutcome?) -> Void] = [:]
  private var effectSends: [StoreState.Mark: Int] = [:]
  var failsNext = false
  private(set) var lastRefusal: BeginRefusal?

  enum ReadResult {
    case answer(ReadAnswer)
    case failed(AbortReason)
    /// The process died.
    case lost
  }

  init(_ index: Int, _ cluster: SimulatedCluster) {
    self.index = index
    self.cluster = cluster
    id = CoordinatorID(rawValue: UInt64(101 + index))
    clock = cluster.makeClock()
  }

  var node: Node { .coordinator(index) }
  var isUp: Bool { !machines.isEmpty }
  /// Whether all that it decided is done.
  var isIdle: Bool { machines.values.allSatisfy(\.isIdle) }
  func isKnown(_ id: CoordinatorID) -> Bool { id == self.id || formerIDs.contains(id) }
  private var mutation: Mutation? { cluster.options.mutation }

  // MARK: Life

  func start() {
    clock.restart()
    incarnation += 1
    var times = cluster.options.times
    if mutation == .noClockBoundWait { times.clockBoundMilliseconds = 0 }
    let log = mutation == .decisionsForgotten ? LogState() : disk.live
    var outcomes: [TransactionID: Outcome] = [:]
    for (transaction, record) in log.records where log.ended.contains(transaction) {
      outcomes[transaction] = .committed(record.timestamp)
    }
    let ids = formerIDs + [id]
    for id in ids {
      machines[id] = Coordinator(
        id, times: times, committed: log.unended.filter { $0.transaction.coordinator == id },
        outcomes: outcomes.filter { $0.key.coordinator == id },
        presumesAbort: presumesAbort && id == self.id, at: clock.instant(cluster.now))
    }
    for id in ids { handle(.timer, id) }
  }

  /// Its log is found to be a copy while it is down: nothing is missing in it, but nobody can know that.
  func renew() {
    formerIDs.append(id)
    id = CoordinatorID(rawValue: id.rawValue + 100)
  }

  /// Its log is gone while it is down.
  func loseLog() {
    disk = SimulatedDisk(LogState())
  }

  func crash(_ loss: CrashLoss) {
    machines = [:]
    incarnation += 1
    disk.crash(loss, &cluster.random)
    let (reads, commits) = (reads, commits)
    self.reads = [:]
    self.commits = [:]
    for request in reads.keys.sorted() { reads[request]?(.lost) }
    for request in commits.keys.sorted() { commits[request]?(nil) }
  }

  private func handle(_ event: CoordinatorEvent, _ id: CoordinatorID) {
    let effects = machines[id]?.receive(event, at: clock.instant(cluster.now)) ?? []
    for effect in effects { execute(effect, id) }
  }

  // MARK: What clients ask

  func begin(age: TransactionID?) -> TransactionID? {
    switch machines[id]?.begin(age: age, at: clock.instant(cluster.now)) {
    case .success(let transaction): return transaction
    case .failure(let refusal):
      lastRefusal = refusal
      return nil
    case nil: return nil
    }
  }

  func acquire(
    _ transaction: TransactionID, at member: MemberID, _ locks: [LockTarget], _ read: TransactionRead?,
    _ answer: @escaping (ReadResult) -> Void
  ) {
    requests += 1
    reads[requests] = answer
    handle(
      .acquire(request: requests, transaction, at: member, locks: locks, read: read),
      transaction.coordinator)
  }

  /// Answers `nil` where the process died.
  func commit(
    _ transaction: TransactionID, _ writes: [MemberID: [TransactionWrite]], _ effects: [EventualEffect],
    isSynced: Bool, _ answer: @escaping (TransactionOutcome?) -> Void
  ) {
    requests += 1
    commits[requests] = answer
    handle(
      .commit(
        CommitCall(request: requests, transaction, writes: writes, effects: effects, isSynced: isSynced)),
      transaction.coordinator)
  }

  func outcome(of transaction: TransactionID) -> KnownOutcome? {
    machines[transaction.coordinator]?.outcome(of: transaction, at: clock.instant(cluster.now))
  }

  /// What certainly became of a transaction, as an operator finds out who looks into the log; `nil` where it
  /// may still be decided.
  func decision(of transaction: TransactionID) -> Outcome? {
    if let record = disk.durable.records[transaction] { return .committed(record.timestamp) }
    switch outcome(of: transaction) {
    case .committed(let timestamp): return .committed(timestamp)
    case .aborted, .noRecord: return .aborted
    case .undecided, .expired, nil: return nil
    }
  }

  func abort(_ transaction: TransactionID, _ reason: AbortReason) {
    handle(.abort(transaction, reason), transaction.coordinator)
  }

  // MARK: What comes in

  func receive(_ envelope: Envelope) -> Bool {
    guard isUp else { return false }
    cluster.note(
      4, UInt64(index), envelope.message.transaction.start.rawValue, envelope.message.code)
    clock.observe(envelope.timestamp, cluster.now)
    if case .coordinator(let id) = envelope.to { handle(.received(envelope), id) }
    return true
  }

  func undeliverable(_ envelope: Envelope) {
    if case .coordinator(let id) = envelope.from {
      handle(.undeliverable(envelope, "nobody is there"), id)
    }
  }

  // MARK: What goes out

  private func execute(_ effect: CoordinatorEffect, _ id: CoordinatorID) {
    switch effect {
    case .send(let member, let message): send(.participant(member), message, id)
    case .reply(let endpoint, let message): send(endpoint, message, id)
    case .logCommit(let number, let record):
      let isForced = record.isSynced && mutation != .commitNotForced
      log(.commit(record), isForced: isForced) { [self] failure in
        handle(.logged(number, failure: failure), id)
      }
      if mutation == .endBeforeAcknowledged { log(.end(record.transaction), isForced: true) { _ in } }
    case .logEnd(let transaction): log(.end(transaction), isForced: false) { _ in }
    case .answerAcquire(let request, let answer): reads.removeValue(forKey: request)?(.answer(answer))
    case .failAcquire(let request, let reason): reads.removeValue(forKey: request)?(.failed(reason))
    case .answerCommit(let request, let outcome): commits.removeValue(forKey: request)?(outcome)
    case .wake(let time): wake(time, id)
    case .warn: break
    }
  }

  private func wake(_ milliseconds: UInt64, _ id: CoordinatorID) {
    let mine = incarnation
    let delay = milliseconds * 1_000 > cluster.now ? milliseconds * 1_000 - cluster.now : 0
    cluster.queue.schedule(after: delay) { [self] in
      if mine == incarnation { handle(.timer, id) }
    }
  }

  private func send(_ to: Endpoint, _ message: Message, _ id: CoordinatorID) {
    cluster.send(
      Envelope(
        from: .coordinator(id), to: mutated(to, message), timestamp: clock.timestamp(cluster.now),
        physicalMilliseconds: clock.physicalMilliseconds(cluster.now), message), from: node)
  }

  /// An effect goes where COMMIT says, however often it is sent.
  private func mutated(_ to: Endpoint, _ message: Message) -> Endpoint {
    guard mutation == .effectsRerouted, case .effect(_, let index, _) = message.body,
      case .participant(let member) = to
    else { return to }
    let mark = StoreState.Mark(transaction: message.transaction, index: index)
    effectSends[mark, default: -1] += 1
    let shift = UInt64(effectSends[mark] ?? 0)
    let count = UInt64(cluster.options.participantCount)
    return .participant(MemberID(rawValue: (member.rawValue - 1 + shift) % count + 1))
  }

  private func log(
    _ operation: LogState.Operation, isForced: Bool, _ done: @escaping (_ failure: String?) -> Void
  ) {
    disk.enqueue(operation, isForced: isForced)
    let latency = isForced ? 500 + cluster.random.below(4_000) : 20 + cluster.random.below(300)
    let start = max(disk.busyUntil, cluster.now)
    disk.busyUntil = start + UInt64(latency)
    let mine = incarnation
    cluster.queue.schedule(after: disk.busyUntil - cluster.now) { [self] in
      guard mine == incarnation else { return }
      cluster.beginStep()
      cluster.note(5, UInt64(index))
      guard mine == incarnation else { return }
      let failed = disk.finishNext(fails: failsNext) == nil
      failsNext = false
      done(failed ? "the simulated log failed" : nil)
    }
  }
}
