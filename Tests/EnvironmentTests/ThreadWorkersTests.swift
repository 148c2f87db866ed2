import Foundation
import Testing

@testable import RoostEnvironment

/// Budget: 2 s
@Suite struct ThreadWorkersTests {
  @Test func oneThreadRunsItsLaneInOrder() {
    let workers = ThreadWorkers()
    let lock = Lock()
    nonisolated(unsafe) var order: [Int] = []
    let done = DispatchSemaphore(value: 0)
    for i in 0..<500 {
      workers.submit(.background) {
        lock.withLock { unsafe order.append(i) }
        if i == 499 { done.signal() }
      }
    }
    done.wait()
    #expect(lock.withLock { unsafe order } == Array(0..<500))
    #expect(!workers.runOneHere())
    workers.shutdown()
  }

  @Test func aBusyLaneDoesNotHoldUpTheOther() {
    let workers = ThreadWorkers()
    let (release, urgent) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
    workers.submit(.background) { release.wait() }
    workers.submit(.urgent) { urgent.signal() }
    urgent.wait()
    release.signal()
    workers.shutdown()
  }

  @Test func aLaneHasAsManyThreadsAsAsked() {
    let workers = ThreadWorkers(backgroundThreads: 3)
    // Each job waits for the two others: with fewer threads this would never end.
    let arrived = DispatchGroup()
    for _ in 0..<3 { arrived.enter() }
    for _ in 0..<3 {
      workers.submit(.background) {
        arrived.leave()
        arrived.wait()
      }
    }
    arrived.wait()
    workers.shutdown()
  }

  @Test func shutdownWaitsForWhatRunsAndDropsTheRest() {
    let workers = ThreadWorkers()
    let (started, finished, dropped) = (DispatchSemaphore(value: 0), Counter(), Counter())
    workers.submit(.background) {
      started.signal()
      for _ in 0..<100_000 { _ = POSIXTime().monotonicNanoseconds }
      finished.add()
    }
    started.wait()
    let released = Counter()
    final class Witness: Sendable {
      let released: Counter
      init(_ released: Counter) { self.released = released }
      deinit { released.add() }
    }
    let gate = DispatchSemaphore(value: 0)
    workers.submit(.urgent) { gate.wait() }
    do {
      let witness = Witness(released)
      workers.submit(.urgent) { withExtendedLifetime(witness) { dropped.add() } }
    }
    let shutdown = DispatchGroup()
    shutdown.enter()
    Thread {
      workers.shutdown()
      shutdown.leave()
    }.start()
    // Shut down is whoever drops jobs; only then may the urgent lane go on.
    while released.value == 0 { sched_yield() }
    gate.signal()
    shutdown.wait()
    #expect(finished.value == 1 && dropped.value == 0)
    workers.submit(.urgent) { dropped.add() }
    workers.shutdown()
    #expect(dropped.value == 0)
  }

  @Test func jobsMayShutTheirWorkersDown() {
    let workers = ThreadWorkers(backgroundThreads: 2)
    let both = DispatchGroup()
    both.enter()
    both.enter()
    let ended = DispatchSemaphore(value: 0)
    for _ in 0..<2 {
      workers.submit(.background) {
        both.leave()
        both.wait()
        workers.shutdown()
        ended.signal()
      }
    }
    ended.wait()
    ended.wait()
  }

  /// Where the system gives no threads, jobs run on those of whoever waits for them.
  @Test func jobsMayShutTheirWorkersDownOnTheirCallersThreads() {
    let workers = ThreadWorkers(lanes: [0, 0])
    let both = DispatchGroup()
    both.enter()
    both.enter()
    let ended = DispatchSemaphore(value: 0)
    for _ in 0..<2 {
      workers.submit(.background) {
        both.leave()
        both.wait()
        workers.shutdown()
      }
    }
    for _ in 0..<2 {
      Thread {
        if workers.runOneHere() { ended.signal() }
      }.start()
    }
    for _ in 0..<2 { #expect(ended.wait(timeout: .now() + 300) == .success) }
    #expect(!workers.runOneHere())
  }

  @Test func clocksAndRandomness() {
    let time = POSIXTime()
    let first = time.monotonicNanoseconds
    #expect(time.monotonicNanoseconds >= first)
    #expect(time.wallClockNanoseconds > 1_700_000_000_000_000_000)
    #expect(SystemRandomness().next() != SystemRandomness().next())
    // Published values of SplitMix64 for the seed 1234567.
    let seeded = SeededRandomness(seed: 1_234_567)
    #expect(seeded.next() == 6_457_827_717_110_365_317)
    #expect(seeded.next() == 3_203_168_211_198_807_973)
    var plain = SplitMix64(seed: 1_234_567)
    #expect(plain.next() == 6_457_827_717_110_365_317)
    let environment = Environment.posix(backgroundThreads: 2)
    #expect(environment.fileSystem is POSIXFileSystem && environment.makeWorkers() is ThreadWorkers)
  }
}
