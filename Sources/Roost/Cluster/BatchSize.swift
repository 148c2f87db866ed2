import RoostEnvironment

/// How many keys a transaction writes that is one of several in a row. Each key is a message there and back,
/// and nobody knows beforehand how far the node is and what it allows: it is learnt from those before.
///
/// 1. It begins with few keys.
/// 2. It doubles while a transaction takes less than a second: well below what nodes allow
///    (``TransactionOptions/longestDuration``).
/// 3. It halves where one was too much, and that many keys are tried again; down to a single one.
/// 4. After that a number of them must go well before it doubles again.
///
/// Thread-safe.
package final class BatchSize: @unchecked Sendable {
  private static let first = 50
  /// Well below what nodes allow where nothing else is said (``TransactionOptions/mostKeys``).
  private static let most = 1_000
  private static let longMilliseconds: UInt64 = 1_000
  /// Transactions that go well after one that did not, before a larger one.
  private static let quietCount = 32

  private let lock = Lock()
  // Guarded by `lock`.
  private var keys = BatchSize.first
  private var quietLeft = 0

  package init() {}

  /// Keys of the next transaction.
  package var keyCount: Int { lock.withLock { keys } }

  /// Notes that a transaction of so many keys has committed.
  package func noteCommit(of count: Int, milliseconds: UInt64) {
    lock.withLock {
      // One that was smaller for another reason says nothing of a larger one.
      guard count >= keys, milliseconds < Self.longMilliseconds else { return }
      if quietLeft > 0 { quietLeft -= 1 } else { keys = min(keys * 2, Self.most) }
    }
  }

  /// Notes that so many keys were too much for one transaction.
  ///
  /// - Returns: whether fewer can be tried.
  package func noteTooMuch(of count: Int) -> Bool {
    guard count > 1 else { return false }
    lock.withLock {
      keys = max(1, min(keys, count / 2))
      quietLeft = Self.quietCount
    }
    return true
  }

  /// Writes entries by one transaction after the other, each of them of as many keys as there may be then.
  ///
  /// - Parameters:
  ///   - mostBytes: of one that has more than one key.
  ///   - now: a clock, in milliseconds.
  ///   - write: writes some of them, and returns `nil`; or why these are too many for one transaction, when
  ///     none of them is written.
  /// - Throws: what `write` throws; what it returns for a single entry; `CancellationError`, between two of
  ///   them.
  package func forEachPart(
    of entries: [(key: [UInt8], value: [UInt8])], mostBytes: Int, now: () -> UInt64,
    _ write: (ArraySlice<(key: [UInt8], value: [UInt8])>) async throws -> (any Error)?
  ) async throws {
    var rest = entries[...]
    while !rest.isEmpty {
      try Task.checkCancellation()
      var (count, bytes) = (0, 0)
      for entry in rest.prefix(keyCount) {
        bytes += entry.key.count + entry.value.count
        if count > 0, bytes > mostBytes { break }
        count += 1
      }
      let begun = now()
      if let problem = try await write(rest.prefix(count)) {
        guard noteTooMuch(of: count) else { throw problem }
      } else {
        noteCommit(of: count, milliseconds: now() &- begun)
        rest = rest.dropFirst(count)
      }
    }
  }
}
