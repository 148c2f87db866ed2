import ArgumentParser
import CMachine
import FoundationEssentials
import Glibc

@main
struct RoostBench: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tools/bench",
    abstract: "Runs the same work on Roost and on its peers and compares the times.",
    subcommands: [Compare.self, Rebalance.self, Transactions.self, Cluster.self, Child.self],
    defaultSubcommand: Compare.self)
}

enum Size: String, CaseIterable, ExpressibleByArgument {
  case small, standard, large
}

struct Compare: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Compares the engines (the default).",
    discussion: """
      Every engine runs in fresh child processes, in turn, so many rounds. Reported are median times, and \
      the median over the rounds of (peer's time / Roost's time): above 1 Roost is faster. A wrong answer \
      fails the run.

      The database-… workloads compare Roost with itself: the partitioned database (roost-database) with \
      the engine below it (roost), as the database's time over the engine's.

      Workloads: \(Group.allCases.flatMap(\.workloads).joined(separator: ", ")).
      """)

  @Option(help: "Keys in a store. Without it and without --size: 1000000.")
  var count: UInt64?

  @Option(help: "small: 100000 keys; standard: 2 million; large: 20 million and a cache of 128 MB.")
  var size: Size?

  @Option(help: "Rounds for each engine and workload.")
  var rounds = 5

  @Option(help: "Engines to run, comma-separated; rocksdb stands for both of its settings.")
  var engines = EngineName.allCases.filter { $0 != .rocksdbTuned }.map(\.rawValue).joined(separator: ",")

  @Option(help: "Workloads to run, comma-separated. Default: all.")
  var workloads: String?

  @Option(help: "Write the results to this file as JSON.")
  var json: String?

  @Option(help: "Where the stores go, on a real disk; removed afterwards. Default: the build folder.")
  var dir: String?

  @Flag(inversion: .prefixedNo, help: "Run the first engine twice a round, to show what chance makes.")
  var again = true

  mutating func validate() throws {
    guard rounds >= 1 else { throw ValidationError("--rounds must be at least 1") }
    guard (count ?? 1000) >= 1000 else { throw ValidationError("--count must be at least 1000") }
  }

  func run() throws {
    let engines = try chosenEngines()
    let workloads = try chosenWorkloads()
    var settings = Settings()
    switch size {
    case .small:
      settings.count = 100_000
      settings.syncedPuts = 2000
    case .standard: settings.count = 2_000_000
    case .large:
      settings.count = 20_000_000
      settings.cacheBytes = 128 << 20
    case nil: break
    }
    if let count { settings.count = count }

    signal(SIGINT, SIG_IGN)
    let scratch = try makeScratch(dir)
    defer { removeDirectory(scratch) }
    let terminal = isatty(2) != 0
    let comparison = Comparison(
      engines: engines, workloads: workloads, settings: settings, rounds: rounds, withAgain: again,
      scratch: scratch,
      progress: { text in
        if terminal { say("\r\u{1B}[K" + text, newline: false) }
      })
    let results = try comparison.run()
    if terminal { say("\r\u{1B}[K", newline: false) }
    let report = Report(comparison: comparison, results: results)
    print(report.text(), terminator: "")
    if let json { try report.json().write(to: URL(filePath: json)) }
  }

  private func chosenEngines() throws -> [EngineName] {
    var chosen: [EngineName] = []
    for name in engines.split(separator: ",") {
      guard let engine = EngineName(rawValue: String(name)) else {
        let known = EngineName.allCases.map(\.rawValue).joined(separator: ", ")
        throw ValidationError("unknown engine '\(name)'; known are \(known)")
      }
      chosen.append(engine)
      if engine == .rocksdb { chosen.append(.rocksdbTuned) }
    }
    return EngineName.allCases.filter(chosen.contains)
  }

  private func chosenWorkloads() throws -> [String] {
    let known = Group.allCases.flatMap(\.workloads)
    guard let workloads else { return known }
    let chosen = workloads.split(separator: ",").map(String.init)
    if let wrong = chosen.first(where: { !known.contains($0) }) {
      throw ValidationError("unknown workload '\(wrong)'; known are \(known.joined(separator: ", "))")
    }
    return chosen
  }
}

/// Makes a directory for the stores of a run, below `parent` or the build folder.
///
/// - Throws: where it would be in memory.
func makeScratch(_ parent: String?) throws -> String {
  let parent = parent ?? buildDirectory()
  try makeDirectory(parent)
  guard !bench_lives_in_memory(parent) else {
    throw BenchmarkError("\(parent) is in memory: name a directory on a disk with --dir")
  }
  let path = "\(parent)/roost-bench-\(getpid())"
  try makeDirectory(path)
  return path
}

/// The folder in which this program was built: on a disk, and never under version control.
private func buildDirectory() -> String {
  guard let path = realpath("/proc/self/exe", nil) else { return "." }
  defer { free(path) }
  return String(cString: path).split(separator: "/").dropLast().reduce("") { $0 + "/" + $1 }
}

/// What the comparison starts for each turn of an engine.
struct Child: AsyncParsableCommand {
  static let configuration = CommandConfiguration(shouldDisplay: false)

  @Argument var task: String

  func run() async throws {
    try await JSONDecoder().decode(ChildTask.self, from: Data(task.utf8)).run()
  }
}

func say(_ text: String, newline: Bool = true) {
  let bytes = Array((text + (newline ? "\n" : "")).utf8)
  _ = write(2, bytes, bytes.count)
}
