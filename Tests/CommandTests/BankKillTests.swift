import Foundation
import RoostEnvironment
import TestSupport
import Testing

/// Real kills: `roost bank` over four stores is killed with SIGKILL at random moments, again and
/// again. No money is lost or made, and every acknowledged transfer has committed.
// Budget: 60 s
@Suite struct BankKillTests {
  let roost: Roost

  init() throws { roost = try Roost() }

  /// Runs transfers until so many are acknowledged, kills the process, and tells which were.
  private func transferAndKill(
    _ arguments: [String], after count: Int
  ) throws -> (acknowledged: [String], wasKilled: Bool) {
    let (lines, wasKilled) = try KilledProcess.run(Roost.executable, arguments, after: count)
    let acknowledged = try lines.map { line in
      let words = line.split(separator: " ")
      try #require(words.count == 5 && words[0] == "committed", "\(line)")
      return String(words[1])
    }
    return (acknowledged, wasKilled)
  }

  @Test func `no money is lost or made by a kill, and what was acknowledged has committed`() throws {
    let name = "no money is lost or made by a kill, and what was acknowledged has committed"
    let kills = TestSize.of(quick: 6, full: 50)
    let sample = TestSize.of(quick: 3, full: 10)
    try withSeeds(name, count: 1) { seed, random in
      let stores = (0..<4).map { roost.path("disk\($0)") }
      var recovered = 0
      for round in 0..<kills {
        let place = "seed \(seed), kill \(round)"
        // Few accounts: transfers meet, and every state of a transaction is met by the kill.
        let arguments =
          ["bank"] + stores
          + ["--accounts", "24", "--clients", "\(1 + random.below(8))", "--seconds", "600"]
          + ["--acknowledge", "--sync"]
        let (acknowledged, wasKilled) = try transferAndKill(arguments, after: 1 + random.below(60))
        try #require(wasKilled && !acknowledged.isEmpty, "\(place)")
        let check = try roost.run(["bank"] + stores + ["--seconds", "0", "--json"])
        try #require(check.status == 0, "\(place): \(check.text) \(check.errors)")
        let figures = try #require(
          try JSONSerialization.jsonObject(with: Data(check.output)) as? [String: Any], "\(place)")
        try #require(figures["total_before"] as? Int == 24_000, "\(place): \(check.text)")
        try #require(figures["total_after"] as? Int == 24_000, "\(place): \(check.text)")
        recovered += figures["recovered_in_doubt"] as? Int ?? 0
        for id in acknowledged.suffix(sample) {
          let outcome = try roost.run("txn", stores[0], "--outcome", id)
          try #require(
            outcome.status == 0 && outcome.text.hasPrefix("committed \(id)"),
            "\(place): \(id) was acknowledged: \(outcome.text) \(outcome.errors)")
        }
      }
      let doubt = try roost.run(["indoubt"] + stores)
      #expect(doubt.text == "nothing is in doubt\n", "seed \(seed): \(doubt.text)")
      for store in stores { #expect(try roost.run("verify", store).status == 0, "seed \(seed): \(store)") }
    }
  }
}
