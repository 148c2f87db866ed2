import RoostCausality
import RoostCluster
import RoostEnvironment
import RoostStorage

/// Runs one store's ``Participant``: gives it its events, and does what it says on the store.
///
/// Events are handled by whoever brings them, and reads are done at once: what is read is locked, so no
/// write of it is on its way. What writes goes through a ``WriteQueue``, in the order in which the machine
/// decided on it, and so does what looks for what was written.
///
/// There are two ways in. Most events go through an ``EventLoop``, one after the other with all that they
/// lead to. What a transaction of one store is made of (locks, a commit at once, a write that is done)
/// *enters* on the thread that brings it: only the machine's step is behind the lock, and what it leads to
/// is done beside that of others, where that may be in any order. Else the loop does it.
///
/// Thread-safe.
final class ParticipantDriver: @unchecked Sendable {
  enum Work: Sendable {
    case event(ParticipantEvent)
    /// What an event that entered led to, in the order in which events entered.
    case effects([ParticipantEffect], Instant)
    case effect(Envelope)
    case forgetEffects(Envelope)
  }

  typealias ReadReply = @Sendable (Result<ReadAnswer, DatabaseError>) -> Void

  let member: Member
  private let store: ParticipantStore
  private let services: DriverServices
  let writes: WriteQueue
  private let seat = CallersSeat()
  private let outbox: EffectWriter
  private let epoch: UInt64
  private let endpoint: Endpoint
  let lock = Lock()
  // Guarded by `lock`.
  var machine: Participant
  private var nextRequest: UInt64 = 0
  private var reads: [UInt64: ReadReply] = [:]
  private var forces: [UInt64: @Sendable (Refusal?) -> Void] = [:]
  /// It records nothing any more, because its store is about to leave: what would make it is dropped, as
  /// if it were on its way for long.
  var isQuiet = false
  /// Thaws of partitions that are on their way to the machine: until they are there, what it says of freezing
  /// is of the handover before.
  var thawing: [Int: Int] = [:]
  private var isStopped = false
  /// How many `.effects` the loop has yet to do.
  var queuedEffects = 0
  private(set) var loop: EventLoop<Work>!

  init(
    _ member: Member, _ store: ParticipantStore, _ outbox: EffectWriter, _ services: DriverServices
  ) throws(DatabaseError) {
    self.member = member
    self.store = store
    writes = WriteQueue(member)
    self.outbox = outbox
    self.services = services
    endpoint = .participant(member.id)
    epoch = services.shared.environment.randomness.next()
    let now = try services.instant()
    var serves: (@Sendable (Int) -> Bool)?
    if let node = services.node { serves = { node.ownsTransactions(of: $0) } }
    machine = Participant(
      member.id, epoch: epoch, times: services.times, prepared: try store.prepared(),
      outcomes: try Self.recentOutcomes(store, services.times, now),
      forced: try store.forcedDecisions().reduce(into: [:]) { $0[$1.transaction] = $1.record.outcome },
      serves: serves, at: now)
    loop = EventLoop(
      handOver: { job in member.calls.run(.urgent, job, refused: { _ in job() }) },
      handle: { [weak self] work in self?.handle(work) })
    services.transport.attach(endpoint) { [weak self] envelope in self?.receive(envelope) }
    // What is in doubt asks at once.
    loop.post(.event(.timer))
  }

  /// The outcomes of transactions that may still be under way elsewhere.
  private static func recentOutcomes(
    _ store: ParticipantStore, _ times: ProtocolTimes, _ now: Instant
  ) throws(DatabaseError) -> [TransactionID: Outcome] {
    let span = 3 * times.durationMilliseconds + 2 * times.clockBoundMilliseconds
    var start: Timestamp? = Timestamp(
      milliseconds: now.physicalMilliseconds - min(now.physicalMilliseconds, span))
    var outcomes: [TransactionID: Outcome] = [:]
    while let from = start {
      let page = try store.outcomes(since: from, limit: 10_000)
      for (transaction, record) in page.outcomes { outcomes[transaction] = record.outcome }
      start = page.next
    }
    return outcomes
  }

