import RoostCausality
import RoostCluster
import RoostTransactions

/// A coordinator, a clock, and a log that does what is asked when the test says so. The test plays the
/// participants.
struct CoordinatorBench {
  var clock = TestClock()
  var coordinator: Coordinator
  /// Effects of the last event, without wakes.
  var effects: [CoordinatorEffect] = []
  var logged: [(number: UInt64, record: CommitRecord)] = []
  var ends: [TransactionID] = []
  var request: UInt64 = 100

  init(clockBound: UInt64 = 0, times: ProtocolTimes? = nil) {
    coordinator = Coordinator(
      CoordinatorID(rawValue: 1), times: times ?? testTimes(clockBound: clockBound), committed: [],
      outcomes: [:], presumesAbort: true, at: clock.now())
  }

  /// - Parameter logIsWhole: else the log is a copy, or was cut.
  mutating func restart(
    committed: [CommitRecord], outcomes: [TransactionID: Outcome] = [:], logIsWhole: Bool = true
  ) {
    coordinator = Coordinator(
      CoordinatorID(rawValue: 1), times: coordinator.times, committed: committed, outcomes: outcomes,
      presumesAbort: logIsWhole, at: clock.now())
    handle(.timer)
  }

  mutating func handle(_ event: CoordinatorEvent) {
    effects = []
    for effect in coordinator.receive(event, at: clock.now()) {
      switch effect {
      case .wake: break
      case .logCommit(let number, let record):
        logged.append((number, record))
        effects.append(effect)
      case .logEnd(let transaction):
        ends.append(transaction)
        effects.append(effect)
      default: effects.append(effect)
      }
    }
  }

  mutating func begin() -> TransactionID {
    switch coordinator.begin(age: nil, at: clock.now()) {
    case .success(let transaction): transaction
    case .failure: txn(0)
    }
  }

  mutating func receive(_ transaction: TransactionID, _ body: Message.Body, from number: UInt64) {
    receive(transaction, body, from: number, physical: clock.physical)
  }

  mutating func receive(
    _ transaction: TransactionID, _ body: Message.Body, from number: UInt64, physical: UInt64
  ) {
    handle(
      .received(
        Envelope(
          from: .participant(member(number)), to: .coordinator(coordinator.id), timestamp: clock.last,
          physicalMilliseconds: physical, Message(transaction, body))))
  }

  /// Reads a key at a participant, which grants it.
  mutating func read(_ transaction: TransactionID, _ name: String, at number: UInt64, epoch: UInt64 = 7) {
    request += 1
    handle(
      .acquire(
        request: request, transaction, at: member(number), locks: [.shared(key(name))],
        read: .keys([key(name)])))
    grantAll(transaction, epoch: epoch)
  }

  /// Answers the acquires of the last event.
  mutating func grantAll(_ transaction: TransactionID, epoch: UInt64 = 7) {
    for case .send(let to, let message) in effects {
      guard case .acquire(let acquire) = message.body else { continue }
      receive(
        transaction, .acquired(request: acquire.request, epoch: epoch, ReadAnswer()), from: to.rawValue)
    }
  }

  mutating func commit(
    _ transaction: TransactionID, _ writes: [UInt64: [TransactionWrite]],
    effects: [EventualEffect] = [], isSynced: Bool = true
  ) {
    request += 1
    handle(
      .commit(
        CommitCall(
          request: request, transaction,
          writes: Dictionary(uniqueKeysWithValues: writes.map { (member($0.key), $0.value) }),
          effects: effects, isSynced: isSynced)))
  }

  mutating func advance(_ milliseconds: UInt64) {
    clock.advance(milliseconds)
    handle(.timer)
  }

  /// Up to all votes: two writers, 1 and 2, prepared; COMMIT is being logged.
  mutating func makeLogging(
    effects: [EventualEffect] = [], isSynced: Bool = true
  ) -> TransactionID {
    let transaction = begin()
    commit(transaction, [1: [put("a")], 2: [put("b")]], effects: effects, isSynced: isSynced)
    grantAll(transaction)
    for number in [1, 2] as [UInt64] {
      receive(transaction, .vote(.yes(clock.now().timestamp)), from: number)
    }
    return transaction
  }

  // MARK: What came of it

  func sent(to number: UInt64) -> [Message.Body] {
    effects.compactMap {
      if case .send(let to, let message) = $0, to == member(number) { message.body } else { nil }
    }
  }

  var outcomes: [TransactionOutcome] {
    effects.compactMap { if case .answerCommit(_, let outcome) = $0 { outcome } else { nil } }
  }

  var replies: [Answer] {
    effects.compactMap {
      if case .reply(_, let message) = $0, case .answer(let answer) = message.body { answer } else { nil }
    }
  }
}
