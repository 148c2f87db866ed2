// Leveled compaction with dynamic level sizes (as RocksDB's
// `level_compaction_dynamic_level_bytes`):
//
// 1. The deepest level that has data is the bottom; its size sets the others' targets, each a tenth
//    of the one below, down to `baseBytes`. The shallowest level with a target is the base level:
//    level 0 is compacted into it. So the bottom holds about nine tenths of the data, and space
//    amplification stays near 1.1.
// 2. Level 0 scores its file count over the trigger, the others their bytes over their target. The
//    highest score of at least 1 is compacted.
// 3. From level 0 all files go, because they overlap. From a deeper level goes the file whose
//    overlap with the next level is the least for its size.
// 4. A file that overlaps nothing in the next level is moved by an edit alone.

/// A compaction that is worth doing: what goes in and where it comes out.
struct CompactionPlan {
  enum Reason: String { case level0, levelSize, manual, level0Move }

  /// Files by level, shallowest first. Level 0's are newest first, the others in key order.
  var inputs: [(level: Int, files: [TableFile])]
  var outputLevel: Int
  /// Files of the level below the output that the output may overlap: outputs are cut at them.
  var grandparents: [TableFile]
  /// The file needs no rewriting: the edit moves it.
  var isTrivialMove: Bool
  var reason: Reason

  var inputFiles: [TableFile] { inputs.flatMap(\.files) }
  var inputBytes: Int64 { inputFiles.reduce(0) { $0 + $1.metadata.byteCount } }
}

/// Decides what to compact next: a pure function of a tree's levels.
struct CompactionPicker {
  /// Level-0 files at which they are compacted.
  static let level0Trigger = 4
  /// Ratio of neighbouring levels' targets.
  static let levelRatio: Int64 = 10

  var tableBytes: Int64
  /// The least target a level may have.
  var baseBytes: Int64

  init(_ options: TreeOptions, memtableBytes: Int) {
    tableBytes = Int64(options.tableBytes)
    baseBytes = max(Int64(memtableBytes) * Int64(Self.level0Trigger), 4 * Int64(options.tableBytes))
  }

  /// Where level 0 goes, and the target size of each level (0 for those above the base level).
  func targets(_ levels: [Level]) -> (base: Int, bytes: [Int64]) {
    let deepest = VersionEdit.deepestLevel
    var bytes = [Int64](repeating: 0, count: deepest + 1)
    let bottom = levels[deepest].byteCount
    let shallowest = levels.indices.dropFirst().first { !levels[$0].files.isEmpty } ?? deepest
    var base = deepest
    bytes[deepest] = max(bottom, baseBytes)
    var target = bottom
    while base > 1, target > baseBytes {
      target /= Self.levelRatio
      base -= 1
      bytes[base] = max(target, baseBytes / Self.levelRatio)
    }
    // A level above the base that still has data (the bottom shrank) must drain: it keeps being the
    // base.
    if shallowest < base {
      for level in shallowest..<base { bytes[level] = baseBytes / Self.levelRatio }
      base = shallowest
    }
    return (base, bytes)
  }

  /// The compaction with the highest score, or `nil` where nothing is due.
  func pick(_ levels: [Level]) -> CompactionPlan? {
    let (base, targets) = targets(levels)
    var best: (level: Int, score: Double)?
    let level0Score = Double(levels[0].count) / Double(Self.level0Trigger)
    if level0Score >= 1 { best = (0, level0Score) }
    for level in base..<VersionEdit.deepestLevel where targets[level] > 0 {
      let score = Double(levels[level].byteCount) / Double(targets[level])
      if score > 1, score > best?.score ?? 0 { best = (level, score) }
    }
    guard let best else { return nil }
    return best.level == 0
      ? planLevel0(levels, base: base) : planLevel(best.level, levels)
  }

  /// Bytes that wait for compaction beyond the targets: what slows writers down.
  func debt(_ levels: [Level]) -> Int64 {
    let (base, targets) = targets(levels)
    var debt = levels[0].count > Self.level0Trigger ? levels[0].byteCount : 0
    for level in base..<VersionEdit.deepestLevel {
      debt += max(0, levels[level].byteCount - targets[level])
    }
    return debt
  }

  private func planLevel0(_ levels: [Level], base: Int) -> CompactionPlan {
    let files = levels[0].files
    // Ascending fills give files that overlap nothing: the oldest can move as it is.
    let oldest = files[files.count - 1]
    let others = files.dropLast()
    if mayMove(oldest, to: base, levels), !others.contains(where: { $0.overlaps(oldest) }),
      !levels[base].files.contains(where: { $0.overlaps(oldest) })
    {
      return CompactionPlan(
        inputs: [(0, [oldest])], outputLevel: base, grandparents: [], isTrivialMove: true,
        reason: .level0Move)
    }
    let below = spanned(by: files, in: levels[base])
    return CompactionPlan(
      inputs: [(0, files)] + (below.isEmpty ? [] : [(base, below)]), outputLevel: base,
      grandparents: grandparents(files + below, levels, base), isTrivialMove: false, reason: .level0)
  }

