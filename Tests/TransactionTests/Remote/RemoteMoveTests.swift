import RoostCausality
import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster
@testable import RoostTransactions

/// Partitions of transactional keyspaces that change their owner between nodes: nothing is lost, nothing is
/// done twice, and at each moment at most one store serves.
// Budget: 20 s
@Suite struct RemoteMoveTests {
  /// A world with a value under a name of each partition.
  static func world(
    _ count: Int = 3, replicas: Int = 2, seed: UInt64 = 1,
    _ configure: @escaping (Int, inout DatabaseOptions) -> Void = { _, _ in }
  ) throws -> (world: RemoteWorld, names: [String]) {
    let world = try RemoteWorld(count, replicas: replicas, seed: seed, configure)
    world.longestStep = 50_000_000
    let names = (0..<16).map { partition in
      (0..<2_000).lazy.map { "account\($0)" }.first { world.partition($0) == partition }!
    }
    for (number, name) in names.enumerated() { try write(world, [name: "old"], at: number % count) }
    return (world, names)
  }

  static func isCommitted(_ outcome: TransactionOutcome) -> Bool {
    if case .committed = outcome { true } else { false }
  }

  /// Writes until it is done: what moves just now is to be tried again.
  static func write(_ world: RemoteWorld, _ writes: [String: String], at index: Int) throws {
    for _ in 0..<400 {
      let outcome = try world.write(writes, at: index)
      if isCommitted(outcome) { return }
      guard case .aborted = outcome else { break }
      world.step()
    }
    Issue.record("\(writes) could not be written at \(index)")
  }

  /// That all nodes read the same, that one node serves each key, and that each can be written.
  static func check(
    _ world: RemoteWorld, _ names: [String], _ value: String, _ comment: Comment? = nil
  ) throws {
    try world.settle { !world.isInDoubt }
    // Who was started again keeps no versions of before: all clocks are to pass that.
    world.pass(seconds: 6)
    for index in world.running {
      #expect(try world.values(names, at: index) == names.map { _ in value }, comment)
    }
    for name in names {
      let serving = try world.running.filter {
        try world.node($0).ownsTransactions(of: world.partition(name))
      }
      #expect(serving == [try world.owner(name)], comment)
    }
    let able = try world.running.filter { try world.node($0).mayCoordinate }
    for (number, name) in names.enumerated() {
      try write(world, [name: value], at: able[number % able.count])
    }
  }

