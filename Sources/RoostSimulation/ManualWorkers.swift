public import RoostEnvironment

/// Workers without threads: jobs wait until someone runs them on a thread of their own.
///
/// One queue a lane. The urgent lane goes first, or, given a seed, whichever the seed says, so that
/// a test meets other interleavings. Thread-safe; deterministic where one thread uses it.
public final class ManualWorkers: Workers, @unchecked Sendable {
  private struct State {
    var lanes: [[@Sendable () -> Void]] = WorkLane.allCases.map { _ in [] }
    var random: SplitMix64?
    var isShutDown = false
    /// The threads that run a job now, one entry a job.
    var running: [UInt] = []

    mutating func next() -> (@Sendable () -> Void)? {
      let ready = lanes.indices.filter { !lanes[$0].isEmpty }
      guard let first = ready.first else { return nil }
      let lane = random != nil && ready.count > 1 ? ready[random!.below(ready.count)] : first
      return lanes[lane].removeFirst()
    }
  }

  private let lock = Lock()
  private let jobReturned: Condition
  private var state = State()

  /// - Parameter laneSeed: chooses the lane of each job to run; the urgent one first where `nil`.
  public init(laneSeed: UInt64? = nil) {
    jobReturned = Condition(lock)
    state.random = laneSeed.map { SplitMix64(seed: $0) }
  }

  public func submit(_ lane: WorkLane, _ job: @escaping @Sendable () -> Void) {
    lock.withLock {
      if !state.isShutDown { state.lanes[lane.rawValue].append(job) }
    }
  }

  public func runOneHere() -> Bool {
    let thread = ThreadStripe.currentThread
    guard
      let job = lock.withLock({ () -> (@Sendable () -> Void)? in
        guard let job = state.next() else { return nil }
        state.running.append(thread)
        return job
      })
    else { return false }
    job()
    lock.withLock {
      state.running.remove(at: state.running.lastIndex(of: thread)!)
      jobReturned.broadcast()
    }
    return true
  }

  /// Runs jobs, those included that jobs submit, until none waits. Returns how many it ran.
  @discardableResult
  public func runAll() -> Int {
    var count = 0
    while runOneHere() { count += 1 }
    return count
  }

  public func waitingCount(_ lane: WorkLane) -> Int {
    lock.withLock { state.lanes[lane.rawValue].count }
  }

  public func shutdown() {
    let thread = ThreadStripe.currentThread
    let dropped = lock.withLock {
      state.isShutDown = true
      let dropped = state.lanes
      state.lanes = WorkLane.allCases.map { _ in [] }
      // A job that shuts its own workers down does not wait for itself.
      while state.running.contains(where: { $0 != thread }) { jobReturned.wait() }
      return dropped
    }
    _ = consume dropped
  }
}
