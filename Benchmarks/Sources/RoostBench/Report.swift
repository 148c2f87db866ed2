import CLevelDB
import FoundationEssentials
import Glibc

/// What people and machines are told about a comparison.
struct Report {
  let comparison: Comparison
  let results: Results

  private var workloads: [String] {
    Group.allCases.flatMap(\.workloads).filter(comparison.workloads.contains)
  }

  // MARK: For people

  func text() -> String {
    var lines = [Self.host().map { "\($0.0): \($0.1)" }.joined(separator: "\n"), settingsText(), ""]
    lines += times()
    lines += database()
    lines += [""] + resources()
    lines += [""] + harness()
    let notes = self.notes()
    if !notes.isEmpty { lines += ["", "Notes"] + notes }
    return lines.joined(separator: "\n") + "\n"
  }

  private func settingsText() -> String {
    let settings = results.settings
    return """
      alike for all: \(settings.count) keys of \(KeyBuffer.count) bytes, values of \
      \(ValuePool.valueBytes) bytes, half compressible; \(settings.filterBits)-bit filter; \
      \(settings.writeBufferBytes >> 20) MB write buffer; \(settings.cacheBytes >> 20) MB block cache; \
      \(settings.blockBytes)-byte blocks; LZ4 (LevelDB: Snappy); checksums verified; \
      dynamic level sizes where the engine has them
      rounds: \(results.rounds), engines in turn, every second round backwards; fresh processes
      """
  }

  /// Median times, and the ratio to the best peer.
  private func times() -> [String] {
    let labels = comparison.contenders.map(\.label)
    var rows = [["µs per operation"] + labels + ["best peer / roost", "range", "peer"]]
    for workload in workloads {
      var row = [workload]
      for contender in comparison.contenders {
        row.append(results.median(contender, workload, \.microsPerOp).map { fixed($0, 3) } ?? "-")
      }
      if let best = results.bestPeer(workload, among: comparison.engines) {
        row += [
          fixed(best.ratio.median, 2), "\(fixed(best.ratio.low, 2))–\(fixed(best.ratio.high, 2))",
          best.peer.rawValue,
        ]
      } else {
        row += ["-", "-", "-"]
      }
      rows.append(row)
    }
    return aligned(rows)
  }

  /// What the database costs on top of the engine, and what it may.
  private func database() -> [String] {
    var rows = [["database time / engine time", "ratio", "range", "at most"]]
    for workload in DatabaseWorkload.allCases {
      guard let ratio = results.databaseRatio(workload.rawValue) else { continue }
      rows.append([
        workload.rawValue, fixed(ratio.median, 2), "\(fixed(ratio.low, 2))–\(fixed(ratio.high, 2))",
        workload.limit.map { fixed($0, 1) } ?? "-",
      ])
    }
    return rows.count > 1 ? [""] + aligned(rows) : []
  }

  /// What else it took, for each engine that stores something.
  private func resources() -> [String] {
    let contenders = comparison.contenders.filter { $0.engine != .null && !$0.again }
    func table(_ title: String, _ figure: (Measurement) -> Double?, _ digits: Int) -> [String] {
      var rows = [[title] + contenders.map(\.label)]
      for workload in workloads {
        let row = contenders.map { results.median($0, workload, figure).map { fixed($0, digits) } ?? "-" }
        if row.contains(where: { $0 != "-" }) { rows.append([workload] + row) }
      }
      return rows.count > 1 ? aligned(rows) : []
    }
    let parts = [
      table("CPU µs per operation", { $0.cpuSeconds * 1e6 / Double($0.ops) }, 3),
      table("peak resident MB", { Double($0.rssBytes) / 1e6 }, 0),
      table(
        "bytes written / bytes put",
        { $0.bytesPut == 0 ? nil : Double($0.bytesWritten) / Double($0.bytesPut) }, 2),
      table("MB on disk after settling", { $0.bytesOnDisk.map { Double($0) / 1e6 } }, 1),
      table(
        "bytes on disk / live bytes",
        { measurement in
          guard let disk = measurement.bytesOnDisk, let live = measurement.bytesLive else { return nil }
          return Double(disk) / Double(live)
        }, 2),
    ]
    return Array(parts.filter { !$0.isEmpty }.joined(separator: [""]))
  }

  /// What the harness and the machine add of their own.
  private func harness() -> [String] {
    var lines: [String] = []
    let probes = results.probes.map {
      "\(fixed($0.append, 0)) appending, \(fixed($0.overwrite, 0)) overwriting"
    }
    lines.append("bare fdatasync of 128 bytes, µs, before and after: \(probes.joined(separator: "; "))")
    if let median = Results.median(results.othersShares), let most = results.othersShares.max() {
      var line = "CPU time taken by other processes meanwhile: \(fixed(median * 100, 1))%"
      line += " (at most \(fixed(most * 100, 1))%)"
      if median > 0.02 { line += ": this machine is not quiet, times mean little" }
      lines.append(line)
    }
    for again in comparison.contenders where again.again {
      let one = Comparison.Contender(engine: again.engine)
      let ratios = workloads.compactMap { workload in
        results.ratio(of: again, to: one, workload).map { (workload, $0.median) }
      }
      let off = ratios.filter { abs($0.1 - 1) > 0.03 }
      var line = "A/A pair (\(one.label) against itself): "
      line += "\(ratios.count - off.count) of \(ratios.count) workloads within 3%"
      if !off.isEmpty {
        line += "; outside: " + off.map { "\($0.0) \(fixed($0.1, 3))" }.joined(separator: ", ")
      }
      lines.append(line)
    }
    return lines
  }

