import RoostCausality
import RoostCluster
import RoostEnvironment
import RoostSimulation
import SystemPackage
import TestSupport
import Testing

@testable import RoostTransactions

/// A coordinator decides, ends, replaces its log, closes and opens again; before every file operation on the
/// way the power fails or the process is killed. What is left has every decision that was answered and not
/// ended, ends none that was not asked to end, and is the same coordinator.
// Budget: 20 s
@Suite final class CoordinatorLogCrashTests: Sendable {
  private struct Told: Sendable {
    var id: CoordinatorID?
    /// Answered: on disk, or with the system.
    var synced: Set<TransactionID> = []
    var applied: Set<TransactionID> = []
    var ending: Set<TransactionID> = []
    /// Answered as durable.
    var ended: Set<TransactionID> = []
    /// Appended, answered or not.
    var asked: Set<TransactionID> = []
  }

  private let told = Guarded(Told())
  private let points = Guarded(0)

  private func check(_ fileSystem: SimulatedFileSystem, _ told: Told, isKill: Bool, _ place: String) {
    do {
      let left = try LogWorld.after(fileSystem, seed: 77)
      let found = Set(left.recovered.commits.map(\.transaction))
      if let id = told.id, left.log.id != id || left.recovered.copyOf != nil {
        Issue.record("\(place): it is another coordinator")
      }
      let owed = (isKill ? told.synced.union(told.applied) : told.synced).subtracting(told.ending)
      if !owed.isSubset(of: found) { Issue.record("\(place): \(owed.subtracting(found)) is lost") }
      if !found.isDisjoint(with: told.ended) { Issue.record("\(place): what was ended is back") }
      if !found.isSubset(of: told.asked) { Issue.record("\(place): nobody asked for \(found)") }
      // Opened once more it says the same.
      try left.log.close()
      let again = try LogWorld(left.world)
      if Set(again.recovered.commits.map(\.transaction)) != found || again.log.id != left.log.id {
        Issue.record("\(place): the second opening finds something else")
      }
    } catch { Issue.record("\(place): \(error)") }
  }

  private func run(_ world: SimulatedEnvironment, _ random: inout SplitMix64, round: UInt64) throws {
    let opened = try LogWorld(world, rewriteBytes: 2_048)
    told.withLock { $0.id = opened.log.id }
    for number in 0..<60 as Range<UInt64> {
      let id = LogWorld.id(round * 1_000 + number)
      let isSynced = random.below(2) == 0
      _ = told.withLock { $0.asked.insert(id) }
      opened.log.append(LogWorld.record(round * 1_000 + number, isSynced: isSynced)) { [self] failure in
        guard failure == nil else { return }
        told.withLock { told in _ = isSynced ? told.synced.insert(id) : told.applied.insert(id) }
      }
      if random.below(3) > 0 { opened.log.run() }
      let live = told.withLock { $0.synced.union($0.applied).subtracting($0.ending).sorted() }
      guard live.count > 3 else { continue }
      let ending = live[random.below(live.count)]
      _ = told.withLock { $0.ending.insert(ending) }
      opened.log.append(end: ending) { [self] failure in
        if failure == nil { _ = told.withLock { $0.ended.insert(ending) } }
      }
    }
    opened.log.run()
    try opened.log.close()
    told.withLock { $0.synced.formUnion($0.applied) }
  }

  @Test func `a crash before any file operation loses no decision`() throws {
    var random = SplitMix64(seed: 5)
    let world = SimulatedEnvironment(seed: 3)
    try world.fileSystem.createDirectory("/disk/db")
    try world.fileSystem.sync(directory: "/disk")
    try world.fileSystem.sync(directory: "/")
    world.fileSystem.onOperation { [self] operation in
      guard operation.changesDisk else { return }
      let point = points.withLock { points in
        points += 1
        return points
      }
      let told = told.withLock { $0 }
      let fileSystem = world.fileSystem
      let place = "before \(operation)"
      check(fileSystem.processKillClone(), told, isKill: true, "kill, \(place)")
      check(fileSystem.crashClone(.dropAll), told, isKill: false, "dropAll, \(place)")
      check(fileSystem.crashClone(.keepAll), told, isKill: true, "keepAll, \(place)")
      for seed in 0..<TestSize.of(quick: 2, full: 8) {
        check(
          fileSystem.crashClone(.random, seed: UInt64(point * 16 + seed)), told, isKill: false,
          "random \(seed), \(place)")
      }
    }
    for round in 1...3 as ClosedRange<UInt64> { try run(world, &random, round: round) }
    world.fileSystem.onOperation(nil)
    #expect(points.withLock { $0 } > 150)
    #expect(told.withLock { $0.ended.count } > 100)
  }
}
