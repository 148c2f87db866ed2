public import RoostEnvironment
import Synchronization

/// Clocks that stand still until told. Thread-safe.
public final class SimulatedTime: TimeSource {
  private let monotonic: Atomic<UInt64>
  private let wallClock: Atomic<UInt64>

  /// - Parameter wallClockNanoseconds: 2025-01-01 where nothing is said.
  public init(
    monotonicNanoseconds: UInt64 = 1_000_000_000,
    wallClockNanoseconds: UInt64 = 1_735_689_600_000_000_000
  ) {
    monotonic = Atomic(monotonicNanoseconds)
    wallClock = Atomic(wallClockNanoseconds)
  }

  public var monotonicNanoseconds: UInt64 { monotonic.load(ordering: .acquiring) }
  public var wallClockNanoseconds: UInt64 { wallClock.load(ordering: .acquiring) }

  /// Moves both clocks on.
  public func advance(byNanoseconds duration: UInt64) {
    monotonic.wrappingAdd(duration, ordering: .acquiringAndReleasing)
    wallClock.wrappingAdd(duration, ordering: .acquiringAndReleasing)
  }

  /// Sets the wall clock, forwards or back; the monotonic clock stays.
  public func setWallClock(nanoseconds: UInt64) {
    wallClock.store(nanoseconds, ordering: .releasing)
  }
}
