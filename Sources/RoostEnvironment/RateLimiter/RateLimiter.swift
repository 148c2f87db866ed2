/// Lets units (bytes, operations) through at a rate: a ``TokenBucket`` that threads share, with a
/// queue before it.
///
/// ```swift
/// let limiter = try RateLimiter(unitsPerSecond: 10 << 20, burst: 1 << 20, time: environment.time)
/// try limiter.acquire(page.byteCount, priority: .low, within: .seconds(30))
/// ```
///
/// - Over any interval at most burst + rate * interval units are let through. So a request for more
///   than the burst is refused, as RocksDB's and Go's limiters do: whoever has that much asks for it
///   in parts of at most ``burst``.
/// - Waiting requests of a higher priority go first; within a priority, first come, first served, in
///   full: small requests do not pass a large one. Of the grants that pass over somebody of a lower
///   priority, each tenth goes to the one who has waited longest there, so that nobody waits for
///   ever while any grants are made.
/// - Each wait has a deadline, and says what it was for when it passes. As many callers wait as the
///   limiter was told may; more are refused.
/// - Time is injected: in a simulation nothing sleeps, see
///   ``TimeSource/wait(on:untilMonotonicNanoseconds:)``.
///
/// Thread-safe. ``acquire(_:priority:within:)`` blocks its thread, so asynchronous code calls it on
/// a worker, or asks ``tryAcquire(_:priority:)`` and ``delay(for:priority:)``, which do not.
public final class RateLimiter: @unchecked Sendable {
  /// Who goes first.
  public enum Priority: Int, Sendable, CaseIterable, Comparable {
    /// What nobody waits for: moving partitions, repairs.
    case low
    case normal
    /// What a person or another limiter waits for.
    case high

    public static func < (a: Priority, b: Priority) -> Bool { a.rawValue < b.rawValue }
  }

  /// What a limiter has done.
  public struct Statistics: Sendable, Equatable {
    /// Units let through.
    public var grantedUnits: UInt64 = 0
    /// Requests that waited, those that gave up included, and for how long in all.
    public var waits: UInt64 = 0
    public var waitedNanoseconds: UInt64 = 0
    /// Requests whose deadline passed.
    public var deadlinesExceeded: UInt64 = 0
    /// Requests that wait now.
    public var waiting = 0
  }

  /// One thread that waits.
  private final class Waiter {
    enum State {
      case waits
      case granted
      /// The burst was made smaller than the request.
      case refused
    }
    let changed: Condition
    var state = State.waits
    init(_ lock: Lock) { changed = Condition(lock) }
  }

  private let time: any TimeSource
  private let waiterLimit: Int
  private let lock = Lock()
  // All below is guarded by `lock`.
  private var queue: TokenQueue
  private var waiters: [UInt64: Waiter] = [:]
  private var isClosed = false
  private var counts = Statistics()

  /// A limiter with a full bucket.
  ///
  /// - Parameters:
  ///   - unitsPerSecond: the rate, at least 1.
  ///   - burst: how many units may go at once after a pause, at least 1. What is not used beyond
  ///     that is discarded.
  ///   - waiterLimit: how many callers may wait at once, at least 1.
  ///   - time: whose monotonic clock counts.
  /// - Throws: ``RateLimiterError`` with `.invalidArgument`.
  public init(
    unitsPerSecond: Int, burst: Int, waiterLimit: Int = 1024, time: any TimeSource
  ) throws(RateLimiterError) {
    guard waiterLimit > 0 else {
      throw RateLimiterError(
        .invalidArgument, "waiterLimit must be at least 1, not \(waiterLimit)")
    }
    self.time = time
    self.waiterLimit = waiterLimit
    queue = TokenQueue(
      try TokenBucket(
        unitsPerSecond: unitsPerSecond, burst: burst, at: time.monotonicNanoseconds))
  }

  // MARK: - Asking

  /// Waits until `units` may go.
  ///
  /// - Parameters:
  ///   - units: 0 up to ``burst``.
  ///   - priority: who goes first.
  ///   - limit: how long to wait at most, from now; with zero, not at all.
  /// - Throws: ``RateLimiterError`` with `.deadlineExceeded` (nothing was taken; the message names the
  ///   units, the rate and how many requests were ahead), `.tooManyWaiters`, `.closed`;
  ///   `.exceedsBurst`, also where the burst is made smaller meanwhile; `.invalidArgument` where
  ///   `units` is negative.
  /// - Complexity: O(1) where nobody waits, else O(waiting requests).
  public func acquire(
    _ units: Int, priority: Priority = .normal, within limit: Duration
  ) throws(RateLimiterError) {
    lock.lock()
    defer { lock.unlock() }
    try check(units)
    let start = time.monotonicNanoseconds
    if take(units, priority, at: start) { return }
    guard queue.count < waiterLimit else {
      throw RateLimiterError(
        .tooManyWaiters, "\(queue.count) callers wait already; the rate is \(rateText)")
    }
    let waiter = Waiter(lock)
    let ticket = queue.enqueue(units, priority)
    waiters[ticket] = waiter
    let (sum, overflow) = start.addingReportingOverflow(limit.clampedNanoseconds)
    let end = wait(waiter, ticket, from: start, until: overflow ? .max : sum)
    waiters[ticket] = nil
    counts.waits &+= 1
    counts.waitedNanoseconds &+= end - start
    switch waiter.state {
    case .granted: counts.grantedUnits &+= UInt64(units)
    case .refused: throw exceedsBurst(units)
    case .waits:
      let ahead = queue.countAhead(of: ticket, priority)
      queue.cancel(ticket)
      if isClosed { throw Self.closed }
      // The one behind may have its turn now.
      serve(at: end)
      wakeFirst()
      counts.deadlinesExceeded &+= 1
      throw RateLimiterError(
        .deadlineExceeded,
        "waited \(limit) for \(units) units at priority \(priority), \(ahead) requests ahead; "
          + "the rate is \(rateText)")
    }
  }

