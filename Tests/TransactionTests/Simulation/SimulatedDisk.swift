import RoostEnvironment
import TestSupport

/// What a disk holds: a function of the operations done to it.
protocol DiskState {
  associatedtype Operation
  mutating func apply(_ operation: Operation)
}

/// What a crash leaves of the operations that were not yet durable: always a beginning of them.
enum CrashLoss {
  case random
  case everything
  case nothing
  /// The process died, the machine did not: what was written stays, what was being written may.
  case process
}

/// A disk that does its operations in order. A forced one makes itself and all before it durable; a
/// crash loses some end of the others.
struct SimulatedDisk<State: DiskState> {
  struct Pending {
    var operation: State.Operation
    var isForced: Bool
  }

  private(set) var live: State
  private(set) var durable: State
  private var unsynced: [State.Operation] = []
  private var queue: [Pending] = []
  /// What failed: after the next restart it is there, or it is not.
  private var limbo: [State.Operation] = []
  private(set) var isFailed = false
  /// When the last operation will be done.
  var busyUntil: UInt64 = 0

  init(_ state: State) {
    live = state
    durable = state
  }

  mutating func enqueue(_ operation: State.Operation, isForced: Bool) {
    queue.append(Pending(operation: operation, isForced: isForced))
  }

  /// Does the operation that has waited longest.
  ///
  /// - Returns: the operations that are durable now, this one or earlier ones; `nil` if it failed.
  mutating func finishNext(fails: Bool) -> [State.Operation]? {
    let next = queue.removeFirst()
    if fails || isFailed {
      isFailed = true
      limbo.append(next.operation)
      return nil
    }
    live.apply(next.operation)
    unsynced.append(next.operation)
    guard next.isForced else { return [] }
    let done = unsynced
    for operation in done { durable.apply(operation) }
    unsynced = []
    return done
  }

  mutating func crash(_ loss: CrashLoss, _ random: inout SplitMix64) {
    let under = limbo + queue.map(\.operation)
    let all = unsynced + under
    let kept =
      switch loss {
      case .random: random.below(all.count + 1)
      case .everything: 0
      case .nothing: all.count
      case .process: unsynced.count + random.below(under.count + 1)
      }
    for operation in all.prefix(kept) { durable.apply(operation) }
    live = durable
    unsynced = []
    queue = []
    limbo = []
    isFailed = false
    busyUntil = 0
  }
}
