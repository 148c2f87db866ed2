import RoostCausality
import RoostCluster
import RoostEnvironment
import RoostStorage

/// Runs one store's ``Participant``: gives it its events, and does what it says on the store.
///
/// Events are handled by whoever brings them, and reads are done at once: what is read is locked, so no
/// write of it is on its way. What writes goes through a ``WriteQueue``, in the order in which the machine
/// decided on it, and so does what looks for what was written. Thread-safe.
final class ParticipantDriver: @unchecked Sendable {
  private enum Work: Sendable {
    case event(ParticipantEvent)
    case effect(Envelope)
    case forgetEffects(TransactionID)
  }

  typealias ReadReply = @Sendable (Result<ReadAnswer, DatabaseError>) -> Void

  let member: Member
  private let store: ParticipantStore
  private let services: DriverServices
  private let writes: WriteQueue
  private let seat = CallersSeat()
  private let outbox: EffectWriter
  private let epoch: UInt64
  private let endpoint: Endpoint
  private let lock = Lock()
  // Guarded by `lock`.
  private var machine: Participant
  private var nextRequest: UInt64 = 0
  private var reads: [UInt64: ReadReply] = [:]
  private var forces: [UInt64: @Sendable (Refusal?) -> Void] = [:]
  /// It records nothing any more, because its store is about to leave: what would make it is dropped, as
  /// if it were on its way for long.
  private var isQuiet = false
  /// Thaws of partitions that are on their way to the machine: until they are there, what it says of freezing
  /// is of the handover before.
  private var thawing: [Int: Int] = [:]
  private var loop: EventLoop<Work>!

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
    machine = Participant(
      member.id, epoch: epoch, times: services.times, prepared: try store.prepared(),
      outcomes: try Self.recentOutcomes(store, services.times, now),
      forced: try store.forcedDecisions().reduce(into: [:]) { $0[$1.transaction] = $1.record.outcome },
      at: now)
    loop = EventLoop { [weak self] work in self?.handle(work) }
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
      defer {
        self.reads = [:]
        self.forces = [:]
      }
      return (self.reads, self.forces)
    }
    for reply in reads.values { reply(.failure(DatabaseError(.closed, "the database was closed"))) }
    for reply in forces.values { reply(.failed("the database was closed")) }
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
      loop.post(.forgetEffects(envelope.message.transaction), isDroppable: true)
    default:
      loop.post(.event(.received(envelope)), isDroppable: true)
    }
  }

  private func post(_ event: ParticipantEvent) { loop.post(.event(event)) }

  private func handle(_ work: Work) {
    let now: Instant
    do throws(DatabaseError) {
      if case .event(.received(let envelope)) = work { try services.observe(envelope) }
      if case .event(.snapshot(_, _, let at, _)) = work { try services.shared.observe(at) }
      now = try services.instant()
    } catch {
      return postpone(work, error)
    }
    switch work {
    case .event(let event):
      let effects = lock.withLock {
        if case .thaw(let partition) = event {
          let left = thawing[partition, default: 1] - 1
          thawing[partition] = left > 0 ? left : nil
        }
        return machine.receive(event, at: now)
      }
      for effect in effects { perform(effect, now) }
    case .effect(let envelope):
      writes.run(blocks: true) { [self] _ in apply(envelope, now) }
    case .forgetEffects(let transaction):
      writes.run { [self] _ in forgetEffects(of: transaction) }
    }
  }

  /// The clock could not be raised, so nothing can be decided. A message counts as lost: it comes
  /// again. What nobody sends again is tried again.
  private func postpone(_ work: Work, _ error: DatabaseError) {
    switch work {
    case .event(.received), .effect, .forgetEffects: return
    case .event(.snapshot(let request, _, _, _)):
      finishRead(request, .failure(error))
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
      var committed: TransactionID?
      if isForced, case .commit(let transaction, _, _) = write { committed = transaction }
      writes.run(of: committed) { [self] mayWait in
        perform(number, write, isForced: isForced, mayWait: mayWait, now)
      }
    case .readLocked(let to, let transaction, let request, let read):
      let body: Message.Body
      do throws(DatabaseError) {
        body = .acquired(request: request, epoch: epoch, try store.read(read))
      } catch {
        body = .refused(request: request, .failed(error.description))
      }
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
      post(.written(number, failure: error?.description))
    }
  }

  private func lookUp(_ number: UInt64, _ transaction: TransactionID) {
    do throws(DatabaseError) {
      post(.found(number, try store.outcome(of: transaction)?.outcome, failure: nil))
    } catch { post(.found(number, nil, failure: error.description)) }
  }

  private func forgetEffects(of transaction: TransactionID) {
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
      try outbox.apply(effect, of: transaction, index: index, outcome: outcome, at: now.timestamp)
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
    guard seat.take() else { return commit() }
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

  // MARK: - Handing partitions over

  func freeze(_ partition: Int) -> Bool {
    let isDrained = { [self] in
      lock.withLock { thawing[partition] == nil && machine.isDrained(partition) }
    }
    if isDrained() { return true }
    post(.freeze(partition: partition))
    return isDrained()
  }

  /// Once this is not `nil`, what was read before has been read: events are handled one after the other.
  func giveUp(_ partition: Int) -> Timestamp? {
    let highestRead = { [self] in
      lock.withLock { thawing[partition] == nil ? machine.highestRead(partition) : nil }
    }
    if let highest = highestRead() { return highest }
    post(.giveUp(partition: partition))
    return highestRead()
  }

  func thaw(_ partition: Int) {
    lock.withLock { thawing[partition, default: 0] += 1 }
    post(.thaw(partition: partition))
  }

  /// - Returns: whether nothing is on its way to the store's records.
  func quiet() -> Bool {
    let isIdle = lock.withLock {
      isQuiet = true
      return machine.isIdle
    }
    return isIdle && loop.isIdle && writes.isIdle
  }

  func resume() { lock.withLock { isQuiet = false } }

  var inDoubt: [InDoubt] { lock.withLock { machine.inDoubt } }

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

extension DatabaseError {
  /// What a refusal is to whoever waits for a read.
  init(_ refusal: Refusal, at path: String) {
    switch refusal {
    case .deadline:
      self.init(
        .deadlineExceeded, "waited too long for a transaction at \(path) that may have committed before")
    case .clock:
      self.init(.clockOutOfBound, "the clock of \(path) differs by more than the bound")
    case .moving, .notOwner:
      self.init(.busy, "the partition is being handed over by \(path)")
    case .failed(let text):
      self.init(.storage, text)
    default:
      self.init(.busy, "\(path) refused: \(refusal)")
    }
  }
}
