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

  @Test func `small clusters, and longer ones`() {
    for (nodes, minutes) in [(1, 0.2), (2, 0.2), (4, 0.3), (7, 0.3), (3, 3.0)] {
      for seed in Seeds.of("small clusters, \(nodes)", count: TestSize.of(quick: 1, full: 8)) {
        check(Simulation.random(seed: seed, minutes: minutes, nodes: nodes))
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
  }
}
