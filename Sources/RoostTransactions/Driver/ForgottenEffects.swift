import RoostCausality
import RoostEnvironment

/// Transactions whose effects are all done, and whose marks are gone. Who tells one of their effects told it
/// before: the message was on its way for long, or comes twice. It must not be done again.
///
/// Kept in memory only: a message is for one process of a store, and does not outlive it.
///
/// Those of long ago are known by a time alone, so that no more are kept than a limit. A coordinator's clock
/// never goes back: what it told of them it told before that time. Effects of others that were told before it
/// are taken for theirs; they are told again, later.
///
/// Thread-safe.
final class ForgottenEffects: @unchecked Sendable {
  private let limit: Int
  private let lock = Lock()
  // Guarded by `lock`.
  /// What came last, and what came before that: the older half goes when the newer one is full.
  private var newer: Set<TransactionID> = []
  private var older: Set<TransactionID> = []
  /// When the last of either was told to be forgotten.
  private var newerUntil = Timestamp.zero
  private var olderUntil = Timestamp.zero
  /// What was told up to then may be of one that is not kept any more.
  private var horizon = Timestamp.zero

  /// - Parameter limit: how many are known by themselves, at most.
  init(limit: Int = 1 << 15) { self.limit = max(2, limit) }

  /// Notes one, before its marks go.
  ///
  /// - Parameter told: when its coordinator said so, by the coordinator's clock.
  func add(_ transaction: TransactionID, told: Timestamp) {
    lock.withLock {
      if newer.count >= limit / 2 {
        horizon = max(horizon, olderUntil)
        (older, olderUntil) = (newer, newerUntil)
        (newer, newerUntil) = ([], .zero)
      }
      newer.insert(transaction)
      newerUntil = max(newerUntil, told)
    }
  }

  /// Whether a transaction's effects are all done, and its marks may be gone. To be asked once a mark was
  /// looked for: it may go meanwhile.
  func contains(_ transaction: TransactionID) -> Bool {
    lock.withLock { newer.contains(transaction) || older.contains(transaction) }
  }

  /// Whether what was told at a time may be of one that is not kept any more. To be asked after
  /// ``contains(_:)``.
  ///
  /// - Parameter told: by the coordinator's clock.
  func isPassed(_ told: Timestamp) -> Bool { lock.withLock { told <= horizon } }
}