  /// The level's files between the least and the greatest key of `files`. An output file may span
  /// the gap between two inputs, so whatever lies in the gap at the output level must go in as
  /// well.
  private func spanned(by files: [TableFile], in level: Level) -> [TableFile] {
    guard var least = files.first?.smallest, var greatest = files.first else { return [] }
    for file in files.dropFirst() {
      if file.smallest < least { least = file.smallest }
      if greatest.largest < file.largest
        || (greatest.largest == file.largest && greatest.largestIsExclusive)
      {
        greatest = file
      }
    }
    return level.files.filter { !$0.endsBefore(least) && !greatest.endsBefore($0.smallest) }
  }

  private func planLevel(_ level: Int, _ levels: [Level]) -> CompactionPlan {
    let next = levels[level + 1]
    var chosen = levels[level].files[0]
    var least = Double.infinity
    for file in levels[level].files {
      var overlap: Int64 = 0
      var index = next.index(for: file.smallest)
      while index < next.count, next.files[index].overlaps(file) {
        overlap += next.files[index].metadata.byteCount
        index += 1
      }
      let ratio = Double(overlap) / Double(max(file.metadata.byteCount, 1))
      if ratio < least {
        least = ratio
        chosen = file
      }
    }
    let below = next.files.filter { $0.overlaps(chosen) }
    let further = grandparents([chosen] + below, levels, level + 1)
    let overlapBytes = further.reduce(0) { $0 + $1.metadata.byteCount }
    return CompactionPlan(
      inputs: [(level, [chosen])] + (below.isEmpty ? [] : [(level + 1, below)]),
      outputLevel: level + 1, grandparents: further,
      isTrivialMove: below.isEmpty && overlapBytes <= Self.levelRatio * tableBytes
        && mayMove(chosen, to: level + 1, levels),
      reason: .levelSize)
  }

  /// Deletions with nothing below them hide nothing: a merge drops them, a move would keep them for
  /// ever.
  private func mayMove(_ file: TableFile, to level: Int, _ levels: [Level]) -> Bool {
    if file.metadata.deleteCount == 0, file.metadata.rangeTombstoneCount == 0 { return true }
    return levels[(level + 1)...].contains { level in
      level.files.contains { $0.overlaps(file) }
    }
  }

  private func grandparents(_ files: [TableFile], _ levels: [Level], _ output: Int) -> [TableFile] {
    guard output + 1 < levels.count else { return [] }
    return levels[output + 1].files.filter { file in files.contains { $0.overlaps(file) } }
  }

  /// One merge of everything that overlaps `range`, into the deepest level that has any of it: what
  /// a caller asks for. `nil` where a merge would change nothing: one sorted run without deletions
  /// or old versions.
  func planManual(_ range: KeyRange, _ levels: [Level]) -> CompactionPlan? {
    let (base, _) = targets(levels)
    let deepest = max(
      levels.lastIndex { level in level.files.contains { $0.overlaps(range) } } ?? 0, base)
    var inputs: [(level: Int, files: [TableFile])] = []
    // Level 0 files overlap one another, and an older one must never stay above a newer one's
    // output: all of them go. The range then grows to what they cover.
    var bounds: [TableFile] = []
    for level in levels.indices where level <= deepest {
      let files: [TableFile]
      if level == 0 {
        files = levels[0].files.contains { $0.overlaps(range) } ? levels[0].files : []
      } else {
        let touched = levels[level].files.filter { file in
          file.overlaps(range) || bounds.contains { $0.overlaps(file) }
        }
        files = level == deepest ? spanned(by: bounds + touched, in: levels[level]) : touched
      }
      if !files.isEmpty { inputs.append((level, files)) }
      bounds += files
    }
    guard !inputs.isEmpty else { return nil }
    let settled =
      inputs.count == 1 && inputs[0].level == deepest && deepest > 0
      && inputs[0].files.allSatisfy {
        $0.metadata.deleteCount == 0 && $0.metadata.rangeTombstoneCount == 0
          && $0.metadata.largestSequence == 0
      }
    if settled { return nil }
    return CompactionPlan(
      inputs: inputs, outputLevel: deepest,
      grandparents: grandparents(bounds, levels, deepest), isTrivialMove: false, reason: .manual)
  }
}
