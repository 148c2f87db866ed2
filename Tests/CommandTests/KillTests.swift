import Foundation
import RoostStorage
import TestSupport
import Testing

/// A process that writes is killed with SIGKILL; nothing that it acknowledged is missing.
// Budget: 20 s
@Suite struct KillTests {
  let roost: Roost

  init() throws { roost = try Roost() }

  /// Runs `fill`, kills it after so many acknowledged batches, and tells how far it came.
  private func fillAndKill(_ arguments: [String], from: UInt64, afterBatches: Int) throws -> UInt64
  {
    let (lines, wasKilled) = try KilledProcess.run(
      Roost.executable, ["fill"] + arguments + ["--count", "100000000", "--from", "\(from)"],
      after: afterBatches)
    #expect(wasKilled)
    var acknowledged = from
    for line in lines {
      let words = line.split(separator: " ")
      try #require(
        words.count == 3 && words[0] == "acked" && UInt64(words[1]) == acknowledged, "\(line)")
      acknowledged = try #require(UInt64(words[2]))
    }
    return acknowledged
  }

  @Test func `nothing acknowledged is missing after a kill`() throws {
    // One store is killed again and again: recoveries of recoveries count most.
    let kills = TestSize.of(quick: 8, full: 50)
    try withSeeds("nothing acknowledged is missing after a kill", count: 2) { seed, random in
      let db = roost.path("db-\(seed)")
      var acknowledged: UInt64 = 0
      for round in 0..<(kills / 2) {
        let batch = 1 + random.below(120)
        var arguments = [db, "--batch", "\(batch)", "--value-bytes", "100"]
        // Small memtables: flushes and compactions are interrupted as well.
        arguments += ["--memtable-bytes", "\((64 + random.below(512)) << 10)"]
        if random.below(4) == 0 { arguments.append("--sync") }
        acknowledged = try fillAndKill(
          arguments, from: acknowledged, afterBatches: 1 + random.below(100))
        let check = try roost.run("fill", db, "--count", "\(acknowledged)", "--check")
        #expect(check.status == 0, "seed \(seed), kill \(round): \(check.errors)")
        if check.status != 0 { return }
      }
      #expect(try roost.run("verify", db).status == 0, "seed \(seed)")
    }
  }

  @Test func `the check notices what is missing and what is wrong`() throws {
    let db = roost.path("db")
    let filled = try roost.run("fill", db, "--count", "25", "--batch", "10", "--seed", "3")
    #expect(filled.text == "acked 0 10\nacked 10 20\nacked 20 25\n")
    func check(_ arguments: String...) throws -> Int32 {
      try roost.run(["fill", db, "--check", "--count"] + arguments).status
    }
    #expect(try check("25", "--seed", "3") == 0)
    #expect(try check("26", "--seed", "3") == 2)
    #expect(try check("25", "--seed", "4") == 2)
    #expect(try check("25", "--seed", "3", "--value-bytes", "99") == 2)
    #expect(try check("10", "--from", "5", "--seed", "3") == 0)
    #expect(try roost.run("put", db, "e220a8397b1dcdaf", "x").status == 0)
    let wrong = try roost.run("fill", db, "--check", "--count", "25", "--seed", "3")
    #expect(
      wrong.status == 2 && wrong.errors.contains("record 0, key e220a8397b1dcdaf: another value"))
    #expect(
      try roost.run("fill", db, "--count", "30", "--from", "25", "--seed", "3").text
        == "acked 25 30\n")
    #expect(try roost.run("scan", db, "--count").text == "30\n")
  }

  @Test func `the tour passes and leaves nothing behind`() throws {
    let place = roost.path("tmp")
    try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: true)
    let outcome = try roost.run("tour", environment: ["TMPDIR": place])
    #expect(outcome.status == 0, "\(outcome.text) \(outcome.errors)")
    for words in [
      "34,924 records", "SNOWMAN", "WHITE CHESS KING", "are there, each with its value", "level 6",
      "--block", "is in doubt, since", "5,000 in all", "says 3 likes", "the new node says 4",
    ] {
      #expect(outcome.text.contains(words), "\(words)")
    }
    #expect(try FileManager.default.contentsOfDirectory(atPath: place) == [])
    // Also where it fails.
    try roost.write(Array("no database\n".utf8), roost.path("bad.txt"))
    let failed = try roost.run(
      "tour", "--data", roost.path("bad.txt"), environment: ["TMPDIR": place])
    #expect(failed.status == 65 && failed.errors.contains("line 1"))
    #expect(try FileManager.default.contentsOfDirectory(atPath: place) == [])
  }
}
