import Foundation
import RoostCluster
import TestSupport
import Testing

@testable import RoostCommand

/// `roost ring compare`: as a user runs it.
// Budget: 5 s
@Suite struct RingCommandTests {
  let roost: Roost

  init() throws { roost = try Roost() }

  private func compare(_ arguments: String...) throws -> [String: Any] {
    let outcome = try roost.run(["ring", "compare", "--json"] + arguments)
    #expect(outcome.status == 0 && outcome.errors.isEmpty && outcome.lines.count == 1)
    return try #require(
      try JSONSerialization.jsonObject(with: Data(outcome.output)) as? [String: Any])
  }

  private func number(_ object: [String: Any], _ way: String, _ name: String) throws -> Double {
    let way = try #require(object[way] as? [String: Any])
    return try #require(way[name] as? Double)
  }

  /// The reference case: 10 million songs, and a fifth server beside four.
  @Test func `of ten million songs eight million move by division, two by the ring`() throws {
    let keys = TestSize.of(quick: 200_000, full: 10_000_000)
    let result = try compare("--keys", "\(keys)", "--from", "4", "--to", "5")
    #expect(result["keys"] as? Int == keys && result["from"] as? Int == 4)
    #expect(result["to"] as? Int == 5)
    let moved = try ["modulo", "ring", "tokens"].map { try number(result, $0, "moved") / Double(keys) }
    #expect(abs(moved[0] - 0.8) < 0.005 && abs(moved[1] - 0.2) < 0.005, "\(moved)")
    #expect(abs(moved[2] - 0.2) < 0.04, "\(moved)")
    for (way, share) in zip(["modulo", "ring", "tokens"], moved) {
      #expect(abs(try number(result, way, "share") - share) < 1e-9)
    }
    #expect(try number(result, "modulo", "max_over_mean") < 1.02)
    #expect(try number(result, "ring", "max_over_mean") < 1.03)
    #expect(try number(result, "tokens", "max_over_mean") > 1.03)
    #expect(try number(result, "tokens", "max_over_mean_before") > 1.03)
  }

  @Test func `copies, and servers that go`() throws {
    let result = try compare(
      "--keys", "50000", "--from", "9", "--to", "8", "--replicas", "3", "--partitions", "512",
      "--tokens", "16")
    #expect(result["replicas"] as? Int == 3 && result["partitions"] as? Int == 512)
    #expect(result["tokens_per_server"] as? Int == 16)
    // Of 150,000 copies a ninth has to go.
    #expect(abs(try number(result, "ring", "share") - 1.0 / 9) < 0.01)
    #expect(abs(try number(result, "tokens", "share") - 1.0 / 9) < 0.06)
    #expect(try number(result, "modulo", "share") > 0.5)
    let same = try compare("--keys", "1000", "--from", "3", "--to", "3")
    for way in ["modulo", "ring", "tokens"] { #expect(try number(same, way, "moved") == 0) }
    let one = try compare("--keys", "1", "--from", "1", "--to", "2", "--tokens", "1")
    #expect(try number(one, "modulo", "max_over_mean") == 2)
  }

  @Test func `a table and a picture`() throws {
    let outcome = try roost.run("ring", "compare", "--keys", "30000")
    #expect(outcome.status == 0 && outcome.errors.isEmpty)
    #expect(outcome.lines.first == "30,000 keys, song:0 to song:29999, from 4 servers to 5")
    #expect(outcome.lines.allSatisfy { $0.count <= 80 })
    #expect(outcome.text.contains("\nleast                6,000    20.0 %"))
    let fifth = outcome.lines.filter { $0.hasPrefix("  server 5") }
    #expect(fifth.count == 3 && fifth.allSatisfy { $0.contains("▓") && !$0.contains("█") })
    // By the ring nobody but the newcomer gets anything.
    let ring = try #require(
      outcome.text.split(separator: "\nring: ").last?.split(separator: "tokens:").first)
    #expect(ring.split(separator: "\n").filter { $0.hasPrefix("  server") }.count == 5)
    #expect(ring.split(separator: "\n").filter { $0.contains("▓") }.count == 1)
    let many = try roost.run(
      "ring", "compare", "--keys", "9999", "--from", "40", "--to", "41", "--replicas", "2")
    #expect(many.text.contains("  … 25 more\n") && many.text.contains("9,999 keys"))
    #expect(many.text.contains("copies moved") && many.lines.allSatisfy { $0.count <= 80 })
  }

  @Test func `wrong usage`() throws {
    for (arguments, words) in [
      (["--keys", "0"], "--keys must be at least 1"), (["--keys", "-5"], "--keys"),
      (["--keys", "many"], "many"), (["--from", "0"], "--from must be 1 to 1024"),
      (["--to", "0"], "--to must be 1 to 1024"), (["--to", "1025"], "--to"),
      (["--from", "-1"], "--from"), (["--replicas", "0"], "--replicas"),
      (["--replicas", "5"], "--replicas"), (["--partitions", "0"], "--partitions"),
      (["--partitions", "32769"], "--partitions"), (["--tokens", "0"], "--tokens"),
      (["--tokens", "4097"], "--tokens"), (["--keys", "99999999999999999999"], "--keys"),
    ] {
      let outcome = try roost.run(["ring", "compare"] + arguments)
      #expect(outcome.status == 64 && outcome.output.isEmpty, "\(arguments)")
      #expect(outcome.errors.contains(words) && outcome.errors.contains("Usage: roost ring compare"))
    }
    let help = try roost.run("ring", "compare", "--help")
    #expect(help.status == 0 && help.text.contains("EXAMPLES") && help.text.contains("song:0"))
    #expect(try roost.run("ring", "--help").text.contains("compare"))
    #expect(try roost.run("--help").text.contains("ring"))
  }

  @Test func `errors of rings have codes of their own`() {
    func status(_ code: RingError.Code) -> Int32 {
      Failure(RingError(code, "x", offset: 3)).status.rawValue
    }
    #expect(status(.weightOutOfRange) == 64 && status(.tooFewMembers) == 64)
    #expect(status(.damaged) == 2 && status(.newerFormat) == 76 && status(.staleMove) == 70)
    #expect(Failure(RingError(.damaged, "x", offset: 3)).message == "x (offset 3)")
  }
}
