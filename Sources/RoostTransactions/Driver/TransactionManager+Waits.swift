package import RoostCausality
package import RoostCluster

extension TransactionManager {
  /// Waits before another try: longer with each, and by chance, so that those that met do not meet
  /// again.
  ///
  /// - Throws: `.closed`.
  package func pause(afterAttempt attempt: Int) async throws(DatabaseError) {
    let longest = min(UInt64(1) << UInt64(min(attempt, 7)), 100)
    let wait = randomNumber() % longest + 1
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
      afterMilliseconds(wait) { continuation.resume() }
    }
    try core.shared.throwIfClosed()
  }

  /// The time a snapshot reads at.
  ///
  /// - Throws: `.snapshotTooOld`, `.clockOutOfBound`.
  package func moment(_ wish: Timestamp?) throws(DatabaseError) -> Timestamp {
    let now = try now()
    guard let wish else { return now }
    if wish > now { try core.shared.observe(wish) }
    let retention = options.versionRetention.wholeMilliseconds
    guard wish.milliseconds + retention >= now.milliseconds else {
      throw DatabaseError(
        .snapshotTooOld,
        "a snapshot of \(now.milliseconds - wish.milliseconds) ms ago; versions are kept for "
          + "\(options.versionRetention)")
    }
    return wish
  }
}
