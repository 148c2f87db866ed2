import Foundation
import RoostEnvironment
import RoostSimulation
import Synchronization
import TestSupport
import Testing

@testable import RoostStorage

/// Writers that wait while one syncs are served by one sync together.
// Budget: 2 s
@Suite(.serialized) struct GroupCommitTests {
  /// With the real clock: writers that wait have a deadline on it.
  static func open(_ world: SimulatedStore, _ options: StoreOptions = .small()) throws -> Store {
    var environment = world.simulated.environment
    environment.time = Environment.posix().time
    return try Store.open(at: SimulatedStore.path, options, environment: environment)
  }

  /// The first writer's sync is held until eight others stand in the queue.
  @Test func oneSyncServesAllThatWait() throws {
    let world = SimulatedStore()
    let store = try Self.open(world)
    let tree = try store.tree("t")
    let isFirst = Atomic<Bool>(true)
    let syncs = Atomic<Int>(0)
    let isHeld = Atomic<Bool>(false)
    world.fileSystem.onOperation { operation throws(FileSystemError) in
      guard operation.kind == .sync, operation.path.string.hasSuffix(".log") else { return }
      syncs.wrappingAdd(1, ordering: .relaxed)
      if isFirst.exchange(false, ordering: .acquiringAndReleasing) {
        isHeld.store(true, ordering: .releasing)
        while store.commits.queuedCount < 8 { sched_yield() }
      }
    }
    let faults = Faults()
    runThreads(9) { thread in
      if thread > 0 { while !isHeld.load(ordering: .acquiring) { sched_yield() } }
      faults.check((try? tree.put("k\(thread)", "v", .synced)) != nil)
      // What a call returned for is seen at once.
      faults.check((try? tree.contains("k\(thread)")) == true)
    }
    world.fileSystem.onOperation(nil)
    #expect(faults.total == 0)
    #expect(syncs.load(ordering: .relaxed) == 2)
    #expect(store.statistics.syncs == 2)
    #expect(try world.crashed().open().tree("t").keys().count == 9)
  }

  /// In one group a bad request fails alone, and a failed sync fails all that were in it.
  @Test func errorsReachThoseTheyConcern() throws {
    let world = SimulatedStore()
    let store = try Self.open(world, .small { $0.memoryBudgetBytes = 1 << 20 })
    let tree = try store.tree("t")
    let gone = try store.tree("gone")
    try store.dropTree("gone")
    let isHeld = Atomic<Bool>(false)
    let isFirst = Atomic<Bool>(true)
    world.fileSystem.onOperation { operation throws(FileSystemError) in
      guard operation.kind == .sync, operation.path.string.hasSuffix(".log") else { return }
      if isFirst.exchange(false, ordering: .acquiringAndReleasing) {
        isHeld.store(true, ordering: .releasing)
        while store.commits.queuedCount < 8 { sched_yield() }
      }
    }
    let codes = Guarded<[Int: StoreError.Code?]>([:])
    // Together they are above an eighth of the budget, each by itself is not.
    let value = [UInt8](repeating: 1, count: 100_000)
    let tooLarge = [UInt8](repeating: 1, count: 200_000)
    runThreads(9) { thread in
      if thread > 0 { while !isHeld.load(ordering: .acquiring) { sched_yield() } }
      let error = storeError {
        switch thread {
        case 1: try gone.put("k", "v", .synced)
        case 2: try tree.put("k2", tooLarge, .synced)
        default: try tree.put("k\(thread)", value, .synced)
        }
      }
      codes.withLock { $0[thread] = .some(error?.code) }
    }
    world.fileSystem.onOperation(nil)
    let all = codes.withLock { $0 }
    #expect(all[1]! == .treeDropped)
    #expect(all[2]! == .exceedsBudget)
    for thread in [0, 3, 4, 5, 6, 7, 8] { #expect(all[thread]! == nil, "thread \(thread)") }
    #expect(try world.crashed().open().tree("t").keys().count == 7)
  }

  @Test func aFailedSyncFailsTheWholeGroup() throws {
    let world = SimulatedStore()
    let store = try Self.open(world)
    let tree = try store.tree("t")
    let isHeld = Atomic<Bool>(false)
    let syncs = Atomic<Int>(0)
    world.fileSystem.onOperation { operation throws(FileSystemError) in
      guard operation.kind == .sync, operation.path.string.hasSuffix(".log") else { return }
      if syncs.wrappingAdd(1, ordering: .acquiringAndReleasing).oldValue == 0 {
        isHeld.store(true, ordering: .releasing)
        while store.commits.queuedCount < 4 { sched_yield() }
      } else {
        throw FileSystemError(.io, operation: "fdatasync", path: operation.path.string)
      }
    }
    let codes = Guarded<[StoreError.Code?]>([])
    runThreads(5) { thread in
      if thread > 0 { while !isHeld.load(ordering: .acquiring) { sched_yield() } }
      let error = storeError { try tree.put("k\(thread)", "v", thread < 3 ? .synced : .applied) }
      if thread > 0 { codes.withLock { $0.append(error?.code) } }
    }
    world.fileSystem.onOperation(nil)
    #expect(codes.withLock { $0 } == Array(repeating: .outcomeUnknown, count: 4))
    #expect(try tree.keys() == ["k0"])
    #expect(storeError { try tree.put("x", "y") }?.code == .readOnly)
  }
}
