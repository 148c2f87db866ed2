import ArgumentParser
import FoundationEssentials
import Glibc

struct Rebalance: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Adds stores to a database under load: how fast keys move, what it costs, that none is lost.",
    discussion: """
      Fills a database, then keeps a steady load of puts and gets on it, each due at a fixed time; latency \
      counts from then. Stores are added meanwhile. Afterwards every acknowledged put must be there, by a \
      scan, by gets, and by what the stores hold; anything else fails the run.
      """)

  @Option(help: "Keys at the beginning.")
  var keys: UInt64 = 1_000_000

  @Option(help: "Stores at the beginning.")
  var from = 4

  @Option(help: "Stores at the end.")
  var to = 5

  @Option(help: "Partitions of the database.")
  var partitions = 256

  @Option(help: "Bytes a second that moving may take, or `unlimited`.")
  var rate = "67108864"

  @Option(help: "Threads that put.")
  var writers = 2

  @Option(help: "Threads that get.")
  var readers = 2

  @Option(help: "Puts a second, of all threads together; a quarter of them are new keys.")
  var puts = 2_000

  @Option(help: "Gets a second, of all threads together.")
  var gets = 8_000

  @Option(help: "Seconds of load before and after.")
  var seconds = 10

  @Option(help: "Write the results to this file as JSON.")
  var json: String?

  @Option(help: "Where the stores go, on a real disk; removed afterwards. Default: the build folder.")
  var dir: String?

  mutating func validate() throws {
    func check(_ ok: Bool, _ text: String) throws { if !ok { throw ValidationError(text) } }
    try check(keys >= 1_000 && keys <= 1 << 32, "--keys must be 1000 to 4294967296")
    try check(from >= 1 && to > from && to <= 64, "--from must be at least 1, --to more, at most 64")
    try check(partitions >= to && partitions <= 32_768, "--partitions must be --to to 32768")
    try check(rate == "unlimited" || (Int(rate) ?? 0) >= 1_024, "--rate must be 1024 or more, or `unlimited`")
    try check((0...64).contains(writers) && (0...64).contains(readers), "at most 64 threads of a kind")
    try check(writers + readers > 0, "no load: --writers or --readers must be above 0")
    try check((1...1_000_000).contains(puts), "--puts must be 1 to 1000000")
    try check((1...1_000_000).contains(gets), "--gets must be 1 to 1000000")
    try check((1...3_600).contains(seconds), "--seconds must be 1 to 3600")
  }

  func run() async throws {
    let settings = RebalanceSettings(
      keys: keys, from: from, to: to, partitions: partitions, rate: Int(rate), writers: writers,
      readers: readers, putsPerSecond: puts, getsPerSecond: gets, seconds: seconds)
    signal(SIGINT, SIG_IGN)
    let scratch = try makeScratch(dir)
    defer { removeDirectory(scratch) }
    let terminal = isatty(2) != 0
    let benchmark = RebalanceBenchmark(settings: settings, scratch: scratch) { text in
      if terminal { say("\r\u{1B}[K" + text, newline: false) }
    }
    let result = try await benchmark.run()
    if terminal { say("\r\u{1B}[K", newline: false) }
    print(result.text(), terminator: "")
    if let json {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
      let document = Document(
        host: Dictionary(uniqueKeysWithValues: Report.host()), result: result,
        keysPerSecond: result.keysPerSecond, bytesPerSecond: result.bytesPerSecond)
      try encoder.encode(document).write(to: URL(filePath: json))
    }
  }

  private struct Document: Codable {
    var host: [String: String]
    var result: RebalanceResult
    var keysPerSecond: Double
    var bytesPerSecond: Double
  }
}

extension RebalanceResult {
  var keysPerSecond: Double { Double(keysMoved) / seconds }
  var bytesPerSecond: Double { Double(bytesMoved) / seconds }

  /// For people.
  func text() -> String {
    let limit = settings.rate.map { "at most \(fixed(Double($0) / 1e6, 1)) MB/s" } ?? "no limit"
    var lines = Report.host().filter { $0.0 != "rocksdb" && $0.0 != "leveldb" }
      .map { "\($0.0): \($0.1)" }
    lines += [
      "\(settings.keys) keys, \(settings.from) to \(settings.to) stores of \(settings.partitions) "
        + "partitions, \(limit)",
      "load: \(settings.putsPerSecond) puts/s on \(settings.writers) threads, "
        + "\(settings.getsPerSecond) gets/s on \(settings.readers)",
      "",
      "moved \(partitionsMoved) partitions, \(keysMoved) keys, \(fixed(Double(bytesMoved) / 1e6, 1)) MB "
        + "in \(fixed(seconds, 2)) s: \(fixed(keysPerSecond, 0)) keys/s, "
        + "\(fixed(bytesPerSecond / 1e6, 1)) MB/s",
      "",
      "µs from when it was due        count        p50        p99      p99.9        max",
    ]
    for row in latencies {
      let cells = [fixed(row.p50, 1), fixed(row.p99, 1), fixed(row.p999, 1), fixed(row.max, 0)]
      let name = "\(row.operation), \(row.phase)"
      lines.append(
        name + String(repeating: " ", count: max(1, 25 - name.count))
          + ([String(row.count)] + cells).map { padded($0, 11) }.joined())
    }
    let parts = shares.map { "\(fixed($0.share * 100, 1))%" }.joined(separator: ", ")
    lines += [
      "",
      "keys by store: \(parts)",
      "\(putsAcknowledged) puts acknowledged, filling included; \(keysChecked) keys checked by scan, "
        + "get and store: none lost, none stale, none twice",
    ]
    return lines.joined(separator: "\n") + "\n"
  }

  private func padded(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
  }
}
