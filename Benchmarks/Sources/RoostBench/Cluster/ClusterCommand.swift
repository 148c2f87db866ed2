import ArgumentParser
import FoundationEssentials
import Glibc

struct Cluster: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Replicated puts and gets on clusters, beside Redis and etcd; repair, hints, moves.",
    discussion: """
      Every turn starts its servers anew, on loopback and this machine's disk: `roost serve`, redis-server \
      or etcd, three processes. Clients put and get one call at a time each; what was put is read back, and \
      a wrong answer fails the run. What an acknowledgement means differs from engine to engine, and is \
      printed with the figures: they compare where the guarantees do.

      The part `moves` has a fourth node join three and leave again under load, at the default of \
      `roost serve --move-bytes-per-second` and without a limit.

      Peers that are not installed are skipped. Lists are comma-separated.
      """)

  @Option(help: "What to run: \(ClusterPart.allCases.map(\.rawValue).joined(separator: ", ")).")
  var parts = ClusterPart.allCases.map(\.rawValue).joined(separator: ",")

  @Option(help: "Peers beside Roost: redis, etcd, or `none`.")
  var peers = "redis,etcd"

  @Flag(help: "Roost without TLS only.") var plain = false
  @Flag(help: "Roost with TLS only.") var tls = false

  @Option(help: "What writes survive: \(WriteDurability.allCases.map(\.rawValue).joined(separator: ", ")).")
  var durability = WriteDurability.allCases.map(\.rawValue).joined(separator: ",")

  @Option(help: "Clients at once.")
  var clients = "1,8"

  @Option(help: "Nodes of Roost, each key on three; the part `nodes` adds one and two.")
  var nodes = 3

  @Option(help: "Keys that are put and read.")
  var keys: UInt64 = 10_000

  @Option(help: "Seconds for each cell and round.")
  var seconds = 3.0

  @Option(help: "Rounds; reported are medians.")
  var rounds = 3

  @Option(help: "Of the keys that are drawn.")
  var seed: UInt64 = 1

  @Option(help: "Keys that are compared by the part `repair`.")
  var repairKeys: UInt64 = 1_000_000

  @Option(help: "Keys among them that differ.")
  var differing: UInt64 = 10

  @Option(help: "Puts while a node is away, by the part `hints`.")
  var hints: UInt64 = 20_000

  @Option(help: "Keys of three nodes when a fourth joins and leaves, by the part `moves`.")
  var moveKeys: UInt64 = 200_000

  @Option(help: "The program `roost`. Default: what ROOST_TOOL names; tools/bench builds it.")
  var tool: String?

  @Option(help: "Write the results to this file as JSON.")
  var json: String?

  @Option(help: "Where the stores go, on a real disk; removed afterwards. Default: the build folder.")
  var dir: String?

  private func list<T: RawRepresentable>(
    _ name: String, _ text: String, _ type: T.Type
  ) throws -> [T] where T.RawValue == String {
    try text.split(separator: ",").map { part in
      guard let value = T(rawValue: String(part)) else {
        throw ValidationError("--\(name): unknown is `\(part)`")
      }
      return value
    }
  }

  private func settings() throws -> ClusterSettings {
    func check(_ ok: Bool, _ text: String) throws { if !ok { throw ValidationError(text) } }
    var settings = ClusterSettings()
    settings.parts = try list("parts", parts, ClusterPart.self)
    settings.durabilities = try list("durability", durability, WriteDurability.self)
    try check(!plain || !tls, "--plain and --tls exclude each other; without either both are run")
    let others = peers == "none" ? [] : try list("peers", peers, ClusterEngine.self)
    try check(!others.contains(where: \.isRoost), "--peers are redis and etcd")
    settings.engines = (tls ? [] : [.roost]) + (plain ? [] : [.roostTLS]) + others
    settings.clients = try clients.split(separator: ",").map { part in
      guard let count = Int(part), (1...256).contains(count) else {
        throw ValidationError("--clients: `\(part)` is not 1 to 256")
      }
      return count
    }
    try check(!settings.clients.isEmpty, "--clients: none")
    try check((1...14).contains(nodes), "--nodes must be 1 to 14")
    try check((1_000...10_000_000).contains(keys), "--keys must be 1000 to 10000000")
    try check((0.1...3_600).contains(seconds), "--seconds must be 0.1 to 3600")
    try check((1...100).contains(rounds), "--rounds must be 1 to 100")
    try check((1_000...100_000_000).contains(repairKeys), "--repair-keys must be 1000 to 100000000")
    try check((1...repairKeys).contains(differing), "--differing must be 1 to --repair-keys")
    try check((1...10_000_000).contains(hints), "--hints must be 1 to 10000000")
    try check((1_000...10_000_000).contains(moveKeys), "--move-keys must be 1000 to 10000000")
    settings.nodes = nodes
    settings.keys = keys
    settings.seconds = seconds
    settings.rounds = rounds
    settings.seed = seed
    settings.repair.keys = repairKeys
    settings.repair.differing = differing
    settings.hints = hints
    settings.moveKeys = moveKeys
    return settings
  }

  mutating func validate() throws { _ = try settings() }

  func run() async throws {
    var settings = try settings()
    signal(SIGINT, SIG_IGN)
    signal(SIGPIPE, SIG_IGN)
    let scratch = try makeScratch(dir)
    defer { removeDirectory(scratch) }
    let processes = try Processes(scratch: scratch)
    defer { processes.end() }
    let tool = try self.tool ?? getenv("ROOST_TOOL").map { String(cString: $0) } ?? {
      throw ValidationError("name the program `roost` with --tool, or run tools/bench")
    }()
    var report = ClusterReport(settings: settings)
    report.versions["roost"] = try processes.run(tool, ["--version"]).firstLine
    settings.engines = present(settings.engines, processes, &report)
    report.settings = settings
    let terminal = isatty(2) != 0
    let progress: @Sendable (String) -> Void = { text in
      if terminal { say("\r\u{1B}[K" + text, newline: false) }
    }
    (report.syncAppend, report.syncOverwrite) = try syncProbe(scratch)
    report.cells = try await ClusterBenchmark(
      settings: settings, scratch: scratch, tool: tool, processes: processes, progress: progress
    ).run()
    if settings.parts.contains(.repair) {
      report.repairs = try await RepairBenchmark(
        settings: settings, scratch: scratch, tool: tool, processes: processes, progress: progress
      ).run()
    }
    if settings.parts.contains(.hints) {
      report.hints = try await HintsBenchmark(
        settings: settings, scratch: scratch, tool: tool, processes: processes, progress: progress
      ).run()
    }
    if settings.parts.contains(.moves) {
      report.moves = try await MovesBenchmark(
        settings: settings, scratch: scratch, tool: tool, processes: processes, progress: progress
      ).run()
    }
    if terminal { say("\r\u{1B}[K", newline: false) }
    print(report.text(), terminator: "")
    if let json {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
      try encoder.encode(report).write(to: URL(filePath: json))
    }
  }

  /// Those of the engines that can run here; says which cannot.
  private func present(
    _ engines: [ClusterEngine], _ processes: Processes, _ report: inout ClusterReport
  ) -> [ClusterEngine] {
    engines.filter { engine in
      let (program, flag): (String, String)
      switch engine {
      case .roost: return true
      case .roostTLS: (program, flag) = ("openssl", "version")
      case .redis: (program, flag) = (RedisServers.program, "--version")
      case .etcd: (program, flag) = (EtcdServers.program, "--version")
      }
      do {
        report.versions[program] = try processes.run(program, [flag]).firstLine
        return true
      } catch {
        report.skipped.append("\(engine.rawValue) is skipped: \(error)")
        say("\(engine.rawValue) is skipped: \(error)")
        return false
      }
    }
  }
}

extension String {
  fileprivate var firstLine: String { split(whereSeparator: \.isNewline).first.map(String.init) ?? "unknown" }
}
