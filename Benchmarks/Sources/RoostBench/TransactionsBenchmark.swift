import Glibc
import Latency

/// What the transactions' benchmark does.
struct TransactionsSettings: Codable, Sendable {
  var clients = [1, 8]
  var stores = [1, 2, 4]
  var accounts = 1_000
  /// Of the contention's cells; all others draw accounts alike.
  var thetas = [0, 0.5, 0.9, 0.99]
  /// Milliseconds.
  var clockBounds = [0, 2, 5, 10]
  var seconds = 2.0
  /// Transfers a client, in place of the seconds.
  var count: UInt64?
  var rounds = 3
  var seed: UInt64 = 1
  var parts = TransactionsPart.allCases
}

enum TransactionsPart: String, CaseIterable, Codable, Sendable {
  /// Transfers a second, of Roost on so many stores and of its peers on one.
  case rate
  /// Retries against how much the accounts are contended for.
  case contention
  /// How long a commit takes against the clocks' bound.
  case bound
}

/// One line of the results: the medians of its rounds.
struct TransactionsCell: Codable, Sendable {
  var part: TransactionsPart
  var engine: String
  var stores = 1
  var clients = 1
  var theta = 0.0
  var clockBound = 0
  var committed: UInt64 = 0
  var perSecond = 0.0
  /// The slowest and the fastest round.
  var range = [0.0, 0.0]
  /// Microseconds.
  var p50 = 0.0
  var p99 = 0.0
  var cpu = 0.0
  /// Tries that had to be begun anew, over all tries.
  var retried = 0.0
  var givenUp: UInt64 = 0
}

/// Moves money between accounts, and asks each bank at the end for its total.
struct TransactionsBenchmark {
  let settings: TransactionsSettings
  let scratch: String
  let progress: (String) -> Void

  private struct Round {
    var tally: TransferTally
    var seconds: Double
    var cpuSeconds: Double
  }

  /// Runs all cells so many rounds, in turn, every second round backwards: what the machine does
  /// meanwhile meets all alike.
  func run() async throws -> [TransactionsCell] {
    let cells = cells()
    var rounds: [[Round]] = Array(repeating: [], count: cells.count)
    for round in 0..<settings.rounds {
      let order = round % 2 == 0 ? Array(cells.indices) : cells.indices.reversed()
      for index in order {
        let cell = cells[index]
        progress(
          "round \(round + 1): \(cell.part) \(cell.engine), \(cell.stores) stores, \(cell.clients) clients")
        rounds[index].append(try await run(cell, round))
      }
    }
    return zip(cells, rounds).map { summed($0, $1) }
  }

  private func cells() -> [TransactionsCell] {
    var cells: [TransactionsCell] = []
    let most = settings.clients.max() ?? 1
    for part in settings.parts {
      switch part {
      case .rate:
        for clients in settings.clients {
          for engine in ["rocksdb", "sqlite"] {
            cells.append(TransactionsCell(part: part, engine: engine, clients: clients))
          }
          for stores in settings.stores {
            cells.append(
              TransactionsCell(part: part, engine: "roost", stores: stores, clients: clients))
          }
        }
      case .contention:
        for theta in settings.thetas {
          for engine in ["roost", "rocksdb"] {
            cells.append(TransactionsCell(part: part, engine: engine, clients: most, theta: theta))
          }
        }
      case .bound:
        for bound in settings.clockBounds {
          cells.append(TransactionsCell(part: part, engine: "roost", stores: 2, clockBound: bound))
        }
      }
    }
    return cells
  }

  private func run(_ cell: TransactionsCell, _ round: Int) async throws -> Round {
    switch cell.engine {
    case "rocksdb": try await run(RocksDBBank.self, cell, round)
    case "sqlite": try await run(SQLiteBank.self, cell, round)
    default: try await run(RoostBank.self, cell, round)
    }
  }

  private func run<B: Bank>(
    _ kind: B.Type, _ cell: TransactionsCell, _ round: Int
  ) async throws -> Round {
    let directory = "\(scratch)/bank"
    try makeDirectory(directory)
    defer { removeDirectory(directory) }
    let settings = BankSettings(
      directory: directory, accounts: settings.accounts, stores: cell.stores,
      clockBoundMilliseconds: cell.clockBound)
    let bank = try await B(settings)
    let result = try await measure(bank, cell, round)
    let total = try await bank.total()
    try await bank.close()
    guard total == (settings.accounts, settings.total) else {
      throw BenchmarkError(
        "wrong answer: \(cell.engine) has \(total.sum) on \(total.accounts) accounts, not "
          + "\(settings.total) on \(settings.accounts)")
    }
    return result
  }

  private func measure<B: Bank>(
    _ bank: B, _ cell: TransactionsCell, _ round: Int
  ) async throws -> Round {
    let load = TransferLoad(
      zipf: Zipf(count: settings.accounts, theta: cell.theta), seed: settings.seed &+ UInt64(round),
      warmUp: settings.count == nil ? 300_000_000 : 0,
      duration: UInt64(settings.seconds * 1e9), count: settings.count)
    let clients = try (0..<cell.clients).map { _ in try bank.client() }
    defer { for client in clients { client.close() } }
    let before = Usage.now()
    let tally = B.blocks ? try await onThreads(load, clients) : try await inTasks(load, clients)
    let after = Usage.now()
    let all = Double(after.nanoseconds - before.nanoseconds) / 1e9
    let warmUp = Double(load.warmUp) / 1e9
    let cpu = after.cpuSeconds - before.cpuSeconds
    return Round(tally: tally, seconds: all - warmUp, cpuSeconds: cpu * (all - warmUp) / all)
  }

  private func onThreads(
    _ load: TransferLoad, _ clients: [some BankClient]
  ) async throws -> TransferTally {
    let running = try clients.enumerated().map { index, client in
      try ThreadExecutor.start { try await load.run(client, index: index) }
    }
    // All are waited for before any error is thrown: they use the clients.
    var results: [Result<TransferTally, any Error>] = []
    for task in running {
      do { results.append(.success(try await task.result())) } catch { results.append(.failure(error)) }
    }
    var sum = TransferTally()
    for result in results { sum.add(try result.get()) }
    return sum
  }

  private func inTasks(
    _ load: TransferLoad, _ clients: [some BankClient]
  ) async throws -> TransferTally {
    try await withThrowingTaskGroup(of: TransferTally.self) { group in
      for (index, client) in clients.enumerated() {
        group.addTask { try await load.run(client, index: index) }
      }
      var sum = TransferTally()
      for try await tally in group { sum.add(tally) }
      return sum
    }
  }

  private func summed(_ cell: TransactionsCell, _ rounds: [Round]) -> TransactionsCell {
    var (cell, sum) = (cell, TransferTally())
    for round in rounds { sum.add(round.tally) }
    let rates = rounds.map { Double($0.tally.committed) / $0.seconds }.sorted()
    cell.committed = sum.committed
    cell.perSecond = rates[rates.count / 2]
    cell.range = [rates[0], rates[rates.count - 1]]
    cell.p50 = Double(sum.latencies.quantile(0.5)) / 1e3
    cell.p99 = Double(sum.latencies.quantile(0.99)) / 1e3
    cell.cpu = rounds.reduce(0) { $0 + $1.cpuSeconds } * 1e6 / Double(max(1, sum.committed))
    let again = Double(sum.tries - min(sum.tries, sum.committed + sum.givenUp))
    cell.retried = again / Double(max(1, sum.tries))
    cell.givenUp = sum.givenUp
    return cell
  }
}
