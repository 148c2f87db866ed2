import RoostEnvironment
import Synchronization

/// Tells those who follow changes of a database's keyspaces that there are new ones, in any of them.
///
/// A write costs one load while nobody follows. Thread-safe.
package final class ChangeSignal: Sendable {
  private let lock = Lock()
  private let waiting = Atomic<Int>(0)
  private let state = WaiterList()

  package init() {}

  /// What wakes one waiter; called once.
  package typealias Wake = @Sendable () -> Void

  private final class WaiterList: @unchecked Sendable {
    // Guarded by the signal's lock.
    var generation: UInt64 = 0
    var waiters: [UInt64: Wake] = [:]
    var nextID: UInt64 = 1
  }

  /// How many changes were signalled while someone waited. Take it, look for changes, then wait for
  /// a later one: nothing that came in between is missed.
  package var generation: UInt64 { lock.withLock { state.generation } }

  /// Announces that someone is going to wait, so that changes are signalled from now on.
  package func beginFollowing() { waiting.wrappingAdd(1, ordering: .sequentiallyConsistent) }
  package func endFollowing() { waiting.wrappingSubtract(1, ordering: .sequentiallyConsistent) }

  /// Calls `wake` at the next change after `generation`; at once where there was one.
  ///
  /// - Returns: what to cancel with; 0 where it was called at once.
  package func wait(after generation: UInt64, _ wake: @escaping Wake) -> UInt64 {
    let id = lock.withLock { () -> UInt64 in
      if state.generation != generation { return 0 }
      let id = state.nextID
      state.nextID += 1
      state.waiters[id] = wake
      return id
    }
    if id == 0 { wake() }
    return id
  }

  /// Calls a waiter at once, unless it was called already.
  package func cancel(_ id: UInt64) {
    let wake = lock.withLock { state.waiters.removeValue(forKey: id) }
    wake?()
  }

  /// There is a change.
  @inline(__always)
  func changed() {
    if waiting.load(ordering: .sequentiallyConsistent) != 0 { wakeAll() }
  }

  /// Wakes everyone, as at closing.
  package func wakeAll() {
    let wakes = lock.withLock { () -> [Wake] in
      state.generation &+= 1
      defer { state.waiters = [:] }
      return Array(state.waiters.values)
    }
    for wake in wakes { wake() }
  }
}
