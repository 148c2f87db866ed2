import RoostCausality
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster
@testable import RoostTransactions

/// Members that leave a cluster with transactions: nobody is left with a decision that he cannot tell, and
/// what became of transactions is known as before.
// Budget: 15 s
@Suite struct RemoteLeaveTests {
  /// A counter whose first replica is a node.
  private static func counter(_ world: RemoteWorld, at index: Int) throws -> String {
    try #require(
      try (0..<500).lazy.map { "n\($0)" }.first { try world.owner($0) == index })
  }

  /// Lets things happen for a while.
  private static func pass(_ world: RemoteWorld, steps: Int = 400) {
    for _ in 0..<steps { world.step() }
  }

  private static func count(_ world: RemoteWorld, _ counter: String) throws -> [Int64] {
    try world.replicas(of: counter).map { try world.count(counter, at: $0) }
  }

  @Test func `a member stays as long as it may be told to do an effect`() throws {
    let (world, names) = try RemoteMoveTests.world(4, replicas: 2)
    let counter = try Self.counter(world, at: 1)
    let target = try #require(world.hosts[1].member)
    // Who coordinates is no replica of it: the effect goes to the first of the list.
    let coordinator = try #require(try (0..<4).first { try !world.replicas(of: counter).contains($0) })
    var isLost = true
    world.wire.fate = { isLost && $0.message.body.name == "effect" ? .lost : .arrives }
    let name = try world.names(at: coordinator)[0]
    #expect(
      RemoteMoveTests.isCommitted(try world.write([name: "e"], counter: counter, at: coordinator)))
    try world.leave(1, askedAt: coordinator)
    Self.pass(world)
    let ring = try world.database().ring.ring
    #expect(ring.replicas(of: world.partition(counter)).contains(target), "it has not given it away")
    #expect(try world.running.contains { try world.node($0).changeProgress.waitsFor.contains("effects") })
    // Its coordinator is killed, and nobody can say whether it names the member: it goes on waiting.
    world.kill(coordinator)
    Self.pass(world)
    #expect(try world.database().ring.ring.member(target) != nil)
    try world.restart(coordinator)
    isLost = false
    try world.settleMembers()
    #expect(try world.node(1).isDismissed)
    world.kill(1)
    world.pass(seconds: 3)
    #expect(try Self.count(world, counter) == [1, 1], "once")
    try world.write([name: "old"], at: coordinator)
    try RemoteMoveTests.check(world, names, "old")
  }

  @Test func `effects go to whom their partition stays with, and none is done twice`() throws {
    let (world, names) = try RemoteMoveTests.world(3, replicas: 2)
    let counters = (0..<16).map { partition in
      (0..<2_000).lazy.map { "c\($0)" }.first { world.partition($0) == partition }!
    }
    var expected = 0
    func round(_ value: String) throws {
      // One that joins begins none before it has a partition.
      let able = try world.running.filter { try world.node($0).isInRing && world.node($0).mayCoordinate }
      for (number, counter) in counters.enumerated() {
        let index = able[number % able.count]
        let outcome = try world.write([names[number]: value], counter: counter, at: index)
        if !RemoteMoveTests.isCommitted(outcome) {
          var tries = 0
          while try !RemoteMoveTests.isCommitted(
            world.write([names[number]: value], counter: counter, at: index))
          {
            tries += 1
            try #require(tries < 300)
            world.step()
          }
        }
        world.step()
      }
      expected += 1
    }
    try round("1")
    try world.join()
    try round("2")
    try world.settleMembers()
    try round("3")
    try world.leave(0, askedAt: 1)
    // Not at the one that leaves: each counter is counted once a round.
    try world.settleMembers()
    world.kill(0)
    world.pass(seconds: 1)
    try round("4")
    world.pass(seconds: 5)
    for counter in counters {
      #expect(try Self.count(world, counter) == [Int64](repeating: Int64(expected), count: 2), "\(counter)")
    }
  }

  @Test func `with one replica effects wait for the move, and are begun anew`() throws {
    let (world, names) = try RemoteMoveTests.world(3, replicas: 1)
    try world.subvert { $0.stopsBefore = [.catchUp] }
    try world.join()
    for _ in 0..<200 { world.step() }
    let move = try RemoteMoveTests.underWay(world).move
    let counter = (0..<2_000).lazy.map { "c\($0)" }.first { world.partition($0) == move.partition }!
    #expect(try world.write([names[0]: "x"], counter: counter, at: 0) == .aborted(.moving))
    try world.subvert { $0.stopsBefore = [] }
    try world.settleMembers()
    #expect(RemoteMoveTests.isCommitted(try world.write([names[0]: "old"], counter: counter, at: 0)))
    world.pass(seconds: 2)
    #expect(try Self.count(world, counter) == [1])
    try RemoteMoveTests.check(world, names, "old")
  }

  @Test func `what became of transactions is known when those who knew it have left`() throws {
    let (world, names) = try RemoteMoveTests.world(4, replicas: 2)
    let (own, other) = (try world.names(at: 0)[0], try world.names(at: 1)[0])
    // One that only node 0 has on record, coordinated elsewhere; one of two stores, coordinated by node 0;
    // one that it has aborted.
    var known: [(TransactionID, Bool)] = []
    for (writes, index) in [([own: "a"], 3), ([own: "b", other: "b"], 0)] as [([String: String], Int)] {
      let transaction = try world.begin(writes, at: index)
      let outcome = try world.commit(transaction)
      try world.settle { outcome.withLock { $0 != nil } }
      known.append((transaction.id, true))
    }
    let aborted = try world.begin([own: "c", other: "c"], at: 0)
    aborted.abort()
    known.append((aborted.id, false))
    // Whoever coordinated forgets what it has no record of.
    for index in [0, 3] {
      world.kill(index)
      try world.restart(index)
    }
    world.pass(seconds: 30)
    try world.leave(0, askedAt: 2)
    try world.settleMembers()
    world.kill(0)
    for round in 0..<3 {
      if round == 1 {
        for index in 1..<4 {
          world.kill(index, losing: .dropAll)
          try world.restart(index)
        }
      }
      // And the one that keeps what node 0 had leaves as well.
      if round == 2 {
        try world.write([other: "d"], at: 2)
        try world.leave(world.running[0], askedAt: world.running[1])
        try world.settleMembers()
        world.kill(world.running[0])
      }
      world.pass(seconds: 2)
      for index in world.running {
        for (id, isCommitted) in known {
          switch try world.outcome(of: id, at: index) {
          case .committed: #expect(isCommitted)
          case .aborted: #expect(!isCommitted)
          case let unknown: Issue.record("round \(round), node \(index): \(unknown)")
          }
        }
      }
    }
    _ = names
  }

  @Test func `a decision whose end was lost is taken for done where its member has left`() throws {
    let (world, names) = try RemoteMoveTests.world(4, replicas: 2)
    let counter = try Self.counter(world, at: 1)
    let coordinator = try #require(try (0..<4).first { try !world.replicas(of: counter).contains($0) })
    let name = try world.names(at: 1)[0]
    #expect(
      RemoteMoveTests.isCommitted(try world.write([name: "e"], counter: counter, at: coordinator)))
    world.pass(seconds: 1)
    // END was written and not synced: the disk as it is now has COMMIT alone, or both.
    try world.leave(1, askedAt: coordinator)
    try world.settleMembers()
    world.kill(1)
    world.kill(coordinator, losing: .dropAll)
    try world.restart(coordinator)
    world.pass(seconds: 30)
    let manager = try world.manager(coordinator)
    let member = try #require(world.hosts[1].member)
    #expect(manager.unfinished(naming: member, in: nil, since: 0) == 0, "nobody is told for ever")
    #expect(try Self.count(world, counter) == [1, 1])
    try world.write([name: "old"], at: coordinator)
    try RemoteMoveTests.check(world, names, "old")
  }

  @Test func `one that could not leave takes part again, and tells who asks it anew`() throws {
    let (world, names) = try RemoteMoveTests.world(4, replicas: 2)
    let counter = try Self.counter(world, at: 1)
    let coordinator = try #require(try (0..<4).first { try !world.replicas(of: counter).contains($0) })
    let name = try world.names(at: 1)[0]
    #expect(
      RemoteMoveTests.isCommitted(try world.write([name: "e"], counter: counter, at: coordinator)))
    world.pass(seconds: 1)
    try world.subvert { $0.stopsBefore = [.bequeath] }
    try world.leave(1, askedAt: coordinator)
    let node = try world.node(1)
    try world.settle(6_000) { node.view.isDeparting(node.local.id) }
    Self.pass(world)
    // As it is when its heir has refused its records.
    let manager = try world.manager(1)
    _ = manager.quiet(node.local)
    #expect(!manager.stores.beginEffect(at: [node.local.id]))
    world.pass(seconds: 20)
    #expect(manager.stores.beginEffect(at: [node.local.id]), "it stays quiet")
    manager.stores.endEffect(at: [node.local.id])
    // Quiet again, and the coordinator, whose disk has COMMIT alone, or both, asks it before it goes on.
    _ = manager.quiet(node.local)
    world.kill(coordinator, losing: .dropAll)
    try world.restart(coordinator)
    try world.subvert { $0.stopsBefore = [] }
    try world.settleMembers()
    #expect(node.isDismissed)
    world.kill(1)
    world.pass(seconds: 3)
    #expect(try Self.count(world, counter) == [1, 1])
    try world.write([name: "old"], at: coordinator)
    try RemoteMoveTests.check(world, names, "old")
  }

  @Test func `one that leaves is killed at any moment, and leaves all the same`() throws {
    for step in [MoveStep.freeze, .flip, .compare, .drop, .bequeath] {
      let (world, names) = try RemoteMoveTests.world(4, replicas: 2, seed: 7)
      try world.subvert { $0.stopsBefore = [step] }
      try world.leave(3, askedAt: 0)
      Self.pass(world, steps: 100)
      world.kill(3, losing: .random)
      try world.subvert { $0.stopsBefore = [] }
      for _ in 0..<10 { world.step() }
      try world.restart(3)
      try world.settleMembers()
      #expect(try world.database().ring.ring.members.count == 3, "\(step)")
      world.kill(3)
      world.pass(seconds: 1)
      try RemoteMoveTests.check(world, names, "old", "\(step)")
    }
  }
}
