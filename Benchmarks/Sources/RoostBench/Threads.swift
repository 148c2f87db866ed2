import Glibc
import Synchronization

/// A thread of the system's. Every thread that is started must be joined.
final class Thread: @unchecked Sendable {
  // Written by the thread before it ends, read after it was joined.
  private var error: (any Error)?
  private var handle = pthread_t()
  private let body: @Sendable () throws -> Void

  init(_ body: @escaping @Sendable () throws -> Void) throws {
    self.body = body
    let this = Unmanaged.passRetained(self)
    let code = pthread_create(
      &handle, nil,
      { pointer in
        guard let pointer else { return nil }
        let thread = Unmanaged<Thread>.fromOpaque(pointer).takeRetainedValue()
        do { try thread.body() } catch { thread.error = error }
        return nil
      }, this.toOpaque())
    guard code == 0 else {
      this.release()
      throw BenchmarkError("could not start a thread: \(String(cString: strerror(code)))")
    }
  }

  /// Waits for the end of the thread, and throws what it threw.
  func join() throws {
    pthread_join(handle, nil)
    if let error { throw error }
  }
}

/// Runs `body` on `count` threads that begin together.
///
/// - Returns: nanoseconds from the common beginning to the end of the last.
/// - Throws: what a thread threw.
func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) throws -> Void) throws -> UInt64 {
  let gate = Gate()
  let threads = try (0..<count).map { index in
    try Thread {
      gate.wait()
      try body(index)
    }
  }
  gate.waitForAll(count)
  let began = monotonicNanoseconds()
  gate.open()
  let results = threads.map { thread in Result { try thread.join() } }
  let ended = monotonicNanoseconds()
  for result in results { try result.get() }
  return ended - began
}

/// Holds threads back until all are there. Spins: it opens within microseconds.
private final class Gate: Sendable {
  private let waiting = Atomic<Int>(0)
  private let isOpen = Atomic<Bool>(false)

  func wait() {
    waiting.add(1, ordering: .acquiringAndReleasing)
    while !isOpen.load(ordering: .acquiring) { sched_yield() }
  }

  func waitForAll(_ count: Int) {
    while waiting.load(ordering: .acquiring) < count { sched_yield() }
  }

  func open() { isOpen.store(true, ordering: .releasing) }
}
