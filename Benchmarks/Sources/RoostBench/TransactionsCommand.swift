import ArgumentParser
import CSQLite
import FoundationEssentials
import Glibc

struct Transactions: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Moves money between accounts: rate, retries under contention, what two-phase commit costs.",
    discussion: """
      A transfer reads two accounts and writes both, and is durable when it returns. Roost runs on one \
      store and on several; RocksDB's TransactionDB and SQLite do the same transfers in one store. The \
      sum of all accounts is checked after each run, and a wrong one fails it.

      Lists are comma-separated.
      """)

  @Option(help: "Clients at once.")
  var clients = "1,8"

  @Option(help: "Stores of Roost.")
  var stores = "1,2,4"

  @Option(help: "Accounts.")
  var accounts = 1_000

  @Option(help: "How unevenly the contention's accounts are drawn: the i-th weighs 1 / i^theta.")
  var theta = "0,0.5,0.9,0.99"

  @Option(help: "Bounds of the clocks, in milliseconds.")
  var bounds = "0,2,5,10"

  @Option(help: "Seconds for each cell and round.")
  var seconds = 2.0

  @Option(help: "Transfers a client, in place of the seconds.")
  var count: UInt64?

  @Option(help: "Rounds; reported are medians.")
  var rounds = 3

  @Option(help: "Of the accounts that are drawn.")
  var seed: UInt64 = 1

  @Option(help: "What to run: \(TransactionsPart.allCases.map(\.rawValue).joined(separator: ", ")).")
  var parts = TransactionsPart.allCases.map(\.rawValue).joined(separator: ",")

  @Option(help: "Write the results to this file as JSON.")
  var json: String?

  @Option(help: "Where the stores go, on a real disk; removed afterwards. Default: the build folder.")
  var dir: String?

  private func list<T: LosslessStringConvertible>(
    _ name: String, _ text: String, _ isValid: (T) -> Bool
  ) throws -> [T] {
    try text.split(separator: ",").map { part in
      guard let value = T(String(part)), isValid(value) else {
        throw ValidationError("--\(name): `\(part)` is not within its limits")
      }
      return value
    }
  }

  private func settings() throws -> TransactionsSettings {
    var settings = TransactionsSettings()
    settings.clients = try list("clients", clients) { (1...256).contains($0) }
    settings.stores = try list("stores", stores) { (1...64).contains($0) }
    settings.thetas = try list("theta", theta) { (0...10).contains($0) }
    settings.clockBounds = try list("bounds", bounds) { (0...1_000).contains($0) }
    settings.parts = try parts.split(separator: ",").map { name in
      guard let part = TransactionsPart(rawValue: String(name)) else {
        throw ValidationError("unknown part '\(name)'")
      }
      return part
    }
    guard (2...10_000_000).contains(accounts) else {
      throw ValidationError("--accounts must be 2 to 10000000")
    }
    guard (0.1...3_600).contains(seconds), count ?? 1 >= 1 else {
      throw ValidationError("--seconds must be 0.1 to 3600, --count at least 1")
    }
    guard (1...100).contains(rounds) else { throw ValidationError("--rounds must be 1 to 100") }
    settings.accounts = accounts
    settings.seconds = seconds
    settings.count = count
    settings.rounds = rounds
    settings.seed = seed
    return settings
  }

  mutating func validate() throws { _ = try settings() }

  func run() async throws {
    let settings = try settings()
    signal(SIGINT, SIG_IGN)
    let scratch = try makeScratch(dir)
    defer { removeDirectory(scratch) }
    let probe = try syncProbe(scratch)
    let terminal = isatty(2) != 0
    let benchmark = TransactionsBenchmark(settings: settings, scratch: scratch) { text in
      if terminal { say("\r\u{1B}[K" + text, newline: false) }
    }
    let cells = try await benchmark.run()
    if terminal { say("\r\u{1B}[K", newline: false) }
    let report = TransactionsReport(
      settings: settings, cells: cells, syncAppend: probe.append, syncOverwrite: probe.overwrite)
    print(report.text(), terminator: "")
    if let json {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
      try encoder.encode(report).write(to: URL(filePath: json))
    }
  }
}

struct TransactionsReport: Codable {
  var settings: TransactionsSettings
  var cells: [TransactionsCell]
  /// Microseconds of a bare `fdatasync`.
  var syncAppend: Double
  var syncOverwrite: Double
  var host = Dictionary(uniqueKeysWithValues: TransactionsReport.hostLines())

  private static func hostLines() -> [(String, String)] {
    Report.host().filter { $0.0 != "leveldb" } + [("sqlite", String(cString: sqlite3_libversion()))]
  }

  /// For people.
  func text() -> String {
    var lines = Self.hostLines().map { "\($0.0): \($0.1)" }
    let length = settings.count.map { "\($0) transfers a client" } ?? "\(settings.seconds) s"
    lines += [
      "bare fdatasync: \(fixed(syncAppend, 0)) µs after an append, \(fixed(syncOverwrite, 0)) µs over "
        + "what is there",
      "\(settings.accounts) accounts, \(length) a cell, \(settings.rounds) rounds, seed \(settings.seed)",
    ]
    for part in settings.parts {
      lines += ["", Self.title(part), Self.header]
      lines += cells.filter { $0.part == part }.map(Self.line)
      if part == .rate { lines += costs() }
    }
    lines += ["", "every total was as it must be"]
    return lines.joined(separator: "\n") + "\n"
  }

  private static func title(_ part: TransactionsPart) -> String {
    switch part {
    case .rate: "Rate: accounts drawn alike"
    case .contention: "Contention: accounts drawn unevenly"
    case .bound: "The clocks' bound"
    }
  }

  private static let header =
    "engine  stores clients theta bound ms  transfers/s (slowest–fastest)     p50 µs   p99 µs   CPU µs"
    + "  tries again  given up"

  private static func line(_ cell: TransactionsCell) -> String {
    let range = "(\(fixed(cell.range[0], 0))–\(fixed(cell.range[1], 0)))"
    let cells: [(String, Int)] = [
      (String(cell.stores), 6), (String(cell.clients), 8), (fixed(cell.theta, 2), 6),
      (String(cell.clockBound), 9), (fixed(cell.perSecond, 0), 13), (range, 20),
      (fixed(cell.p50, 0), 11), (fixed(cell.p99, 0), 9), (fixed(cell.cpu, 0), 9),
      (fixed(cell.retried * 100, 2) + "%", 13), (String(cell.givenUp), 10),
    ]
    let name = cell.engine + String(repeating: " ", count: max(0, 8 - cell.engine.count))
    return cells.reduce(name) { $0 + Self.padded($1.0, $1.1) }
  }

  /// What a transfer across two stores takes above one within a store: of so many stores, drawn alike,
  /// all transfers but one in so many go across.
  private func costs() -> [String] {
    let alone = cells.filter { $0.part == .rate && $0.engine == "roost" && $0.clients == 1 }
    guard let base = alone.first(where: { $0.stores == 1 }) else { return [] }
    return alone.filter { $0.stores > 1 }.map { cell in
      let above = 1e6 / cell.perSecond - 1e6 / base.perSecond
      let share = 1 - 1 / Double(cell.stores)
      return "two-phase commit, 1 client, \(cell.stores) stores: \(fixed(above, 0)) µs a transfer more; "
        + "\(fixed(share * 100, 0))% go across: \(fixed(above / share, 0)) µs for each that does"
    }
  }

  private static func padded(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
  }
}
