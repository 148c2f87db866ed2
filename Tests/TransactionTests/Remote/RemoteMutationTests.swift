import RoostCausality
import TestSupport
import Testing

@testable import RoostCluster
@testable import RoostTransactions

/// Each rule by which transactional partitions change their owner, and members leave, broken on purpose: what
/// comes of it is seen. Beside it the same steps with the rule kept.
// Budget: 5 s
@Suite struct RemoteMutationTests {
  private static func name(_ names: [String], in move: PartitionMove, _ world: RemoteWorld) throws -> String {
    try #require(names.first { world.partition($0) == move.partition })
  }

  /// Writes at a node that was started again just now: some attempts are refused for that.
  private static func writeSoon(
    _ world: RemoteWorld, _ writes: [String: String], at index: Int
  ) throws -> TransactionOutcome {
    var outcome = try world.write(writes, at: index)
    for _ in 0..<40 {
      guard case .aborted = outcome else { break }
      world.step()
      outcome = try world.write(writes, at: index)
    }
    return outcome
  }

  /// What a key is in the end, read where it can be by then.
  private static func value(_ world: RemoteWorld, _ name: String, at index: Int) throws -> String? {
    // Who was started again keeps no versions of before.
    world.pass(seconds: 6)
    return try world.values([name], at: index)[0]
  }

  /// The flip is on its way when both go. Whoever gave up must know that when it is back.
  @Test(arguments: [false, true])
  func `an owner that keeps no record of what it gave up loses what it commits then`(
    _ isBroken: Bool
  ) throws {
    let (world, names, new, owner, move) = try RemoteMoveTests.joining(before: .giveUp, seed: 11)
    let name = try Self.name(names, in: move, world)
    world.directory.fate = { name, value in RemoteFlipTests.flips(move, name, value) ? .late : .told }
    try world.subvert {
      $0.givesUpUnrecorded = isBroken
      $0.stopsBefore = []
    }
    try world.settle { world.directory.lateCount > 0 }
    world.directory.fate = { _, _ in .told }
    world.kill(new)
    world.kill(owner)
    try world.restart(owner)
    #expect(try world.node(owner).ownsTransactions(of: move.partition) == isBroken)
    let outcome = try Self.writeSoon(world, [name: "new"], at: owner)
    #expect(RemoteMoveTests.isCommitted(outcome) == isBroken)
    #expect(try world.directory.deliver(), "something else has changed the record")
    try world.restart(new)
    try world.settleMembers()
    let written = RemoteMoveTests.isCommitted(outcome) ? "new" : "old"
    #expect(try (Self.value(world, name, at: new) == written) != isBroken)
  }

  /// Whoever asked the owner is gone and comes back; what it had asked the directory for comes late.
  @Test(arguments: [false, true])
  func `a flip of before that nobody has stopped comes true`(_ isBroken: Bool) throws {
    let (world, _, new, owner, move) = try RemoteMoveTests.joining(before: .flip, seed: 12)
    world.directory.fate = { name, value in RemoteFlipTests.flips(move, name, value) ? .late : .told }
    try world.subvert {
      $0.leavesFlips = isBroken
      $0.stopsBefore = []
    }
    try world.settle { world.directory.lateCount > 0 }
    world.directory.fate = { _, _ in .told }
    // It begins anew: what it had brought is deleted.
    try world.subvert { $0.stopsBefore = [.freeze] }
    world.kill(new)
    try world.restart(new)
    world.pass(seconds: 20)
    #expect(try world.node(owner).handovers.partitions == [move.partition])
    #expect(try world.directory.deliver() == isBroken)
  }

  /// The owner hears of nothing but what it is asked.
  @Test(arguments: [false, true])
  func `where the owner's word is not waited for two serve a partition`(_ isBroken: Bool) throws {
    let (world, names, new, owner, move) = try RemoteMoveTests.joining(before: .freeze, seed: 13)
    let name = try Self.name(names, in: move, world)
    try world.subvert([owner]) { $0.isDeaf = true }
    try world.subvert {
      $0.takesUnasked = isBroken
      // Nothing else moves, of which the owner would be told.
      $0.stopsBefore = [.begin]
    }
    try world.settle { try world.node(new).ownsTransactions(of: move.partition) }
    // Longer than a receiver may be silent while a partition is frozen.
    world.pass(seconds: 8)
    let serving = try world.running.filter { try world.node($0).ownsTransactions(of: move.partition) }
    #expect(serving == (isBroken ? [owner, new] : [new]))
    let outcome = try world.write([name: "late"], at: owner)
    #expect(RemoteMoveTests.isCommitted(outcome) == isBroken)
    try world.subvert {
      $0.isDeaf = false
      $0.stopsBefore = []
    }
    try world.settleMembers()
    let written = RemoteMoveTests.isCommitted(outcome) ? "late" : "old"
    #expect(try (Self.value(world, name, at: new) == written) != isBroken)
  }

