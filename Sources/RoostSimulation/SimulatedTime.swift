public import RoostEnvironment
import Synchronization

/// Clocks that stand still until told. Thread-safe.
public final class SimulatedTime: TimeSource, @unchecked Sendable {
  /// What becomes of a thread that waits until a moment of this clock.
  public enum Waiting: Sendable {
    /// It moves the clocks on to that moment by itself, as if it had slept, and goes on. For
    /// simulations on one thread: nobody else is there to move them.
    case movesTheClock
    /// It blocks until another thread moves the clocks there, or signals it.
    case blocks
  }

  private struct Sleeper {
    var deadline: UInt64
    var condition: Condition
    var number: UInt64
  }

  private let waiting: Waiting
  // Read without a lock, changed with it held.
  private let monotonic: Atomic<UInt64>
  private let wallClock: Atomic<UInt64>
  private let lock = Lock()
  // Guarded by `lock`, which is taken last of all.
  private var sleepers: [Sleeper] = []
  private var nextNumber: UInt64 = 0

  /// - Parameters:
  ///   - wallClockNanoseconds: 2025-01-01 where nothing is said.
  ///   - waiting: what waiting threads do.
  public init(
    monotonicNanoseconds: UInt64 = 1_000_000_000,
    wallClockNanoseconds: UInt64 = 1_735_689_600_000_000_000, waiting: Waiting = .movesTheClock
  ) {
    monotonic = Atomic(monotonicNanoseconds)
    wallClock = Atomic(wallClockNanoseconds)
    self.waiting = waiting
  }

  public var monotonicNanoseconds: UInt64 { monotonic.load(ordering: .acquiring) }
  public var wallClockNanoseconds: UInt64 { wallClock.load(ordering: .acquiring) }

  /// Moves both clocks on, and wakes who waits for a moment up to then. The caller holds no lock
  /// that a waiting thread gave.
  public func advance(byNanoseconds duration: UInt64) {
    wake(
      lock.withLock {
        move(by: duration)
        return takeDue()
      })
  }

  /// Moves both clocks on to the first moment that a thread waits for.
  ///
  /// - Returns: `false` where no thread waits for a moment: then nothing happened.
  @discardableResult
  public func advanceToNextWait() -> Bool {
    let due: [Sleeper]? = lock.withLock {
      guard let next = sleepers.map(\.deadline).min() else { return nil }
      let now = monotonicNanoseconds
      if next > now { move(by: next - now) }
      return takeDue()
    }
    guard let due else { return false }
    wake(due)
    return true
  }

  /// The first moment that a thread waits for.
  public var nextWait: UInt64? { lock.withLock { sleepers.map(\.deadline).min() } }

  /// How many threads wait for a moment.
  public var waitingCount: Int { lock.withLock { sleepers.count } }

  /// Sets the wall clock, forwards or back; the monotonic clock stays.
  public func setWallClock(nanoseconds: UInt64) {
    lock.withLock { wallClock.store(nanoseconds, ordering: .releasing) }
  }

  /// A deadline of `UInt64.max` is never reached: there the thread waits to be signalled, whatever
  /// the kind of waiting.
  public func wait(on condition: Condition, untilMonotonicNanoseconds deadline: UInt64) -> Bool {
    if deadline == .max {
      condition.wait()
      return true
    }
    let sleeper: Sleeper? = lock.withLock {
      let now = monotonicNanoseconds
      guard deadline > now else { return nil }
      if case .movesTheClock = waiting {
        move(by: deadline - now)
        return nil
      }
      nextNumber += 1
      let sleeper = Sleeper(deadline: deadline, condition: condition, number: nextNumber)
      sleepers.append(sleeper)
      return sleeper
    }
    guard let sleeper else { return false }
    condition.wait()
    lock.withLock { sleepers.removeAll { $0.number == sleeper.number } }
    return monotonicNanoseconds < deadline
  }

  // MARK: - The parts

  /// With the lock held.
  private func move(by duration: UInt64) {
    monotonic.wrappingAdd(duration, ordering: .acquiringAndReleasing)
    wallClock.wrappingAdd(duration, ordering: .acquiringAndReleasing)
  }

  /// With the lock held.
  private func takeDue() -> [Sleeper] {
    let now = monotonicNanoseconds
    let due = sleepers.filter { $0.deadline <= now }
    sleepers.removeAll { $0.deadline <= now }
    return due
  }

  /// A thread that has put itself down holds its condition's lock until it waits, so with that lock
  /// taken no signal is lost.
  private func wake(_ due: [Sleeper]) {
    for sleeper in due { sleeper.condition.lock.withLock { sleeper.condition.broadcast() } }
  }
}
