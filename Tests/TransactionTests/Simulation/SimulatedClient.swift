import RoostCausality
import RoostCluster
import RoostTransactions
import TestSupport

/// A client: one transaction after the other, tried again where that may help, as the face does.
final class SimulatedClient {
  unowned let cluster: SimulatedCluster
  let record: ClientRecord
  private let coordinator: CoordinatorNode
  private var process: Int
  private static let attemptLimit = 5

  init(_ number: Int, _ cluster: SimulatedCluster, _ record: ClientRecord) {
    self.cluster = cluster
    self.record = record
    coordinator = cluster.coordinators[number % cluster.coordinators.count]
    process = number
  }

  /// Works until the time is up.
  func work(untilMilliseconds end: UInt64) {
    let think = cluster.random.below(2 * cluster.options.workload.thinkMilliseconds + 1)
    cluster.after(milliseconds: think) { [self] in
      guard cluster.now < end * 1_000 else { return }
      guard coordinator.isUp else { return work(untilMilliseconds: end) }
      choose { [self] in work(untilMilliseconds: end) }
    }
  }

  private func choose(_ done: @escaping () -> Void) {
    let load = cluster.options.workload
    var pick = cluster.random.below(
      load.transfers + load.lists + load.registers + load.audits + load.snapshots)
    func isIn(_ weight: Int) -> Bool {
      pick -= weight
      return pick < 0
    }
    let options = cluster.options
    if isIn(load.transfers) {
      attempt(.transfer(options, &cluster.random), done)
    } else if isIn(load.lists) {
      attempt(.lists(options, value: record.nextValue(), &cluster.random), done)
    } else if isIn(load.registers) {
      attempt(.registers(options, value: record.nextValue(), &cluster.random), done)
    } else if isIn(load.audits) {
      attempt(.audit(options), done)
    } else {
      snapshot(done)
    }
  }

  // MARK: Transactions

  func attempt(
    _ program: TransactionProgram, age: TransactionID? = nil, number: Int = 1, _ done: @escaping () -> Void
  ) {
    guard let transaction = coordinator.begin(age: age) else { return done() }
    cluster.trace.add(transaction.start.rawValue)
    record.begin(transaction, program, process, cluster.now)
    step(program, transaction, []) { [self] outcome, result in
      let kind = record.end(transaction, program, process, outcome, result, cluster.now)
      if kind == .ok { return done() }
      // Its process is dead, or its fate unknown: nobody tries that again.
      if kind == .info {
        process += 1_000
        return done()
      }
      // Programs whose values are unique are not run again: each value is one transaction's.
      guard case .aborted(let why)? = outcome, why.isWorthAnotherTry, number < Self.attemptLimit,
        program.kind == .bank
      else { return done() }
      cluster.after(milliseconds: 5 + cluster.random.below(20 << number)) { [self] in
        attempt(program, age: age ?? transaction, number: number + 1, done)
      }
    }
  }

  private func step(
    _ program: TransactionProgram, _ transaction: TransactionID, _ answers: [ReadAnswer],
    _ end: @escaping (TransactionOutcome?, TransactionProgram.Result) -> Void
  ) {
    guard answers.count < program.steps.count else {
      return commit(program, program.finish(answers), transaction, end)
    }
    let step = program.steps[answers.count]
    let member = cluster.participants[step.participant].member
    coordinator.acquire(transaction, at: member, step.locks, step.read) { [self] result in
      switch result {
      case .answer(let answer): self.step(program, transaction, answers + [answer], end)
      case .failed(let reason): end(.aborted(reason), program.finish(nil))
      // It was not asked to commit, so it never does.
      case .lost: end(.aborted(.interrupted), program.finish(nil))
      }
    }
  }

  private func commit(
    _ program: TransactionProgram, _ result: TransactionProgram.Result,
    _ transaction: TransactionID,
    _ end: @escaping (TransactionOutcome?, TransactionProgram.Result) -> Void
  ) {
    if result.isAborted {
      coordinator.abort(transaction, .requested)
      return end(.aborted(.requested), result)
    }
    // Its capacity decides the order in which a dictionary is gone through: nothing may depend on it.
    var writes = [MemberID: [TransactionWrite]](minimumCapacity: cluster.options.dictionaryCapacity)
    for step in program.steps { writes[cluster.participants[step.participant].member] = [] }
    for (participant, list) in result.writes { writes[cluster.participants[participant].member] = list }
    var effects: [EventualEffect] = []
    if result.hasEffect {
      let target = cluster.random.below(cluster.participants.count)
      effects = [
        EventualEffect(
          keyspace: 9, key: Array(transaction.description.utf8), change: .increment(1),
          target: cluster.participants[target].member)
      ]
    }
    record.asked(transaction, result, effects)
    let isSynced = cluster.options.losesPower || cluster.random.below(2) == 0
    coordinator.commit(transaction, writes, effects, isSynced: isSynced) { end($0, result) }
  }

  // MARK: Snapshots

  /// All lists and accounts as of one time: now, or before.
  private func snapshot(_ done: @escaping () -> Void) {
    let isNow = cluster.random.below(3) > 0
    let fresh = coordinator.clock.timestamp(cluster.now)
    let age = isNow ? 0 : UInt64(cluster.random.below(1_500))
    let time = isNow ? fresh : Timestamp(milliseconds: fresh.milliseconds - age, logical: 7)
    record.snapshot(at: time, isNow: isNow, process: process, from: coordinator.node, cluster) { [self] in
      process += $0 ? 0 : 1_000
      done()
    }
  }
}

extension AbortReason {
  var isWorthAnotherTry: Bool {
    switch self {
    case .conflict, .deadline, .interrupted, .moving: true
    default: false
    }
  }
}
