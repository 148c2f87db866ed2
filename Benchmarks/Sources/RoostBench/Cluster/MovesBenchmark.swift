import Glibc
import Latency
import Roost
import Synchronization

/// One change of the members, in one round.
struct MovesResult: Codable, Sendable {
  enum Change: String, CaseIterable, Codable, Sendable {
    /// A fourth node joins three.
    case join
    /// It leaves again.
    case leave
  }

  /// Of eight clients, one call at a time each. Latencies in microseconds.
  struct Puts: Codable, Sendable {
    var operations: UInt64
    var failed: UInt64
    var failure: String?
    var perSecond: Double
    var p50: Double
    var p99: Double
    var max: Double

    init(_ tally: ClusterTally, seconds: Double) {
      operations = tally.operations
      failed = tally.failed
      failure = tally.failure
      perSecond = Double(tally.operations) / Swift.max(seconds, 1e-9)
      p50 = Double(tally.latencies.quantile(0.5)) / 1e3
      p99 = Double(tally.latencies.quantile(0.99)) / 1e3
      max = Double(tally.latencies.maximum) / 1e3
    }
  }

  var change: Change
  /// Bytes a second at most in which a node is brought partitions; `nil` for no limit.
  var limit: Int?
  /// Right before.
  var before: Puts
  var beside: Puts
  /// From the command until the last partition was deleted where it was, and, of a member that left, until it
  /// was forgotten.
  var seconds: Double
  /// What the nodes were brought to which something moved. Bytes are of messages, both ways.
  var partitions: UInt64 = 0
  var keys: UInt64 = 0
  var bytes: UInt64 = 0
  /// Replicas of keys that a repair found to mend afterwards.
  var mended: UInt64 = 0
  var keysPerSecond: Double { Double(keys) / Swift.max(seconds, 1e-9) }
  var bytesPerSecond: Double { Double(bytes) / Swift.max(seconds, 1e-9) }
}

/// A fourth node that joins three and leaves them again, while clients put: how fast partitions move, and
/// what that costs the clients.
struct MovesBenchmark {
  let settings: ClusterSettings
  let scratch: String
  let tool: String
  let processes: Processes
  let progress: @Sendable (String) -> Void

  private static let founders = 3
  private static let clientCount = 8
  /// The most that `roost serve` takes: no limit on any machine.
  private static let unlimited = 1 << 40
  /// A change that takes longer fails the run.
  private static let patience = 900.0
  private static let warmUp: UInt64 = 300_000_000
  /// How many keys at most are read back of all, and again of those that were put beside a change.
  private static let mostRead = 10_000

  /// Every second round goes backwards, as those of puts and gets do.
  func run() async throws -> [MovesResult] {
    let limits: [Int?] = [ClusterOptions(cluster: "bench").moveBytesPerSecond, nil]
    var results: [MovesResult] = []
    for round in 0..<settings.rounds {
      for limit in round % 2 == 0 ? limits : limits.reversed() {
        results += try await run(round, limit)
      }
    }
    return results
  }

  private func run(_ round: Int, _ limit: Int?) async throws -> [MovesResult] {
    let folder = "\(scratch)/moves"
    defer {
      processes.endServers()
      removeDirectory(folder)
    }
    try makeDirectory(folder)
    let name = "moves, round \(round + 1), " + (limit == nil ? "no limit" : "default limit")
    progress("\(name): starting")
    let store = try RoostServers(
      tool, in: "\(folder)/roost", nodes: Self.founders, certificates: nil,
      flags: limit == nil ? ["--move-bytes-per-second", "\(Self.unlimited)"] : [], processes)
    var model = ClusterModel(keys: settings.moveKeys)
    let (count, values, say) = (settings.moveKeys, model.values, progress)
    try await putAll(
      0..<count, to: try clients(store), blocks: false, tasks: 8,
      value: { ClusterModel.value(values, $0, 0) },
      progress: { say("\(name): filling, \($0 * 100 / count)%") })
    // It waits to be admitted while the puts before the change are measured.
    let member = try store.add()
    try settle(store)
    var results: [MovesResult] = []
    for (step, change) in MovesResult.Change.allCases.enumerated() {
      let seed = settings.seed &+ UInt64(round) << 16 &+ UInt64(step) << 8
      progress("\(name), \(change.rawValue): puts before it")
      let alone = try await load(store, &model, seed: seed) {
        try await Task.sleep(for: .seconds(settings.seconds))
      }
      let earlier = try store.brought()
      progress("\(name), \(change.rawValue): puts beside it")
      let moving = try await load(store, &model, seed: seed &+ 1) {
        try await store.make([change.rawValue, member], seconds: Self.patience)
      }
      var result = MovesResult(
        change: change, limit: limit, before: MovesResult.Puts(alone.tally, seconds: alone.seconds),
        beside: MovesResult.Puts(moving.tally, seconds: moving.seconds), seconds: moving.seconds)
      switch change {
      case .join: try store.waitUntilServing(Self.founders)
      case .leave: store.forgetLast()
      }
      try addMoves(try store.brought(), since: earlier, &result)
      progress("\(name), \(change.rawValue): checking")
      try await check(Array(moving.tally.acknowledged.keys), store, model)
      result.mended = try repair(store)
      results.append(result)
    }
    return results
  }

