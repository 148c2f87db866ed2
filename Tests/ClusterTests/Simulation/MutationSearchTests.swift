import RoostSimulation
import TestSupport
import Testing

/// Rules broken on purpose, which the random scenario has to meet by chance within so many seeds of about a
/// minute.
// Budget: 40 s
@Suite struct MutationSearchTests {
  private static let seeds = 40
  /// Of those that show only for a moment, or only where a member has left by then.
  private static let seedsOfMoves = 60

  /// What makes it likely that a broken rule is met, and quick to find out.
  private static func options(_ subversion: Subversion) -> SimulationOptions {
    var options = SimulationOptions()
    options.reaping = .never
    options.faults.remove(.members)
    options.transactions = subversion.isOfTransactions
    switch subversion {
    case .dropsHints, .repeatsRequests, .reroutesEffects:
      // A hint counts, and a request is handed on, only where there are more nodes than replicas.
      options.nodes = 5
    case .reapsEarly:
      options.reaping = .always
      options.faults = [.network, .power, .processes]
      options.minutes = 1.5
    case .dropsForwards, .countsPending:
      // Nothing is lost for good, since a source gives nothing up before the others have it: reads tell. So
      // nothing else goes wrong, for which they might miss something; but messages take longer.
      options.faults = [.members]
      options.checksMovedReads = true
      options.weather.late = 300
      options.clients = 16
      if subversion == .dropsForwards {
        options.replicas = 1
      } else {
        (options.readQuorum, options.writeQuorum) = (1, 3)
      }
    case .givesUpUndrained:
      // What takes longer holds its locks for longer.
      options.faults = [.members]
      options.weather.late = 300
      options.clients = 8
    case .dropsBequest:
      // Who leaves is to have been down before, so that its clients were not told. With all else well it has
      // left before all is made well, when the rule is kept again.
      options.faults = [.members, .processes, .power]
      options.nodes = 5
      options.clients = 8
      options.minutes = 1.5
    default: break
    }
    return options
  }

  private static func isOfMoves(_ subversion: Subversion) -> Bool {
    [.dropsForwards, .countsPending, .dropsBequest].contains(subversion)
  }

  /// Some need more than chance has in a minute: they are told in a few steps (`TransactionTests/Cluster`).
  static let met = Subversion.allCases.filter { subversion in
    ![.none, .releasesReadLocks, .presumesAbort, .forgetsOutcomes].contains(subversion)
  }

  @Test(arguments: met)
  func `a broken rule is met by chance`(_ subversion: Subversion) {
    let count = Self.isOfMoves(subversion) ? Self.seedsOfMoves : Self.seeds
    for (number, seed) in Seeds.of("a broken rule, \(subversion)", count: count).enumerated() {
      let report = Simulation.random(seed: seed, Self.options(subversion), subversion: subversion)
      guard let violation = report.violations.first(where: { !$0.hasPrefix("the simulation ended") }) else {
        continue
      }
      print("\(subversion): seed \(seed), number \(number + 1): \(violation.prefix { $0 != "\n" })")
      return
    }
    Issue.record("\(subversion) was not met in \(count) seeds")
  }

  /// What finds them must find nothing where no rule is broken.
  @Test(arguments: [
    Subversion.reapsEarly, .dropsForwards, .countsPending, .givesUpUndrained, .dropsBequest,
  ])
  func `the same scenario with the rule kept`(_ subversion: Subversion) {
    let count = TestSize.of(quick: 2, full: 30)
    for seed in Seeds.of("a kept rule, \(subversion)", count: count) {
      let report = Simulation.random(seed: seed, Self.options(subversion))
      #expect(report.ok, "\(subversion), seed \(seed): \(report.violations.prefix(3))")
    }
  }
}
