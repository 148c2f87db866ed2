package import RoostCausality
package import RoostCluster

extension TransactionManager {
  /// Waits before another try: longer with each, and by chance, so that those that met do not meet
  /// again.
  ///
  /// - Throws: `.closed`.
  package func pause(afterAttempt attempt: Int) async throws(DatabaseError) {
    let wait = pauseMilliseconds(afterAttempt: attempt)
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
      afterMilliseconds(wait) { continuation.resume() }
    }
    try core.shared.throwIfClosed()
  }

  func pauseMilliseconds(afterAttempt attempt: Int) -> UInt64 {
    let longest = min(UInt64(1) << UInt64(min(attempt, 7)), 100)
    return randomNumber() % longest + 1
  }

  /// Whether a read at a store failed because its partition was given up, or the store left, since it was
  /// looked up.
  package func mustLookAgain(_ error: DatabaseError) -> Bool {
    error.code == .busy || (error.code == .closed && !core.shared.isClosed && !isClosed)
  }

  /// Until when a read waits for a partition that is being handed over.
  package var readDeadline: UInt64 { services.monotonicMilliseconds + services.times.lockWaitMilliseconds }

  /// Until when a transaction that meets partitions on their way is begun anew, beyond the tries it has.
  package var moveDeadline: UInt64 {
    services.monotonicMilliseconds + 2 * services.times.durationMilliseconds
  }

  package func isBefore(_ deadline: UInt64) -> Bool { services.monotonicMilliseconds < deadline }

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
