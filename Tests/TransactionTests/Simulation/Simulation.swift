import RoostCausality
import RoostCluster
import RoostEnvironment
import RoostTransactions
import TestSupport

/// One run: clients work while things go wrong, then all is healed and settles, then it is judged.
struct Simulation {
  let cluster: SimulatedCluster
  let record: ClientRecord

  init(_ options: SimulationOptions, seed: UInt64) {
    cluster = SimulatedCluster(options, seed: seed)
    let count = options.workload.accountCount
    record = ClientRecord(BankChecker(total: 100 * count, accountCount: count))
  }

  /// - Returns: what is wrong; nothing, if all is well.
  func run() -> [String] {
    let options = cluster.options
    for node in cluster.nodes { cluster.restart(node) }
    let clients = (0..<options.clientCount).map { SimulatedClient($0, cluster, record) }
    for client in clients { client.work(untilMilliseconds: options.workMilliseconds) }
    goWrong()
    cluster.run(untilMilliseconds: options.workMilliseconds)
    cluster.heal()
    // What was prepared under a coordinator that is no more waits for an operator.
    for second in stride(from: 2, through: 12, by: 2) where options.renewalEveryMilliseconds > 0 {
      cluster.after(milliseconds: second * 1_000) { decideAll() }
    }
    let end = options.workMilliseconds + options.settleMilliseconds
    return judge(atMilliseconds: end)
  }

  /// Lets all settle until a moment, and says what is wrong then.
  func judge(atMilliseconds end: UInt64) -> [String] {
    let options = cluster.options
    cluster.beforeStep = nil
    cluster.run(untilMilliseconds: end)
    var faults = unsettled()
    // Whoever is left out of a lock for good is found by asking for all of them.
    let last = SimulatedClient(cluster.coordinators.count * 100_000, cluster, record)
    record.forgetLast()
    var isDone = false
    last.attempt(.everything(options, value: record.nextValue())) { isDone = true }
    cluster.run(untilMilliseconds: end + options.times.durationMilliseconds * 2)
    if !isDone { faults.append("the last transaction was never answered") }
    if record.lastStatus != .ok {
      let refusal = cluster.coordinators[0].lastRefusal.map { "\($0)" } ?? "-"
      let outcome = record.lastOutcome.map { "\($0)" } ?? "refused, \(refusal)"
      faults.append("the last transaction did not commit: \(outcome)")
    }
    return Audit(cluster, record).faults() + faults
  }

  /// How often operators decided, and how often against a commit.
  var forceCounts: (all: Int, contradicting: Int) { Audit(cluster, record).forceCounts }

  // MARK: What goes wrong

  private func goWrong() {
    let options = cluster.options
    every(options.crashEveryMilliseconds) { crashOne() }
    every(options.linkCutEveryMilliseconds) { cutOne() }
    every(options.clockJumpEveryMilliseconds) {
      let node = cluster.nodes[cluster.random.below(cluster.nodes.count)]
      cluster.setClock(node, to: Int64(cluster.random.below(Int(options.skewMilliseconds) + 1)))
    }
    every(options.diskFailureEveryMilliseconds) { failOne() }
    every(options.renewalEveryMilliseconds) { renewOne() }
    every(options.freezeEveryMilliseconds) { freezeOne() }
    every(options.forceEveryMilliseconds) { forceOne() }
  }

  private func every(_ milliseconds: Int, _ action: @escaping () -> Void) {
    guard milliseconds > 0 else { return }
    cluster.after(milliseconds: cluster.random.below(2 * milliseconds)) {
      if cluster.isHealed { return }
      action()
      every(milliseconds, action)
    }
  }

  private var loss: CrashLoss { cluster.options.losesPower ? .random : .process }

  private func crashOne() {
    let node = cluster.nodes[cluster.random.below(cluster.nodes.count)]
    guard cluster.isUp(node) else { return }
    cluster.crash(node, loss)
    let down = cluster.random.below(2) == 0 ? cluster.random.below(50) : cluster.random.below(1_500)
    cluster.after(milliseconds: down) {
      if !cluster.isUp(node) { cluster.restart(node) }
    }
  }

  private func cutOne() {
    let nodes = cluster.nodes.shuffled(using: &cluster.random)
    guard nodes.count > 1 else { return }
    cluster.cut(nodes[0], nodes[1])
    cluster.after(milliseconds: cluster.random.below(1_500)) { cluster.join(nodes[0], nodes[1]) }
  }

  // MARK: Operators

  private func renewOne() {
    let coordinator = cluster.coordinators[cluster.random.below(cluster.coordinators.count)]
    guard coordinator.isUp else { return }
    cluster.crash(coordinator.node, loss)
    coordinator.renew()
    cluster.after(milliseconds: cluster.random.below(500)) {
      if !coordinator.isUp { cluster.restart(coordinator.node) }
    }
  }