  /// All at the nodes that are there before and after the changes.
  private func clients(_ store: RoostServers) throws -> [any ReplicatedClient] {
    try (0..<Self.clientCount).map { try store.connect(to: $0 % Self.founders) }
  }

  // MARK: - Measuring

  /// Has clients put as long as `body` runs.
  ///
  /// - Returns: how many seconds it took, and what was put meanwhile.
  private func load(
    _ store: RoostServers, _ model: inout ClusterModel, seed: UInt64, while body: () async throws -> Void
  ) async throws -> (seconds: Double, tally: ClusterTally) {
    let end = EndOfLoad()
    let puts = ClusterLoad(
      engine: .roost, work: .puts(.applied), model: model, clients: Self.clientCount, seed: seed,
      warmUp: Self.warmUp, duration: UInt64(2 * Self.patience * 1e9), isOver: { end.hasCome })
    let putters = try clients(store)
    let running = Task {
      try await withClients(putters, blocks: false) { client, index in
        try await puts.run(client, index: index)
      }
    }
    let seconds: Double
    do {
      try await Task.sleep(for: .nanoseconds(Self.warmUp))
      let began = monotonicNanoseconds()
      try await body()
      seconds = Double(monotonicNanoseconds() - began) / 1e9
    } catch {
      end.come()
      _ = await running.result
      throw error
    }
    end.come()
    var tally = ClusterTally()
    for part in try await running.value { tally.add(part) }
    model.adopt(tally.acknowledged)
    return (seconds, tally)
  }

  /// What was brought to the nodes that took partitions. Those that gave them count too what they compare
  /// before they delete: that is left out.
  private func addMoves(
    _ nodes: [RoostServers.Change.Node], since earlier: [RoostServers.Change.Node],
    _ result: inout MovesResult
  ) throws {
    for node in nodes {
      let first = earlier.first { $0.id == node.id }
      let moves = node.movesDone - (first?.movesDone ?? 0)
      guard moves > 0 else { continue }
      result.partitions += moves
      result.keys += node.keys - (first?.keys ?? 0)
      result.bytes += node.bytes - (first?.bytes ?? 0)
    }
    guard result.keys > 0 else { throw BenchmarkError("nothing has moved, by what the nodes say") }
  }

  // MARK: - Checking

  /// Reads back some of all keys, and some of those that were put beside the change, at all nodes.
  ///
  /// - Throws: where one is not what was acknowledged.
  private func check(_ put: [UInt64], _ store: RoostServers, _ model: ClusterModel) async throws {
    let numbers = Self.sample(of: Array(0..<model.count)) + Self.sample(of: put.sorted())
    let readers = try (0..<Self.clientCount).map { try store.client($0) }
    _ = try await withClients(readers, blocks: false) { client, index in
      for position in stride(from: index, to: numbers.count, by: Self.clientCount) {
        let number = numbers[position]
        try model.check(number, try await client.get(accountKey(Int(number))), .roost)
      }
    }
  }

  private static func sample(of numbers: [UInt64]) -> [UInt64] {
    let step = max(1, (numbers.count + mostRead - 1) / mostRead)
    return stride(from: 0, to: numbers.count, by: step).map { numbers[$0] }
  }

  /// Waits until no node keeps anything for another, for half a minute at most: the repair tells of the rest.
  private func settle(_ store: RoostServers) throws {
    // A replica that does not answer is given up after a second: only then is there a hint for it.
    usleep(1_500_000)
    let deadline = monotonicNanoseconds() + 30_000_000_000
    while monotonicNanoseconds() < deadline {
      var kept: UInt64 = 0
      // One that asks to join has no address yet, and knows nothing.
      for index in store.nodes.indices where !store.nodes[index].address.isEmpty {
        kept += try store.status(index).counters.hints
      }
      if kept == 0 { return }
      usleep(200_000)
    }
  }

  /// Has all nodes compare what they hold.
  ///
  /// - Returns: how many replicas of keys were mended.
  /// - Throws: where afterwards not each key is three times there, and alike.
  private func repair(_ store: RoostServers) throws -> UInt64 {
    try settle(store)
    let first = try compare(store)
    let last = first.differing == 0 ? first : try compare(store)
    guard last.differing == 0, last.keys == 3 * settings.moveKeys else {
      throw WrongAnswer(
        .roost,
        "had \(last.keys) replicas of \(settings.moveKeys) keys after a move, and \(last.differing) that "
          + "differ, when \(first.differing) had been mended")
    }
    return first.differing
  }

  private func compare(_ store: RoostServers) throws -> (keys: UInt64, differing: UInt64) {
    var (keys, differing) = (UInt64(0), UInt64(0))
    for index in store.nodes.indices {
      let report = try store.repair(index, seconds: settings.repair.patience)
      guard report.notCompared == 0 else {
        throw BenchmarkError("node \(index) could not compare \(report.notCompared) replicas of partitions")
      }
      keys += report.keys
      differing += report.differing
    }
    return (keys, differing)
  }
}

/// Tells clients that it is time to end. Thread-safe.
private final class EndOfLoad: Sendable {
  private let sign = Atomic<Bool>(false)
  var hasCome: Bool { sign.load(ordering: .relaxed) }
  func come() { sign.store(true, ordering: .relaxed) }
}