  /// The partition that was begun to move to a node with its transactional keys, and its owner.
  static func underWay(_ world: RemoteWorld) throws -> (move: PartitionMove, owner: Int) {
    let move = try #require(try world.database().ring.copies.first { $0.slot == 0 })
    return (move, try #require(world.hosts.firstIndex { $0.member == move.from }))
  }

  /// Has a node join, up to the first move of transactional keys that stops before a step.
  static func joining(
    before step: MoveStep, seed: UInt64,
    _ configure: @escaping (Int, inout DatabaseOptions) -> Void = { _, _ in }
  ) throws -> (world: RemoteWorld, names: [String], new: Int, owner: Int, move: PartitionMove) {
    // With one replica each move takes transactional keys along.
    let (world, names) = try world(3, replicas: 1, seed: seed, configure)
    try world.subvert { $0.stopsBefore = [step] }
    let new = try world.join()
    for _ in 0..<200 { world.step() }
    let (move, owner) = try underWay(world)
    return (world, names, new, owner, move)
  }

  @Test(arguments: [1, 2, 3])
  func `a node that joins gets transactional keys, and one that leaves gives all of them away`(
    replicas: Int
  ) throws {
    let (world, names) = try Self.world(3, replicas: replicas)
    let early = try world.begin([names[0]: "early"], at: 1)
    let outcome = try world.commit(early)
    try world.settle { outcome.withLock { $0 != nil } }
    try world.write([names[0]: "old"], at: 2)
    let new = try world.join()
    try world.settleMembers()
    #expect(try names.contains { try world.owner($0) == new }, "it owns some")
    try Self.check(world, names, "old")
    for name in names { try Self.write(world, [name: "new"], at: new) }
    try world.leave(0, askedAt: 2)
    try world.settleMembers()
    #expect(try world.node(0).isDismissed)
    #expect(code { _ = try world.begin([names[0]: "x"], at: 0) } == .notAMember)
    world.kill(0)
    world.pass(seconds: 1)
    try Self.check(world, names, "new")
    for index in world.running {
      guard case .committed = try world.outcome(of: early.id, at: index) else {
        Issue.record("node \(index) does not know that it has committed")
        return
      }
    }
    #expect(world.warnings.withLock { $0.filter { $0.contains("handover") } } == [])
  }

  @Test func `a bank keeps its money while its accounts change their owners`() throws {
    try withSeeds("RemoteMoveBankTests", count: TestSize.of(quick: 2, full: 20)) { seed, random in
      let world = try RemoteWorld(3, replicas: 2, seed: seed)
      world.longestStep = 50_000_000
      let names = (0..<10).map { "account\($0)" }
      let bank = BankChecker(total: 1_000, accountCount: names.count)
      try world.write(Dictionary(uniqueKeysWithValues: names.map { ($0, "100") }), at: 0)
      world.wire.disturb(lost: 4, doubled: 4, held: 8, seed: seed)
      var (audits, moved) = (0, 0)
      let rounds = TestSize.of(quick: 40, full: 150)
      for round in 0..<rounds {
        if round == 3 { try world.join() }
        if round == rounds / 2 {
          // What is under way of the first change is done by then, or this is told to wait.
          _ = try? world.leave(1, askedAt: 0)
        }
        if round % 10 == 8 {
          let index = world.running[random.below(world.running.count)]
          world.kill(index, losing: random.below(2) == 0 ? .random : nil, seed: random.next())
          if (try? world.restart(index)) == nil { continue }
        }
        let members = try world.running.filter { try !world.node($0).isDismissed }
        let begun = (0..<2).compactMap { _ -> MoneyTransfer? in
          let (from, to) = random.two(below: names.count)
          let index = members[random.below(members.count)]
          return try? MoneyTransfer(world, names[from], names[to], 1 + random.below(40), at: index)
        }
        try world.settle { begun.allSatisfy(\.isOver) }
        moved += begun.count(where: \.hasCommitted)
        for _ in 0..<5 { world.step() }
        guard let index = try members.first(where: { try world.node($0).isInRing }),
          let values = try? world.values(names, at: index)
        else { continue }
        audits += 1
        if let fault = bank.fault(values) {
          Issue.record("seed \(seed), round \(round): \(fault)")
        }
      }
      world.wire.fate = { _ in .arrives }
      try world.settleMembers()
      try world.settle { !world.isInDoubt }
      let last = try #require(try world.running.first { try world.node($0).isInRing })
      let values = try world.values(names, at: last).compactMap { $0.flatMap { Int($0) } }
      #expect(bank.fault(values) == nil, "seed \(seed)")
      // Or the test shows nothing.
      #expect(audits > 3 && moved > 5, "seed \(seed): \(audits) audits, \(moved) transfers")
    }
  }

  @Test(
    arguments: [
      MoveStep.begin, .catchUp, .freeze, .giveUp, .takeOver, .flip, .takeBack, .compare, .drop,
    ])
  func `whoever is killed before any step, the move goes on and nothing is lost`(step: MoveStep) throws {
    for victim in 0..<2 {
      for policy in [CrashPolicy?.none, .random] {
        let comment: Comment = "before \(step), the \(victim == 0 ? "receiver" : "owner")"
        let world: RemoteWorld
        let (names, killed): ([String], Int)
        switch step {
        case .begin, .takeBack, .compare, .drop:
          // By then nothing has begun to move, or it has moved already.
          let (made, all) = try Self.world(3, replicas: 1, seed: UInt64(victim) + 1)
          try made.subvert { $0.stopsBefore = [step] }
          let new = try made.join()
          for _ in 0..<200 { made.step() }
          (world, names) = (made, all)
          killed = victim == 0 ? new : 0
        default:
          let found = try Self.joining(before: step, seed: UInt64(victim) + 1)
          (world, names) = (found.world, found.names)
          killed = victim == 0 ? found.new : found.owner
        }
        world.kill(killed, losing: policy, seed: UInt64(victim) &* 31 &+ 5)
        try world.subvert { $0.stopsBefore = [] }
        for _ in 0..<10 { world.step() }
        try world.restart(killed)
        try world.settleMembers()
        try Self.check(world, names, "old", comment)
      }
    }
  }

  @Test func `who has given a partition up serves nobody until it hears what became of it`() throws {
    let (world, names, new, owner, move) = try Self.joining(before: .flip, seed: 3)
    #expect(try world.node(owner).handovers.partitions == [move.partition])
    let name = try #require(names.first { world.partition($0) == move.partition })
    let writer = try #require([0, 1, 2].first { $0 != owner })
    for restarts in [false, true] {
      if restarts {
        world.kill(owner)
        try world.restart(owner)
        // So that nobody brings it any further.
        #expect(try world.node(owner).handovers.partitions == [move.partition])
      }
      // It has held nothing yet.
      #expect(code { _ = try world.begin([name: "lost"], at: new) } == .busy)
      for index in [owner, writer] {
        guard case .aborted = try world.write([name: "lost"], at: index) else {
          Issue.record("it was written though nobody serves it")
          return
        }
      }
      #expect(try !world.running.contains { try world.node($0).ownsTransactions(of: move.partition) })
      let manager = try world.manager(writer)
      let read = Guarded<Result<ReadAnswer, DatabaseError>?>(nil)
      let target = world.reference(name)
      manager.snapshot(.keys([target]), at: try manager.now(), of: move.from) { result in
        read.withLock { $0 = result }
      }
      try world.settle { read.withLock { $0 != nil } }
      #expect(throws: DatabaseError.self) { try read.withLock { $0! }.get() }
    }
    // The operator changes his mind: the directory says so, and the owner takes it back.
    _ = try world.node(writer).changeMembers(.cancel)
    try world.subvert { $0.stopsBefore = [] }
    try world.settle { try world.node(owner).handovers.partitions.isEmpty }
    #expect(try world.owner(name) == owner)
    try world.settleMembers()
    try Self.check(world, names, "old")
  }

  @Test func `a receiver that is gone for good leaves the partition to its owner, by a cancel`() throws {
    let (world, names, new, owner, move) = try Self.joining(before: .flip, seed: 4)
    #expect(try world.node(owner).handovers.partitions == [move.partition])
    world.kill(new)
    let other = try #require([0, 1, 2].first { $0 != owner })
    _ = try world.node(other).changeMembers(.cancel)
    try world.subvert { $0.stopsBefore = [] }
    try world.settle { try world.node(owner).handovers.partitions.isEmpty }
    try Self.check(world, names, "old")
    // It has held nothing, so it may be called dead.
    world.pass(seconds: 40)
    _ = try world.node(other).changeMembers(MembersRequest([.remove(move.to, isDead: true)]))
    try world.settleMembers()
    #expect(try world.database().ring.places[move.to] == nil)
    try Self.check(world, names, "old")
  }

  @Test func `nobody takes the place of a member that is dead and has had partitions`() throws {
    let (world, names) = try Self.world(3, replicas: 2)
    let dead = try #require(world.hosts[2].member)
    world.kill(2)
    world.pass(seconds: 40)
    for isForced in [false, true] {
      let request = MembersRequest([.remove(dead, isDead: true)], isForced: isForced)
      #expect(code { _ = try world.node(0).changeMembers(request) } == .wrongPolicy)
      #expect(
        code { _ = try world.join { .replace(dead, by: $0, isDead: true) } } == .wrongPolicy)
    }
    #expect(try world.database().change == nil)
    try world.restart(2)
    try Self.check(world, names, "old")
  }

