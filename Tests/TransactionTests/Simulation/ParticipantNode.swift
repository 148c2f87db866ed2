import RoostCausality
import RoostCluster
import RoostTransactions

/// A simulated participant: the state machine, and the driver that does its I/O.
final class ParticipantNode {
  let index: Int
  let member: MemberID
  unowned let cluster: SimulatedCluster
  let clock: NodeClock
  var disk: SimulatedDisk<StoreState>
  private(set) var machine: Participant?
  private var incarnation: UInt64 = 0
  private var snapshots: [UInt64: (ReadAnswer?) -> Void] = [:]
  private var forces: [UInt64: (TransactionID, Outcome)] = [:]
  private var lastForce: UInt64 = 0
  /// What operators asked for here, whether or not a crash kept the answer from them.
  private(set) var askedToForce: Set<TransactionID> = []
  /// What operators decided here.
  private(set) var forced: [TransactionID: Outcome] = [:]
  /// What it said that an operator should hear.
  private(set) var warnings: [String] = []
  /// It has said that nothing of its partition is locked, nor will be before it is thawed.
  private var isDrained = false
  /// How often it said so.
  private(set) var drainCount = 0
  /// Marks of effects outlive the last copy of the message that they answer: instead of what a process knows
  /// of those that are gone (`ForgottenEffects`), since messages are for no process here.
  private static let messageLifetimeMilliseconds = 10_000

  init(_ index: Int, _ cluster: SimulatedCluster) {
    self.index = index
    self.cluster = cluster
    member = MemberID(rawValue: UInt64(index + 1))
    disk = SimulatedDisk(.withAccounts(at: index, cluster.options))
    clock = cluster.makeClock()
  }

  var node: Node { .participant(index) }
  var isUp: Bool { machine != nil }
  private var mutation: Mutation? { cluster.options.mutation }

  // MARK: Life

  func start() {
    clock.restart()
    incarnation += 1
    var times = cluster.options.times
    if mutation == .noClockBoundWait { times.clockBoundMilliseconds = 0 }
    machine = Participant(
      member, epoch: cluster.random.next(), times: times,
      prepared: disk.live.prepared.values.sorted { $0.transaction < $1.transaction },
      outcomes: disk.live.outcomes, forced: disk.live.forced, at: clock.instant(cluster.now))
    handle(.timer)
  }

  func crash(_ loss: CrashLoss) {
    machine = nil
    incarnation += 1
    disk.crash(loss, &cluster.random)
    // Nobody answers what was asked.
    snapshots = [:]
    forces = [:]
    isDrained = false
  }

  private func handle(_ event: ParticipantEvent) {
    let effects = machine?.receive(event, at: clock.instant(cluster.now)) ?? []
    for effect in effects { execute(effect) }
  }

  // MARK: What comes in

  func receive(_ envelope: Envelope) -> Bool {
    guard isUp else { return false }
    cluster.note(
      1, UInt64(index), envelope.message.transaction.start.rawValue, envelope.message.code)
    clock.observe(envelope.timestamp, cluster.now)
    var envelope = envelope
    switch envelope.message.body {
    case .commit(let timestamp): clock.observe(timestamp, cluster.now)
    case .effect(let effect, let index, _): return perform(effect, index, envelope)
    case .forgetEffects:
      let transaction = envelope.message.transaction
      cluster.after(milliseconds: Self.messageLifetimeMilliseconds) { [self] in
        if isUp { write(.forgetEffects(transaction), isForced: false) { _ in } }
      }
      return true
    case .inquire where mutation == .abortedFromNothing:
      if disk.live.outcomes[envelope.message.transaction] == nil,
        disk.live.prepared[envelope.message.transaction] == nil
      {
        send(envelope.from, Message(envelope.message.transaction, .answer(.aborted)))
        return true
      }
    case .acquire(var request) where mutation == .noRangeLocks:
      request.locks.removeAll { if case .sharedRange = $0 { true } else { false } }
      envelope.message.body = .acquire(request)
    default: break
    }
    handle(.received(envelope))
    return true
  }

  /// Answers `nil` where the read failed, or the node died.
  func snapshot(
    _ request: UInt64, _ read: TransactionRead, at time: Timestamp, _ answer: @escaping (ReadAnswer?) -> Void
  ) -> Bool {
    guard isUp else { return false }
    cluster.note(2, UInt64(index), time.rawValue)
    clock.observe(time, cluster.now)
    if mutation == .snapshotsDoNotWait {
      answer(disk.live.read(read, at: time))
    } else {
      snapshots[request] = answer
      handle(.snapshot(request: request, read, at: time, waitMilliseconds: 2_000))
    }
    return true
  }

  /// An operator decides a transaction.
  func force(_ transaction: TransactionID, _ outcome: Outcome) {
    lastForce += 1
    forces[lastForce] = (transaction, outcome)
    askedToForce.insert(transaction)
    handle(.force(request: lastForce, transaction, outcome))
  }

  /// Its partition is about to be handed over, for a while.
  func freeze() { handle(.freeze(partition: index)) }

  func thaw() {
    isDrained = false
    handle(.thaw(partition: index))
  }

  private func perform(_ effect: EventualEffect, _ index: Int, _ envelope: Envelope) -> Bool {
    let transaction = envelope.message.transaction
    let mark = StoreState.Mark(transaction: transaction, index: index)
    let operation: StoreState.Operation =
      mutation == .effectsNotMarked ? .unmarkedEffect(effect) : .effect(mark, effect)
    write(operation, isForced: true) { [self] failure in
      if failure == nil { send(envelope.from, Message(transaction, .effectDone(index: index))) }
    }
    return true
  }

  // MARK: What goes out

