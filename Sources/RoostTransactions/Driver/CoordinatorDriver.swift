import RoostCausality
import RoostCluster
import RoostEnvironment
import RoostStorage

/// Runs a ``Coordinator``: gives it its events, sends its messages, writes its log, and answers its
/// callers. Thread-safe.
final class CoordinatorDriver: @unchecked Sendable {
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
  private var isStopped = false
  /// END, say, is about to be appended.
  private var isPerforming = false
  /// Someone waits for what is decided to be done.
  private var isFinishing = false
  private var isRetired = false
  private var loop: EventLoop<CoordinatorEvent>!

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
    loop = EventLoop { [weak self] event in self?.handle(event) }
    services.transport.attach(endpoint) { [weak self] envelope in
      self?.loop.post(.received(envelope), isDroppable: true)
    }
  }

  /// Goes on with what was decided before the last stop.
  func resume() { loop.post(.timer) }

  /// Ends it: callers that wait are told that they cannot know.
  func stop() {
    services.transport.detach(endpoint)
    loop.stop()
    let (acquires, commits) = lock.withLock {
      isStopped = true
      defer {
        self.acquires = [:]
        self.commits = [:]
      }
      return (self.acquires, self.commits)
    }
    for waiting in acquires.values {
      waiting.reply(.failure(TransactionAborted(.failed("the database was closed"))))
    }
    for waiting in commits.values { waiting.reply(.unknown(waiting.transaction)) }
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
        if !isPerforming, unfinished.isEmpty || !unfinished.allSatisfy(isReachable) { return }
        _ = services.shared.environment.time.wait(
          on: progress, untilMonotonicNanoseconds: deadline * 1_000_000)
      }
    }
  }

  // MARK: - Calls

  /// - Parameter age: the first attempt's id, where this is another.
  /// - Returns: `nil` where it begins nothing any more: another does.
  func begin(age: TransactionID?) throws(DatabaseError) -> TransactionID? {
    let now = try services.instant()
    return try lock.withLock { () throws(DatabaseError) in
      if isRetired { return nil }
      if isStopped { throw DatabaseError(.closed, "the database is closed") }
      switch machine.begin(age: age, at: now) {
      case .success(let id): return id
      case .failure(let refusal): throw DatabaseError(refusal)
      }
    }
  }

  /// Whether nothing that it began is under way, and all that it decided is done everywhere.
  var isIdle: Bool { lock.withLock { machine.isIdle } && loop.isIdle }

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
    loop.post(.acquire(request: request, transaction, at: member, locks: locks, read: read))
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
    loop.post(
      .commit(
        CommitCall(request: request, transaction, writes: writes, effects: effects, isSynced: isSynced)))
  }

  /// When the machine has answered what is asked now, at the latest.
  private var lastMoment: UInt64 {
    services.monotonicMilliseconds + services.times.durationMilliseconds
      + services.times.clockBoundMilliseconds
  }

  func abort(_ transaction: TransactionID, _ reason: AbortReason) {
    loop.post(.abort(transaction, reason))
  }

  func outcome(of transaction: TransactionID) throws(DatabaseError) -> KnownOutcome {
    let now = try services.instant()
    return lock.withLock { machine.outcome(of: transaction, at: now) }
  }

  // MARK: - Events

  private func handle(_ event: CoordinatorEvent) {
    let now: Instant
    do throws(DatabaseError) {
      if case .received(let envelope) = event { try services.observe(envelope) }
      now = try services.instant()
    } catch {
      return postpone(event, error)
    }
    let effects = lock.withLock {
      isPerforming = true
      return machine.receive(event, at: now)
    }
    for effect in effects { perform(effect, now) }
    lock.withLock {
      isPerforming = false
      if isFinishing { progress.broadcast() }
    }
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
      self?.loop.post(retried)
    }
  }

  private func answerOverdue(_ error: DatabaseError) {
    let now = services.monotonicMilliseconds
    let (acquires, commits) = lock.withLock {
      let acquires = self.acquires.filter { $0.value.until <= now }
      let commits = self.commits.filter { $0.value.until <= now }
      for request in acquires.keys { self.acquires[request] = nil }
      for request in commits.keys { self.commits[request] = nil }
      return (acquires, commits)
    }
    for waiting in acquires.values {
      waiting.reply(.failure(TransactionAborted(.failed(error.description))))
    }
    // How far the machine came with it is not known before the clock goes on.
    for waiting in commits.values { waiting.reply(.unknown(waiting.transaction)) }
  }

  private func perform(_ effect: CoordinatorEffect, _ now: Instant) {
    switch effect {
    case .send(let member, let message):
      let envelope = services.envelope(from: endpoint, to: .participant(member), message, now)
      if !services.transport.send(envelope) {
        loop.post(.undeliverable(envelope, "the store \(member) is not open"))
      }
    case .reply(let to, let message):
      _ = services.transport.send(services.envelope(from: endpoint, to: to, message, now))
    case .logCommit(let number, let record):
      guard let log else {
        loop.post(.logged(number, failure: "the coordinator is over"))
        return
      }
      log.append(record) { [weak self] error in
        self?.loop.post(.logged(number, failure: error.map { "\($0)" }))
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
      services.timers.schedule(atMonotonicMilliseconds: time) { [weak self] in self?.loop.post(.timer) }
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

/// A transaction came to its end before its caller asked for it.
package struct TransactionAborted: Error, Hashable, Sendable {
  package var reason: AbortReason

  package init(_ reason: AbortReason) { self.reason = reason }
}

extension DatabaseError {
  init(_ refusal: BeginRefusal) {
    switch refusal {
    case .clock:
      self.init(
        .clockOutOfBound, "this process's clock was seen near the bound: it begins no transaction meanwhile")
    case .tooManyActive(let count): self.init(.busy, "\(count) transactions are under way already")
    case .logFailed(let text):
      self.init(.storage, "the coordinator's log failed, open the database again: \(text)")
    case .timeUsedTwice: self.init(.busy, "the clock gave a time twice")
    }
  }
}
