import Glibc

/// What the repair's benchmark does.
struct RepairSettings: Codable, Sendable {
  var keys: UInt64 = 1_000_000
  /// Keys that one node lacks the newest write of.
  var differing: UInt64 = 10
  /// A pass that takes longer fails the run.
  var patience = 600.0
}

/// One pass of a node over all it holds: what it found, and took.
struct RepairResult: Codable, Sendable {
  /// Keys that were made to differ.
  var made: UInt64
  var keys: UInt64 = 0
  /// Keys in which the node and another differed, once for each other: how many were found and mended.
  var found: UInt64 = 0
  var seconds: [Double] = []
  /// Of messages and answers, in each pass.
  var bytes: [UInt64] = []
}

/// A node whose disk went back to an earlier state: it lacks a few writes that it acknowledged, of which
/// nobody keeps a hint, and finds and mends them by comparing hash trees.
struct RepairBenchmark {
  let settings: ClusterSettings
  let scratch: String
  let tool: String
  let processes: Processes
  let progress: @Sendable (String) -> Void

  /// The node that is set back.
  private static let victim = 2

  /// - Returns: passes that found what was made to differ, and passes right after, where nothing differs.
  func run() async throws -> [RepairResult] {
    let folder = "\(scratch)/repair"
    defer {
      processes.endServers()
      removeDirectory(folder)
    }
    try makeDirectory(folder)
    progress("repair: starting")
    let store = try RoostServers(tool, in: "\(folder)/roost", nodes: 3, certificates: nil, processes)
    let (count, values) = (settings.repair.keys, ValuePool())
    let say = progress
    try await putAll(
      0..<count, to: try (0..<8).map { try store.client($0) }, blocks: false, tasks: 8,
      value: { ClusterModel.value(values, $0, 0) },
      progress: { say("repair: filling, \($0 * 100 / count)%") })
    // What the filling left behind at single replicas is no part of the figures.
    progress("repair: making all alike")
    _ = try store.repair(Self.victim, seconds: settings.repair.patience)
    var (differing, alike) = (RepairResult(made: settings.repair.differing), RepairResult(made: 0))
    for round in 0..<settings.rounds {
      try await setBack(store, in: folder, round, values)
      progress("repair, round \(round + 1): comparing")
      try pass(store, &differing)
      try pass(store, &alike)
      guard alike.found == 0 else {
        throw WrongAnswer(.roost, "had \(alike.found) keys that differ after they were mended")
      }
    }
    return [differing, alike]
  }

  private func pass(_ store: RoostServers, _ result: inout RepairResult) throws {
    let began = monotonicNanoseconds()
    let report = try store.repair(Self.victim, seconds: settings.repair.patience)
    result.seconds.append(Double(monotonicNanoseconds() - began) / 1e9)
    result.bytes.append(report.bytes)
    result.keys = report.keys
    result.found = report.differing
    guard report.notCompared == 0, report.mended == report.differing else {
      throw BenchmarkError(
        "\(report.mended) of \(report.differing) keys were mended, \(report.notCompared) partitions "
          + "not compared")
    }
  }

  /// Gives the node the disk that it had before the last few writes.
  private func setBack(
    _ store: RoostServers, in folder: String, _ round: Int, _ values: ValuePool
  ) async throws {
    let (victim, earlier) = (store.nodes[Self.victim].directory, "\(folder)/earlier")
    progress("repair, round \(round + 1): a copy of the node's disk")
    store.end(Self.victim)
    try copyTree(victim, to: earlier)
    try store.start(Self.victim)
    progress("repair, round \(round + 1): \(settings.repair.differing) puts")
    let client = try store.connect(to: 0)
    do {
      for number in 0..<settings.repair.differing {
        // At all three: nobody keeps a hint.
        let value = ClusterModel.value(values, number, UInt64(round) + 1)
        try await client.put(accountKey(Int(number)), value, quorum: 3)
      }
    } catch {
      await client.close()
      throw error
    }
    await client.close()
    store.end(Self.victim)
    removeDirectory(victim)
    guard rename(earlier, victim) == 0 else {
      throw BenchmarkError("could not put back \(victim): \(String(cString: strerror(errno)))")
    }
    try store.start(Self.victim)
  }
}

/// Copies a directory with what is in it to a new one.
func copyTree(_ source: String, to target: String) throws {
  try makeDirectory(target)
  for name in entries(source) {
    var status = stat()
    guard lstat("\(source)/\(name)", &status) == 0 else { continue }
    if status.st_mode & S_IFMT == S_IFDIR {
      try copyTree("\(source)/\(name)", to: "\(target)/\(name)")
    } else {
      try copyFile("\(source)/\(name)", to: "\(target)/\(name)")
    }
  }
}
