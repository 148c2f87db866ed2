import RoostTransactions
import TestSupport
import Testing

/// The real state machines in a cluster where everything goes wrong.
// Budget: 90 s
@Suite("The simulated cluster of transactions")
struct SimulationTests {
  @Test("keeps its promises, whatever is lost, delayed, doubled, crashed or cut")
  func chaos() throws {
    var histories = 0
    var transactions = 0
    var (drained, forced) = (0, 0)
    try withSeeds(#function, count: TestSize.of(quick: 200, full: 4_000)) { seed, random in
      let simulation = Simulation(.random(&random), seed: seed)
      let faults = simulation.run()
      try HistoryFiles.write(simulation.record.histories, seed: seed)
      try #require(faults == [])
      histories += 1
      transactions += simulation.record.okCount
      drained += simulation.cluster.participants.reduce(0) { $0 + $1.drainCount }
      forced += simulation.forceCounts.all
    }
    // Where nothing commits, nothing is tested.
    #expect(transactions > 10 * histories)
    #expect(drained > histories / 4 && forced > histories / 20, "\(drained) drained, \(forced) forced")
    print("\(histories) histories, \(transactions) transactions and snapshots that were answered")
  }

  @Test("stays serialisable where clocks are further apart than they may be")
  func clocksApart() throws {
    try withSeeds(#function, count: TestSize.of(quick: 40, full: 1_000)) { seed, random in
      var options = SimulationOptions.random(&random)
      options.times.clockBoundMilliseconds = 30
      options.skewMilliseconds = 60 + UInt64(random.below(500))
      options.clockJumpEveryMilliseconds = 300
      try #require(Simulation(options, seed: seed).run() == [])
    }
  }

  @Test("reports an operator who decides against what was decided, and does all else right")
  func carelessOperators() throws {
    var counts = (all: 0, contradicting: 0)
    try withSeeds(#function, count: TestSize.of(quick: 60, full: 1_500)) { seed, random in
      var options = SimulationOptions.random(&random)
      options.forceEveryMilliseconds = 50
      options.operatorKind = .careless
      options.lossRate = 150
      options.crashEveryMilliseconds = 600
      let simulation = Simulation(options, seed: seed)
      try #require(simulation.run() == [])
      counts.all += simulation.forceCounts.all
      counts.contradicting += simulation.forceCounts.contradicting
    }
    // One seed that is replayed decides too little to judge by.
    if Seeds.of(#function, count: 2).count > 1 {
      #expect(counts.all > 50 && counts.contradicting > 5, "\(counts)")
    }
    print("operators decided \(counts.all) times, \(counts.contradicting) times against a commit")
  }

  @Test("does the same again with the same seed, whatever order dictionaries have")
  func sameTrace() throws {
    try withSeeds(#function, count: TestSize.of(quick: 5, full: 50)) { seed, random in
      var options = SimulationOptions.random(&random)
      let first = Simulation(options, seed: seed)
      _ = first.run()
      options.dictionaryCapacity = 200
      let second = Simulation(options, seed: seed)
      _ = second.run()
      try #require(first.cluster.trace.hash == second.cluster.trace.hash)
      try #require(first.record.histories == second.record.histories)
      let other = Simulation(options, seed: seed &+ 1)
      _ = other.run()
      try #require(first.cluster.trace.hash != other.cluster.trace.hash)
    }
  }
}
