import RoostCausality
import RoostCluster
import RoostTransactions

/// A participant, a clock, and a disk that does what is asked when the test says so.
struct ParticipantBench {
  var clock = TestClock()
  var participant: Participant
  /// Effects of the last event, without wakes.
  var effects: [ParticipantEffect] = []
  /// Writes that are not done.
  var pending: [(number: UInt64, write: ParticipantWrite, isForced: Bool)] = []
  /// What the store has recorded.
  var prepared: [TransactionID: PreparedRecord] = [:]
  var outcomes: [TransactionID: Outcome] = [:]
  var forced: [TransactionID: Outcome] = [:]
  var wakes: [UInt64] = []
  /// Whether writes are done at once.
  var isPrompt = true

  static let epoch: UInt64 = 77

  init(clockBound: UInt64 = 0, times: ProtocolTimes? = nil) {
    participant = Participant(
      member(1), epoch: Self.epoch, times: times ?? testTimes(clockBound: clockBound), prepared: [],
      outcomes: [:], forced: [:], at: clock.now())
  }

  /// Loses what is in memory and not on disk; pending writes are lost.
  mutating func restart(epoch: UInt64) {
    pending = []
    clock.observe(Timestamp(milliseconds: clock.last.milliseconds + clock.window))
    participant = Participant(
      member(1), epoch: epoch, times: participant.times,
      prepared: prepared.values.sorted { $0.transaction < $1.transaction }, outcomes: outcomes,
      forced: forced, at: clock.now())
    handle(.timer)
  }

  mutating func handle(_ event: ParticipantEvent) {
    effects = []
    step(event)
  }

  private mutating func step(_ event: ParticipantEvent) {
    for effect in participant.receive(event, at: clock.now()) {
      switch effect {
      case .wake(let time): wakes.append(time)
      case .write(let number, let write, let isForced):
        effects.append(effect)
        pending.append((number, write, isForced))
      default: effects.append(effect)
      }
    }
    if isPrompt, let next = pending.first { done(next.number) }
  }

  mutating func done(_ number: UInt64) {
    guard let index = pending.firstIndex(where: { $0.number == number }) else { return }
    apply(pending.remove(at: index).write)
    step(.written(number, failure: nil))
  }

  /// The oldest pending write is done, or fails.
  mutating func finishWrite(failure: String? = nil) {
    effects = []
    guard let first = pending.first else { return }
    if let failure {
      pending.removeFirst()
      step(.written(first.number, failure: failure))
    } else {
      done(first.number)
    }
  }

  /// The store takes nothing of the oldest pending write.
  mutating func refuseWrite(_ reason: String) {
    effects = []
    guard !pending.isEmpty else { return }
    step(.notWritten(pending.removeFirst().number, reason: reason))
  }

  private mutating func apply(_ write: ParticipantWrite) {
    switch write {
    case .prepare(let record): prepared[record.transaction] = record
    case .commit(let id, let timestamp, _): (prepared[id], outcomes[id]) = (nil, .committed(timestamp))
    case .abort(let id): prepared[id] = nil
    case .refuse(let id): (prepared[id], outcomes[id]) = (nil, .aborted)
    case .force(let id, let outcome, _):
      (prepared[id], outcomes[id], forced[id]) = (nil, outcome, outcome)
    }
  }

  // MARK: Messages

  mutating func receive(_ transaction: TransactionID, _ body: Message.Body, from: Endpoint = here) {
    receive(transaction, body, from: from, physical: clock.physical)
  }

  mutating func receive(
    _ transaction: TransactionID, _ body: Message.Body, from: Endpoint = here, physical: UInt64
  ) {
    if case .commit(let timestamp) = body { clock.observe(timestamp) }
    clock.observe(transaction.start)
    handle(
      .received(
        Envelope(
          from: from, to: .participant(member(1)), timestamp: clock.last,
          physicalMilliseconds: physical, Message(transaction, body))))
  }

  mutating func acquire(
    _ transaction: TransactionID, _ locks: LockTarget..., request: UInt64 = 1, epoch: UInt64? = nil,
    wait: UInt64 = 5_000, age: TransactionID? = nil
  ) {
    receive(
      transaction,
      .acquire(
        AcquireRequest(
          request: request, age: age ?? transaction, locks: locks, read: nil, epoch: epoch,
          waitMilliseconds: wait)))
  }

  mutating func prepare(
    _ transaction: TransactionID, _ writes: TransactionWrite..., epoch: UInt64 = epoch,
    writers: [MemberID] = [member(1), member(2)]
  ) {
    receive(
      transaction,
      .prepare(PrepareRequest(epoch: epoch, writes: writes, writers: writers, isSynced: true)))
  }

  /// Locks and prepares, and gives the prepare timestamp.
  mutating func makePrepared(_ transaction: TransactionID, _ name: String) -> Timestamp {
    acquire(transaction, .exclusive(key(name)))
    prepare(transaction, put(name))
    for case .yes(let timestamp) in votes { return timestamp }
    return Timestamp(rawValue: 0)
  }

  mutating func commitAtOnce(
    _ transaction: TransactionID, _ writes: TransactionWrite..., request: UInt64 = 1,
    epoch: UInt64? = nil
  ) {
    receive(
      transaction,
      .commitAtOnce(
        CommitAtOnceRequest(
          request: request, age: transaction, epoch: epoch, writes: writes, waitMilliseconds: 5_000,
          isSynced: true)))
  }

  mutating func snapshot(_ request: UInt64, _ names: String..., at time: Timestamp) {
    clock.observe(time)
    handle(.snapshot(request: request, .keys(names.map { key($0) }), at: time, waitMilliseconds: 1_000))
  }

  mutating func advance(_ milliseconds: UInt64) {
    clock.advance(milliseconds)
    handle(.timer)
  }

  // MARK: What came of it

  var sent: [Message.Body] {
    effects.compactMap { if case .send(_, let message) = $0 { message.body } else { nil } }
  }

  var warnings: [String] {
    effects.compactMap { if case .warn(let text) = $0 { text } else { nil } }
  }

  var votes: [Vote] {
    sent.compactMap { if case .vote(let vote) = $0 { vote } else { nil } }
  }

  var answers: [Answer] {
    sent.compactMap { if case .answer(let answer) = $0 { answer } else { nil } }
  }

  var snapshotsRead: [UInt64] {
    effects.compactMap { if case .readSnapshot(let request, _, _) = $0 { request } else { nil } }
  }

  func isAcquired(_ request: UInt64 = 1, epoch: UInt64 = epoch) -> Bool {
    sent.contains(.acquired(request: request, epoch: epoch, ReadAnswer()))
  }
}
