import RoostEnvironment
import RoostStorage
import TestSupport
import Testing

/// Random operations against a plain sorted map, under many options: none of them may change an
/// answer.
// Budget: 12 s quick, 60 s full.
@Suite struct ModelTests {
  /// Everything on one thread in a simulated world: a seed replays exactly.
  @Test func simulated() throws {
    var deepCases = 0
    func run(_ plan: ModelPlan, _ options: ModelOptions, _ seed: UInt64) throws {
      let runner = ModelRunner(plan, options, seed: seed)
      try runner.run()
      if runner.levelCount > 1 { deepCases += 1 }
    }
    try withSeeds("StorageTests.ModelTests/simulated", count: TestSize.of(quick: 60, full: 250)) {
      seed, random in
      let plan = ModelPlan(&random, operationCount: 200 + random.below(1200))
      for options in ModelOptions.fixed { try run(plan, options, seed) }
      for _ in 0..<3 { try run(plan, .drawn(&random), seed) }
    }
    // Deletions must outlive what they hide in the levels below.
    #expect(deepCases > 0, "no case had more than one level below 0")
  }

  /// Real files and threads: background work comes when it comes.
  @Test func `on disk`() throws {
    try withSeeds("StorageTests.ModelTests", count: TestSize.of(quick: 6, full: 40)) { _, random in
      let plan = ModelPlan(&random, operationCount: 600)
      for options in [ModelOptions.fixed[random.below(ModelOptions.fixed.count)], .drawn(&random)] {
        let directory = try TemporaryDirectory()
        try ModelRunner(plan, options, directory: directory.path).run()
      }
    }
  }
}
