import RoostEnvironment
import Testing

/// Budget: 2 s
@Suite struct LockTests {
  /// Guarded by `lock`; the thread sanitizer would say so if it were not.
  final class Guarded: @unchecked Sendable {
    let lock = Lock()
    var count = 0
    var turn = 0
  }

  @Test func countingUnderContention() {
    let state = Guarded()
    runThreads(4) { _ in
      for i in 0..<5_000 {
        if i % 2 == 0 {
          state.lock.withLock { state.count += 1 }
        } else {
          while !state.lock.tryLock() {}
          state.count += 1
          state.lock.unlock()
        }
      }
    }
    #expect(state.lock.withLock { state.count } == 20_000)
  }

  @Test func withLockPassesOnErrorsAndMoveOnlyResults() {
    struct Failure: Error, Equatable { var number: Int }
    struct Token: ~Copyable { var number: Int }
    let lock = Lock()
    do throws(Failure) {
      try lock.withLock { () throws(Failure) in throw Failure(number: 7) }
      Issue.record("nothing was thrown")
    } catch {
      #expect(error == Failure(number: 7))
    }
    let token = lock.withLock { Token(number: 8) }
    #expect(token.number == 8)
    // Both let go of it.
    #expect(lock.tryLock())
    #expect(!lock.tryLock())
    lock.unlock()
  }

  @Test func conditionHandsTurnsOn() {
    let state = Guarded()
    let turnChanged = Condition(state.lock)
    let far = POSIXTime().monotonicNanoseconds + 600_000_000_000
    let timeouts = Counter()
    runThreads(3) { thread in
      for _ in 0..<300 {
        state.lock.withLock {
          while state.turn % 3 != thread {
            if !turnChanged.wait(untilMonotonicNanoseconds: far) { return timeouts.add() }
          }
          state.turn += 1
          turnChanged.broadcast()
        }
      }
    }
    #expect(state.turn == 900 && timeouts.value == 0)
  }

  @Test func aPassedDeadlineEndsTheWait() {
    let lock = Lock()
    let condition = Condition(lock)
    lock.withLock {
      #expect(!condition.wait(untilMonotonicNanoseconds: 0))
      let soon = POSIXTime().monotonicNanoseconds + 2_000_000
      while condition.wait(untilMonotonicNanoseconds: soon) {}
      #expect(POSIXTime().monotonicNanoseconds >= soon)
    }
  }

  @Test func aDeadlineFarAwayIsNoError() {
    let state = Guarded()
    let condition = Condition(state.lock)
    runThreads(2) { thread in
      state.lock.withLock {
        if thread == 0 {
          state.turn = 1
          condition.signal()
        } else {
          while state.turn == 0 { _ = condition.wait(untilMonotonicNanoseconds: .max) }
        }
      }
    }
    #expect(state.turn == 1)
  }

  @Test func stripes() {
    #expect(ThreadStripe.current(of: 1) == 0)
    let first = ThreadStripe.current(of: 64)
    #expect((0..<64).contains(first) && ThreadStripe.current(of: 64) == first)
    let state = Guarded()
    let allHere = Condition(state.lock)
    nonisolated(unsafe) var seen: Set<Int> = []
    runThreads(32) { _ in
      let stripe = ThreadStripe.current(of: 64)
      state.lock.withLock {
        _ = unsafe seen.insert(stripe)
        // One that has ended leaves its stripe to the next.
        state.count += 1
        allHere.broadcast()
        while state.count < 32 { allHere.wait() }
      }
    }
    #expect(unsafe seen.count > 1)
  }
}
