import RoostEnvironment

/// Does one step after the other, each of which ends at once or later, on whatever thread: without a thread
/// that waits, and without a stack that grows with their number.
///
/// What follows a step that ended later is done by a worker: a step may wait for a disk, and who brought the
/// answer may be a thread of the network, or the one that keeps time. Thread-safe.
final class Steps: @unchecked Sendable {
  /// Calls its argument, once, where another step is to follow: perhaps before it returns.
  typealias Step = @Sendable (_ next: @escaping @Sendable () -> Void) -> Void

  private enum State {
    case stepping
    /// The step has called back before it returned.
    case goesOn
    /// It has returned, and will call back, or was the last.
    case waiting
  }

  private let step: Step
  private let workers: any Workers
  private let lock = Lock()
  // Guarded by `lock`.
  private var state = State.waiting

  private init(_ workers: any Workers, _ step: @escaping Step) {
    self.workers = workers
    self.step = step
  }

  /// Does the first step on the calling thread.
  static func run(on workers: any Workers, _ step: @escaping Step) { Steps(workers, step).run() }

  private func run() {
    while true {
      lock.withLock { state = .stepping }
      step { [self] in resume() }
      let goesOn = lock.withLock {
        if case .goesOn = state { return true }
        state = .waiting
        return false
      }
      if !goesOn { return }
    }
  }

  private func resume() {
    let mustRun = lock.withLock {
      if case .waiting = state { return true }
      state = .goesOn
      return false
    }
    guard mustRun else { return }
    workers.submit(.urgent) { [self] in run() }
    // Where workers have no threads of their own (the simulator's).
    while workers.runOneHere() {}
  }
}
