import RoostCausality
import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster
@testable import RoostTransactions

/// Disks that are full or fail to sync under the records by which partitions change their owner and members
/// leave: the change stops and says why, at most one store serves a partition all the while, and once the
/// disk is well it goes on from there.
// Budget: 10 s
@Suite struct RemoteHandoverFaultTests {
  enum Fault: CaseIterable {
    case isFull
    /// Once; a store writes nothing more after that. What was not synced is lost.
    case failsToSync
    /// Once, too; but what it says may be lost is there.
    case failsOnceSynced

    /// - Parameter number: which sync of the log fails from now on.
    func strike(_ disk: SimulatedFileSystem, sync number: Int = 1) {
      switch self {
      case .isFull: disk.inject(FaultRule([.write, .allocate], repeats: true, .fail(.noSpace)))
      case .failsToSync: disk.inject(FaultRule([.sync], pathSuffix: ".log", occurrence: number, .fail(.io)))
      case .failsOnceSynced:
        disk.inject(FaultRule([.sync], pathSuffix: ".log", occurrence: number, .failOnceSynced(.io)))
      }
    }

    /// What becomes of the machine before its process is started again.
    var policy: CrashPolicy? {
      switch self {
      case .isFull: nil
      case .failsToSync: .random
      case .failsOnceSynced: .dropAll
      }
    }
  }

  /// Each write of the log is an operation of the disk: else there would be room in what is reserved.
  private static func called(_: Int, _ options: inout DatabaseOptions) {
    options.store.logAccess = .calls
  }

  /// There is room again, and the process is started anew.
  private static func mend(_ world: RemoteWorld, _ index: Int, after fault: Fault) throws {
    world.hosts[index].disk.clearFaults()
    world.kill(index, losing: fault.policy)
    try world.restart(index)
  }

  /// Lets time pass. No partition is served by two.
  private static func pass(_ world: RemoteWorld, seconds: UInt64, _ comment: Comment) throws {
    let end = world.time.monotonicNanoseconds + seconds * 1_000_000_000
    var steps = 0
    while world.time.monotonicNanoseconds < end, steps < 20_000 {
      world.step()
      steps += 1
      for partition in 0..<16 {
        let serving = try world.running.filter { try world.node($0).ownsTransactions(of: partition) }
        try #require(serving.count <= 1, "\(comment): partition \(partition) is served by \(serving)")
      }
    }
  }

  /// Has a node join, up to the first partition that waits only for its owner to give it up. It is tried
  /// again within a second.
  private static func aboutToGiveUp(
    seed: UInt64
  ) throws -> (world: RemoteWorld, names: [String], new: Int, owner: Int, move: PartitionMove) {
    let (world, names) = try RemoteMoveTests.world(3, replicas: 1, seed: seed, called)
    try world.subvert { $0.stopsBefore = [.giveUp] }
    let new = try world.join()
    try world.settle { try world.node(new).changeProgress.waitsFor.contains("\(MoveStep.giveUp)") }
    let (move, owner) = try RemoteMoveTests.underWay(world)
    return (world, names, new, owner, move)
  }

  // MARK: - Whoever gives

  @Test(arguments: Fault.allCases)
  func `what its owner cannot record that it gave up is served by nobody until it is well`(
    fault: Fault
  ) throws {
    let (world, names, new, owner, move) = try Self.aboutToGiveUp(seed: 31)
    let name = try #require(names.first { world.partition($0) == move.partition })
    // Its clock is above what comes, so that it need not be raised on that disk meanwhile.
    let core = try world.node(owner).core
    let now = Timestamp(milliseconds: core.shared.clock.physicalMilliseconds + 3_000)
    try core.shared.observe(now)
    let disk = world.hosts[owner].disk
    // The first sync is that of the clock's bound, which comes before.
    fault.strike(disk, sync: 2)
    try world.subvert { $0.stopsBefore = [] }
    try world.settle {
      try world.node(new).beat()
      return try world.node(new).changeProgress.waitsFor.contains(Member.SystemKey.handovers)
    }
    #expect(disk.counts.faults > 0)
    // It may be on that disk.
    #expect(try world.node(owner).handovers.partitions == [move.partition])
    #expect(try !world.running.contains { try world.node($0).ownsTransactions(of: move.partition) })
    let writer = try #require([0, 1, 2].first { $0 != owner })
    #expect(try !RemoteMoveTests.isCommitted(world.write([name: "lost"], at: writer)))
    try Self.pass(world, seconds: 15, "\(fault)")
    #expect(try world.database().ring.copies.contains(move), "it moved without the record")
    try Self.mend(world, owner, after: fault)
    let found = fault == .failsOnceSynced ? [move.partition] : []
    #expect(try world.node(owner).handovers.partitions == found)
    try Self.pass(world, seconds: 5, "\(fault), after it is well")
    try world.settleMembers()
    #expect(try world.owner(name) == new)
    try RemoteMoveTests.check(world, names, "old")
  }

