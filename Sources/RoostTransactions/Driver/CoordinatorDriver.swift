import RoostCausality
import RoostCluster
import RoostEnvironment
import RoostStorage

/// Runs a ``Coordinator``: gives it its events, sends its messages, writes its log, and answers its
/// callers.
///
/// As into a ``ParticipantDriver`` there are two ways in: the loop, and for what a transaction of one store
/// is made of the bringing thread itself, behind the lock for the machine's step only.
///
/// Thread-safe.
final class CoordinatorDriver: @unchecked Sendable {
  private enum Work: Sendable {
    case event(CoordinatorEvent)
    /// What an event that entered led to, in the order in which events entered.
    case effects([CoordinatorEffect], Instant)
    /// Somebody waits for all before it.
    case turn(UInt64)
  }

  typealias AcquireReply = @Sendable (Result<ReadAnswer, TransactionAborted>) -> Void
  typealias CommitReply = @Sendable (TransactionOutcome) -> Void

  let id: CoordinatorID
  private let services: DriverServices
  /// `nil` of a coordinator that is over.
  private let log: CoordinatorLog?
  /// Nobody else uses their urgent lane.
  private let workers: any Workers
  private let endpoint: Endpoint
  private let lock = Lock()
  private let progress: Condition
  // Guarded by `lock`.
  private var machine: Coordinator
  private var nextRequest: UInt64 = 0
  private var acquires: [UInt64: WaitingAcquire] = [:]
  private var commits: [UInt64: WaitingCommit] = [:]
  /// Who waits for their turn in the loop.
  private var turns: [UInt64: @Sendable () -> Void] = [:]
  private var isStopped = false
  /// END, say, is about to be appended.
  private var isPerforming = false
  /// How many `.effects` the loop has yet to do.
  private var queuedEffects = 0
  /// Someone waits for what is decided to be done.
  private var isFinishing = false
  private var isRetired = false
  private var loop: EventLoop<Work>!

  /// Callers wait until then, by the monotonic clock, where the coordinator cannot answer.
  private struct WaitingAcquire {
    var reply: AcquireReply
    var until: UInt64
  }

  private struct WaitingCommit {
    var transaction: TransactionID
    var reply: CommitReply
    var until: UInt64
  }

  /// - Parameter log: where its decisions are, and those of the coordinator whose copied log it took over;
  ///   `nil` where it is over, and only answers those who ask.
  init(
    _ machine: Coordinator, _ log: CoordinatorLog?, _ workers: any Workers, _ services: DriverServices
  ) {
    id = machine.id
    self.machine = machine
    self.log = log
    self.workers = workers
    self.services = services
    endpoint = .coordinator(machine.id)
    progress = Condition(lock)
    loop = EventLoop(
      handOver: { job in
        workers.submit(.background, job)
        while workers.runOneHere() {}
      },
      handle: { [weak self] work in self?.handle(work) })
    services.transport.attach(endpoint) { [weak self] envelope in self?.receive(envelope) }
  }

  /// Goes on with what was decided before the last stop.
  func resume() { post(.timer) }

  /// Ends it: callers that wait for what is not known here are told that they cannot know.
  func stop() {
    services.transport.detach(endpoint)
    loop.stop()
    let (acquires, commits, turns) = lock.withLock {
      isStopped = true
      defer {
        self.acquires = [:]
        self.commits = [:]
        self.turns = [:]
      }
      return (self.acquires, answered(self.commits), self.turns)
    }
    for (_, waiting) in acquires.sorted(by: { $0.key < $1.key }) {
      waiting.reply(.failure(TransactionAborted(.failed("the database was closed"))))
    }
    for (reply, outcome) in commits { reply(outcome) }
    for (_, body) in turns.sorted(by: { $0.key < $1.key }) { body() }
  }

