import TestSupport
import Testing

@testable import RoostSimulation

/// Random simulations of whole clusters with transactions between their nodes: whatever happens, the money is
/// there, what was acknowledged is done, and nothing stays in doubt.
// Budget: 30 s
@Suite struct RandomClusterTests {
  private struct Totals {
    var committed = 0
    var joined = 0
    var gone = 0
    var flips = 0
  }

  private func check(
    _ name: String, _ seeds: Int, new: Int = 0, _ change: (inout RoostSimulation.SimulationOptions) -> Void
  ) -> Totals {
    var options = RoostSimulation.SimulationOptions()
    options.minutes = 0.4
    options.transactions = true
    change(&options)
    var totals = Totals()
    var command = "roost simulate --transactions --minutes \(options.minutes) --nodes \(options.nodes)"
    if options.faults != .all {
      let kinds = SimulationFaults.named.filter { options.faults.contains($0.faults) }.map(\.name)
      command += " --faults " + kinds.joined(separator: ",")
    }
    for seed in Seeds.of(name, count: seeds) + Seeds.new(command, count: new) {
      let report = RoostSimulation.Simulation.random(seed: seed, options)
      totals.committed += report.committed
      totals.joined += report.joined
      totals.gone += report.gone
      totals.flips += report.flips
      guard !report.ok else { continue }
      Issue.record(
        """
        \(report.violations.count) violations. Replay: \(command) --seed \(report.seed)
        \(report.violations.prefix(3).joined(separator: "\n"))
        """)
    }
    return totals
  }

  @Test(arguments: [3, 5])
  func `transactions hold whatever goes wrong`(_ nodes: Int) {
    let name = "transactions hold whatever goes wrong, \(nodes) nodes"
    let totals = check(name, TestSize.of(quick: 6, full: 100), new: 8) { options in
      options.nodes = nodes
      // They have a test of their own, below.
      options.faults.remove(.members)
    }
    // After a loss of power a node's clock is some seconds ahead, and commits wait as long.
    #expect(totals.committed > 30, "so much goes wrong that nothing is tried")
  }

  /// All else goes wrong too. A change that was begun must come to its end once all is well.
  @Test func `transactions hold while members join, leave and are weighed`() {
    var totals = Totals()
    for nodes in 3...5 {
      let name = "transactions hold while members join, leave and are weighed, \(nodes) nodes"
      let some = check(name, TestSize.of(quick: 3, full: 16), new: 2) { options in
        options.nodes = nodes
        options.minutes = 0.6
      }
      totals.committed += some.committed
      totals.joined += some.joined
      totals.gone += some.gone
      totals.flips += some.flips
    }
    #expect(totals.committed > 30, "so much goes wrong that nothing is tried")
    #expect(totals.joined > 0 && totals.joined + totals.gone > 2, "so much goes wrong that nobody comes")
    // Not only once nothing goes wrong any more.
    #expect(totals.flips > 0, "no transactional keys move while anybody uses them")
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
    for (seed, minutes) in [(1, 0.2), (2, 0.2), (3, 0.6)] as [(UInt64, Double)] {
      // In the longest partitions change their owners, too.
      options.minutes = minutes
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