  private func notes() -> [String] {
    comparison.contenders.flatMap { contender in
      workloads.flatMap { workload in
        Set(results.measurements(contender, workload).compactMap(\.note)).sorted().map {
          "  \(contender.label), \(workload): \($0)"
        }
      }
    }
  }

  private func aligned(_ rows: [[String]]) -> [String] {
    let columns = rows.map(\.count).max() ?? 0
    let widths = (0..<columns).map { column in
      rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0
    }
    return rows.map { row in
      row.enumerated().map { column, cell in
        let space = String(repeating: " ", count: widths[column] - cell.count)
        return column == 0 ? cell + space : space + cell
      }.joined(separator: "  ")
    }
  }

  // MARK: For machines

  private struct Row: Codable {
    var engine: String
    var workload: String
    var ops: UInt64
    var seconds: Double
    var microsPerOp: Double
    var cpuMicrosPerOp: Double
    // Latencies come from open-loop runs, which this program does not have yet: a throughput run carries
    // no timer per operation.
    var p50: Double?
    var p99: Double?
    var p999: Double?
    var max: Double?
    var rssBytes: UInt64
    var bytesWritten: UInt64
    var bytesPut: UInt64
    var bytesOnDisk: UInt64?
    var microsPerOpByRound: [Double]
    var notes: [String]
  }

  private struct Verdict: Codable {
    var workload: String
    var bestPeer: String
    var ratio: Double
    var low: Double
    var high: Double
  }

  private struct DatabaseVerdict: Codable {
    var workload: String
    /// The database's time over the engine's.
    var ratio: Double
    var low: Double
    var high: Double
    var limit: Double?
  }

  private struct Probe: Codable {
    var appendMicros: Double
    var overwriteMicros: Double
  }

  private struct Document: Codable {
    var host: [String: String]
    var settings: Settings
    var rounds: Int
    var fdatasync: [Probe]
    var rows: [Row]
    var workloads: [Verdict]
    var database: [DatabaseVerdict]
  }

  func json() throws -> Data {
    var rows: [Row] = []
    for workload in workloads {
      for contender in comparison.contenders {
        let all = results.measurements(contender, workload)
        guard let first = all.first else { continue }
        func median(_ figure: (Measurement) -> Double?) -> Double {
          results.median(contender, workload, figure) ?? 0
        }
        rows.append(
          Row(
            engine: contender.label, workload: workload, ops: first.ops, seconds: median(\.seconds),
            microsPerOp: median(\.microsPerOp),
            cpuMicrosPerOp: median { $0.cpuSeconds * 1e6 / Double($0.ops) },
            rssBytes: UInt64(median { Double($0.rssBytes) }),
            bytesWritten: UInt64(median { Double($0.bytesWritten) }),
            bytesPut: first.bytesPut,
            bytesOnDisk: results.median(contender, workload) { $0.bytesOnDisk.map(Double.init) }
              .map { UInt64($0) },
            microsPerOpByRound: all.map(\.microsPerOp),
            notes: Set(all.compactMap(\.note)).sorted()))
      }
    }
    let verdicts = workloads.compactMap { workload in
      results.bestPeer(workload, among: comparison.engines).map {
        Verdict(
          workload: workload, bestPeer: $0.peer.rawValue, ratio: $0.ratio.median, low: $0.ratio.low,
          high: $0.ratio.high)
      }
    }
    let database = DatabaseWorkload.allCases.compactMap { workload in
      results.databaseRatio(workload.rawValue).map {
        DatabaseVerdict(
          workload: workload.rawValue, ratio: $0.median, low: $0.low, high: $0.high, limit: workload.limit)
      }
    }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
    return try encoder.encode(
      Document(
        host: Dictionary(uniqueKeysWithValues: Self.host()), settings: results.settings,
        rounds: results.rounds,
        fdatasync: results.probes.map { Probe(appendMicros: $0.append, overwriteMicros: $0.overwrite) },
        rows: rows, workloads: verdicts, database: database))
  }

  /// The machine and the libraries.
  static func host() -> [(String, String)] {
    let processor = contents("/proc/cpuinfo").split(separator: "\n")
      .first { $0.hasPrefix("model name") }
      .flatMap { $0.split(separator: ":").last }
      .map { String($0.drop(while: { $0 == " " })) } ?? "unknown"
    let kernel = contents("/proc/sys/kernel/osrelease").split(separator: "\n").first.map(String.init)
    let memory = contents("/proc/meminfo").split(separator: "\n").first.flatMap { line in
      line.split(separator: " ").dropFirst().first.flatMap { UInt64($0) }
    }
    let roost = getenv("ROOST_REVISION").map { String(cString: $0) } ?? "unknown revision"
    return [
      ("processor", "\(sysconf(Int32(_SC_NPROCESSORS_ONLN))) × \(processor)"),
      ("memory", "\((memory ?? 0) >> 20) GiB"),
      ("kernel", kernel ?? "unknown"),
      ("roost", roost),
      ("rocksdb", rocksDBLibrary()),
      ("leveldb", "\(leveldb_major_version()).\(leveldb_minor_version())"),
    ]
  }
}

/// A number with so many digits after the point.
func fixed(_ number: Double, _ digits: Int) -> String {
  var scale = 1.0
  for _ in 0..<digits { scale *= 10 }
  let whole = Int64((number * scale).rounded())
  let text = String(abs(whole))
  let padded = String(repeating: "0", count: max(0, digits + 1 - text.count)) + text
  let sign = whole < 0 ? "-" : ""
  if digits == 0 { return sign + padded }
  return sign + padded.dropLast(digits) + "." + padded.suffix(digits)
}
