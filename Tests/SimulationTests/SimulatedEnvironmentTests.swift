import Foundation
import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

/// Time and workers that move when told. Budget: 1 s
@Suite struct SimulatedEnvironmentTests {
  final class Log: Sendable {
    let entries = Guarded<[String]>([])
    func add(_ entry: String) { entries.withLock { $0.append(entry) } }
    var all: [String] { entries.withLock { $0 } }
  }

  @Test func timeStandsStill() {
    let time = SimulatedTime(monotonicNanoseconds: 5, wallClockNanoseconds: 100)
    #expect(time.monotonicNanoseconds == 5 && time.wallClockNanoseconds == 100)
    time.advance(byNanoseconds: 10)
    #expect(time.monotonicNanoseconds == 15 && time.wallClockNanoseconds == 110)
    time.setWallClock(nanoseconds: 7)
    #expect(time.monotonicNanoseconds == 15 && time.wallClockNanoseconds == 7)
  }

  @Test func waitingMovesTheClock() {
    let time = SimulatedTime(monotonicNanoseconds: 5, wallClockNanoseconds: 100)
    let lock = Lock()
    let condition = Condition(lock)
    lock.withLock {
      #expect(!time.wait(on: condition, untilMonotonicNanoseconds: 12))
      #expect(time.monotonicNanoseconds == 12 && time.wallClockNanoseconds == 107)
      // What has passed is not waited for.
      #expect(!time.wait(on: condition, untilMonotonicNanoseconds: 3))
      #expect(time.monotonicNanoseconds == 12)
    }
  }

  @Test func orWaitsForAnotherThreadToMoveIt() {
    let time = SimulatedTime(monotonicNanoseconds: 5, wallClockNanoseconds: 100, waiting: .blocks)
    let (lock, log) = (Lock(), Log())
    let condition = Condition(lock)
    #expect(!time.advanceToNextWait() && time.nextWait == nil)
    func start(_ deadline: UInt64) {
      Thread {
        let inTime = lock.withLock { time.wait(on: condition, untilMonotonicNanoseconds: deadline) }
        log.add("\(deadline) \(inTime)")
      }.start()
    }
    start(20)
    while time.waitingCount < 1 { sched_yield() }
    time.advance(byNanoseconds: 14)
    #expect(time.nextWait == 20 && log.all == [])
    time.advance(byNanoseconds: 1)
    while log.all.isEmpty { sched_yield() }
    #expect(log.all == ["20 false"])
    start(90)
    while time.waitingCount < 1 { sched_yield() }
    // A signal ends it before its time.
    lock.withLock { condition.signal() }
    while log.all.count < 2 { sched_yield() }
    #expect(log.all == ["20 false", "90 true"])
    #expect(time.waitingCount == 0 && time.monotonicNanoseconds == 20)
    start(30)
    start(40)
    while time.waitingCount < 2 { sched_yield() }
    #expect(time.advanceToNextWait())
    #expect(time.monotonicNanoseconds == 30 && time.wallClockNanoseconds == 125)
    while log.all.count < 3 {
      sched_yield()
    }
    // One broadcast wakes both where they share a condition; whose time has not come says so.
    #expect(Set(log.all[2...]).isSubset(of: ["30 false", "40 true"]))
    while log.all.count < 4 { sched_yield() }
    #expect(time.waitingCount == 0)
  }

  @Test func urgentJobsGoFirst() {
    let (workers, log) = (ManualWorkers(), Log())
    workers.submit(.background) { log.add("b1") }
    workers.submit(.background) { log.add("b2") }
    workers.submit(.urgent) {
      log.add("u1")
      workers.submit(.urgent) { log.add("u2") }
    }
    #expect(log.all == [] && workers.waitingCount(.background) == 2)
    #expect(workers.runOneHere())
    #expect(log.all == ["u1"])
    #expect(workers.runAll() == 3)
    #expect(log.all == ["u1", "u2", "b1", "b2"])
    #expect(!workers.runOneHere())
  }

  @Test func aSeedChoosesTheLane() throws {
    func run(_ seed: UInt64) -> [String] {
      let (workers, log) = (ManualWorkers(laneSeed: seed), Log())
      for i in 0..<5 {
        workers.submit(.background) { log.add("b\(i)") }
        workers.submit(.urgent) { log.add("u\(i)") }
      }
      workers.runAll()
      return log.all
    }
    var orders: Set<[String]> = []
    for seed in Seeds.of("lanes", count: 20) {
      let order = run(seed)
      #expect(order == run(seed))
      // Each lane keeps its order.
      #expect(order.filter { $0.hasPrefix("b") } == (0..<5).map { "b\($0)" })
      #expect(order.filter { $0.hasPrefix("u") } == (0..<5).map { "u\($0)" })
      orders.insert(order)
    }
    #expect(orders.count > 10)
  }

  @Test func shutdownDropsWhatWaits() {
    let (workers, log) = (ManualWorkers(), Log())
    workers.submit(.urgent) {
      log.add("first")
      workers.shutdown()
      workers.submit(.urgent) { log.add("after") }
    }
    workers.submit(.urgent) { log.add("second") }
    #expect(workers.runAll() == 1)
    #expect(log.all == ["first"])
  }

  @Test func aWorldFromOneSeed() throws {
    let world = SimulatedEnvironment(seed: 9)
    let environment = world.environment
    #expect(environment.randomness.next() == SeededRandomness(seed: 9).next())
    let workers = environment.makeWorkers()
    #expect(world.workers === workers)
    try environment.fileSystem.writeWhole("/a", [1], synced: true)
    #expect(try world.crashed(.dropAll, seed: 1).fileSystem.entries(of: "/") == [])
    try environment.fileSystem.sync(directory: "/")
    #expect(try world.crashed(.dropAll, seed: 1).fileSystem.entries(of: "/") == ["a"])
    #expect(Environment.simulated().fileSystem is SimulatedFileSystem)
  }
}