  /// Another is the owner by then. The record stays, which does no harm, until the disk takes its end.
  @Test(arguments: Fault.allCases)
  func `what its owner cannot record the end of is served by the new one alone`(fault: Fault) throws {
    let (world, names) = try RemoteMoveTests.world(3, replicas: 1, seed: 32, Self.called)
    try world.subvert { $0.stopsBefore = [.takeBack] }
    let new = try world.join()
    var owner: Int?
    try world.settle {
      guard let found = try (0..<3).first(where: { try !world.node($0).handovers.partitions.isEmpty }) else {
        return false
      }
      owner = found
      let partition = try world.node(found).handovers.partitions[0]
      // And it has heard of that itself.
      let known = try world.node(found).view.ring.replica(of: partition, slot: 0)
      return try known == world.node(new).local.id && world.node(new).ownsTransactions(of: partition)
    }
    let index = try #require(owner)
    let partition = try world.node(index).handovers.partitions[0]
    let disk = world.hosts[index].disk
    fault.strike(disk)
    try world.subvert { $0.stopsBefore = [] }
    try world.settle { world.warnings.withLock { $0.contains { $0.contains("handover") } } }
    #expect(disk.counts.faults > 0)
    try Self.pass(world, seconds: 10, "\(fault)")
    #expect(try world.node(index).handovers.partitions.contains(partition))
    #expect(try world.node(new).ownsTransactions(of: partition))
    try Self.mend(world, index, after: fault)
    try world.settle { try !world.node(index).handovers.partitions.contains(partition) }
    try world.settleMembers()
    try RemoteMoveTests.check(world, names, "old")
  }

  // MARK: - Whoever gets

  @Test(arguments: [MoveStep.catchUp, .takeOver, .flip])
  func `a move to a disk that is full or fails stops, and goes on once it is well`(step: MoveStep) throws {
    for fault in Fault.allCases {
      let comment: Comment = "before \(step), a disk that \(fault)"
      let (world, names, new, _, move) = try RemoteMoveTests.joining(before: step, seed: 33, Self.called)
      let disk = world.hosts[new].disk
      fault.strike(disk)
      try world.subvert { $0.stopsBefore = [] }
      // Longer than it waits before it tries again.
      try Self.pass(world, seconds: 20, comment)
      #expect(disk.counts.faults > 0, comment)
      #expect(try world.database().ring.copies.contains(move), comment)
      #expect(try !world.node(new).changeProgress.waitsFor.isEmpty, comment)
      #expect(try !world.node(new).ownsTransactions(of: move.partition), comment)
      try Self.mend(world, new, after: fault)
      try Self.pass(world, seconds: 5, comment)
      try world.settleMembers()
      #expect(try world.node(new).ownsTransactions(of: move.partition), comment)
      try RemoteMoveTests.check(world, names, "old", comment)
    }
  }

  // MARK: - Whoever leaves

  @Test(arguments: Fault.allCases)
  func `a member stays until somebody has its records on a disk that is well`(fault: Fault) throws {
    let (world, names) = try RemoteMoveTests.world(4, replicas: 2, seed: 34, Self.called)
    let own = try world.names(at: 1)[0]
    // One store commits it, at once: so it alone has it on record.
    let transaction = try world.begin([own: "old"], at: 3)
    let outcome = try world.commit(transaction)
    try world.settle { outcome.withLock { $0 != nil } }
    #expect(outcome.withLock { $0.map(RemoteMoveTests.isCommitted) } == true)
    world.kill(3)
    try world.restart(3)
    world.pass(seconds: 3)
    try world.subvert { $0.stopsBefore = [.bequeath] }
    try world.leave(1, askedAt: 0)
    let node = try world.node(1)
    try world.settle(6_000) { node.view.isDeparting(node.local.id) && node.view.state.drops.isEmpty }
    let staying = node.view.ring.staying.map(\.id).filter { $0 != node.local.id }
    let heir = try #require(node.inOrderOfTrust(staying).first)
    let index = try #require(world.hosts.firstIndex { $0.member == heir })
    let disk = world.hosts[index].disk
    fault.strike(disk)
    try world.subvert { $0.stopsBefore = [] }
    try world.settle(6_000) { node.changeProgress.waitsFor.contains("is to keep this one's records") }
    #expect(disk.counts.faults > 0)
    try Self.pass(world, seconds: 15, "\(fault)")
    #expect(!node.isDismissed)
    #expect(try world.database().ring.places[node.local.id] != nil, "it was forgotten with its records")
    try Self.mend(world, index, after: fault)
    try world.settleMembers()
    #expect(node.isDismissed)
    world.kill(1)
    // What was taken is durable.
    world.kill(index, losing: .dropAll)
    try world.restart(index)
    world.pass(seconds: 3)
    for index in world.running {
      guard case .committed = try world.outcome(of: transaction.id, at: index) else {
        Issue.record("node \(index) does not know that it has committed")
        continue
      }
    }
    try RemoteMoveTests.check(world, names, "old")
  }
}
