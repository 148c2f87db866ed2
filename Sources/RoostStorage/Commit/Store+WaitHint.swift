import RoostEnvironment
import Synchronization

extension Store {
  /// Whether a write that began now would likely wait or be slowed down: for a flush, for a
  /// compaction, for a sync of the log or for its next segment.
  ///
  /// A hint for asynchronous callers, who write at once while it is `false` and move the write to a
  /// worker thread while it is `true` (rule 16). It may be wrong either way: others write meanwhile,
  /// and a write of many bytes may meet what a small one would not. It says nothing of a disk that
  /// is slow, nor of the sync that a `.synced` write asks for.
  ///
  /// Thread-safe: relaxed loads only, no lock. O(1).
  package var mayWait: Bool {
    if pressure.delayNanosecondsPerKiB > 0 || pressure.isSet || pressure.isSyncing || log.isEnding
      || shared.strainedTrees.count > 0
    {
      return true
    }
    // A little before the marks of `makeMemoryRoom`, for the bytes of the write itself.
    let memory = shared.memory
    let budget = options.memoryBudgetBytes
    if memory.byteCount > budget / 4 * 3 { return true }
    let waiting = memory.waitingBytes
    return waiting > 0 && memory.byteCount &- waiting > budget / 16 * 7
  }
}

/// How many trees have both a nearly full memtable and one that waits for its flush: the next
/// rotation would wait. Thread-safe.
final class StrainedTrees: Sendable {
  private let trees = Atomic<Int>(0)

  var count: Int { trees.load(ordering: .relaxed) }

  fileprivate func add(_ change: Int) { trees.wrappingAdd(change, ordering: .relaxed) }
}

/// One tree's part in ``StrainedTrees``.
///
/// Thread-safe: the commit leader says when the active memtable fills, a flush when none waits any
/// more, each without the other's lock; who completes a change of both counts it.
struct TreeStrain: ~Copyable, Sendable {
  struct Reasons: OptionSet {
    var rawValue: UInt8
    static let nearlyFull = Reasons(rawValue: 1)
    static let waitsForFlush = Reasons(rawValue: 2)
    static let both: Reasons = [.nearlyFull, .waitsForFlush]
  }

  private let reasons = Atomic<UInt8>(0)
  private let all: StrainedTrees

  init(_ all: StrainedTrees) { self.all = all }

  func insert(_ reason: Reasons) {
    let (old, new) = reasons.bitwiseOr(reason.rawValue, ordering: .relaxed)
    count(old, new)
  }

  func remove(_ reason: Reasons) {
    let (old, new) = reasons.bitwiseAnd(~reason.rawValue, ordering: .relaxed)
    count(old, new)
  }

  private func count(_ old: UInt8, _ new: UInt8) {
    let (was, now) = (old == Reasons.both.rawValue, new == Reasons.both.rawValue)
    if was != now { all.add(now ? 1 : -1) }
  }
}
