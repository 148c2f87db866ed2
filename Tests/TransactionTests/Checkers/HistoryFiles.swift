import Foundation

/// Writes histories for outside checkers into the directory that `ROOST_HISTORIES` names, if it does:
/// one file a run, `lists-SEED.jsonl` for Elle's list-append and `registers-SEED.jsonl` for its
/// rw-register.
enum HistoryFiles {
  static func write(_ histories: [HistoryKind: History], seed: UInt64) throws {
    guard let directory = ProcessInfo.processInfo.environment["ROOST_HISTORIES"] else { return }
    for (kind, history) in histories {
      let path = "\(directory)/\(kind)-\(seed).jsonl"
      try history.jsonLines.write(toFile: path, atomically: false, encoding: .utf8)
    }
  }
}
