import RoostCluster
import RoostEnvironment

/// Names of keyspaces that the directory has just been asked for in vain: a client that asks for one again
/// and again does not keep a thread, and the directory, busy with it. Thread-safe.
final class MissedNames: @unchecked Sendable {
  /// How long nothing is asked, after which a keyspace that others have made meanwhile is found.
  static let milliseconds: UInt64 = 1_000
  static let mostNames = 1_024

  private struct Miss {
    var error: DatabaseError
    var until: UInt64
  }

  private let lock = Lock()
  // Guarded by `lock`.
  private var misses: [String: Miss] = [:]

  /// Why there is no need to ask for a name now, if so.
  func miss(of name: String, at now: UInt64) -> DatabaseError? {
    lock.withLock {
      guard let miss = misses[name] else { return nil }
      if now < miss.until { return miss.error }
      misses[name] = nil
      return nil
    }
  }

  /// - Parameter error: that it is not there, or that the directory did not answer.
  func note(_ error: DatabaseError, of name: String, at now: UInt64) {
    lock.withLock {
      if misses.count >= Self.mostNames { misses = misses.filter { now < $0.value.until } }
      if misses.count >= Self.mostNames { misses = [:] }
      misses[name] = Miss(error: error, until: now &+ Self.milliseconds)
    }
  }
}
