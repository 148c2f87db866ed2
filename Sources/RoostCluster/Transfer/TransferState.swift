import RoostEnvironment
import Synchronization

/// What moving partitions between stores has to do and has done, its thread, and how it is stopped,
/// throttled and put off after a failure.
///
/// One job at a time runs, a chunk of keys long; then it is submitted again. Its lock is the last
/// that is taken.
///
/// Thread-safe.
package final class TransferState: @unchecked Sendable {
  private let environment: Environment
  private let stopped = Atomic<Bool>(false)
  private let lock = Lock()
  private let changed: Condition

  // All below is guarded by `lock`.
  private var workers: (any Workers)?
  private var isScheduled = false
  /// Something was asked for since the running job began.
  private var isWanted = false
  private var limiter: RateLimiter?
  private var failures = 0
  private var retryAt: UInt64 = 0
  private var record = Record()

  /// What the mover knows beside the ring's record. Lost with the process, and made anew.
  struct Record {
    /// The moves of the plan that are not done, in order, the one that is being copied included.
    var moves: [PartitionMove] = []
    /// Counts plans.
    var plan = 0
    /// The members that have taken a new incarnation since the plan was made.
    var renewed: Set<MemberID> = []
    var copy: PartitionCopy?
    /// The move whose source gives no locks of the partition's transactional keys.
    var frozen: PartitionMove?
    /// Whether that source may have given the partition up on disk.
    var isGivenUp = false
    /// The move whose source, which is about to leave, records nothing of transactions any more.
    var quieted: PartitionMove?
    /// How often locks were not free in time: the next time more is given.
    var drainFailures = 0
    /// A store that has left is being closed.
    var isRetiring = false
    var failure: DatabaseError?
    var movesDone = 0
    var keys: UInt64 = 0
    var bytes: UInt64 = 0
    var meter = RateMeter()
  }

  init(_ environment: Environment, _ options: DatabaseOptions) {
    self.environment = environment
    changed = Condition(lock)
    limiter = options.transferBytesPerSecond.flatMap { Self.limiter($0, environment) }
  }

  deinit { workers?.shutdown() }

  /// Reads or changes what is known of the moves.
  func withRecord<R, E: Error>(_ body: (inout Record) throws(E) -> R) throws(E) -> R {
    try lock.withLock { () throws(E) in try body(&record) }
  }

  // MARK: - Running

  var isStopped: Bool { stopped.load(ordering: .acquiring) }

  /// Ends the running job within a chunk, and lets no other begin.
  func stop() {
    stopped.store(true, ordering: .sequentiallyConsistent)
    let workers = lock.withLock { () -> (any Workers)? in
      limiter?.close()
      changed.broadcast()
      return self.workers
    }
    workers?.shutdown()
  }

  /// Has `step` run in the background until it says that nothing is left.
  ///
  /// - Parameter step: returns whether there is more to do; called once at a time.
  func schedule(_ step: @escaping @Sendable () -> Bool) {
    let workers = lock.withLock { () -> (any Workers)? in
      isWanted = true
      if isScheduled || isStopped { return nil }
      isScheduled = true
      if self.workers == nil { self.workers = environment.makeWorkers() }
      return self.workers
    }
    if let workers { submit(step, workers) }
  }

  private func submit(_ step: @escaping @Sendable () -> Bool, _ workers: any Workers) {
    workers.submit(.background) { [weak self, weak workers] in
      guard let self, let workers, !isStopped else { return }
      lock.withLock { isWanted = false }
      let isMore = step()
      let goesOn = lock.withLock { () -> Bool in
        if !isMore, !isWanted { isScheduled = false }
        return isScheduled
      }
      if goesOn { submit(step, workers) }
    }
  }

  /// Runs a waiting job here, where the workers have no threads of their own.
  func runOneHere() -> Bool {
    let workers = lock.withLock { self.workers }
    return workers?.runOneHere() ?? false
  }

  // MARK: - Waiting

  /// Notes a failure, and waits until it may be tried again: 0.1 s, then twice as long each time, up
  /// to 30 s; or until it is asked for.
  func failed(_ error: DatabaseError) {
    lock.withLock {
      record.failure = error
      failures += 1
      let delay = min(30_000, UInt64(100) << UInt64(min(failures - 1, 9)))
      retryAt = environment.time.monotonicNanoseconds &+ delay * 1_000_000
    }
  }

  func waitForRetry() {
    lock.withLock {
      while !isStopped, environment.time.monotonicNanoseconds < retryAt {
        _ = environment.time.wait(on: changed, untilMonotonicNanoseconds: retryAt)
      }
    }
  }

  /// A job went well.
  func noteProgress() { lock.withLock { record.failure = nil } }

  /// A move is done: the next failure is a first one again.
  func noteStep() {
    lock.withLock {
      failures = 0
      record.failure = nil
    }
  }

  /// Tries again at once what failed.
  func retry() {
    lock.withLock {
      retryAt = 0
      failures = 0
      changed.broadcast()
    }
  }

  /// Waits a moment for others to catch up.
  func pause(milliseconds: UInt64) {
    lock.withLock {
      let end = environment.time.monotonicNanoseconds &+ milliseconds * 1_000_000
      while !isStopped, environment.time.monotonicNanoseconds < end {
        _ = environment.time.wait(on: changed, untilMonotonicNanoseconds: end)
      }
    }
  }

  // MARK: - The rate

  /// How many bytes one chunk should have, so that the rate is kept evenly.
  var chunkBytes: Int {
    let burst = lock.withLock { limiter }?.burst ?? .max
    return min(128 << 10, burst)
  }

  /// Waits until as many bytes as were moved may go.
  func pace(_ bytes: Int) {
    var left = bytes
    while left > 0, !isStopped {
      guard let limiter = lock.withLock({ limiter }) else { return }
      let part = min(left, limiter.burst)
      do throws(RateLimiterError) {
        try limiter.acquire(part, priority: .low, within: .seconds(60))
        left -= part
      } catch {
        // The rate was changed, or is so low that it takes longer: asked again.
      }
    }
  }

  /// The rate in bytes a second; `nil` for none.
  var bytesPerSecond: Int? { lock.withLock { limiter }?.unitsPerSecond }

  /// - Throws: `.invalidOption` for less than 1024.
  func setRate(_ bytesPerSecond: Int?) throws(DatabaseError) {
    if let bytesPerSecond, bytesPerSecond < 1_024 {
      throw DatabaseError(
        .invalidOption,
        "transferBytesPerSecond is \(bytesPerSecond), must be at least 1024, or nil for no limit")
    }
    lock.withLock {
      let old = limiter
      limiter = bytesPerSecond.flatMap { Self.limiter($0, environment) }
      // Who waits for it asks the new one.
      old?.close()
    }
  }

  private static func limiter(_ bytesPerSecond: Int, _ environment: Environment) -> RateLimiter? {
    let burst = max(4 << 10, min(1 << 20, bytesPerSecond / 8))
    // The arguments are in range: see `setRate` and `DatabaseOptions.validate`.
    return try? RateLimiter(
      unitsPerSecond: bytesPerSecond, burst: burst, time: environment.time)
  }
}

/// Bytes a second over the last second or two. A value.
struct RateMeter {
  private var windowStart: UInt64 = 0
  private var windowBytes: UInt64 = 0
  private var last = 0.0

  mutating func add(_ bytes: Int, at nanoseconds: UInt64) {
    if windowStart == 0 { windowStart = nanoseconds }
    windowBytes += UInt64(bytes)
    let elapsed = nanoseconds &- windowStart
    guard elapsed >= 1_000_000_000 else { return }
    last = Double(windowBytes) * 1e9 / Double(elapsed)
    windowStart = nanoseconds
    windowBytes = 0
  }

  func bytesPerSecond(at nanoseconds: UInt64) -> Double {
    let elapsed = Double(nanoseconds &- windowStart)
    if windowStart == 0 || elapsed <= 0 { return last }
    if elapsed > 2e9 { return Double(windowBytes) * 1e9 / elapsed }
    return last > 0 ? last : Double(windowBytes) * 1e9 / elapsed
  }
}
