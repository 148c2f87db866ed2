import RoostEnvironment

/// Keeps commits and the collection of old versions in one store apart: a commit reads a key's newest
/// version and replaces it, and nobody may remove that version in between.
///
/// Any number of commits go side by side, since their keys are locked by their transactions. A collection
/// waits for those that have begun, and those that come wait for it: for one small batch.
///
/// Thread-safe.
package final class VersionGate: @unchecked Sendable {
  private let lock = Lock()
  private let changed: Condition
  // Guarded by `lock`.
  private var commits = 0
  private var isCollecting = false

  package init() { changed = Condition(lock) }

  /// Runs a commit: from the reading of newest versions to the writing of the batch.
  package func committing<R: ~Copyable, E: Error>(_ body: () throws(E) -> R) throws(E) -> R {
    lock.withLock {
      while isCollecting { changed.wait() }
      commits += 1
    }
    defer {
      lock.withLock { commits -= 1 }
      changed.broadcast()
    }
    return try body()
  }

  func collecting<R: ~Copyable, E: Error>(_ body: () throws(E) -> R) throws(E) -> R {
    lock.withLock {
      while isCollecting { changed.wait() }
      isCollecting = true
      while commits > 0 { changed.wait() }
    }
    defer {
      lock.withLock { isCollecting = false }
      changed.broadcast()
    }
    return try body()
  }
}