  /// Waits until the request is granted or refused, the limiter closed or the deadline past.
  ///
  /// The first in the queue wakes by itself at the moment when its tokens are there; all others wait
  /// to be woken, by whoever makes them the first or serves them.
  ///
  /// - Returns: the time then.
  private func wait(
    _ waiter: Waiter, _ ticket: UInt64, from start: UInt64, until deadline: UInt64
  ) -> UInt64 {
    var now = start
    while true {
      serve(at: now)
      if waiter.state != .waits || isClosed || now >= deadline { return now }
      var wake = deadline
      if queue.first == ticket, let delay = queue.firstDelay(at: now), delay < deadline - now {
        wake = now + delay
      }
      _ = time.wait(on: waiter.changed, untilMonotonicNanoseconds: wake)
      now = max(now, time.monotonicNanoseconds)
    }
  }

  /// Takes `units` if they may go now.
  ///
  /// - Parameters:
  ///   - units: 0 up to ``burst``.
  ///   - priority: who goes first.
  /// - Returns: `false` where there are too few, or others have their turn first.
  /// - Throws: ``RateLimiterError`` with `.exceedsBurst`, `.closed`, or `.invalidArgument` where
  ///   `units` is negative.
  /// - Complexity: O(1).
  public func tryAcquire(
    _ units: Int, priority: Priority = .normal
  ) throws(RateLimiterError) -> Bool {
    try lock.withLock { () throws(RateLimiterError) in
      try check(units)
      return take(units, priority, at: time.monotonicNanoseconds)
    }
  }

  /// How long a request that came now would wait, with those that wait already before it and nobody
  /// else: when to ask ``tryAcquire(_:priority:)`` again.
  ///
  /// - Throws: as ``tryAcquire(_:priority:)``.
  /// - Complexity: O(waiting requests).
  public func delay(
    for units: Int, priority: Priority = .normal
  ) throws(RateLimiterError) -> Duration {
    try lock.withLock { () throws(RateLimiterError) in
      try check(units)
      let delay = queue.delay(for: units, priority, at: time.monotonicNanoseconds)
      return .nanoseconds(Int64(clamping: delay))
    }
  }

  // MARK: - Changing and ending

  /// Changes the rate and the burst, for those too who wait. Units saved up beyond the new burst are
  /// discarded; who waits for more than it gets `.exceedsBurst`.
  ///
  /// - Throws: ``RateLimiterError`` with `.invalidArgument`, and then nothing has changed.
  public func set(unitsPerSecond: Int, burst: Int) throws(RateLimiterError) {
    try lock.withLock { () throws(RateLimiterError) in
      let now = time.monotonicNanoseconds
      for ticket in try queue.set(unitsPerSecond: unitsPerSecond, burst: burst, at: now) {
        end(ticket, .refused)
      }
      serve(at: now)
      // Its alarm was set for the old rate.
      wakeFirst()
    }
  }

  /// Units a second, now.
  public var unitsPerSecond: Int { lock.withLock { queue.bucket.unitsPerSecond } }

  /// The most units that may go at once, now.
  public var burst: Int { lock.withLock { queue.bucket.burst } }

  /// Lets nothing through any more: who waits, and who comes, gets `.closed`. Closing twice does
  /// nothing.
  public func close() {
    lock.withLock {
      isClosed = true
      for waiter in waiters.values { waiter.changed.signal() }
    }
  }

  public var statistics: Statistics {
    lock.withLock {
      var result = counts
      result.waiting = queue.count
      return result
    }
  }

  // MARK: - With the lock held

  private func take(_ units: Int, _ priority: Priority, at now: UInt64) -> Bool {
    let first = queue.first
    guard queue.take(units, priority, at: now) else { return false }
    counts.grantedUnits &+= UInt64(units)
    if queue.first != first { wakeFirst() }
    return true
  }

  /// Grants what can be granted.
  private func serve(at now: UInt64) {
    let granted = queue.serve(at: now)
    if granted.isEmpty { return }
    for ticket in granted { end(ticket, .granted) }
    wakeFirst()
  }

  private func end(_ ticket: UInt64, _ state: Waiter.State) {
    waiters[ticket]?.state = state
    waiters[ticket]?.changed.signal()
  }

  /// Has the first in the queue set its alarm.
  private func wakeFirst() {
    if let first = queue.first { waiters[first]?.changed.signal() }
  }

  private var rateText: String {
    "\(queue.bucket.unitsPerSecond) a second, \(queue.bucket.burst) at once"
  }

  private static var closed: RateLimiterError {
    RateLimiterError(.closed, "the rate limiter is closed")
  }

  private func exceedsBurst(_ units: Int) -> RateLimiterError {
    RateLimiterError(
      .exceedsBurst, "\(units) units at once; the rate is \(rateText). Ask for them in parts")
  }

  private func check(_ units: Int) throws(RateLimiterError) {
    if units < 0 {
      throw RateLimiterError(.invalidArgument, "\(units) units; a request has 0 or more")
    }
    if isClosed { throw Self.closed }
    if units > queue.bucket.burst { throw exceedsBurst(units) }
  }
}

extension Duration {
  /// Whole nanoseconds, rounded up; 0 where it is negative.
  var clampedNanoseconds: UInt64 {
    let (seconds, attoseconds) = components
    if seconds < 0 || attoseconds < 0 { return 0 }
    let (whole, overflow) = UInt64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
    let (sum, over) = whole.addingReportingOverflow((UInt64(attoseconds) + 999_999_999) / 1_000_000_000)
    return overflow || over ? .max : sum
  }
}
