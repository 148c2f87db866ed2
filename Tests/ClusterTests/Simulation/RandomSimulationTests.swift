import RoostSimulation
import TestSupport
import Testing

/// Random simulations of whole clusters: whatever happens, what clients were promised holds.
// Budget: 60 s
@Suite struct RandomSimulationTests {
  private func check(_ report: SimulationReport) {
    guard !report.ok else { return }
    Issue.record(
      """
      \(report.violations.count) violations. Replay: \
      roost simulate --seed \(report.seed) --minutes \(report.minutes) --nodes \(report.nodes)
      \(report.violations.prefix(3).joined(separator: "\n"))
      """)
  }

  @Test(arguments: [3, 5])
  func `promises hold whatever goes wrong`(_ nodes: Int) {
    let name = "promises hold whatever goes wrong, \(nodes) nodes"
    var acknowledged = 0
    for seed in Seeds.of(name, count: TestSize.of(quick: 15, full: 150)) {
      let report = Simulation.random(seed: seed, minutes: 0.4, nodes: nodes)
      check(report)
      acknowledged += report.acknowledged
    }
    #expect(acknowledged > 200, "so much goes wrong that nothing is tried")
  }

  /// In a full run: the same seeds find nothing that they have not found before.
  @Test(arguments: [3, 5])
  func `promises hold under new seeds`(_ nodes: Int) {
    let seeds = Seeds.new("roost simulate --minutes 0.4 --nodes \(nodes)", count: 12)
    for seed in seeds { check(Simulation.random(seed: seed, minutes: 0.4, nodes: nodes)) }
  }

  @Test func `small clusters, and longer ones`() {
    for (nodes, minutes) in [(1, 0.2), (2, 0.2), (4, 0.3), (7, 0.3), (3, 3.0)] {
      for seed in Seeds.of("small clusters, \(nodes)", count: TestSize.of(quick: 1, full: 8)) {
        check(Simulation.random(seed: seed, minutes: minutes, nodes: nodes))
      }
    }
  }

  /// Fewer disks may be lost where fewer acknowledge; more where more do.
  @Test(arguments: [(5, 5, 3, 3), (5, 3, 1, 3), (4, 4, 2, 3), (3, 3, 2, 1), (7, 3, 2, 2)])
  func `promises hold for other quorums`(_ nodes: Int, _ replicas: Int, _ read: Int, _ write: Int) {
    var options = SimulationOptions()
    options.minutes = 0.4
    options.nodes = nodes
    options.replicas = replicas
    options.readQuorum = read
    options.writeQuorum = write
    let name = "promises hold for other quorums, \(nodes) \(replicas) \(read) \(write)"
    for seed in Seeds.of(name, count: TestSize.of(quick: 3, full: 40)) {
      let report = Simulation.random(seed: seed, options)
      guard !report.ok else { continue }
      Issue.record("\(name), seed \(seed): \(report.violations.prefix(3).joined(separator: "\n"))")
    }
  }

  /// The keyspace is at the first so many of each list, and members come and go.
  @Test(arguments: [(3, 3, 2), (4, 3, 1), (4, 3, 2), (5, 4, 3)])
  func `promises hold for a keyspace with fewer replicas`(_ nodes: Int, _ replicas: Int, _ own: Int) {
    var options = SimulationOptions()
    options.minutes = 0.5
    options.nodes = nodes
    options.replicas = replicas
    options.keyspaceReplicas = own
    let name = "promises hold for a keyspace with fewer replicas, \(nodes) \(replicas) \(own)"
    var acknowledged = 0
    for seed in Seeds.of(name, count: TestSize.of(quick: 3, full: 60)) {
      let report = Simulation.random(seed: seed, options)
      acknowledged += report.acknowledged
      guard !report.ok else { continue }
      Issue.record(
        """
        \(report.violations.count) violations. Replay: roost simulate --seed \(seed) --minutes 0.5 \
        --nodes \(nodes) --replicas \(replicas) --keyspace-replicas \(own)
        \(report.violations.prefix(3).joined(separator: "\n"))
        """)
    }
    #expect(acknowledged > 50, "so much goes wrong that nothing is tried")
  }

  @Test func `only what is asked for goes wrong`() {
    var options = SimulationOptions()
    options.minutes = 0.3
    options.faults = []
    let calm = Simulation.random(seed: 1, options)
    #expect(calm.ok && calm.inDoubt == 0, "\(calm)")
    for (name, faults) in SimulationFaults.named {
      options.faults = faults
      for seed in Seeds.of("only \(name)", count: TestSize.of(quick: 1, full: 10)) {
        let report = Simulation.random(seed: seed, options)
        #expect(report.ok, "\(name), seed \(seed): \(report.violations.prefix(3))")
      }
    }
  }

  @Test func `the same seed does the same, and another one something else`() {
    var hashes: Set<UInt64> = []
    for seed in [1, 2, 3] as [UInt64] {
      let first = Simulation.random(seed: seed, minutes: 0.3, nodes: 3)
      let second = Simulation.random(seed: seed, minutes: 0.3, nodes: 3)
      #expect(first.traceHash == second.traceHash, "seed \(seed)")
      #expect(first.events == second.events, "seed \(seed)")
      #expect(first.acknowledged == second.acknowledged, "seed \(seed)")
      #expect(first.events > 1_000, "seed \(seed)")
      hashes.insert(first.traceHash)
    }
    #expect(hashes.count == 3)
  }

  @Test func `what cannot be simulated is said`() {
    #expect(!Simulation.random(seed: 1, minutes: 0, nodes: 3).ok)
    #expect(!Simulation.random(seed: 1, minutes: 1, nodes: 0).ok)
    #expect(!Simulation.random(seed: 1, minutes: 1, nodes: 65).ok)
    func isRefused(_ change: (inout SimulationOptions) -> Void) -> Bool {
      var options = SimulationOptions()
      change(&options)
      let report = Simulation.random(seed: 1, options)
      return report.events == 0 && !report.ok
    }
    #expect(isRefused { $0.replicas = 4 })
    #expect(isRefused { $0.replicas = 0 })
    #expect(isRefused { $0.readQuorum = 4 })
    #expect(isRefused { $0.writeQuorum = 0 })
    #expect(isRefused { $0.clients = 0 })
    #expect(isRefused { $0.keyspaceReplicas = 4 })
    #expect(isRefused { $0.keyspaceReplicas = 0 })
    #expect(isRefused { ($0.keyspaceReplicas, $0.readQuorum) = (2, 3) })
  }
}
