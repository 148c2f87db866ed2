import Glibc

/// One round of the hints' benchmark.
struct HintsResult: Codable, Sendable {
  /// While one of three nodes was away, from eight clients.
  var puts: UInt64
  var putsPerSecond = 0.0
  /// Kept for the node when it came back, and their bytes.
  var hints: UInt64 = 0
  var hintBytes: UInt64 = 0
  /// From the last look at which all hints were there until nobody kept one any more.
  var seconds = 0.0
  /// The same from the start of the node's process.
  var secondsFromStart = 0.0
  var hintsPerSecond: Double { Double(hints) / Swift.max(seconds, 1e-9) }
}

/// A node that is killed, misses writes, and comes back: how long it is until the others have brought it all.
struct HintsBenchmark {
  let settings: ClusterSettings
  let scratch: String
  let tool: String
  let processes: Processes
  let progress: @Sendable (String) -> Void

  private static let victim = 2
  private static let others = [0, 1]
  /// A hand-over that takes longer fails the run.
  private static let patience = 900.0

  func run() async throws -> [HintsResult] {
    var results: [HintsResult] = []
    for round in 0..<settings.rounds { results.append(try await run(round)) }
    return results
  }

  private func run(_ round: Int) async throws -> HintsResult {
    let folder = "\(scratch)/hints"
    defer {
      processes.endServers()
      removeDirectory(folder)
    }
    try makeDirectory(folder)
    progress("hints, round \(round + 1): starting")
    let store = try RoostServers(tool, in: "\(folder)/roost", nodes: 3, certificates: nil, processes)
    store.end(Self.victim, by: SIGKILL)
    progress("hints, round \(round + 1): \(settings.hints) puts beside a node that is away")
    var result = HintsResult(puts: settings.hints)
    let values = ValuePool()
    let clients = try (0..<8).map { try store.connect(to: Self.others[$0 % 2]) }
    let firstPut = monotonicNanoseconds()
    try await putAll(0..<settings.hints, to: clients, blocks: false, tasks: 1) {
      ClusterModel.value(values, $0, 0)
    }
    result.putsPerSecond = Double(settings.hints) / (Double(monotonicNanoseconds() - firstPut) / 1e9)
    // The last of them may be kept a moment after its put was answered.
    let deadline = monotonicNanoseconds() + 10_000_000_000
    repeat {
      usleep(100_000)
      let kept = try kept(store)
      (result.hints, result.hintBytes) = (kept.hints, kept.bytes)
    } while result.hints < settings.hints && monotonicNanoseconds() < deadline
    progress("hints, round \(round + 1): \(result.hints) hints, the node comes back")
    let began = monotonicNanoseconds()
    var first = began
    try store.begin(Self.victim)
    try processes.wait(for: "the end of the hand-over", store.processes, seconds: Self.patience) {
      // Each look starts two processes: not too often.
      usleep(50_000)
      let left = try kept(store).hints
      if left >= result.hints { first = monotonicNanoseconds() }
      return left == 0
    }
    let ended = monotonicNanoseconds()
    result.seconds = Double(ended - first) / 1e9
    result.secondsFromStart = Double(ended - began) / 1e9
    try store.waitUntilServing(Self.victim)
    progress("hints, round \(round + 1): checking")
    let report = try store.repair(Self.victim, seconds: settings.repair.patience)
    guard report.differing == 0, report.notCompared == 0, report.keys == settings.hints else {
      throw WrongAnswer(
        .roost,
        "had \(report.keys) keys at the node, and \(report.differing) that differ, when all hints were gone")
    }
    return result
  }

  private func kept(_ store: RoostServers) throws -> (hints: UInt64, bytes: UInt64) {
    var (hints, bytes) = (UInt64(0), UInt64(0))
    for index in Self.others {
      let counters = try store.status(index).counters
      guard counters.hintsRefused == 0 else {
        throw BenchmarkError("node \(index) refused \(counters.hintsRefused) hints: fewer puts, please")
      }
      hints += counters.hints
      bytes += counters.hintBytes
    }
    return (hints, bytes)
  }
}
