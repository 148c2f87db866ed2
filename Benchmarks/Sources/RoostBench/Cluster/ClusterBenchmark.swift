import Latency

/// What the cluster's benchmark does.
struct ClusterSettings: Codable, Sendable {
  var engines = ClusterEngine.allCases
  var durabilities = WriteDurability.allCases
  var clients = [1, 8]
  /// Of Roost; its peers have three.
  var nodes = 3
  var keys: UInt64 = 10_000
  var seconds = 3.0
  var rounds = 3
  var seed: UInt64 = 1
  var parts = ClusterPart.allCases
  var repair = RepairSettings()
  var hints: UInt64 = 20_000
  var moveKeys: UInt64 = 200_000
}

enum ClusterPart: String, CaseIterable, Codable, Sendable {
  /// Replicated puts a second.
  case puts
  /// Reads a second.
  case gets
  /// Puts and gets with one and two nodes more.
  case nodes
  /// How fast replicas that differ in a few keys of many find and mend them.
  case repair
  /// How fast a node that was away is brought what it missed.
  case hints
  /// How fast partitions move to a node that joins, and from one that leaves.
  case moves
}

/// One line of the results: the medians of its rounds.
struct ClusterCell: Codable, Sendable {
  var part: ClusterPart
  var engine: ClusterEngine
  /// Whether it puts, or gets.
  var puts: Bool
  var nodes = 3
  var clients = 1
  /// Of puts.
  var durability = WriteDurability.applied
  var operations: UInt64 = 0
  var failed: UInt64 = 0
  var failure: String?
  var perSecond = 0.0
  /// The slowest and the fastest round.
  var range = [0.0, 0.0]
  /// Microseconds, of all rounds together.
  var p50 = 0.0
  var p90 = 0.0
  var p99 = 0.0
  var p999 = 0.0
  var max = 0.0
  /// Processor time an operation in microseconds: of the servers together, and of the clients.
  var serverCPU = 0.0
  var clientCPU = 0.0
  /// That all servers together gave to the disk, an operation.
  var bytesWritten = 0.0
}

/// Puts and gets at clusters that are started anew for each turn.
struct ClusterBenchmark {
  let settings: ClusterSettings
  let scratch: String
  let tool: String
  let processes: Processes
  let progress: @Sendable (String) -> Void

  private struct Round {
    var tally: ClusterTally
    var seconds: Double
    var serverCPU: Double
    var clientCPU: Double
    var bytesWritten: UInt64
  }

  /// One set of servers, and what is asked of it.
  private struct Turn {
    var engine: ClusterEngine
    var nodes: Int
    var cells: [ClusterCell]
  }

  /// Runs all cells so many rounds. Every second round goes backwards: what the machine does meanwhile meets
  /// all alike.
  func run() async throws -> [ClusterCell] {
    let turns = turns()
    var rounds = turns.map { $0.cells.map { _ in [Round]() } }
    for round in 0..<settings.rounds {
      let isForward = round % 2 == 0
      for index in isForward ? Array(turns.indices) : turns.indices.reversed() {
        let results = try await run(turns[index], round, isForward)
        for (cell, result) in results { rounds[index][cell].append(result) }
      }
    }
    return zip(turns, rounds).flatMap { turn, rounds in zip(turn.cells, rounds).map { summed($0, $1) } }
  }

  private func turns() -> [Turn] {
    var turns: [Turn] = []
    let parts = settings.parts.filter { $0 == .puts || $0 == .gets }
    for engine in settings.engines where !parts.isEmpty {
      let nodes = engine == .roost || engine == .roostTLS ? settings.nodes : 3
      let cells = parts.flatMap { self.cells($0, engine, nodes, settings.clients) }
      if !cells.isEmpty { turns.append(Turn(engine: engine, nodes: nodes, cells: cells)) }
    }
    if settings.parts.contains(.nodes), let engine = settings.engines.first(where: \.isRoost) {
      let most = [settings.clients.max() ?? 1]
      for nodes in settings.nodes...(settings.nodes + 2) {
        turns.append(Turn(engine: engine, nodes: nodes, cells: cells(.nodes, engine, nodes, most)))
      }
    }
    return turns
  }

  private func cells(
    _ part: ClusterPart, _ engine: ClusterEngine, _ nodes: Int, _ clients: [Int]
  ) -> [ClusterCell] {
    var cells: [ClusterCell] = []
    if part != .gets {
      for durability in engine.durabilities where settings.durabilities.contains(durability) {
        cells += clients.map {
          ClusterCell(
            part: part, engine: engine, puts: true, nodes: nodes, clients: $0, durability: durability)
        }
      }
    }
    if part != .puts {
      cells += clients.map {
        ClusterCell(part: part, engine: engine, puts: false, nodes: nodes, clients: $0)
      }
    }
    return cells
  }

  // MARK: - A turn

