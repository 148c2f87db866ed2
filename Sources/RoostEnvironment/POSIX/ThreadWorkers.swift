import Glibc

/// Background threads of the operating system, a fixed number a lane.
///
/// A lane's threads are started with its first job. Where the system refuses to start one, jobs
/// wait for a thread that the next submission may get, and meanwhile ``runOneHere()`` runs them.
///
/// Thread-safe. ``shutdown()`` may be called from anywhere, from a job too, and more than once.
/// Letting go of the workers without it ends the threads as well, but waits for nobody.
public final class ThreadWorkers: Workers {
  private let pool: Pool

  /// - Parameter threads: how many threads each lane gets, at least one.
  public init(urgentThreads: Int = 1, backgroundThreads: Int = 1) {
    pool = Pool([max(1, urgentThreads), max(1, backgroundThreads)])
  }

  /// - Parameter lanes: how many threads each gets; none as where the system refuses to start any.
  init(lanes: [Int]) { pool = Pool(lanes) }

  deinit { pool.stop() }

  public func submit(_ lane: WorkLane, _ job: @escaping @Sendable () -> Void) {
    pool.submit(lane, job)
  }

  public func runOneHere() -> Bool { pool.runOneHere() }

  public func shutdown() {
    pool.stop()
    pool.waitForThreads()
  }
}

/// What the threads share. They hold it and not the ``ThreadWorkers``, whose release can so end
/// them.
private final class Pool: @unchecked Sendable {
  struct Lane {
    var wanted: Int
    var threads = 0
    var jobs: [(@Sendable () -> Void)?] = []
    /// Where in `jobs` the first waiting one is.
    var first = 0

    mutating func next() -> (@Sendable () -> Void)? {
      guard first < jobs.count else { return nil }
      defer {
        jobs[first] = nil
        first += 1
        if first == jobs.count {
          jobs.removeAll(keepingCapacity: true)
          first = 0
        } else if first >= 64, first * 2 >= jobs.count {
          jobs.removeFirst(first)
          first = 0
        }
      }
      return jobs[first]
    }
  }

  // All below is guarded by `lock`.
  private let lock = Lock()
  private let workToDo: [Condition]
  private let threadEnded: Condition
  private var lanes: [Lane]
  private var stopped = false
  private var threads: Set<pthread_t> = []
  /// The threads that run a job in `runOneHere`, one entry a job.
  private var runningHere: [pthread_t] = []
  /// Threads that wait in `waitForThreads`: their jobs, where they run any, never end before it returns.
  private var waiting: Set<pthread_t> = []

  init(_ wanted: [Int]) {
    let lock = lock
    lanes = wanted.map { Lane(wanted: $0) }
    workToDo = wanted.map { _ in Condition(lock) }
    threadEnded = Condition(lock)
  }

  func submit(_ lane: WorkLane, _ job: @escaping @Sendable () -> Void) {
    lock.withLock {
      if stopped { return }
      lanes[lane.rawValue].jobs.append(job)
      while lanes[lane.rawValue].threads < lanes[lane.rawValue].wanted, startThread(lane) {}
      workToDo[lane.rawValue].signal()
    }
  }

  func runOneHere() -> Bool {
    let job: (@Sendable () -> Void)? = lock.withLock {
      for lane in lanes.indices where lanes[lane].threads == 0 {
        if let job = lanes[lane].next() {
          runningHere.append(pthread_self())
          return job
        }
      }
      return nil
    }
    guard let job else { return false }
    job()
    lock.withLock {
      runningHere.remove(at: runningHere.lastIndex(of: pthread_self())!)
      threadEnded.broadcast()
    }
    return true
  }

  func stop() {
    // Jobs are released outside the lock: what they capture may do anything when it goes.
    let dropped = lock.withLock {
      stopped = true
      let dropped = lanes.map(\.jobs)
      for lane in lanes.indices {
        lanes[lane].jobs = []
        lanes[lane].first = 0
        workToDo[lane].broadcast()
      }
      return dropped
    }
    _ = consume dropped
  }

  func waitForThreads() {
    lock.withLock {
      let thread = pthread_self()
      waiting.insert(thread)
      // Others that wait leave this one out from now on.
      threadEnded.broadcast()
      while !threads.isSubset(of: waiting) || !runningHere.allSatisfy(waiting.contains) { threadEnded.wait() }
      waiting.remove(thread)
    }
  }

  /// Starts a thread of the lane, with the lock held. Returns whether the system let it.
  private func startThread(_ lane: WorkLane) -> Bool {
    let start = unsafe Unmanaged.passRetained(ThreadStart(pool: self, lane: lane))
    var thread = pthread_t()
    let result = unsafe pthread_create(&thread, nil, threadMain, start.toOpaque())
    if result != 0 {
      unsafe start.release()
      return false
    }
    pthread_detach(thread)
    lanes[lane.rawValue].threads += 1
    threads.insert(thread)
    return true
  }

  func runThread(_ lane: WorkLane) {
    while let job = nextJob(lane) { job() }
  }

  /// Waits for a job; `nil` tells the thread to end.
  private func nextJob(_ lane: WorkLane) -> (@Sendable () -> Void)? {
    lock.withLock {
      while !stopped {
        if let job = lanes[lane.rawValue].next() { return job }
        workToDo[lane.rawValue].wait()
      }
      threads.remove(pthread_self())
      threadEnded.broadcast()
      return nil
    }
  }
}

private final class ThreadStart {
  let pool: Pool
  let lane: WorkLane
  init(pool: Pool, lane: WorkLane) {
    self.pool = pool
    self.lane = lane
  }
}

private func threadMain(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  let start = unsafe Unmanaged<ThreadStart>.fromOpaque(argument!).takeRetainedValue()
  nameThread("roost-\(start.lane)")
  start.pool.runThread(start.lane)
  return nil
}

/// Names the calling thread for whoever looks at the process (`top -H`, `gdb`). A hint: it never
/// fails.
private func nameThread(_ name: String) {
  let descriptor = unsafe open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
  guard descriptor >= 0 else { return }
  let text = Array(name.utf8)
  _ = unsafe write(descriptor, text, text.count)
  close(descriptor)
}