  private func freezeOne() {
    let participant = cluster.participants[cluster.random.below(cluster.participants.count)]
    participant.freeze()
    cluster.after(milliseconds: cluster.random.below(1_500)) { participant.thaw() }
  }

  private func forceOne() {
    let participant = cluster.participants[cluster.random.below(cluster.participants.count)]
    guard let doubts = participant.machine?.inDoubt, !doubts.isEmpty else { return }
    let doubt = doubts[cluster.random.below(doubts.count)]
    if let outcome = outcome(of: doubt) { participant.force(doubt.transaction, outcome) }
  }

  private func outcome(of doubt: InDoubt) -> Outcome? {
    let node = cluster.coordinators.first { $0.isKnown(doubt.transaction.coordinator) }
    let decision = node?.decision(of: doubt.transaction)
    guard cluster.options.operatorKind == .careless, cluster.random.below(2) == 0 else { return decision }
    let later = Timestamp(rawValue: doubt.since.rawValue + UInt64(cluster.random.below(2)))
    return cluster.random.below(2) == 0 ? .aborted : .committed(later)
  }

  /// Decides, as the log says, what is in doubt anywhere.
  private func decideAll() {
    for participant in cluster.participants {
      for doubt in participant.machine?.inDoubt ?? [] {
        let node = cluster.coordinators.first { $0.isKnown(doubt.transaction.coordinator) }
        if let decision = node?.decision(of: doubt.transaction) {
          participant.force(doubt.transaction, decision)
        }
      }
    }
  }

  private func failOne() {
    let node = cluster.nodes[cluster.random.below(cluster.nodes.count)]
    switch node {
    case .participant(let index): cluster.participants[index].failsNext = true
    case .coordinator(let index): cluster.coordinators[index].failsNext = true
    }
    cluster.after(milliseconds: 200 + cluster.random.below(1_000)) {
      guard cluster.isUp(node), cluster.hasFailed(node) else { return }
      cluster.crash(node, loss)
      cluster.restart(node)
    }
  }

  // MARK: What must be over

  private func unsettled() -> [String] {
    var faults: [String] = []
    for participant in cluster.participants {
      guard let machine = participant.machine else { continue }
      for prepared in participant.disk.live.prepared.keys.sorted() {
        faults.append("\(prepared) is prepared still at participant \(participant.index)")
      }
      for doubt in machine.inDoubt {
        faults.append("in doubt at \(participant.index): \(doubt.transaction)")
      }
      if machine.counts.active > 0 {
        faults.append("\(machine.counts) at participant \(participant.index)")
      }
    }
    for coordinator in cluster.coordinators {
      // One that is made to forget its decisions does not end them either: that is not what is looked for.
      let unended = cluster.options.mutation == .decisionsForgotten ? [] : coordinator.disk.live.unended
      for record in unended {
        faults.append("\(record.transaction) has no END at coordinator \(coordinator.index)")
      }
      if !coordinator.isIdle {
        faults.append("coordinator \(coordinator.index) is not idle")
      }
    }
    return faults
  }
}

extension TransactionProgram {
  /// Appends to all lists, having read them.
  static func everything(_ options: SimulationOptions, value: Int) -> TransactionProgram {
    let count = options.participantCount
    let keys = (0..<options.workload.listCount).map { Keys.key(.list, $0, count) }
    var steps = keys.map {
      Step(participant: $0.partition, locks: [.exclusive($0)], read: .keys([$0]))
    }
    for number in 0..<options.workload.listCount {
      let range = Keys.span(number, count)
      steps.append(
        Step(participant: range.partition, locks: [.sharedRange(range)], read: .range(range, limit: 10_000)))
    }
    for participant in 0..<count {
      for kind in [Keys.Kind.account, .register] {
        let range = Keys.all(kind, at: participant)
        steps.append(
          Step(participant: participant, locks: [.sharedRange(range)], read: .range(range, limit: 10_000)))
      }
    }
    return TransactionProgram(kind: .lists, steps: steps) { answers in
      var result = Result()
      for (number, key) in keys.enumerated() {
        let list = answers.map { Keys.decode($0[number].entries.first?.value) }
        result.operations.append(.readList("l\(number)", list))
        result.writes[key.partition, default: []].append(
          TransactionWrite(key, Keys.encode((list ?? []) + [value])))
        result.operations.append(.append("l\(number)", value))
        let span = answers.map { Keys.list($0[keys.count + number].entries) }
        result.operations.append(.readList("s\(number)", span))
      }
      if let answers {
        result.balances = answers.dropFirst(2 * keys.count).flatMap(\.entries)
          .filter { $0.target.keyspace == Keys.Kind.account.rawValue }
          .map { Keys.decode($0.value).first ?? 0 }
      }
      return result
    }
  }
}
