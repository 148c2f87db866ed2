import RoostEnvironment
import RoostStorage
import TestSupport
import Testing

@testable import RoostCluster

/// A child that writes while a fifth store joins and leaves is killed with SIGKILL at random moments,
/// again and again on the same directories: nothing that it said was acknowledged is missing, nothing
/// counts twice, and what was moving goes on.
// Budget: 10 s quick, 60 s full.
@Suite struct RebalanceKillTests {
  @Test func `a killed rebalance`() throws {
    let directory = try TemporaryDirectory()
    let path = directory.path.string
    let kills = TestSize.of(quick: 6, full: 40)
    var ledger = RebalanceLedger()
    var next = 0
    var turns = 0
    try withSeeds("DatabaseTests.RebalanceKillTests", count: 1) { seed, random in
      for kill in 0..<kills {
        let (lines, wasKilled) = try ChildProgram.runAndKill(
          ["rebalance", path, "\(next)"], after: 1 + random.below(1_500))
        try require(wasKilled, "the child ended by itself: \(lines.suffix(3))")
        turns += lines.count { $0 == "joins" || $0 == "leaves" }
        next = note(lines, from: next, in: &ledger)
        // Sometimes it is killed again before anybody looks.
        if random.below(3) == 0, kill < kills - 1 { continue }
        do { ledger = try check(path, ledger, toTheEnd: random.below(2) == 0) } catch {
          throw Mismatch("kill \(kill), seed \(seed), \(next) writes: \(error)")
        }
      }
      ledger = try check(path, ledger, toTheEnd: true)
    }
    #expect(turns > 1)
    #expect(next > 100)
  }

  /// Notes what the child acknowledged, and the one write after it that may be there as well.
  private func note(_ lines: [String], from start: Int, in ledger: inout RebalanceLedger) -> Int {
    var number = start
    for line in lines where line.hasPrefix("acked ") {
      write(number, in: &ledger)
      ledger.values[RebalanceKillPlan.key(number)]!.acknowledged =
        ledger.values[RebalanceKillPlan.key(number)]!.versions.count - 1
      ledger.counts[RebalanceKillPlan.counter(number)]!.acknowledged += 1
      number += 1
    }
    write(number, in: &ledger)
    return number + 1
  }

  private func write(_ number: Int, in ledger: inout RebalanceLedger) {
    let value = String(decoding: RebalanceKillPlan.value(number), as: UTF8.self)
    ledger.values[RebalanceKillPlan.key(number), default: .init()].versions.append(value)
    ledger.counts[RebalanceKillPlan.counter(number), default: .init()].issued += 1
  }

  private func check(
    _ path: String, _ ledger: RebalanceLedger, toTheEnd: Bool
  ) throws -> RebalanceLedger {
    let core = try open(path)
    let values = try core.keyspace("values", .eventual)
    let counters = try core.keyspace("counters", .eventual)
    try ledger.check(values, counters, after: .process)
    if toTheEnd {
      try core.waitUntilBalanced(.seconds(600))
      try ledger.check(values, counters, after: .process)
      try core.checkPlacement()
    }
    let settled = try ledger.settled(values, counters)
    try core.close()
    return settled
  }

  private func open(_ path: String) throws -> DatabaseCore {
    let all = RebalanceKillPlan.stores(path)
    do { return try DatabaseOpening.open(Array(all.dropLast()), DatabaseOptions(), .posix()) } catch {
      guard error.code == .missingStore else { throw error }
    }
    return try DatabaseOpening.open(all, DatabaseOptions(), .posix())
  }
}
