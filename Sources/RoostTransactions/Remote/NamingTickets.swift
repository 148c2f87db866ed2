import RoostCluster
import RoostEnvironment

/// Commits that choose who does their effects, and have not told the coordinator yet: by which revision of
/// the ring each goes, at least. So whoever asks whether a member is named by an older ring learns of those
/// on their way too.
///
/// Thread-safe.
final class NamingTickets: @unchecked Sendable {
  private let lock = Lock()
  // Guarded by `lock`.
  private var counts: [UInt64: Int] = [:]

  /// Runs `body`, which looks at the ring and gives the coordinator what it chose.
  ///
  /// - Parameter revision: of the ring, looked at before `body` does.
  func choosing<R>(by revision: UInt64, _ body: () throws(DatabaseError) -> R) throws(DatabaseError) -> R {
    lock.withLock { counts[revision, default: 0] += 1 }
    defer {
      lock.withLock {
        let left = counts[revision, default: 1] - 1
        counts[revision] = left > 0 ? left : nil
      }
    }
    return try body()
  }

  /// How many may go by a ring of before that revision.
  func count(before revision: UInt64) -> Int {
    lock.withLock { counts.reduce(0) { $0 + ($1.key < revision ? $1.value : 0) } }
  }
}
