import TestSupport
import Testing

@testable import RoostSimulation

/// Random simulations of whole clusters with transactions between their nodes: whatever happens, the money is
/// there, what was acknowledged is done, and nothing stays in doubt.
// Budget: 30 s
@Suite struct RandomClusterTests {
  /// - Returns: how many transactions committed.
  private func check(
    _ name: String, _ seeds: Int, new: Int = 0, _ change: (inout RoostSimulation.SimulationOptions) -> Void
  ) -> Int {
    var options = RoostSimulation.SimulationOptions()
    options.minutes = 0.4
    options.transactions = true
    change(&options)
    var committed = 0
    let announced = "roost simulate --transactions --minutes \(options.minutes) --nodes \(options.nodes)"
    for seed in Seeds.of(name, count: seeds) + Seeds.new(announced, count: new) {
      let report = RoostSimulation.Simulation.random(seed: seed, options)
      committed += report.committed
      guard !report.ok else { continue }
      Issue.record(
        """
        \(report.violations.count) violations. Replay: roost simulate --transactions --seed \(report.seed) \
        --minutes \(report.minutes) --nodes \(report.nodes)
        \(report.violations.prefix(3).joined(separator: "\n"))
        """)
    }
    return committed
  }

  @Test(arguments: [3, 5])
  func `transactions hold whatever goes wrong`(_ nodes: Int) {
    let name = "transactions hold whatever goes wrong, \(nodes) nodes"
    let committed = check(name, TestSize.of(quick: 6, full: 100), new: 8) { $0.nodes = nodes }
    // After a loss of power a node's clock is some seconds ahead, and commits wait as long.
    #expect(committed > 30, "so much goes wrong that nothing is tried")
  }

  @Test func `one fault at a time`() {
    for (name, faults) in SimulationFaults.named {
      _ = check("transactions, only \(name)", TestSize.of(quick: 1, full: 10)) { options in
        options.minutes = 0.3
        options.faults = faults
      }
    }
  }

  @Test func `where nothing goes wrong nothing is unknown`() {
    var options = RoostSimulation.SimulationOptions()
    options.minutes = 0.3
    options.transactions = true
    options.faults = []
    let report = RoostSimulation.Simulation.random(seed: 1, options)
    #expect(report.ok && report.unknown == 0, "\(report.violations.prefix(3)), \(report.unknown) unknown")
    #expect(report.committed > 30)
  }

  @Test func `the same seed does the same`() {
    var options = RoostSimulation.SimulationOptions()
    options.minutes = 0.2
    options.transactions = true
    options.keepsHistory = true
    for seed in [1, 2] as [UInt64] {
      let first = RoostSimulation.Simulation.random(seed: seed, options)
      let second = RoostSimulation.Simulation.random(seed: seed, options)
      #expect(first.traceHash == second.traceHash && first.events == second.events, "seed \(seed)")
      #expect(first.history == second.history, "seed \(seed)")
    }
  }

  /// What the lists say by themselves, whatever times the database gives.
  @Test func `lists are strictly serialisable`() throws {
    var options = RoostSimulation.SimulationOptions()
    options.minutes = 0.4
    options.transactions = true
    let seeds = Seeds.of("lists are strictly serialisable", count: TestSize.of(quick: 3, full: 40))
    var eventCount = 0
    for seed in seeds {
      let history = try RoostSimulation.Simulation(seed: seed).run { world in
        try world.cluster(of: 3)
        try world.runRandomly(options)
        try world.settle()
        return Self.lists(of: world.history.transactions)
      }
      let anomalies = ListAppendChecker.check(history)
      #expect(anomalies.isEmpty, "seed \(seed): \(anomalies.prefix(3))")
      eventCount += history.events.count
    }
    #expect(eventCount > 15 * seeds.count, "so much goes wrong that nothing is tried")
  }

  /// As the checkers have it. Who reads in the end reads all lists.
  private static func lists(of transactions: [RecordedTransaction]) -> History {
    var events: [(place: Int, event: HistoryEvent)] = []
    for transaction in transactions {
      let found = transaction.operations.filter(\.isList).map { operation -> HistoryOperation in
        switch operation.kind {
        case .append(let element): .append(operation.key, Int(element) ?? -1)
        case .read, .write:
          .readList(
            operation.key, RecordedTransaction.Operation.elements(operation.value).map { Int($0) ?? -1 })
        }
      }
      if found.isEmpty { continue }
      let asked = found.map { operation -> HistoryOperation in
        if case .readList(let key, _) = operation { .readList(key, nil) } else { operation }
      }
      func note(
        _ kind: HistoryEvent.Kind, _ operations: [HistoryOperation], at place: Int, _ commit: UInt64?
      ) {
        events.append(
          (
            place,
            HistoryEvent(
              kind: kind, process: transaction.number, transaction: "\(transaction.number)",
              operations: operations, time: UInt64(place), commit: commit)
          ))
      }
      note(.invoke, asked, at: transaction.beganAt, nil)
      guard let ended = transaction.endedAt else { continue }
      switch transaction.outcome {
      case .committed(let time): note(.ok, found, at: ended, time.rawValue)
      case .aborted: note(.fail, asked, at: ended, nil)
      case .open, .unknown: note(.info, asked, at: ended, nil)
      }
    }
    var history = History()
    for (_, event) in events.sorted(by: { $0.place < $1.place }) { history.append(event) }
    return history
  }
}