  /// What those who wait for a commit are told where nothing more comes: it may be decided, and their answer
  /// on its way behind other events. With the lock held.
  private func answered(
    _ commits: [UInt64: WaitingCommit]
  ) -> [(reply: CommitReply, outcome: TransactionOutcome)] {
    commits.sorted { $0.key < $1.key }.map { _, waiting in
      (waiting.reply, machine.finalOutcome(of: waiting.transaction) ?? .unknown(waiting.transaction))
    }
  }

  /// Waits until all stores that can have done what it decided: then END says so, and nothing need be told
  /// again at the next opening.
  ///
  /// - Parameters:
  ///   - deadline: on the monotonic clock.
  ///   - isReachable: whether a store can be told at all.
  func finish(untilMonotonicMilliseconds deadline: UInt64, _ isReachable: (MemberID) -> Bool) {
    lock.withLock {
      isFinishing = true
      while !isStopped, services.monotonicMilliseconds < deadline {
        let unfinished = machine.unfinished
        let isAtRest = !isPerforming && queuedEffects == 0
        if isAtRest, unfinished.isEmpty || !unfinished.allSatisfy(isReachable) { return }
        _ = services.shared.environment.time.wait(
          on: progress, untilMonotonicNanoseconds: deadline * 1_000_000)
      }
    }
  }

  // MARK: - Calls

  /// - Parameter age: the first attempt's id, where this is another.
  /// - Returns: `nil` where it begins nothing any more: another does.
  func begin(age: TransactionID?) throws(DatabaseError) -> TransactionID? {
    try lock.withLock { () throws(DatabaseError) in
      if isRetired { return nil }
      if isStopped { throw DatabaseError(.closed, "the database is closed") }
      let now = try services.instant()
      switch machine.begin(age: age, at: now) {
      case .success(let id): return id
      case .failure(let refusal): throw DatabaseError(refusal)
      }
    }
  }

  /// Whether nothing that it began is under way, and all that it decided is done everywhere.
  var isIdle: Bool { lock.withLock { machine.isIdle } && loop.isIdle }

  /// How its transactions have ended since it was made, and how many are under way.
  var figures: (outcomes: OutcomeCounts, underWay: Int) {
    lock.withLock { (machine.counts, machine.active.count) }
  }

  /// How many of its unfinished transactions name a member for anything.
  func unfinished(naming member: MemberID) -> Int {
    lock.withLock { machine.unfinished(naming: member) }
  }

  /// The same, for effects that are meant.
  func unfinishedEffects(at member: MemberID, where isMeant: (EventualEffect) -> Bool) -> Int {
    lock.withLock { machine.unfinishedEffects(at: member, where: isMeant) }
  }

  /// Whether it would answer "aborted" of what it has no record of.
  var presumesAbort: Bool { lock.withLock { machine.presumesAbort } }

  /// Tells its log from others.
  var logIdentity: ObjectIdentifier? { log.map { ObjectIdentifier($0) } }

  /// From now on it begins nothing.
  func retire() { lock.withLock { isRetired = true } }

  /// It may begin transactions again: its store was about to leave, and stays after all.
  func unretire() { lock.withLock { isRetired = false } }

  func acquire(
    _ transaction: TransactionID, at member: MemberID, _ locks: [LockTarget], _ read: TransactionRead?,
    _ reply: @escaping AcquireReply
  ) {
    let request = lock.withLock { () -> UInt64? in
      if isStopped { return nil }
      nextRequest += 1
      acquires[nextRequest] = WaitingAcquire(reply: reply, until: lastMoment)
      return nextRequest
    }
    guard let request else {
      return reply(.failure(TransactionAborted(.failed("the database is closed"))))
    }
    enter(.acquire(request: request, transaction, at: member, locks: locks, read: read))
  }

