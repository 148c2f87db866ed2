import RoostEnvironment
import Synchronization

/// Keeps commits and the collection of old versions in one store apart: a commit reads a key's newest
/// version and replaces it, and nobody may remove that version in between.
///
/// Any number of commits go side by side, since their keys are locked by their transactions. A collection
/// waits for those that have begun, and those that come wait for it: for one small batch.
///
/// It also knows which keys of a partition that is being moved were committed to: the mover has to bring
/// those after the rest.
///
/// Thread-safe.
package final class VersionGate: @unchecked Sendable {
  private let lock = Lock()
  private let changed: Condition
  // Guarded by `lock`.
  private var commits = 0
  private var isCollecting = false
  /// The partition that is followed, and what was committed to there.
  private var followed: Int?
  private var written: Set<WrittenKey> = []
  /// A copy of `followed`, -1 for none: commits look at it without the lock.
  private let followedHint = Atomic<Int>(-1)

  package init() { changed = Condition(lock) }

  // MARK: - Following a partition that moves

  /// A key that was committed to, by the name of its keyspace.
  struct WrittenKey: Hashable, Sendable {
    var keyspace: String
    var key: [UInt8]
  }

  /// Begins to note which keys of a partition are committed to, all others' are forgotten; `nil` ends it.
  func follow(_ partition: Int?) {
    // A commit that has begun is in the store before the first key is copied.
    collecting {
      lock.withLock {
        followed = partition
        written = []
        followedHint.store(partition ?? -1, ordering: .releasing)
      }
    }
  }

  /// Notes a key. Within ``committing(_:)``.
  func note(_ keyspace: String, _ partition: Int, _ key: [UInt8]) {
    if followedHint.load(ordering: .acquiring) != partition { return }
    lock.withLock {
      if followed == partition { written.insert(WrittenKey(keyspace: keyspace, key: key)) }
    }
  }

  /// How many keys are noted.
  var writtenCount: Int { lock.withLock { written.count } }

  /// What was noted, once it is in the store; it is noted no more.
  func takeWritten() -> Set<WrittenKey> {
    collecting {
      lock.withLock {
        defer { written = [] }
        return written
      }
    }
  }

  /// Notes keys again that could not be brought over.
  func putBack(_ keys: Set<WrittenKey>, of partition: Int) {
    lock.withLock { if followed == partition { written.formUnion(keys) } }
  }

  // MARK: - Commits and collections

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
