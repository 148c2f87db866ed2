import RoostCausality
import RoostCluster
import RoostTransactions
import Testing

/// How a coordinator counts what became of its transactions: each once, whichever way it ended.
// Budget: 1 s
@Suite struct OutcomeCountTests {
  private static func counts(
    committed: UInt64 = 0, unknown: UInt64 = 0, _ aborted: [AbortKind: UInt64] = [:]
  ) -> OutcomeCounts {
    var counts = OutcomeCounts()
    (counts.committed, counts.unknown, counts.aborted) = (committed, unknown, aborted)
    return counts
  }

  @Test func `a commit counts once it is logged`() throws {
    var bench = CoordinatorBench()
    let transaction = bench.makeLogging()
    #expect(bench.coordinator.counts == Self.counts())
    let number = try #require(bench.logged.last).number
    bench.handle(.logged(number, failure: nil))
    #expect(bench.coordinator.counts == Self.counts(committed: 1))
    for number in [1, 2, 2] as [UInt64] { bench.receive(transaction, .acknowledged, from: number) }
    bench.handle(.logged(number, failure: nil))
    #expect(bench.coordinator.counts == Self.counts(committed: 1))
    // Nothing to write: nothing to log.
    let reading = bench.begin()
    bench.commit(reading, [:])
    #expect(bench.coordinator.counts == Self.counts(committed: 2))
  }

  @Test func `aborts count by their reasons`() throws {
    var bench = CoordinatorBench()
    bench.handle(.abort(bench.begin(), .requested))
    bench.handle(.abort(bench.begin(), .unreachable("a")))
    let wounded = bench.begin()
    bench.read(wounded, "a", at: 1)
    bench.receive(wounded, .wounded, from: 1)
    bench.receive(wounded, .wounded, from: 1)
    bench.handle(.abort(wounded, .requested))
    _ = bench.begin()
    bench.advance(bench.coordinator.times.durationMilliseconds)
    #expect(
      bench.coordinator.counts
        == Self.counts([.requested: 1, .unreachable: 1, .conflict: 1, .expired: 1]))
  }

  @Test func `what nobody knows counts as unknown, and once it is known as that too`() throws {
    var bench = CoordinatorBench()
    let transaction = bench.begin()
    bench.commit(transaction, [1: [put("a")]])
    var request: UInt64?
    for case .commitAtOnce(let sent) in bench.sent(to: 1) { request = sent.request }
    bench.advance(bench.coordinator.times.durationMilliseconds)
    #expect(bench.outcomes == [.unknown(transaction)])
    #expect(bench.coordinator.counts == Self.counts(unknown: 1))
    bench.receive(
      transaction, .committedAtOnce(request: try #require(request), bench.clock.now().timestamp), from: 1)
    #expect(bench.coordinator.counts == Self.counts(committed: 1, unknown: 1))
    _ = bench.makeLogging()
    bench.handle(.logged(try #require(bench.logged.last).number, failure: "broken"))
    #expect(bench.coordinator.counts == Self.counts(committed: 1, unknown: 2))
  }

  @Test func `what an earlier process had on record does not count`() throws {
    var bench = CoordinatorBench()
    let record = CommitRecord(
      transaction: txn(1), timestamp: Timestamp(milliseconds: 5), writers: [member(1)], effects: [],
      isSynced: true)
    bench.restart(committed: [record], outcomes: [txn(2): .aborted])
    bench.receive(txn(1), .acknowledged, from: 1)
    #expect(bench.coordinator.isIdle)
    #expect(bench.coordinator.counts == Self.counts())
  }
}