  /// It may be called dead until then, and what it had decided would be lost.
  @Test func `who was admitted begins no transactions before a partition has come to it`() throws {
    let (world, names) = try Self.world(3, replicas: 2)
    try world.subvert { $0.stopsBefore = [.begin] }
    let new = try world.join()
    let member = try #require(world.hosts[new].member)
    for restarts in [false, true] {
      if restarts {
        world.kill(new)
        try world.restart(new)
      }
      for _ in 0..<100 { world.step() }
      #expect(try world.node(new).isInRing)
      #expect(try !world.database().holders.contains(member))
      #expect(code { _ = try world.begin([names[0]: "lost"], at: new) } == .busy)
    }
    try world.subvert { $0.stopsBefore = [] }
    try world.settleMembers()
    #expect(try world.database().holders.contains(member))
    try Self.write(world, [names[0]: "old"], at: new)
    try Self.check(world, names, "old")
  }

  @Test func `a coordinator with an old ring is refused, learns of the new one, and goes on`() throws {
    let (world, names) = try Self.world(3, replicas: 1)
    try world.subvert([0]) { $0.isDeaf = true }
    // Deaf nodes tell nobody that they go by another ring: it is asked as a member, and looks then.
    let new = try world.join()
    try world.settleMembers()
    let moved = try names.filter { name in
      try world.database().ring.ring.replicas(of: world.partition(name))[0] == world.hosts[new].member
    }
    #expect(!moved.isEmpty)
    for name in moved { try Self.write(world, [name: "old"], at: 0) }
    try world.subvert { $0.isDeaf = false }
    try Self.check(world, names, "old")
  }

  @Test func `a snapshot of before the move is read at the new owner, or refused`() throws {
    let (world, names) = try Self.world(3, replicas: 1)
    let before = try world.manager(1).now()
    for name in names { try Self.write(world, [name: "new"], at: 1) }
    try world.join()
    try world.settleMembers()
    let manager = try world.manager(1)
    var (read, refused) = (0, 0)
    for name in names {
      let target = world.reference(name)
      let found = Guarded<Result<ReadAnswer, DatabaseError>?>(nil)
      manager.snapshot(.keys([target]), at: before, of: try manager.owner(of: target.partition)) { result in
        found.withLock { $0 = result }
      }
      try world.settle { found.withLock { $0 != nil } }
      switch found.withLock({ $0! }) {
      case .success(let answer):
        #expect(answer.entries.first.map { String(decoding: $0.value, as: UTF8.self) } == "old")
        read += 1
      case .failure(let error):
        #expect(error.code == .snapshotTooOld)
        refused += 1
      }
    }
    #expect(read > 0 && read + refused == names.count)
  }
}

/// The code of what a call throws.
func code(_ body: () throws -> Void) -> DatabaseError.Code? {
  do {
    try body()
    return nil
  } catch { return (error as? DatabaseError)?.code }
}