  /// The owner has promised to commit, and does not hear of the decision before the partition is another's.
  @Test(arguments: [false, true])
  func `a partition that is given up with a transaction in doubt loses what it wrote`(
    _ isBroken: Bool
  ) throws {
    let (world, names, new, owner, move) = try RemoteMoveTests.joining(before: .freeze, seed: 14)
    let name = try Self.name(names, in: move, world)
    let writer = try #require([0, 1, 2].first { $0 != owner })
    let other = try #require(try names.first { try world.owner($0) == writer })
    var isLost = true
    world.wire.fate = { envelope in
      guard isLost, envelope.to == .participant(move.from) else { return .arrives }
      return ["commit", "answer"].contains(envelope.message.body.name) ? .lost : .arrives
    }
    let outcome = try world.commit(try world.begin([name: "new", other: "new"], at: writer))
    try world.settle { outcome.withLock { $0 != nil } }
    #expect(outcome.withLock { $0.map(RemoteMoveTests.isCommitted) } == true)
    try world.settle { world.isInDoubt }
    try world.subvert {
      $0.givesUpUndrained = isBroken
      $0.stopsBefore = []
    }
    world.pass(seconds: 25)
    #expect(try world.owner(name) == (isBroken ? new : owner))
    isLost = false
    world.pass(seconds: 15)
    if !isBroken { try world.settleMembers() }
    let values = try world.values([name, other], at: writer)
    #expect(values == [isBroken ? "old" : "new", "new"])
  }

  /// What was read at a time stays as it was read, whoever has the key: so nothing is written below it.
  @Test(arguments: [false, true])
  func `a new owner whose clock is below what was read writes into the past`(_ isBroken: Bool) throws {
    let world = try RemoteWorld(3, replicas: 1, seed: 15, clockBound: .seconds(5))
    world.longestStep = 50_000_000
    for index in 0..<3 { _ = try world.manager(index) }
    try world.subvert {
      $0.takesOverBelow = isBroken
      $0.stopsBefore = [.giveUp]
    }
    let new = try world.join()
    try world.settle { try world.node(new).changeProgress.waitsFor.contains("\(MoveStep.giveUp)") }
    let (move, owner) = try RemoteMoveTests.underWay(world)
    let name = try Self.name((0..<2_000).map { "account\($0)" }, in: move, world)
    // Within the bound, and further than it takes until the new owner writes.
    world.hosts[owner].time.aheadMilliseconds = 3_500
    let time = try world.manager(owner).now()
    #expect(try world.values([name], at: owner, time) == [nil])
    try world.subvert { $0.stopsBefore = [] }
    try world.settle {
      // It goes on as soon as it may.
      try world.node(new).beat()
      return try world.node(new).ownsTransactions(of: move.partition)
    }
    guard case .committed(let written) = try Self.writeSoon(world, [name: "new"], at: new) else {
      Issue.record("it could not be written")
      return
    }
    #expect((written > time) != isBroken)
    let again = Result { try world.values([name], at: new, time) }
    if isBroken {
      #expect(try again.get() == ["new"], "a time shows something else than before")
    } else if case .success(let values) = again {
      #expect(values == [nil])
    }
  }

  /// The one store that has a transaction on record leaves.
  @Test(arguments: [false, true])
  func `a member that leaves and gives its records to nobody takes outcomes along`(
    _ isBroken: Bool
  ) throws {
    let (world, _) = try RemoteMoveTests.world(4, replicas: 2)
    let own = try world.names(at: 0)[0]
    let transaction = try world.begin([own: "a"], at: 3)
    let outcome = try world.commit(transaction)
    try world.settle { outcome.withLock { $0 != nil } }
    #expect(outcome.withLock { $0.map(RemoteMoveTests.isCommitted) } == true)
    // Who coordinated it forgets what it has no record of.
    world.kill(3)
    try world.restart(3)
    world.pass(seconds: 30)
    try world.subvert { $0.dropsBequest = isBroken }
    try world.leave(0, askedAt: 2)
    try world.settleMembers()
    world.kill(0)
    world.pass(seconds: 2)
    for index in world.running {
      let known = try world.outcome(of: transaction.id, at: index)
      let isKnown = if case .committed = known { true } else { false }
      #expect(isKnown != isBroken, "node \(index): \(known)")
    }
  }
}
