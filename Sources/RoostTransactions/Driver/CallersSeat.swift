import RoostEnvironment
import Synchronization

/// Decides when a caller may wait for the sync of its own commit, in place of the store's worker.
///
/// Callers are tasks, and their threads few: a thread that waits serves no other task (rule 16). Going to
/// the worker and back, though, costs two wake-ups of sleeping threads, as much as a quick disk's sync.
/// So one waits where that is short and leaves others to serve:
///
/// 1. The processor has another core, and of all threads of the process half as many as there are cores
///    wait at most.
/// 2. The store's last sync was no longer than ``longestNanoseconds``. Where a disk turns slow, one caller
///    finds that out.
/// 3. The caller is on no actor: nobody waits for it but who called it. That is the face's to say.
///
/// Thread-safe.
final class CallersSeat: Sendable {
  static let longestNanoseconds: UInt64 = 1_000_000

  /// Of all stores and databases of the process.
  private static let waiting = Atomic<Int>(0)
  private static let most = Processors.count / 2

  private let lastNanoseconds = Atomic<UInt64>(0)

  /// - Returns: whether the caller may wait; ``leave()`` must follow then.
  func take() -> Bool {
    guard lastNanoseconds.load(ordering: .relaxed) <= Self.longestNanoseconds else { return false }
    if Self.waiting.wrappingAdd(1, ordering: .relaxed).oldValue < Self.most { return true }
    leave()
    return false
  }

  func leave() { Self.waiting.wrappingSubtract(1, ordering: .relaxed) }

  /// Notes how long a sync took, wherever it was done.
  func synced(_ nanoseconds: UInt64) { lastNanoseconds.store(nanoseconds, ordering: .relaxed) }
}
