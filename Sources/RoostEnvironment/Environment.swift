/// The outside world, handed to whoever needs it: files, time, randomness and background threads.
///
/// Production code uses ``posix()``; tests and the simulator build their own.
public struct Environment: Sendable {
  public var fileSystem: any FileSystem
  public var time: any TimeSource
  public var randomness: any Randomness
  /// Makes the workers of one store. Called once an open.
  public var makeWorkers: @Sendable () -> any Workers

  public init(
    fileSystem: any FileSystem, time: any TimeSource, randomness: any Randomness,
    makeWorkers: @escaping @Sendable () -> any Workers
  ) {
    self.fileSystem = fileSystem
    self.time = time
    self.randomness = randomness
    self.makeWorkers = makeWorkers
  }
}

/// Clocks, and waiting for them. Both count nanoseconds.
public protocol TimeSource: AnyObject, Sendable {
  /// Never goes back; its zero means nothing.
  var monotonicNanoseconds: UInt64 { get }
  /// Nanoseconds since 1970-01-01 UTC; may jump either way.
  var wallClockNanoseconds: UInt64 { get }

  /// Waits for a signal of `condition`, whose lock the caller holds, but no longer than until
  /// `deadline` on the monotonic clock; `UInt64.max` is for ever. It lets go of the lock while it
  /// waits, and may return for no reason: check what you wait for in a loop.
  ///
  /// Real time passes by itself. Simulated time is moved on, by this call or by a test.
  ///
  /// - Returns: `false` where the deadline passed.
  func wait(on condition: Condition, untilMonotonicNanoseconds deadline: UInt64) -> Bool
}

/// Clocks whose moments are events of a simulation: nobody waits for one, it calls. Used by one thread.
package protocol EventTimeSource: TimeSource {
  /// Calls `job` once the monotonic clock has reached `nanoseconds`, as an event of its own; never within
  /// this call.
  func call(atMonotonicNanoseconds nanoseconds: UInt64, _ job: @escaping @Sendable () -> Void)
}

/// A source of unpredictable (or, under test, seeded) bits. Thread-safe.
public protocol Randomness: AnyObject, Sendable {
  func next() -> UInt64
}

/// What a background job is for. Each lane has its own threads, so that a long compaction never
/// keeps a flush waiting.
public enum WorkLane: Int, Sendable, CaseIterable {
  /// Flushes and log segments: writers may be waiting for them.
  case urgent
  /// Compactions and clean-up.
  case background
}

/// Background threads for blocking work.
public protocol Workers: AnyObject, Sendable {
  /// Runs `job` later on a thread of the lane, in order of submission within the lane.
  /// After ``shutdown()`` jobs are dropped.
  func submit(_ lane: WorkLane, _ job: @escaping @Sendable () -> Void)

  /// Runs one waiting job on the calling thread, where these workers have no threads of their own
  /// (the simulator's). Returns whether it ran one. Real workers return `false`: their threads
  /// will.
  ///
  /// Whoever is about to wait for background work calls this first.
  func runOneHere() -> Bool

  /// Waits until the running jobs have returned, and drops those that have not begun.
  func shutdown()
}