  func commit(
    _ transaction: TransactionID, _ writes: [MemberID: [TransactionWrite]], _ effects: [EventualEffect],
    isSynced: Bool, _ reply: @escaping CommitReply
  ) {
    let request = lock.withLock { () -> UInt64? in
      if isStopped { return nil }
      nextRequest += 1
      commits[nextRequest] = WaitingCommit(transaction: transaction, reply: reply, until: lastMoment)
      return nextRequest
    }
    guard let request else { return reply(.aborted(.failed("the database is closed"))) }
    enter(
      .commit(
        CommitCall(request: request, transaction, writes: writes, effects: effects, isSynced: isSynced)))
  }

  /// When the machine has answered what is asked now, at the latest.
  private var lastMoment: UInt64 {
    services.monotonicMilliseconds + services.times.durationMilliseconds
      + services.times.clockBoundMilliseconds
  }

  func abort(_ transaction: TransactionID, _ reason: AbortReason) {
    post(.abort(transaction, reason))
  }

  /// What it knows now. What was asked of it before may not be done yet: see ``inTurn(_:)``.
  func outcome(of transaction: TransactionID) throws(DatabaseError) -> KnownOutcome {
    let now = try services.instant()
    return lock.withLock { machine.outcome(of: transaction, at: now) }
  }

  /// Runs `body` once all that was asked of it before this call is done, an abort behind others' events
  /// among it: on this thread, or on the one that handles events. Once, also where it stops before.
  ///
  /// - Parameter body: must not wait for long, nor for a disk: other events wait behind it.
  func inTurn(_ body: @escaping @Sendable () -> Void) {
    let number = lock.withLock { () -> UInt64? in
      if isStopped { return nil }
      nextRequest += 1
      turns[nextRequest] = body
      return nextRequest
    }
    guard let number else { return body() }
    loop.post(.turn(number))
  }

  // MARK: - Events

  private func post(_ event: CoordinatorEvent) { loop.post(.event(event)) }

  private func receive(_ envelope: Envelope) {
    switch envelope.message.body {
    // Who was wounded must know before it reads on: nothing that it waits for may overtake that.
    case .acquired, .committedAtOnce, .wounded, .refused: enter(.received(envelope))
    default: loop.post(.event(.received(envelope)), isDroppable: true)
    }
  }

  private func handle(_ work: Work) {
    switch work {
    case .event(let event):
      do throws(DatabaseError) {
        try observe(event)
        let (effects, now) = try lock.withLock { () throws(DatabaseError) in
          let result = try step(event)
          isPerforming = true
          return result
        }
        for effect in effects { perform(effect, now) }
      } catch { return postpone(event, error) }
    case .effects(let effects, let now):
      for effect in effects { perform(effect, now) }
      lock.withLock { queuedEffects -= 1 }
    case .turn(let number):
      lock.withLock { turns.removeValue(forKey: number) }?()
    }
    lock.withLock {
      isPerforming = false
      if isFinishing { progress.broadcast() }
    }
  }

  /// Handles an event beside the loop.
  private func enter(_ event: CoordinatorEvent) {
    let (effects, now): ([CoordinatorEffect], Instant)
    var mustDrain = false
    do throws(DatabaseError) {
      try observe(event)
      (effects, now) = try lock.withLock { () throws(DatabaseError) in
        if isStopped { return ([], machine.now) }
        let (effects, now) = try step(event)
        if effects.allSatisfy(\.needsNoOrder) { return (effects, now) }
        // Behind the lock: those that enter are done in the order of their steps. An event that the loop
        // has in hand meanwhile may be done first: what needs an order with it (an END before the next
        // COMMIT) must be decided by the loop.
        queuedEffects += 1
        if case .mustDrain = loop.enqueue(.effects(effects, now)) { mustDrain = true }
        return ([], now)
      }
    } catch { return postpone(event, error) }
    if mustDrain { loop.drain() }
    for effect in effects { perform(effect, now) }
  }

  private func observe(_ event: CoordinatorEvent) throws(DatabaseError) {
    if case .received(let envelope) = event { try services.observe(envelope) }
  }

