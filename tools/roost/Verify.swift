import ArgumentParser
import RoostStorage

/// `roost verify`: reads everything and checks it.
struct Verify: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Read every file and check all that must hold.",
    discussion: """
      Every checksum, the order of keys, indexes, filters and properties against contents,
      the manifest against the files. Ends with code 2 where something is wrong; `roost
      dump` shows what still stands in a damaged file.

      EXAMPLES
        roost verify ./db
        roost verify ./db --json
      """)

  @OptionGroup var directory: DirectoryArgument
  @Flag(help: "A JSON object.") var json = false

  func run() throws {
    var progress = Progress()
    let start = ContinuousClock.now
    let report = try withStore(directory.directory) { store in
      try store.verify { state in
        let percent = state.bytesTotal > 0 ? state.bytesDone * 100 / state.bytesTotal : 100
        progress.show("\(Format.bytes(state.bytesDone)) of tables checked, \(percent) %")
      }
    }
    progress.clear()
    let output = Output.standard
    if json {
      try output.line(Self.json(report))
    } else {
      for problem in report.problems { try output.line("DAMAGED  " + Failure.line(problem)) }
      try output.line(Self.summary(report, start.duration(to: .now)))
    }
    if !report.isHealthy { throw ExitStatus.damage }
  }

  private static func summary(_ report: VerifyReport, _ time: Duration) -> String {
    let verdict = report.isHealthy ? "all is well" : Format.count(report.problems.count, "problem")
    return
      "\(verdict): \(Format.count(report.trees, "tree")), "
        + "\(Format.count(report.tables, "table")) with "
      + "\(Format.count(report.entries, "entry", "entries")) in "
      + "\(Format.bytes(report.tableBytes)), "
      + "\(Format.count(report.logs, "log")) with \(Format.count(report.logRecords, "record")) in "
      + "\(Format.bytes(report.logBytes)); \(Format.duration(time))"
  }

  private static func json(_ report: VerifyReport) -> String {
    var json = JSONWriter()
    json.beginObject()
    json.member("healthy", report.isHealthy)
    json.member("trees", report.trees)
    json.member("tables", report.tables)
    json.member("entries", report.entries)
    json.member("tableBytes", report.tableBytes)
    json.member("logs", report.logs)
    json.member("logRecords", report.logRecords)
    json.member("logBytes", report.logBytes)
    json.name("problems")
    json.beginArray()
    for problem in report.problems {
      json.beginObject()
      json.member("code", problem.code.description)
      json.member("message", problem.message)
      if let file = problem.file { json.member("file", file) }
      if let offset = problem.offset { json.member("offset", offset) }
      json.endObject()
    }
    json.endArray()
    json.endObject()
    return String(decoding: json.bytes, as: UTF8.self)
  }
}
