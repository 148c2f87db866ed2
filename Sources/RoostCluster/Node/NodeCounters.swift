import RoostEnvironment
import Synchronization

/// What a node counts. Thread-safe.
final class NodeCounters: @unchecked Sendable {
  private let requests = Atomic<Int>(0)
  private let isDraining = Atomic<Bool>(false)
  private let lock = Lock()
  // Guarded by `lock`.
  private var drained: [@Sendable () -> Void] = []
  let writes = Atomic<UInt64>(0)
  let reads = Atomic<UInt64>(0)
  let indeterminateWrites = Atomic<UInt64>(0)
  let unavailableReads = Atomic<UInt64>(0)
  let repairs = Atomic<UInt64>(0)
  /// Messages that were sent again by a newer ring.
  let staleRings = Atomic<UInt64>(0)
  let failedRenewals = Atomic<UInt64>(0)
  let hintBytesSent = Atomic<UInt64>(0)
  let reaped = Atomic<UInt64>(0)
  let reapsPutOff = Atomic<UInt64>(0)
  let lateStates = Atomic<UInt64>(0)

  /// Calls of clients that have entered and not left.
  var inHand: Int { requests.load(ordering: .relaxed) }

  enum Entry {
    case entered
    case full
    case draining
  }

  func enter(limit: Int) -> Entry {
    // Before the look at the word: either this sees it, or who sets it sees this.
    let count = requests.wrappingAdd(1, ordering: .sequentiallyConsistent).newValue
    if isDraining.load(ordering: .sequentiallyConsistent) {
      leave()
      return .draining
    }
    if count <= limit { return .entered }
    leave()
    return .full
  }

  func leave() {
    let count = requests.wrappingSubtract(1, ordering: .sequentiallyConsistent).newValue
    if count == 0, isDraining.load(ordering: .sequentiallyConsistent) { tellDrained() }
  }

  /// Lets nobody enter any more, and calls `done` once the last has left.
  func drain(_ done: @escaping @Sendable () -> Void) {
    lock.withLock { drained.append(done) }
    isDraining.store(true, ordering: .sequentiallyConsistent)
    if requests.load(ordering: .sequentiallyConsistent) == 0 { tellDrained() }
  }

  private func tellDrained() {
    let all = lock.withLock {
      defer { drained = [] }
      return drained
    }
    for done in all { done() }
  }

  /// Requests that this node may have handed on at a time: half of what another one takes of it.
  private static let handedOnLimit = 128
  private let handedOn = Atomic<Int>(0)

  /// - Returns: `false` where there are too many already.
  func enterHandingOn() -> Bool {
    if handedOn.wrappingAdd(1, ordering: .relaxed).newValue <= Self.handedOnLimit { return true }
    leaveHandingOn()
    return false
  }

  func leaveHandingOn() { handedOn.wrappingSubtract(1, ordering: .relaxed) }
}