  private func execute(_ effect: ParticipantEffect) {
    switch effect {
    case .send(let to, let message): send(to, mutated(message))
    case .write(let number, let operation, let isForced):
      if isDrained, operation.writesKeys { cluster.faults.append("\(operation) after \(index) was drained") }
      write(mutated(operation), isForced: isForced && !skipsForce(operation)) { [self] failure in
        handle(.written(number, failure: failure))
      }
    case .readLocked(let to, let transaction, let request, let read):
      if isDrained { cluster.faults.append("\(transaction) has locks after \(index) was drained") }
      let answer = disk.live.read(read, at: nil)
      send(to, Message(transaction, .acquired(request: request, epoch: machine?.epoch ?? 0, answer)))
    case .readSnapshot(let request, let read, let time):
      snapshots.removeValue(forKey: request)?(disk.live.read(read, at: time))
    case .snapshotFailed(let request, _): snapshots.removeValue(forKey: request)?(nil)
    case .lookUp(let number, let transaction):
      handle(.found(number, disk.live.outcomes[transaction], failure: nil))
    case .wake(let time): wake(time)
    case .forced(let request, let refusal):
      guard let (transaction, outcome) = forces.removeValue(forKey: request), refusal == nil else { break }
      forced[transaction] = outcome
    case .drained:
      isDrained = true
      drainCount += 1
    case .warn(let text): warnings.append(text)
    }
  }

  private func wake(_ milliseconds: UInt64) {
    let mine = incarnation
    let delay = milliseconds * 1_000 > cluster.now ? milliseconds * 1_000 - cluster.now : 0
    cluster.queue.schedule(after: delay) { [self] in
      if mine == incarnation { handle(.timer) }
    }
  }

  private func send(_ to: Endpoint, _ message: Message) {
    let envelope = Envelope(
      from: .participant(member), to: to, timestamp: clock.timestamp(cluster.now),
      physicalMilliseconds: clock.physicalMilliseconds(cluster.now), message)
    cluster.send(envelope, from: node)
    if mutation == .readLocksReleasedAtVote, case .vote(.readOnly(let time, _)) = message.body {
      let release = Envelope(
        from: to, to: .participant(member), timestamp: time,
        physicalMilliseconds: envelope.physicalMilliseconds, Message(message.transaction, .commit(time)))
      cluster.queue.schedule(after: 0) { [self] in handle(.received(release)) }
    }
  }

  private func write(
    _ operation: StoreState.Operation, isForced: Bool, _ done: @escaping (_ failure: String?) -> Void
  ) {
    disk.enqueue(operation, isForced: isForced)
    let latency = isForced ? 500 + cluster.random.below(4_000) : 20 + cluster.random.below(300)
    let start = max(disk.busyUntil, cluster.now)
    disk.busyUntil = start + UInt64(latency)
    let mine = incarnation
    cluster.queue.schedule(after: disk.busyUntil - cluster.now) { [self] in
      guard mine == incarnation else { return }
      cluster.beginStep()
      cluster.note(3, UInt64(index))
      // The step may have been the node's last.
      guard mine == incarnation else { return }
      let failed = disk.finishNext(fails: failsNext) == nil
      failsNext = false
      done(failed ? "the simulated disk failed" : nil)
    }
  }

  /// The next write fails, and all after it until the store is opened again.
  var failsNext = false

  // MARK: Rules that are broken on purpose

  private func skipsForce(_ operation: ParticipantWrite) -> Bool {
    switch operation {
    case .prepare: return mutation == .prepareNotForced
    case .commit(let transaction, _, _):
      return mutation == .commitAtOnceNotForced && disk.live.prepared[transaction] == nil
    default: return false
    }
  }

  private func mutated(_ operation: ParticipantWrite) -> StoreState.Operation {
    if mutation == .outcomesNotRecorded,
      case .commit(let transaction, let timestamp, let writes) = operation,
      disk.live.prepared[transaction] == nil
    {
      return .unrecordedCommit(transaction, timestamp, writes)
    }
    return .participant(operation)
  }

  private func mutated(_ message: Message) -> Message {
    if mutation == .readBoundIgnored, case .vote(.readOnly(let time, _)) = message.body {
      return Message(message.transaction, .vote(.readOnly(time, bound: Timestamp(rawValue: .max))))
    }
    return message
  }
}

extension ParticipantWrite {
  fileprivate var writesKeys: Bool {
    switch self {
    case .prepare, .commit: true
    case .abort, .refuse, .force: false
    }
  }
}

extension Message {
  /// A number for the trace.
  var code: UInt64 {
    switch body {
    case .acquire(let request): 1 << 8 | request.request << 16
    case .prepare: 2
    case .commit: 3
    case .abort: 4
    case .commitAtOnce(let request): 5 << 8 | request.request << 16
    case .effect(_, let index, _): 6 << 8 | UInt64(index) << 16
    case .forgetEffects: 7
    case .acquired(let request, _, _): 8 << 8 | request << 16
    case .refused(let request, _): 9 << 8 | request << 16
    case .wounded: 10
    case .vote(.yes(let time)): 11 << 8 ^ time.rawValue
    case .vote(.readOnly(let time, _)): 12 << 8 ^ time.rawValue
    case .vote(.no): 13
    case .acknowledged: 14
    case .committedAtOnce(_, let time): 15 << 8 ^ time.rawValue
    case .effectDone(let index): 16 << 8 | UInt64(index) << 16
    case .effectFailed(let index, _): 17 << 8 | UInt64(index) << 16
    case .inquire: 18
    case .answer(.committed): 19
    case .answer(.aborted): 20
    case .answer(.unknown): 21
    }
  }
}
