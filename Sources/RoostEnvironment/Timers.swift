/// Calls back at given times, on a worker's thread; in a simulation whose moments are events, as one of them.
/// Thread-safe.
package final class Timers: @unchecked Sendable {
  private struct Entry {
    var time: UInt64
    var number: UInt64
    var job: @Sendable () -> Void
  }

  private let time: any TimeSource
  /// The same, where it calls by itself.
  private let events: (any EventTimeSource)?
  private let workers: any Workers
  private let lock = Lock()
  private let changed: Condition
  // Guarded by `lock`. Ordered by time, the soonest last: few are set at once.
  private var entries: [Entry] = []
  private var nextNumber: UInt64 = 0
  private var isWaiting = false
  private var isStopped = false

  /// - Parameter workers: nobody else uses them.
  package init(_ time: any TimeSource, _ workers: any Workers) {
    self.time = time
    events = time as? any EventTimeSource
    self.workers = workers
    changed = Condition(lock)
  }

  /// Calls `job` once the monotonic clock has reached `milliseconds`; when the timers stop before, then.
  ///
  /// - Returns: `false` where they have stopped: nothing is called.
  @discardableResult
  package func schedule(
    atMonotonicMilliseconds milliseconds: UInt64, _ job: @escaping @Sendable () -> Void
  ) -> Bool {
    let (product, overflow) = milliseconds.multipliedReportingOverflow(by: 1_000_000)
    return schedule(atMonotonicNanoseconds: overflow ? .max : product, job)
  }

  /// The same, in nanoseconds.
  @discardableResult
  package func schedule(
    atMonotonicNanoseconds nanoseconds: UInt64, _ job: @escaping @Sendable () -> Void
  ) -> Bool {
    let mustSubmit = lock.withLock { () -> Bool? in
      if isStopped { return nil }
      nextNumber += 1
      let entry = Entry(time: nanoseconds, number: nextNumber, job: job)
      let position = entries.firstIndex { $0.time < nanoseconds } ?? entries.count
      entries.insert(entry, at: position)
      changed.signal()
      defer { isWaiting = true }
      return !isWaiting
    }
    guard let mustSubmit else { return false }
    if let events {
      // One event an entry: each finds at least one that is due.
      events.call(atMonotonicNanoseconds: nanoseconds) { [weak self] in self?.runDue() }
    } else if mustSubmit { workers.submit(.background) { [weak self] in self?.run() } }
    return true
  }

  /// Waits for the soonest, calls it, and sees to the rest.
  private func run() {
    lock.lock()
    while let next = entries.last, !isStopped, next.time > time.monotonicNanoseconds {
      _ = time.wait(on: changed, untilMonotonicNanoseconds: next.time)
    }
    let due = isStopped ? nil : entries.popLast()
    isWaiting = due != nil && !entries.isEmpty
    let goesOn = isWaiting
    lock.unlock()
    due?.job()
    if goesOn { workers.submit(.background) { [weak self] in self?.run() } }
  }

  /// Calls the soonest, if its time has come.
  private func runDue() {
    let now = time.monotonicNanoseconds
    let due = lock.withLock { () -> Entry? in
      guard !isStopped, let next = entries.last, next.time <= now else { return nil }
      return entries.popLast()
    }
    due?.job()
  }

  /// When the soonest is due, by the monotonic clock, in nanoseconds: for who runs them here.
  package var nextTime: UInt64? { lock.withLock { entries.last?.time } }

  /// Where the workers have no threads of their own (the simulator's): runs the soonest here.
  ///
  /// - Returns: `false` where there is none, or threads will.
  package func runOneHere() -> Bool { workers.runOneHere() }

  /// Ends the threads. After ``stop()``.
  package func shutdown() { workers.shutdown() }

  /// Calls at once all that waits, and nothing after.
  package func stop() {
    let waiting = lock.withLock {
      isStopped = true
      changed.broadcast()
      defer { entries = [] }
      return entries
    }
    for entry in waiting { entry.job() }
  }
}
