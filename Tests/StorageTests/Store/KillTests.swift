import Foundation
import RoostStorage
import SystemPackage
import TestSupport
import Testing

/// A child that writes is killed with SIGKILL at random moments, again and again on the same
/// directory: nothing that it said was acknowledged is missing, and nothing is torn.
// Budget: 5 s quick, 40 s full.
@Suite struct KillTests {
  @Test(arguments: ["mapped", "calls"])
  func `a killed writer`(_ access: String) throws {
    let directory = try TemporaryDirectory()
    let path = directory.appending("store").string
    let kills = TestSize.of(quick: 5, full: 30)
    try withSeeds("StorageTests.KillTests", count: 1) { seed, random in
      for kill in 0..<kills {
        let killed = try Self.writeAndKill(path, access, after: 1 + random.below(2000))
        do { try Self.check(path, access, acknowledged: killed) } catch {
          throw Mismatch("kill \(kill), seed \(seed), acknowledged \(killed): \(error)")
        }
      }
    }
  }

  /// Runs the child until it has acknowledged so many batches, and kills it.
  ///
  /// - Returns: how many batches were acknowledged, from the store's beginning.
  static func writeAndKill(_ path: String, _ access: String, after count: Int)
    throws -> Int
  {
    let (lines, wasKilled) = try ChildProgram.runAndKill([path, access], after: count)
    try require(wasKilled, "the child ended by itself: \(lines.suffix(3))")
    var acknowledged = 0
    for line in lines {
      let words = line.split(separator: " ")
      if words.first == "begins" { acknowledged = Int(words[1])! }
      if words.first == "acked" {
        try require(Int(words[1]) == acknowledged, "the child went from \(acknowledged) to \(line)")
        acknowledged = Int(words[2])!
      }
    }
    return acknowledged
  }

  static func check(_ path: String, _ access: String, acknowledged: Int) throws {
    let store = try Store.open(at: path, KillPlan.options(access == "calls" ? .calls : .mapped))
    let trees = try KillPlan.treeNames.map { try store.tree($0, KillPlan.treeOptions) }
    let counts = try trees.map { tree in
      try tree.get(KillPlan.counter).map { Int(String(decoding: $0, as: UTF8.self))! } ?? 0
    }
    try require(Set(counts).count == 1, "a batch is torn: \(counts)")
    try require(
      counts[0] == acknowledged || counts[0] == acknowledged + 1,
      "\(counts[0]) batches of \(acknowledged)")
    for (number, tree) in trees.enumerated() {
      var expected = KillPlan.contents(number, after: counts[0])
      var cursor = try tree.cursor()
      while try cursor.next() {
        let key = cursor.keyText
        try require(
          expected[key] == cursor.valueBytes, "tree \(number): \(key) has \(cursor.valueBytes)")
        expected[key] = nil
      }
      try require(expected.isEmpty, "tree \(number): missing \(expected.keys.sorted().prefix(5))")
    }
    try checkTables(store)
    try store.close()
  }
}
