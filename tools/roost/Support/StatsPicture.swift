import RoostStorage

/// Statistics for people: a bar a level, as long as the level is large.
enum StatsPicture {
  private static let barWidth = 28

  static func lines(_ statistics: StoreStatistics) -> [String] {
    var lines = [
      "store \(statistics.identity), manifest \(statistics.manifestNumber), "
        + "sequence \(Format.count(statistics.lastSequence))"
    ]
    for tree in statistics.trees { lines += [""] + Self.lines(tree) }
    lines += [""] + whole(statistics)
    return lines
  }

  static func lines(_ tree: StoreStatistics.TreeStatistics) -> [String] {
    var lines = [
      "tree \(TextEscape.text(Array(tree.name.utf8))): "
        + "\(Format.count(tree.entries, "entry", "entries")), "
        + "\(Format.bytes(tree.byteCount)) in tables"
    ]
    let deepest = tree.levels.lastIndex { $0.tables > 0 } ?? 0
    let shown = tree.levels.prefix(deepest + 1)
    let largest = shown.map(\.byteCount).max() ?? 0
    if tree.memtableEntries > 0 || tree.immutableMemtables > 0 {
      var text = "  memory   " + Format.right(Format.bytes(tree.memtableBytes), 10)
      text += "  \(Format.count(tree.memtableEntries, "entry", "entries"))"
      if tree.immutableMemtables > 0 { text += ", \(tree.immutableMemtables) waiting for a flush" }
      lines.append(text)
    }
    for run in runs(Array(shown)) {
      if run.count > 1 {
        lines.append("  levels \(run[0].level) to \(run[run.count - 1].level)  empty")
      } else {
        lines.append(line(run[0], largest))
      }
    }
    return lines
  }

  /// Levels one by one, but empty ones next to each other together.
  private static func runs(
    _ levels: [StoreStatistics.LevelStatistics]
  ) -> [[StoreStatistics.LevelStatistics]] {
    var runs: [[StoreStatistics.LevelStatistics]] = []
    for level in levels {
      if level.tables == 0, let last = runs.last, last[0].tables == 0 {
        runs[runs.count - 1].append(level)
      } else {
        runs.append([level])
      }
    }
    return runs
  }

  private static func line(_ level: StoreStatistics.LevelStatistics, _ largest: Int64) -> String {
    var text = "  level \(level.level)  " + Format.right(Format.bytes(level.byteCount), 10) + "  "
    text += Format.left(bar(level.byteCount, largest), barWidth) + "  "
    guard level.tables > 0 else { return text + "empty" }
    text +=
      "\(Format.count(level.tables, "table")), \(Format.count(level.entries, "entry", "entries"))"
    if level.deletes > 0 { text += ", \(Format.count(level.deletes, "deletion"))" }
    if level.rangeTombstones > 0 {
      text += ", \(Format.count(level.rangeTombstones, "range deletion"))"
    }
    if level.targetBytes > 0 { text += ", full at \(Format.bytes(level.targetBytes))" }
    return text
  }

  /// Blocks of an eighth of a column; what is there is never drawn as nothing.
  private static func bar(_ bytes: Int64, _ largest: Int64) -> String {
    guard bytes > 0, largest > 0 else { return "" }
    let eighths = max(1, Int(Double(bytes) / Double(largest) * Double(barWidth * 8)))
    let parts = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"]
    return String(repeating: "█", count: eighths / 8) + parts[eighths % 8]
  }

  private static func whole(_ s: StoreStatistics) -> [String] {
    var lines = [
      "log          \(Format.count(s.logSegments, "segment")), \(Format.bytes(s.logBytes)); "
        + "\(Format.count(s.syncs, "sync", "syncs")) since it was opened"
    ]
    let recovery = s.recovery
    lines.append(
      "recovery     \(Format.count(recovery.records, "record")), "
        + "\(Format.count(recovery.operations, "operation")) replayed from "
        + "\(Format.bytes(recovery.bytes)) of log"
    )
    if let tail = recovery.tornTail {
      lines.append(
        "             an unfinished end was cut off: \(Format.bytes(tail.byteCount)) of "
          + "\(tail.file) "
          + "from offset \(tail.offset)")
    }
    lines.append(
      "flushes      \(Format.count(s.flushes)), \(Format.bytes(s.flushedBytes)); compactions "
        + "\(Format.count(s.compactions)), \(Format.bytes(s.compactionBytesRead)) read, "
        + "\(Format.bytes(s.compactionBytesWritten)) written; "
        + "\(Format.count(s.tableMoves, "table")) moved"
    )
    let asked = s.cacheHits + s.cacheMisses
    let rate = asked > 0 ? ", \(s.cacheHits * 100 / asked) % hits of \(Format.count(asked))" : ""
    lines.append(
      "cache        \(Format.bytes(s.cacheBytes))\(rate); "
        + "\(Format.count(s.openTables, "table")) open"
    )
    lines += stalls(s.stalls)
    if s.snapshots.isEmpty { lines.append("snapshots    none held") }
    for snapshot in s.snapshots {
      lines.append(
        "snapshot     at sequence \(Format.count(snapshot.sequence)), held for "
          + Format.duration(nanoseconds: snapshot.ageNanoseconds))
    }
    if let failure = s.failure { lines.append("FAILED       " + Failure.line(failure)) }
    return lines
  }

  private static func stalls(_ stalls: StallTimes) -> [String] {
    guard stalls.count > 0 else { return ["stalls       none"] }
    var reasons: [String] = []
    if stalls.flush > 0 {
      reasons.append("\(Format.duration(nanoseconds: stalls.flush)) for flushes")
    }
    if stalls.compaction > 0 {
      reasons.append("\(Format.duration(nanoseconds: stalls.compaction)) for compaction of level 0")
    }
    if stalls.slowdown > 0 {
      reasons.append("\(Format.duration(nanoseconds: stalls.slowdown)) slowed down as level 0 grew")
    }
    return ["stalls       \(Format.count(stalls.count)): " + reasons.joined(separator: ", ")]
  }
}
