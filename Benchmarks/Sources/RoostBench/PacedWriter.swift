import Glibc
import Synchronization

/// A thread that puts at a steady rate while the caller does something else: so many puts at each tick of a
/// millisecond. Where the engine falls behind it puts without a pause until it has caught up.
final class PacedWriter: Sendable {
  private let stop = Atomic<Bool>(false)
  private let done = Atomic<UInt64>(0)
  private let elapsed = Atomic<UInt64>(0)

  var puts: UInt64 { done.load(ordering: .acquiring) }
  /// How long the work beside it took.
  var nanoseconds: UInt64 { elapsed.load(ordering: .acquiring) }

  func run(
    perMillisecond: UInt64,
    put: @escaping @Sendable (borrowing KeyBuffer, UInt64) throws -> Void,
    beside: () throws -> Void
  ) throws {
    let thread = try Thread {
      let key = KeyBuffer()
      let began = monotonicNanoseconds()
      var count: UInt64 = 0
      while !self.stop.load(ordering: .acquiring) {
        for _ in 0..<perMillisecond {
          try put(key, count)
          count += 1
        }
        self.done.store(count, ordering: .releasing)
        let due = began + count / perMillisecond * 1_000_000
        var time = timespec(tv_sec: Int(due / 1_000_000_000), tv_nsec: Int(due % 1_000_000_000))
        if due > monotonicNanoseconds() {
          clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nil)
        }
      }
    }
    let began = monotonicNanoseconds()
    let result = Result { try beside() }
    elapsed.store(monotonicNanoseconds() - began, ordering: .releasing)
    stop.store(true, ordering: .releasing)
    try thread.join()
    try result.get()
  }
}
