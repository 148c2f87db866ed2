import ArgumentParser
import RoostCluster

/// `roost ring compare`: counts the keys that move when servers come or go, by three ways to place
/// them. Opens no store.
struct RingCompare: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compare",
    abstract: "Count the keys that move when servers come or go: by division, by the ring, by tokens.",
    discussion: """
      Places the keys `song:0`, `song:1`, … on servers of equal weight, before and after a
      change of their number, by the same hash (XXH64) in three ways:

        hash % n  the hash modulo the number of servers; further replicas on the next ones
        ring      partitions of equal size, a table of who holds which: Roost's way
        tokens    the first servers at or behind the hash on a circle, each at many places

      EXAMPLES
        roost ring compare
        roost ring compare --keys 10000000 --from 4 --to 5 --json
        roost ring compare --from 9 --to 8 --replicas 3 --tokens 16
      """)

  @Option(help: "How many keys.") var keys = 10_000_000
  @Option(help: "Servers before.") var from = 4
  @Option(help: "Servers after.") var to = 5
  @Option(help: "Servers that hold a copy of each key.") var replicas = 1
  @Option(help: "The ring's partitions.") var partitions = 1024
  @Option(help: "Places of a server on the circle of tokens.") var tokens = 128
  @Flag(help: "A JSON object.") var json = false

  func validate() throws {
    if keys < 1 { throw ValidationError("--keys must be at least 1.") }
    for (option, count) in [("--from", from), ("--to", to)] {
      guard 1...Ring.maximumMembers ~= count else {
        throw ValidationError("\(option) must be 1 to \(Ring.maximumMembers) servers.")
      }
    }
    guard Ring.replicaCounts ~= replicas, replicas <= min(from, to) else {
      throw ValidationError(
        "--replicas must be 1 to \(Ring.replicaCounts.upperBound), and not above --from or --to.")
    }
    guard Ring.partitionCounts ~= partitions else {
      throw ValidationError("--partitions must be 1 to \(Ring.partitionCounts.upperBound).")
    }
    let most = min(TokenRing.virtualNodeCounts.upperBound, TokenRing.maximumTokens / max(from, to))
    guard 1...most ~= tokens else {
      throw ValidationError("--tokens must be 1 to \(most) for \(max(from, to)) servers.")
    }
  }

  func run() throws {
    var progress = Progress()
    let comparison = try RingComparison(
      keys: keys, from: from, to: to, replicas: replicas, partitions: partitions, tokens: tokens
    ) { progress.show("\(Format.count($0)) of \(Format.count(keys)) keys") }
    progress.clear()
    if json {
      var writer = JSONWriter()
      comparison.append(to: &writer)
      try Output.standard.line(writer)
    } else {
      for line in comparison.lines(width: 80) { try Output.standard.line(line) }
    }
  }
}
