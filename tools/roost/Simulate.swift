import ArgumentParser
import RoostSimulation
import SystemPackage

/// `roost simulate`: a cluster where all goes wrong, in simulated time, and what came of it.
struct Simulate: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Run a simulated cluster in which all goes wrong, and check that it keeps its promises.",
    discussion: """
      Everything is in memory and in one thread, and all of it follows from the seed and the options:
      the clients' writes, messages that are lost, late and doubled, cuts, kills, disks that lose what
      was not synced, fill up, fail, go back to old backups or are lost, clocks that jump, nodes that
      come and go. Then all is made well, and what the cluster holds is compared with what the clients
      were told.

      EXAMPLES
        roost simulate --seed 7
        roost simulate --seed 1 --seeds 100 --nodes 5      seeds 1 to 100
        roost simulate --nodes 5 --replicas 5 --write 3    N = 5, W = 3: two disks may be lost
        roost simulate --seed 7 --faults network,power     nothing else goes wrong
        roost simulate --faults members --nodes 5          nodes join, leave, are replaced
        roost simulate --seed 7 --reaping always           deleted keys' tombstones go after 32 s
        roost simulate --seed 7 --transactions             transactions between the nodes too
        roost simulate --seed 7 --history calls.jsonl      what each client asked and was told
        roost simulate --seed 7 --minutes 10 --json        an object a seed:
          {"seed":7,"ok":true,"events":…,"trace_hash":"…","violations":[]}

      Ends with code 1 where a promise was broken. The same seed and options do the same again, event
      by event: the hash of the trace tells.
      """)

  @Option(help: "What everything follows from; of several seeds the first.") var seed: UInt64 = 1
  @Option(help: "For how many minutes of simulated time things go wrong: up to 1,000.") var minutes = 1.0
  @Option(help: "How many nodes the cluster has: 1 to 64.") var nodes = 3
  @Option(help: "How many nodes hold each key (N); three, or all of fewer, where it is not given.")
  var replicas: Int?
  @Option(help: "How many replicas a read asks (R); a majority where it is not given.") var read: Int?
  @Option(help: "How many acknowledge a write (W); a majority where it is not given.") var write: Int?
  @Option(help: "How many nodes hold each key, of a keyspace with fewer replicas than N; N where not given.")
  var keyspaceReplicas: Int?
  @Option(help: "How many clients act at a time: 1 to 64.") var clients = 4
  @Option(
    help: """
      What may go wrong, in a list: network, power, processes, clocks, slowness, disks, lost-disks, \
      directory, members; all where it is not given.
      """)
  var faults: String?
  @Option(help: "Whether tombstones are reaped: always, never, or sometimes, by the seed.")
  var reaping = "sometimes"
  @Flag(
    help: """
      As many clients run transactions besides: they move money, append to lists and read all of it. No disk \
      is lost then and no member is replaced, whatever --faults says, and clocks stay within the bound \
      that transactions need.
      """)
  var transactions = false
  @Option(help: "How many seeds to run, one after the other: 1 to a million.") var seeds: UInt64 = 1
  @Option(
    help: ArgumentHelp(
      "Write what clients asked and were told into a file, one JSON object a line; of one seed.",
      valueName: "file"))
  var history: String?
  @Flag(help: "A JSON object for each seed, on a line of its own.") var json = false

  func validate() throws {
    guard minutes > 0, minutes <= 1_000 else {
      throw ValidationError("--minutes must be above 0, and up to 1,000")
    }
    guard (1...64).contains(nodes) else { throw ValidationError("--nodes must be 1 to 64") }
    let most = min(16, nodes)
    if let replicas, !(1...most).contains(replicas) {
      throw ValidationError("--replicas must be 1 to \(most)")
    }
    if let keyspaceReplicas, !(1...(replicas ?? min(3, nodes))).contains(keyspaceReplicas) {
      throw ValidationError("--keyspace-replicas must be 1 to \(replicas ?? min(3, nodes))")
    }
    for (name, quorum) in [("--read", read), ("--write", write)] {
      let limit = keyspaceReplicas ?? replicas ?? min(3, nodes)
      if let quorum, !(1...limit).contains(quorum) { throw ValidationError("\(name) must be 1 to \(limit)") }
    }
    guard (1...64).contains(clients) else { throw ValidationError("--clients must be 1 to 64") }
    guard (1...1_000_000).contains(seeds) else { throw ValidationError("--seeds must be 1 to a million") }
    guard seed <= .max - seeds else { throw ValidationError("--seed is too large for so many seeds") }
    if history != nil, seeds != 1 { throw ValidationError("--history takes one seed") }
    _ = try (chosenFaults(), chosenReaping())
  }

  private func chosenReaping() throws -> SimulationReaping {
    guard let chosen = SimulationReaping(rawValue: reaping) else {
      let names = SimulationReaping.allCases.map(\.rawValue).joined(separator: ", ")
      throw ValidationError("--reaping: `\(reaping)` is none of \(names)")
    }
    return chosen
  }

  private func chosenFaults() throws -> SimulationFaults {
    guard let faults else { return .all }
    var chosen: SimulationFaults = []
    for name in faults.split(separator: ",") {
      guard let known = SimulationFaults.named.first(where: { $0.name == name }) else {
        let names = SimulationFaults.named.map(\.name).joined(separator: ", ")
        throw ValidationError("--faults: `\(name)` is none of \(names)")
      }
      chosen.insert(known.faults)
    }
    return chosen
  }

  func run() throws {
    var options = SimulationOptions()
    options.minutes = minutes
    options.nodes = nodes
    options.replicas = replicas
    options.readQuorum = read
    options.writeQuorum = write
    options.keyspaceReplicas = keyspaceReplicas
    options.clients = clients
    options.faults = try chosenFaults()
    options.reaping = try chosenReaping()
    options.transactions = transactions
    options.keepsHistory = history != nil
    var failed: [UInt64] = []
    for seed in seed..<(seed + seeds) {
      let report = Simulation.random(seed: seed, options)
      try json ? printJSON(report) : printText(report)
      // Whoever watches sees each as it ends.
      try Output.standard.flush()
      if let history { try write(report.history, to: history) }
      if !report.ok { failed.append(seed) }
    }
    if failed.isEmpty { return }
    if seeds > 1, !json {
      let list = failed.map { "\($0)" }.joined(separator: ", ")
      try Output.standard.line("\(failed.count) of \(seeds) seeds broke a promise: \(list)")
    }
    throw ExitStatus.violation
  }

  private func write(_ text: String, to path: String) throws {
    do {
      let file = try FileDescriptor.open(
        FilePath(path), .writeOnly, options: [.create, .truncate], permissions: .ownerReadWrite)
      _ = try file.closeAfter { try file.writeAll(text.utf8) }
    } catch let error as Errno { throw Failure(error, "write", path) }
  }

  /// What replays a seed: all options that are not as they are where nothing is said.
  private func replay(_ report: SimulationReport) -> String {
    var text = "roost simulate --seed \(report.seed) --minutes \(report.minutes) --nodes \(report.nodes)"
    for (name, value) in [("replicas", replicas), ("read", read), ("write", write)] {
      if let value { text += " --\(name) \(value)" }
    }
    if clients != 4 { text += " --clients \(clients)" }
    if let faults { text += " --faults \(faults)" }
    if reaping != "sometimes" { text += " --reaping \(reaping)" }
    if transactions { text += " --transactions" }
    return text
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
    try Output.standard.line(writer)
  }

  private func printText(_ report: SimulationReport) throws {
    let output = Output.standard
    var line = "seed \(report.seed): "
    line += report.ok ? "ok" : Format.count(report.violations.count, "violation")
    line += ", \(Format.count(report.events, "event")), trace \(Self.digits(report.traceHash)), "
    line += "\(Format.count(report.acknowledged, "write")) acknowledged, "
    line += "\(Format.count(report.inDoubt)) in doubt, \(Format.count(report.refused)) refused"
    if transactions {
      line += ", \(Format.count(report.committed, "transaction")) committed, "
      line += "\(Format.count(report.aborted)) aborted, \(Format.count(report.unknown)) unknown"
    }
    try output.line(line)
    if report.ok { return }
    for violation in report.violations {
      for line in violation.split(separator: "\n", omittingEmptySubsequences: false) {
        try output.line("  \(line)")
      }
    }
    try output.line("  replay: \(replay(report))")
  }

  /// 16 lower-case hexadecimal digits.
  private static func digits(_ hash: UInt64) -> String {
    var digits: [UInt8] = []
    Hexadecimal.append(hash, to: &digits)
    return String(decoding: digits, as: UTF8.self)
  }
}
