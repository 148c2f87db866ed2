import RoostEnvironment
import TestSupport
import Testing

/// Records against a model that knows of events, not of vectors: what was read and replaced is gone, for
/// everybody who has heard of it; what was not seen stays.
// Budget: 10 s
@Suite struct OracleTests {
  @Test func `records hold what the events they know of leave`() throws {
    var writes = 0
    try withSeeds("OracleTests", count: TestSize.of(quick: 1000, full: 5000)) { _, random in
      var run = OracleRun(replicas: 2 + random.below(3), seed: random)
      try run.run(steps: 10 + random.below(40))
      try run.exchangeAll()
      writes += run.oracle.events.count
    }
    #expect(writes > 0)
  }
}
