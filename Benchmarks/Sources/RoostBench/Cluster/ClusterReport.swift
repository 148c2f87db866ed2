import FoundationEssentials

/// What people and machines are told about clusters.
struct ClusterReport: Codable {
  var settings: ClusterSettings
  var cells: [ClusterCell] = []
  var repairs: [RepairResult] = []
  var hints: [HintsResult] = []
  var moves: [MovesResult] = []
  /// Peers that are not here, and why.
  var skipped: [String] = []
  /// Of the programs that ran.
  var versions: [String: String] = [:]
  /// Microseconds of a bare `fdatasync`.
  var syncAppend = 0.0
  var syncOverwrite = 0.0
  var host = Dictionary(uniqueKeysWithValues: ClusterReport.hostLines())
  /// What an acknowledgement means, by engine.
  var guarantees: [String: String] = [:]

  init(settings: ClusterSettings) {
    self.settings = settings
    for engine in ClusterEngine.allCases { guarantees[engine.rawValue] = engine.guarantees }
  }

  private static func hostLines() -> [(String, String)] {
    Report.host().filter { $0.0 != "leveldb" && $0.0 != "rocksdb" }
  }

  /// For people.
  func text() -> String {
    var lines = Self.hostLines().map { "\($0.0): \($0.1)" }
    lines += versions.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }
    lines += skipped
    lines += [
      "bare fdatasync: \(fixed(syncAppend, 0)) µs after an append, \(fixed(syncOverwrite, 0)) µs over "
        + "what is there",
      "all on this machine, over loopback; \(settings.keys) keys of 16 bytes, values of "
        + "\(ValuePool.valueBytes); \(settings.seconds) s a cell, \(settings.rounds) rounds, "
        + "seed \(settings.seed); one call at a time for each client",
    ]
    if !cells.isEmpty { lines += comparisons() }
    if !repairs.isEmpty { lines += repairLines() }
    if !hints.isEmpty { lines += hintLines() }
    if !moves.isEmpty { lines += moveLines() }
    lines += ["", "what was read back was what had been acknowledged last"]
    return lines.joined(separator: "\n") + "\n"
  }

  // MARK: - Puts and gets

  private func comparisons() -> [String] {
    var lines = ["", "What the figures are figures of:"]
    for engine in settings.engines where cells.contains(where: { $0.engine == engine }) {
      lines.append("  \(engine.rawValue): \(engine.guarantees).")
    }
    for (part, title) in [
      (ClusterPart.puts, "Puts"), (.gets, "Gets"), (.nodes, "More nodes, each key on three of them"),
    ] {
      let rows = cells.filter { $0.part == part }
      if rows.isEmpty { continue }
      lines += ["", title, Self.header] + rows.map(Self.line)
    }
    for cell in cells {
      guard cell.failed > 0 else { continue }
      lines.append(
        "\(cell.engine.rawValue), \(cell.clients) clients: \(cell.failed) calls failed, the first: "
          + (cell.failure ?? ""))
    }
    return lines
  }

  private static let header =
    "engine     nodes clients durability  calls/s (slowest–fastest)         p50 µs   p99 µs p99.9 µs"
    + "    max µs  CPU µs: servers  clients  bytes written"

  private static func line(_ cell: ClusterCell) -> String {
    let range = "(\(fixed(cell.range[0], 0))–\(fixed(cell.range[1], 0)))"
    let cells: [(String, Int)] = [
      (String(cell.nodes), 5), (String(cell.clients), 8),
      (cell.puts ? cell.durability.rawValue : "gets", 11), (fixed(cell.perSecond, 0), 9), (range, 18),
      (fixed(cell.p50, 0), 13), (fixed(cell.p99, 0), 9), (fixed(cell.p999, 0), 9), (fixed(cell.max, 0), 10),
      (fixed(cell.serverCPU, 0), 17), (fixed(cell.clientCPU, 0), 9), (fixed(cell.bytesWritten, 0), 15),
    ]
    let name = cell.engine.rawValue
    return cells.reduce(name + spaces(11 - name.count)) { $0 + padded($1.0, $1.1) }
  }

  // MARK: - Repair and hints

  private func repairLines() -> [String] {
    var lines = ["", "Comparing a node with two other replicas by hash trees, all it holds, unthrottled:"]
    for result in repairs {
      let (seconds, bytes) = (result.seconds.sorted(), result.bytes.sorted())
      guard let first = seconds.first, let last = seconds.last else { continue }
      let median = seconds[seconds.count / 2]
      lines.append(
        "  \(result.made) of \(result.keys) keys differ: \(fixed(median, 2)) s (\(fixed(first, 2))–"
          + "\(fixed(last, 2))), \(fixed(Double(result.keys) / median, 0)) keys/s, "
          + "\(bytes[bytes.count / 2]) bytes of messages, both ways; \(result.found) found and mended")
    }
    return lines
  }

  private func hintLines() -> [String] {
    let rates = hints.map(\.hintsPerSecond).sorted()
    let puts = hints.map(\.putsPerSecond).sorted()
    let back = hints.map(\.secondsFromStart).sorted()
    guard let first = hints.first, let slowest = rates.first, let fastest = rates.last else { return [] }
    return [
      "", "A node of three killed, \(first.puts) puts from 8 clients meanwhile, then started again:",
      "  \(fixed(puts[puts.count / 2], 0)) puts/s beside it (\(fixed(puts[0], 0))–"
        + "\(fixed(puts[puts.count - 1], 0))), \(first.hints) hints of \(first.hintBytes) bytes",
      "  handed over at \(fixed(rates[rates.count / 2], 0)) hints/s (\(fixed(slowest, 0))–"
        + "\(fixed(fastest, 0))); all there \(fixed(back[back.count / 2], 1)) s after its process began; "
        + "nothing differed then",
    ]
  }

  // MARK: - Moves

  private static let moveColumns: [(title: String, width: Int)] = [
    ("change", 6), ("at most", 12), ("seconds (fastest–slowest)", 28), ("partitions", 12), ("keys", 9),
    ("keys/s", 9), ("MB/s", 8), ("puts/s before", 15), ("p99 µs", 9), ("puts/s beside", 15), ("p99 µs", 9),
    ("mended", 8),
  ]

  private func moveLines() -> [String] {
    var lines: [String] = [
      "",
      "A fourth node joins three that have \(settings.moveKeys) keys of an eventual keyspace, each on three "
        + "nodes, and leaves again;",
      "applied puts of 8 clients at those three, right before and beside it. MB are of messages, both ways:",
      Self.moveColumns.reduce("") { $0 + Self.padded($1.title, $1.width) },
    ]
    for isLimited in [true, false] {
      for change in MovesResult.Change.allCases {
        let rounds = moves.filter { ($0.limit != nil) == isLimited && $0.change == change }
        if !rounds.isEmpty { lines.append(Self.moveLine(rounds)) }
      }
    }
    for result in moves {
      for puts in [result.before, result.beside] where puts.failed > 0 {
        lines.append(
          "\(result.change.rawValue): \(puts.failed) puts failed, the first: \(puts.failure ?? "")")
      }
    }
    return lines
  }

  /// - Parameter rounds: of one change at one limit; at least one.
  private static func moveLine(_ rounds: [MovesResult]) -> String {
    func median(_ digits: Int, _ figure: (MovesResult) -> Double) -> String {
      fixed(rounds.map(figure).sorted()[rounds.count / 2], digits)
    }
    let seconds = rounds.map(\.seconds).sorted()
    let range = "(\(fixed(seconds[0], 1))–\(fixed(seconds[seconds.count - 1], 1)))"
    var limit = "no limit"
    if let bytes = rounds[0].limit { limit = "\(fixed(Double(bytes) / 1_048_576, 0)) MiB/s" }
    let mended = rounds.reduce(UInt64(0)) { $0 + $1.mended }
    let cells: [String] = [
      rounds[0].change.rawValue, limit, median(1) { $0.seconds } + " " + range,
      median(0) { Double($0.partitions) }, median(0) { Double($0.keys) }, median(0) { $0.keysPerSecond },
      median(1) { $0.bytesPerSecond / 1e6 }, median(0) { $0.before.perSecond }, median(0) { $0.before.p99 },
      median(0) { $0.beside.perSecond }, median(0) { $0.beside.p99 }, "\(mended)",
    ]
    return zip(cells, moveColumns).reduce("") { $0 + padded($1.0, $1.1.width) }
  }

  private static func spaces(_ count: Int) -> String { String(repeating: " ", count: max(0, count)) }
  private static func padded(_ text: String, _ width: Int) -> String { spaces(width - text.count) + text }
}