  /// - Parameter isReplaced: another answers for the store already.
  func stop(isReplaced: Bool = false) {
    if !isReplaced { services.transport.detach(endpoint) }
    loop.stop()
    let (reads, forces) = lock.withLock {
      isStopped = true
      defer {
        self.reads = [:]
        self.forces = [:]
      }
      return (self.reads, self.forces)
    }
    for (_, reply) in reads.sorted(by: { $0.key < $1.key }) {
      reply(.failure(DatabaseError(.closed, "the database was closed")))
    }
    for (_, reply) in forces.sorted(by: { $0.key < $1.key }) { reply(.failed("the database was closed")) }
  }

  // MARK: - Events

  private func receive(_ envelope: Envelope) {
    switch envelope.message.body {
    case .effect, .forgetEffects, .inquire:
      if lock.withLock({ isQuiet }) { return }
    default: break
    }
    switch envelope.message.body {
    case .effect:
      loop.post(.effect(envelope), isDroppable: true)
    case .forgetEffects:
      loop.post(.forgetEffects(envelope), isDroppable: true)
    case .acquire, .commitAtOnce:
      enter(.received(envelope))
    default:
      loop.post(.event(.received(envelope)), isDroppable: true)
    }
  }

  func post(_ event: ParticipantEvent) { loop.post(.event(event)) }

  private func handle(_ work: Work) {
    do throws(DatabaseError) {
      switch work {
      case .event(let event):
        try observe(event)
        let (effects, now) = try lock.withLock { () throws(DatabaseError) in try step(event) }
        for effect in effects { perform(effect, now) }
      case .effects(let effects, let now):
        for effect in effects { perform(effect, now) }
        lock.withLock { queuedEffects -= 1 }
      case .effect(let envelope):
        let now = try services.instant()
        writes.run(blocks: true) { [self] _ in apply(envelope, now) }
      case .forgetEffects(let envelope):
        writes.run { [self] _ in forgetEffects(envelope) }
      }
    } catch { postpone(work, error) }
  }

