import RoostStorage

/// The tour's step with a kill: a child writes and says what is acknowledged, is killed in
/// mid-write, and all of that must be there.
struct KillTour {
  let directory: String
  let killAfter: UInt64

  private static let valueBytes = 100

  func run() throws {
    try TourText.step(
      5, "Kill it in mid-write",
      """
      A second process runs `roost fill` on another store and prints each batch once it is
      acknowledged. It gets SIGKILL while it writes. What it acknowledged must be there.
      """)
    let acknowledged = try writeAndKill()
    let start = ContinuousClock.now
    var options = StoreOptions()
    options.creation = .mustExist
    let store = try Store.open(at: directory, options)
    do {
      let opened = start.duration(to: .now)
      let found = store.statistics
      try checkAll(store, acknowledged, opened)
      try showLevels(found, store)
    } catch {
      try? store.close()
      throw error
    }
    try store.close()
  }

  /// - Returns: records acknowledged.
  private func writeAndKill() throws -> UInt64 {
    let child = try ChildProcess([
      "fill", directory, "--count", "1000000000", "--value-bytes", "\(Self.valueBytes)", "--batch",
      "500",
      "--memtable-bytes", "\(8 << 20)",
    ])
    let start = ContinuousClock.now
    var acknowledged: UInt64 = 0
    var isKilled = false
    while let line = try child.output.readLine() {
      let words = String(decoding: line, as: UTF8.self).split(separator: " ")
      guard words.count == 3, words[0] == "acked", UInt64(words[1]) == acknowledged,
        let end = UInt64(words[2])
      else {
        // A kill may cut the last line short.
        if isKilled { break }
        throw Failure(.software, "the child said `\(words.joined(separator: " "))`")
      }
      acknowledged = end
      if !isKilled && acknowledged >= killAfter {
        child.kill()
        isKilled = true
      }
    }
    try TourText.check(isKilled, "the child ended by itself after \(acknowledged) records")
    let time = start.duration(to: .now)
    try TourText.line(
      "Killed after \(Format.duration(time)): \(Format.count(acknowledged)) records were "
        + "acknowledged."
    )
    return acknowledged
  }

  private func checkAll(_ store: Store, _ acknowledged: UInt64, _ opened: Duration) throws {
    let tree = try store.requireTree("default")
    let recovery = store.statistics.recovery
    try TourText.line(
      "Opened again in \(Format.duration(opened)): \(Format.count(recovery.records, "record")) "
        + "of the log replayed, "
        + "\(Format.bytes(recovery.bytes)).")
    let problems = try Fill.problems(
      { try tree.get($0) }, 0..<acknowledged, valueBytes: Self.valueBytes, seed: 0)
    try TourText.check(
      problems.isEmpty, "\(problems.count) acknowledged records are lost, \(problems.first ?? "")")
    var cursor = try tree.cursor()
    var found: UInt64 = 0
    while try cursor.next() { found += 1 }
    try TourText.line("All \(Format.count(acknowledged)) are there, each with its value.")
    // Whole batches only: one that was written and not yet acknowledged may be there as well.
    let more = found - acknowledged
    try TourText.check(
      more.isMultiple(of: 500), "a part of a batch is there: \(found) records in all")
    if more > 0 {
      try TourText.line(
        "\(Format.count(more)) more are there: batches written and not yet acknowledged, each "
          + "whole."
      )
    } else {
      try TourText.line("Nothing else is: no batch is there in part.")
    }
    let report = try store.verify()
    try TourText.check(report.isHealthy, "verify: \(report.problems.first.map(Failure.line) ?? "")")
    try TourText.line(
      "verify read \(Format.bytes(report.tableBytes)) in "
        + "\(Format.count(report.tables, "table")): all is well."
    )
  }

  private func showLevels(_ found: StoreStatistics, _ store: Store) throws {
    let output = Output.standard
    try output.line("\n   Its levels as the kill and the recovery left them, then compacted:\n")
    for tree in found.trees { for line in StatsPicture.lines(tree) { try TourText.line(line) } }
    try store.compact()
    try output.line()
    for tree in store.statistics.trees {
      for line in StatsPicture.lines(tree) { try TourText.line(line) }
    }
  }
}
