import ArgumentParser
import RoostSimulation

/// `roost simulate`: a cluster where all goes wrong, in simulated time, and what came of it.
struct Simulate: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Run a simulated cluster in which all goes wrong, and check that it keeps its promises.",
    discussion: """
      Everything is in memory and in one thread, and all of it follows from the seed: the clients'
      writes, messages that are lost, late and doubled, cuts, kills, disks that lose what was not
      synced, fill up, fail, go back to an old backup or are lost, clocks that jump. Then all is
      made well, and what the cluster holds is compared with what the clients were told.

      EXAMPLES
        roost simulate --seed 7
        roost simulate --seed 1 --seeds 100 --nodes 5      seeds 1 to 100
        roost simulate --seed 7 --minutes 10 --json        an object a seed:
          {"seed":7,"ok":true,"events":…,"trace_hash":"…","violations":[]}

      Ends with code 1 where a promise was broken. The same seed, minutes and nodes do the same
      again, event by event: the hash of the trace tells.
      """)

  @Option(help: "What everything follows from; of several seeds the first.") var seed: UInt64 = 1
  @Option(help: "For how many minutes of simulated time things go wrong: up to 1,000.") var minutes = 1.0
  @Option(help: "How many nodes the cluster has: 1 to 64.") var nodes = 3
  @Option(help: "How many seeds to run, one after the other: 1 to a million.") var seeds: UInt64 = 1
  @Flag(help: "A JSON object for each seed, on a line of its own.") var json = false

  func validate() throws {
    guard minutes > 0, minutes <= 1_000 else {
      throw ValidationError("--minutes must be above 0, and up to 1,000")
    }
    guard (1...64).contains(nodes) else { throw ValidationError("--nodes must be 1 to 64") }
    guard (1...1_000_000).contains(seeds) else { throw ValidationError("--seeds must be 1 to a million") }
    guard seed <= .max - seeds else { throw ValidationError("--seed is too large for so many seeds") }
  }

  func run() throws {
    var failed: [UInt64] = []
    for seed in seed..<(seed + seeds) {
      let report = Simulation.random(seed: seed, minutes: minutes, nodes: nodes)
      try json ? printJSON(report) : printText(report)
      // Whoever watches sees each as it ends.
      try Output.standard.flush()
      if !report.ok { failed.append(seed) }
    }
    if failed.isEmpty { return }
    if seeds > 1, !json {
      let list = failed.map { "\($0)" }.joined(separator: ", ")
      try Output.standard.line("\(failed.count) of \(seeds) seeds broke a promise: \(list)")
    }
    throw ExitStatus.violation
  }

  private func printJSON(_ report: SimulationReport) throws {
    var writer = JSONWriter()
    writer.beginObject()
    writer.member("seed", report.seed)
    writer.member("ok", report.ok)
    writer.member("events", report.events)
    writer.member("trace_hash", Self.digits(report.traceHash))
    writer.name("violations")
    writer.beginArray()
    for violation in report.violations { writer.value(violation) }
    writer.endArray()
    writer.endObject()
    try Output.standard.line(String(decoding: writer.bytes, as: UTF8.self))
  }

  private func printText(_ report: SimulationReport) throws {
    let output = Output.standard
    try output.line(
      "seed \(report.seed): \(report.ok ? "ok" : Format.count(report.violations.count, "violation")), "
        + "\(Format.count(report.events, "event")), trace \(Self.digits(report.traceHash)), "
        + "\(Format.count(report.acknowledged, "write")) acknowledged, "
        + "\(Format.count(report.inDoubt)) in doubt, \(Format.count(report.refused)) refused")
    if report.ok { return }
    for violation in report.violations {
      for line in violation.split(separator: "\n", omittingEmptySubsequences: false) {
        try output.line("  \(line)")
      }
    }
    try output.line(
      "  replay: roost simulate --seed \(report.seed) --minutes \(report.minutes) --nodes \(report.nodes)")
  }

  /// 16 lower-case hexadecimal digits.
  private static func digits(_ hash: UInt64) -> String {
    var digits: [UInt8] = []
    Hexadecimal.append(hash, to: &digits)
    return String(decoding: digits, as: UTF8.self)
  }
}