  /// Handles an event beside the loop.
  private func enter(_ event: ParticipantEvent) {
    let (effects, now): ([ParticipantEffect], Instant)
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
    } catch { return postpone(.event(event), error) }
    if mustDrain { loop.drain() }
    for effect in effects { perform(effect, now) }
  }

  private func observe(_ event: ParticipantEvent) throws(DatabaseError) {
    switch event {
    case .received(let envelope): try services.observe(envelope)
    case .snapshot(_, _, let at, _): try services.shared.observe(at)
    default: break
    }
  }

  /// Gives the machine an event, with the lock held. So is its time taken: what a snapshot does not wait
  /// for must not get a time below the snapshot's, whoever brings events meanwhile.
  private func step(_ event: ParticipantEvent) throws(DatabaseError) -> ([ParticipantEffect], Instant) {
    let now = try services.instant()
    if case .thaw(let partition) = event {
      let left = thawing[partition, default: 1] - 1
      thawing[partition] = left > 0 ? left : nil
    }
    return (machine.receive(event, at: now), now)
  }

  /// The clock could not be raised, so nothing can be decided. A message counts as lost: it comes
  /// again. What nobody sends again is tried again.
  private func postpone(_ work: Work, _ error: DatabaseError) {
    switch work {
    case .event(.received), .effects, .effect, .forgetEffects: return
    case .event(.snapshot(let request, _, _, _)):
      finishRead(request, .failure(error))
    // Whoever wants these asks again; one that came late would hold for ever.
    case .event(.freeze), .event(.giveUp): return
    case .event(let event):
      services.timers.schedule(atMonotonicMilliseconds: services.monotonicMilliseconds + 100) { [weak self] in
        self?.post(event)
      }
    }
  }

  // MARK: - Effects

  private func perform(_ effect: ParticipantEffect, _ now: Instant) {
    switch effect {
    case .send(let to, let message):
      _ = services.transport.send(services.envelope(from: endpoint, to: to, message, now))
    case .write(let number, let write, let isForced):
      let job: WriteQueue.Job = { [self] mayWait in
        perform(number, write, isForced: isForced, mayWait: mayWait, now)
      }
      guard case .commit(let transaction, _, _) = write else { return writes.run(job) }
      if isForced, writes.sit(transaction, job) { return }
      // A commit needs no place in the queue, except to wait in.
      if member.store.mayWait { writes.run(job) } else { job(false) }
    case .readLocked(let to, let transaction, let request, let read):
      let body: Message.Body
      do throws(DatabaseError) {
        body = .acquired(request: request, epoch: epoch, try store.read(read))
      } catch {
        body = .refused(request: request, .failed(error.description))
      }
      // Who lost the lock meanwhile may have read what another wrote since, beside what was there before. It
      // is dead, and told so.
      guard lock.withLock({ machine.holds(request: request, of: transaction) }) else { return }
      let message = Message(transaction, body)
      _ = services.transport.send(services.envelope(from: endpoint, to: to, message, now))
    case .readSnapshot(let request, let read, let timestamp):
      do throws(DatabaseError) {
        finishRead(request, .success(try store.read(read, at: timestamp)))
      } catch { finishRead(request, .failure(error)) }
    case .snapshotFailed(let request, let refusal):
      finishRead(request, .failure(DatabaseError(refusal, at: member.path)))
    case .forced(let request, let refusal):
      lock.withLock { forces.removeValue(forKey: request) }?(refusal)
    case .lookUp(let number, let transaction):
      writes.run { [self] _ in lookUp(number, transaction) }
    case .drained:
      break
    case .wake(let time):
      services.timers.schedule(atMonotonicMilliseconds: time) { [weak self] in self?.post(.timer) }
    case .warn(let text):
      services.warn(text)
    }
  }

  private func perform(
    _ number: UInt64, _ write: ParticipantWrite, isForced: Bool, mayWait: Bool, _ now: Instant
  ) {
    let syncsHere = isForced && mayWait
    let start = isForced ? services.monotonicNanoseconds : 0
    do throws(DatabaseError) {
      try store.execute(write, at: now.timestamp, syncsHere ? .synced : .applied)
    } catch {
      // Not entered: what it leads to may be the next write of the same keys, and so on for all that wait.
      return post(
        error.code == .indeterminate
          ? .written(number, failure: error.description)
          : .notWritten(number, reason: error.description))
    }
    guard isForced, !syncsHere else {
      if syncsHere { seat.synced(services.monotonicNanoseconds &- start) }
      return post(.written(number, failure: nil))
    }
    member.calls.sync { [weak self] error in
      guard let self else { return }
      seat.synced(services.monotonicNanoseconds &- start)
      enter(.written(number, failure: error?.description))
    }
  }

  private func lookUp(_ number: UInt64, _ transaction: TransactionID) {
    do throws(DatabaseError) {
      post(.found(number, try store.outcome(of: transaction)?.outcome, failure: nil))
    } catch { post(.found(number, nil, failure: error.description)) }
  }

  private func forgetEffects(_ envelope: Envelope) {
    let transaction = envelope.message.transaction
    outbox.forget(transaction, told: envelope.timestamp)
    do throws(DatabaseError) { try store.forgetEffects(of: transaction) } catch {
      services.warn("the marks of transaction \(transaction) could not be removed: \(error)")
    }
  }

  /// Does an effect once, with its mark in the same batch, and says so when it is durable.
  private func apply(_ envelope: Envelope, _ now: Instant) {
    guard case .effect(let effect, let index, let outcome) = envelope.message.body else { return }
    let transaction = envelope.message.transaction
    let reply: @Sendable (Message.Body) -> Void = { [services, endpoint] body in
      _ = services.transport.send(
        services.envelope(from: endpoint, to: envelope.from, Message(transaction, body), now))
    }
    do throws(DatabaseError) {
      let isDone = try outbox.apply(
        effect, of: transaction, index: index, outcome: outcome, told: envelope.timestamp, at: now.timestamp)
      if !isDone { return }
    } catch {
      // Told again later, unless no later try can go better.
      if EffectWriter.isPermanent(error) {
        reply(.effectFailed(index: index, error.description))
      } else {
        services.warn("effect \(index) of transaction \(transaction) waits: \(error)")
      }
      return
    }
    outbox.sync(effect) { error in
      if error == nil { reply(.effectDone(index: index)) }
    }
  }

  // MARK: - Calls

  /// Runs `commit`, which asks for a commit here, and does the write and its sync on this thread where
  /// the store is at leisure.
  func committing(_ transaction: TransactionID, _ commit: () -> Void) {
    // With others under way the worker's next sync serves them together, and a thread serves them meanwhile.
    guard lock.withLock({ machine.isAlone(transaction) }), seat.take() else { return commit() }
    defer { seat.leave() }
    guard writes.takeSeat(transaction) else { return commit() }
    commit()
    writes.leaveSeat()
  }

  /// Reads as of `timestamp`, once all that committed at or below it is there.
  func snapshot(_ read: TransactionRead, at timestamp: Timestamp, _ reply: @escaping ReadReply) {
    let request = lock.withLock { () -> UInt64 in
      nextRequest += 1
      reads[nextRequest] = reply
      return nextRequest
    }
    let event = ParticipantEvent.snapshot(
      request: request, read, at: timestamp, waitMilliseconds: services.times.lockWaitMilliseconds)
    if !loop.post(.event(event), isDroppable: true) {
      finishRead(request, .failure(DatabaseError(.busy, "too much waits for the store \(member.path)")))
    }
  }

  private func finishRead(_ request: UInt64, _ result: Result<ReadAnswer, DatabaseError>) {
    lock.withLock { reads.removeValue(forKey: request) }?(result)
  }

  /// Decides by hand what is in doubt.
  func force(
    _ transaction: TransactionID, _ outcome: Outcome, _ reply: @escaping @Sendable (Refusal?) -> Void
  ) {
    let request = lock.withLock { () -> UInt64 in
      nextRequest += 1
      forces[nextRequest] = reply
      return nextRequest
    }
    if !loop.post(.event(.force(request: request, transaction, outcome))) {
      lock.withLock { forces.removeValue(forKey: request) }?(.failed("the database is closed"))
    }
  }

  // MARK: - What it has

  var inDoubt: [InDoubt] { lock.withLock { machine.inDoubt } }

  /// Whether nothing of a transaction is under way here, and nothing new would be taken.
  func isSettled(_ transaction: TransactionID) throws(DatabaseError) -> Bool {
    let now = try services.instant()
    return lock.withLock { machine.isSettled(transaction, at: now) }
  }

  /// Whether an outcome of a transaction is being written here: it can be read, and may yet be lost.
  func isWritingOutcome(_ transaction: TransactionID) -> Bool {
    lock.withLock { machine.isWritingOutcome(transaction) }
  }

  /// Drops what was kept for those who ask, and for readers of the past; a bounded part of it.
  ///
  /// - Returns: whether there is more to drop.
  func collect(
    outcomesBefore time: Timestamp, versionsBefore horizon: Timestamp, _ keyspaces: [VersionedKeyspace]
  ) throws(DatabaseError) -> Bool {
    var isDone = try store.dropOutcomes(before: time, limit: 1_000).isDone
    for keyspace in keyspaces {
      let progress = try keyspace.part(of: member).collect(before: horizon, limit: 1_000)
      isDone = isDone && progress.isRoundDone
    }
    return !isDone
  }
}

extension ParticipantEffect {
  /// Whether it may be done beside the effects of other events. Messages may overtake each other. A locked
  /// read counts only where the lock is still held after it; a commit is the one write of a transaction
  /// that holds its keys until it is done.
  fileprivate var needsNoOrder: Bool {
    switch self {
    case .send(to: .coordinator, _), .readLocked, .write(_, .commit, isForced: _), .wake: true
    default: false
    }
  }
}