  private func run(_ turn: Turn, _ round: Int, _ isForward: Bool) async throws -> [(Int, Round)] {
    let name = "\(turn.engine.rawValue), \(turn.nodes) nodes"
    progress("round \(round + 1): \(name): starting")
    let folder = "\(scratch)/cluster"
    defer {
      processes.endServers()
      removeDirectory(folder)
    }
    try makeDirectory(folder)
    let store = try start(turn.engine, nodes: turn.nodes, in: folder)
    var model = ClusterModel(keys: settings.keys)
    progress("round \(round + 1): \(name): filling")
    let values = model.values
    let clients = try (0..<8).map { try store.client($0) }
    try await putAll(0..<settings.keys, to: clients, blocks: store.blocks, tasks: 4) {
      ClusterModel.value(values, $0, 0)
    }
    var results: [(Int, Round)] = []
    for index in isForward ? Array(turn.cells.indices) : turn.cells.indices.reversed() {
      let cell = turn.cells[index]
      let what = cell.puts ? "puts, \(cell.durability.rawValue)" : "gets"
      progress("round \(round + 1): \(name): \(what), \(cell.clients) clients")
      results.append((index, try await measure(cell, store, &model, round)))
    }
    return results
  }

  private func start(_ engine: ClusterEngine, nodes: Int, in folder: String) throws -> any ReplicatedStore {
    switch engine {
    case .roost:
      return try RoostServers(
        tool, in: "\(folder)/roost", nodes: nodes, certificates: nil, processes)
    case .roostTLS:
      let certificates = try Certificates(in: "\(folder)/certificates", nodes: nodes, processes)
      return try RoostServers(
        tool, in: "\(folder)/roost", nodes: nodes, certificates: certificates, processes)
    case .redis: return try RedisServers(in: "\(folder)/redis", processes)
    case .etcd: return try EtcdServers(in: "\(folder)/etcd", processes)
    }
  }

  private func measure(
    _ cell: ClusterCell, _ store: any ReplicatedStore, _ model: inout ClusterModel, _ round: Int
  ) async throws -> Round {
    if cell.puts { try store.prepare(cell.durability) }
    let warmUp: UInt64 = 300_000_000
    let load = ClusterLoad(
      engine: cell.engine, work: cell.puts ? .puts(cell.durability) : .gets, model: model,
      clients: cell.clients, seed: settings.seed &+ UInt64(round) << 16, warmUp: warmUp,
      duration: UInt64(settings.seconds * 1e9))
    let clients = try (0..<cell.clients).map { try store.client($0) }
    let servers = store.processes.map(\.usage)
    let before = Usage.now()
    let tallies = try await withClients(clients, blocks: store.blocks) { client, index in
      try await load.run(client, index: index)
    }
    let after = Usage.now()
    var (tally, serverCPU, bytes) = (ClusterTally(), 0.0, UInt64(0))
    for part in tallies { tally.add(part) }
    for (earlier, later) in zip(servers, store.processes.map(\.usage)) {
      serverCPU += later.cpuSeconds - earlier.cpuSeconds
      bytes += later.bytesWritten - min(later.bytesWritten, earlier.bytesWritten)
    }
    model.adopt(tally.acknowledged)
    if cell.puts { try await check(Array(tally.acknowledged.keys), store, model, cell.engine) }
    // What the warming up took is taken off in proportion.
    let all = Double(after.nanoseconds - before.nanoseconds) / 1e9
    let share = settings.seconds / Swift.max(all, settings.seconds)
    return Round(
      tally: tally, seconds: settings.seconds, serverCPU: serverCPU * share,
      clientCPU: (after.cpuSeconds - before.cpuSeconds) * share,
      bytesWritten: UInt64(Double(bytes) * share))
  }

  /// Reads back what was put last, at most a thousand keys, all from one server: most of them were put at
  /// others, where any server takes puts.
  ///
  /// - Throws: where one is not what was acknowledged.
  private func check(
    _ numbers: [UInt64], _ store: any ReplicatedStore, _ model: ClusterModel, _ engine: ClusterEngine
  ) async throws {
    let some = Array(numbers.sorted().prefix(1_000))
    _ = try await withClients([try store.client(1)], blocks: store.blocks) { client, _ in
      for number in some { try model.check(number, try await client.get(accountKey(Int(number))), engine) }
    }
  }

  private func summed(_ cell: ClusterCell, _ rounds: [Round]) -> ClusterCell {
    var (cell, sum) = (cell, ClusterTally())
    for round in rounds { sum.add(round.tally) }
    let rates = rounds.map { Double($0.tally.operations) / $0.seconds }.sorted()
    guard let slowest = rates.first, let fastest = rates.last else { return cell }
    let count = Double(Swift.max(1, sum.operations))
    cell.operations = sum.operations
    cell.failed = sum.failed
    cell.failure = sum.failure
    cell.perSecond = rates[rates.count / 2]
    cell.range = [slowest, fastest]
    cell.p50 = Double(sum.latencies.quantile(0.5)) / 1e3
    cell.p90 = Double(sum.latencies.quantile(0.9)) / 1e3
    cell.p99 = Double(sum.latencies.quantile(0.99)) / 1e3
    cell.p999 = Double(sum.latencies.quantile(0.999)) / 1e3
    cell.max = Double(sum.latencies.maximum) / 1e3
    cell.serverCPU = rounds.reduce(0) { $0 + $1.serverCPU } * 1e6 / count
    cell.clientCPU = rounds.reduce(0) { $0 + $1.clientCPU } * 1e6 / count
    cell.bytesWritten = Double(rounds.reduce(0) { $0 + $1.bytesWritten }) / count
    return cell
  }
}

extension ClusterEngine {
  var isRoost: Bool { self == .roost || self == .roostTLS }
}
