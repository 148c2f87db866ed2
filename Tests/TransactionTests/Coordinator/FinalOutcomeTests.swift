import RoostCausality
import Testing

@testable import RoostTransactions

/// What a caller is told of its commit where nothing more comes.
// Budget: 1 s
@Suite struct FinalOutcomeTests {
  @Test func `a commit is told once it is decided, and every clock has passed it`() throws {
    var bench = CoordinatorBench(clockBound: 250)
    let transaction = bench.makeLogging()
    #expect(bench.coordinator.finalOutcome(of: transaction) == nil)
    let logging = try #require(bench.logged.last)
    bench.handle(.logged(logging.number, failure: nil))
    #expect(bench.coordinator.finalOutcome(of: transaction) == nil, "some clock is behind it")
    bench.advance(251)
    #expect(bench.coordinator.finalOutcome(of: transaction) == .committed(at: logging.record.timestamp))
  }

  @Test func `what failed to be logged is not known, and what was aborted is`() throws {
    var bench = CoordinatorBench()
    let (lost, aborted) = (bench.makeLogging(), bench.begin())
    bench.handle(.logged(try #require(bench.logged.last).number, failure: "broken"))
    #expect(bench.coordinator.finalOutcome(of: lost) == nil)
    #expect(bench.coordinator.finalOutcome(of: aborted) == nil)
    bench.handle(.abort(aborted, .requested))
    #expect(bench.coordinator.finalOutcome(of: aborted) == .aborted(.requested))
    #expect(bench.coordinator.finalOutcome(of: txn(5, coordinator: 9)) == nil, "it is another's")
  }
}
