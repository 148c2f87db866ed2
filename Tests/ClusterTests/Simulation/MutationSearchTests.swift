import RoostSimulation
import TestSupport
import Testing

/// Rules broken on purpose, which the random scenario has to meet by chance within so many seeds of a
/// minute.
// Budget: 30 s
@Suite struct MutationSearchTests {
  private static let seeds = 40

  /// How many nodes it takes: a hint counts, and a request is handed on, only where there are more nodes than
  /// replicas.
  private func nodes(_ subversion: Subversion) -> Int {
    switch subversion {
    case .dropsHints, .repeatsRequests: 5
    default: 3
    }
  }

  @Test(arguments: Subversion.allCases.filter { $0 != .none })
  func `a broken rule is met by chance`(_ subversion: Subversion) {
    var options = SimulationOptions()
    options.nodes = nodes(subversion)
    for (number, seed) in Seeds.of("a broken rule, \(subversion)", count: Self.seeds).enumerated() {
      let report = Simulation.random(seed: seed, options, subversion: subversion)
      guard let violation = report.violations.first(where: { !$0.hasPrefix("the simulation ended") }) else {
        continue
      }
      print("\(subversion): seed \(seed), number \(number + 1): \(violation.prefix { $0 != "\n" })")
      return
    }
    Issue.record("\(subversion) was not met in \(Self.seeds) seeds")
  }
}