  /// Gives the machine an event, with the lock held. So is its time taken, which never goes back.
  private func step(_ event: CoordinatorEvent) throws(DatabaseError) -> ([CoordinatorEffect], Instant) {
    let now = try services.instant()
    return (machine.receive(event, at: now), now)
  }

  /// The clock could not be raised, as no store can be written: so nothing can be decided. A message counts
  /// as lost, who asks for something new is refused it, and all else is tried again. Nobody waits for that
  /// longer than a transaction may take.
  private func postpone(_ event: CoordinatorEvent, _ error: DatabaseError) {
    var event = event
    switch event {
    case .received: return
    case .acquire(let request, _, _, _, _):
      takeAcquire(request)?(.failure(TransactionAborted(.failed(error.description))))
      return
    case .commit(let call):
      // The machine does not know of it, and will not hear of it.
      takeCommit(call.request)?(.aborted(.failed(error.description)))
      event = .abort(call.transaction, .failed(error.description))
    default: break
    }
    answerOverdue(error)
    let retried = event
    services.timers.schedule(atMonotonicMilliseconds: services.monotonicMilliseconds + 100) { [weak self] in
      self?.post(retried)
    }
  }

  private func answerOverdue(_ error: DatabaseError) {
    let now = services.monotonicMilliseconds
    let (acquires, commits) = lock.withLock {
      let acquires = self.acquires.filter { $0.value.until <= now }
      let commits = self.commits.filter { $0.value.until <= now }
      for request in acquires.keys { self.acquires[request] = nil }
      for request in commits.keys { self.commits[request] = nil }
      return (acquires, answered(commits))
    }
    for (_, waiting) in acquires.sorted(by: { $0.key < $1.key }) {
      waiting.reply(.failure(TransactionAborted(.failed(error.description))))
    }
    // What is not decided yet is not before the clock goes on.
    for (reply, outcome) in commits { reply(outcome) }
  }

  private func perform(_ effect: CoordinatorEffect, _ now: Instant) {
    switch effect {
    case .send(let member, let message):
      let envelope = services.envelope(from: endpoint, to: .participant(member), message, now)
      if !services.transport.send(envelope) {
        post(.undeliverable(envelope, "the store \(member) is not open"))
      }
    case .reply(let to, let message):
      _ = services.transport.send(services.envelope(from: endpoint, to: to, message, now))
    case .logCommit(let number, let record):
      guard let log else {
        post(.logged(number, failure: "the coordinator is over"))
        return
      }
      log.append(record) { [weak self] error in
        self?.post(.logged(number, failure: error.map { "\($0)" }))
      }
      workers.submit(.urgent) { [log] in log.run() }
      while workers.runOneHere() {}
    case .logEnd(let transaction):
      // Written with the next decision: nobody waits for it.
      log?.append(end: transaction)
    case .answerAcquire(let request, let answer):
      takeAcquire(request)?(.success(answer))
    case .failAcquire(let request, let reason):
      takeAcquire(request)?(.failure(TransactionAborted(reason)))
    case .answerCommit(let request, let outcome):
      takeCommit(request)?(outcome)
    case .wake(let time):
      services.timers.schedule(atMonotonicMilliseconds: time) { [weak self] in self?.post(.timer) }
    case .warn(let text):
      services.warn(text)
    }
  }

  private func takeAcquire(_ request: UInt64) -> AcquireReply? {
    lock.withLock { acquires.removeValue(forKey: request) }?.reply
  }

  private func takeCommit(_ request: UInt64) -> CommitReply? {
    lock.withLock { commits.removeValue(forKey: request) }?.reply
  }
}

extension CoordinatorEffect {
  /// Whether it may be done beside the effects of other events. Messages may overtake each other; but what
  /// tells a decision stays behind the log.
  fileprivate var needsNoOrder: Bool {
    switch self {
    case .send(to: _, let message):
      switch message.body {
      case .acquire, .commitAtOnce: true
      default: false
      }
    case .answerAcquire, .failAcquire, .answerCommit, .wake: true
    default: false
    }
  }
}
