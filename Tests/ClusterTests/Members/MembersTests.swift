import RoostCausality
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// Nodes join, leave, change weight and replace each other while they serve.
// Budget: 10 s
@Suite struct MembersTests {
  private static let keys = (0..<60).map { "k\($0)" }

  /// Writes a value and counts up under each key, each from another node.
  private static func write(_ world: NodeWorld, _ value: String) throws {
    for (number, key) in keys.enumerated() {
      let index = world.running[number % world.running.count]
      let context = try world.get(key, at: index).context
      try world.put(key, value, at: index, context: context)
      try world.increment("n" + key, at: index)
    }
  }

  /// That every node reads what was written, and that just the replicas hold it.
  private static func check(
    _ world: NodeWorld, _ value: String, counts: Int64, _ comment: Comment? = nil
  ) throws {
    let ring = try world.database().ring.ring
    for key in keys {
      for index in world.running {
        #expect(try world.values(key, at: index) == [value], comment)
        #expect(try world.count("n" + key, at: index) == counts, comment)
      }
      let partition = world[world.running[0]].partition(of: Array(key.utf8))
      let replicas = ring.replicas(of: partition)
      #expect(Set(replicas).count == world.replicas, comment)
      for index in world.running {
        let holds = try world.held(key, at: index) != nil
        #expect(holds == replicas.contains(world.id(index)), comment)
      }
      #expect(try world.agree(on: key), comment)
    }
  }

  private static func shares(_ world: NodeWorld) throws -> [Int] {
    let ring = try world.database().ring.ring
    return world.running.map { ring.load(of: world.id($0)).slots }
  }

  // MARK: - Joining

  @Test func `a node joins while others write, and is brought its share and no more`() throws {
    let world = try NodeWorld(3, replicas: 2)
    try world.make()
    try Self.write(world, "before")
    let before = try world.database().ring.ring
    world.subvert { $0.stopsBefore = [.flip] }
    let new = try world.join()
    #expect(world[0].changeProgress.movesLeft == 8)
    #expect(world[0].changeProgress.moving.count == 1)
    try Self.write(world, "meanwhile")
    world.subvert { $0.stopsBefore = [.drop] }
    try world.beat(2)
    try Self.write(world, "after")
    world.subvert { $0.stopsBefore = [] }
    try world.settle()
    let ring = try world.database().ring.ring
    #expect(try Self.shares(world) == [8, 8, 8, 8])
    let moved = (0..<16).reduce(0) { sum, partition in
      sum + Set(ring.replicas(of: partition)).subtracting(before.replicas(of: partition)).count
    }
    #expect(moved == 8, "no more than the newcomer's share")
    #expect(world[new].changeProgress.movesDone == 8)
    #expect(!world[0].changeProgress.isUnderWay)
    try Self.check(world, "after", counts: 3)
    #expect(world.running.allSatisfy { world[$0].view.revision == world[0].view.revision })
    try world.close(new)
    try world.restart(new)
    try Self.check(world, "after", counts: 3)
  }

  @Test func `a cluster of one node grows to three`() throws {
    let world = try NodeWorld(1, replicas: 1)
    try world.make()
    try Self.write(world, "v")
    for _ in 0..<2 {
      try world.join()
      try world.settle()
    }
    #expect(try Self.shares(world).sorted() == [5, 5, 6])
    try Self.check(world, "v", counts: 1)
  }

  @Test func `who does not ask to join is refused as before, and who asks may wait in vain`() throws {
    let world = try NodeWorld(3)
    let index = world.addHost()
    #expect(code { _ = try world.founding(index).finish(until: .max) } == .notAMember)
    let waiting = try world.founding(index, joins: true)
    let deadline = world.time.monotonicNanoseconds + 1_000_000_000
    #expect(code { _ = try waiting.finish(until: deadline) } == .deadlineExceeded)
    #expect(try world[0].candidates().isEmpty, "who waits no more is no candidate")
    let other = try world.founding(index, joins: true)
    try other.askToJoin()
    #expect(try world[0].candidates().map(\.member) == [other.member])
    other.cancel()
    #expect(code { _ = try other.finish(until: .max) } == .closed)
  }

  /// Who is first in a list means more from then on: so that does not begin while lists change.
  @Test func `transactions begin when members do not change, and nobody is given up for dead then`() throws {
    let world = try NodeWorld(3, replicas: 2)
    try world.make()
    world.subvert { $0.stopsBefore = [.catchUp] }
    try world.join()
    try world.beat(2)
    let transactional = KeyspaceRequest(name: "accounts", kind: .transactional)
    #expect(code { try world[0].makeKeyspace(transactional) } == .busy)
    #expect(code { try world[1].noteTransactions() } == .busy)
    #expect(try !world.database().hasTransactions)
    world.subvert { $0.stopsBefore = [] }
    try world.settle()
    try world[0].makeKeyspace(transactional)
    #expect(try world.database().hasTransactions)
    #expect(try world.database().holders.count == 4)
    let dead = MembersRequest([.remove(world.id(1), isDead: true)], isForced: true)
    #expect(code { _ = try world[2].changeMembers(dead) } == .wrongPolicy)
    #expect(try world.database().change == nil)
    try world[1].noteTransactions()
  }

  // MARK: - Leaving, weights, replacing

  @Test func `a node leaves while others write, and is refused afterwards`() throws {
    let world = try NodeWorld(4, replicas: 2)
    try world.make()
    try Self.write(world, "before")
    let gone = world.id(1)
    world.subvert { $0.stopsBefore = [.compare] }
    _ = try world[0].changeMembers(MembersRequest([.remove(gone, isDead: false)]))
    try world.beat()
    #expect(world[0].view.isDeparting(gone), "it has yet to delete what it gave away")
    try Self.write(world, "meanwhile")
    // Killed in between, it comes back to do so.
    world.crash(1, .keepAll)
    // Until its lease is over: else it seems to be another process's place for a while.
    try world.beat(12)
    try world.restart(1)
    world.subvert { $0.stopsBefore = [] }
    try world.settle()
    #expect(code { _ = try world.get("k1", at: 1) } == .notAMember)
    #expect(try world.held("k1", at: 1) == nil, "it keeps nothing")
    try world.beat(2)
    try world.close(1)
    #expect(try world.database().ring.ring.members.map(\.id).contains(gone) == false)
    #expect(world[0].peers.entry(of: gone) == nil)
    #expect(code { try world.restart(1) } == .notAMember)
    try Self.check(world, "meanwhile", counts: 2)
  }

  @Test func `a node that leaves hands over the hints that it keeps`() throws {
    let world = try NodeWorld(4, replicas: 3)
    try world.make()
    world.crash(3, .keepAll)
    try world.beat(12)
    try Self.write(world, "v")
    #expect(world[0].hints.statistics.hints.values.reduce(0, +) > 0)
    _ = try world[1].changeMembers(MembersRequest([.remove(world.id(0), isDead: false)]))
    try world.beat(2)
    #expect(world[1].changeProgress.isUnderWay, "it waits for the one that is down")
    try world.restart(3)
    try world.settle()
    #expect(world[0].hints.statistics.hints.isEmpty)
    #expect(world[0].isDismissed)
    try world.close(0)
    try world.beat(3)
    try Self.check(world, "v", counts: 1)
  }

  @Test func `a node that leaves gives hints for one that is down to another`() throws {
    let world = try NodeWorld(5, replicas: 3)
    try world.make()
    try Self.write(world, "v")
    world.subvert([0]) {
      $0.stopsBefore = [.compare]
      // Else it would wait for the one that is down.
      $0.dropsUncompared = true
    }
    _ = try world[1].changeMembers(MembersRequest([.remove(world.id(0), isDead: false)]))
    try world.beat(2)
    #expect(world[0].view.isDeparting(world.id(0)))
    let down = world.id(3)
    let key = try #require(try Self.keys.first { try world.held($0, at: 3) != nil })
    let record = try #require(try world.held(key, at: 3))
    world.crash(3, .keepAll)
    try world.beat(12)
    let keyspace = try world[0].keyspace("k")
    try world[0].keepHint(for: down, keyspace, Array(key.utf8), record)
    world.subvert([0]) { $0.stopsBefore = [] }
    try world.settle()
    #expect(world[0].isDismissed && world[0].hints.statistics.hints.isEmpty)
    let keepers = [1, 2, 4].filter { world[$0].hints.statistics.hints[down] == 1 }
    // Not a replica, whose own state the hint may be a copy of.
    let partition = try keyspace.partition(of: Array(key.utf8))
    #expect(keepers.count == 1)
    #expect(keepers.allSatisfy { !world[$0].view.isReplica(world.id($0), of: partition) })
    try world.restart(3)
    try world.beat(3)
    #expect([1, 2, 4].allSatisfy { world[$0].hints.statistics.hints.isEmpty })
  }

  @Test func `another weight is another share`() throws {
    let world = try NodeWorld(4, replicas: 2)
    try world.make()
    try Self.write(world, "v")
    _ = try world[2].changeMembers(MembersRequest([.weigh(world.id(0), 50)]))
    try world.settle()
    let shares = try Self.shares(world)
    #expect(shares[0] < 6 && shares.reduce(0, +) == 32, "\(shares)")
    try Self.check(world, "v", counts: 1)
    // And back: who gave partitions away gets them, or others, again.
    _ = try world[2].changeMembers(MembersRequest([.weigh(world.id(0), 100)]))
    try Self.write(world, "w")
    try world.settle()
    #expect(try Self.shares(world) == [8, 8, 8, 8])
    try Self.check(world, "w", counts: 2)
  }

  @Test func `a dead node is replaced by a new one, and is refused when it is back`() throws {
    let world = try NodeWorld(4, replicas: 3)
    try world.make()
    try Self.write(world, "before")
    let dead = world.id(3)
    world.crash(3, .keepAll)
    #expect(code { try world.join { .replace(dead, by: $0, isDead: true) } } == .invalidArgument)
    try world.beat(12)
    world.subvert { $0.stopsBefore = [.flip] }
    let new = try world.join { .replace(dead, by: $0, isDead: true) }
    try Self.write(world, "after")
    world.subvert { $0.stopsBefore = [] }
    try world.settle()
    let ring = try world.database().ring.ring
    #expect(ring.member(dead) == nil && ring.load(of: world.id(new)).slots == 12)
    #expect(world[0].peers.entry(of: dead) == nil)
    #expect(code { try world.restart(3) } == .notAMember)
    try Self.check(world, "after", counts: 2)
  }

  @Test func `what only dead nodes had moves when it is forced to`() throws {
    let world = try NodeWorld(3, replicas: 1)
    try world.make()
    try Self.write(world, "v")
    let dead = world.id(2)
    let had = try Self.keys.count { try world.held($0, at: 2) != nil }
    world.crash(2, .keepAll)
    try world.beat(12)
    _ = try world[0].changeMembers(MembersRequest([.remove(dead, isDead: true)]))
    try world.beat(10)
    #expect(world[0].changeProgress.isUnderWay)
    #expect(world.running.contains { !world[$0].changeProgress.waitsFor.isEmpty })
    _ = try world[0].changeMembers(.cancel)
    try world.beat()
    _ = try world[0].changeMembers(MembersRequest([.remove(dead, isDead: true)], isForced: true))
    try world.settle()
    let left = try Self.keys.count { try world.values($0, at: 0) == ["v"] }
    #expect(left == Self.keys.count - had && had > 0)
  }

  // MARK: - Refusals

  @Test func `changes that cannot be are refused, and one at a time is made`() throws {
    let world = try NodeWorld(3, replicas: 3)
    try world.make()
    func refusal(_ changes: [MembersRequest.Change]) -> DatabaseError.Code? {
      code { _ = try world[0].changeMembers(MembersRequest(changes)) }
    }
    let unknown = MemberID(rawValue: 12_345)
    #expect(refusal([]) == .invalidArgument)
    #expect(refusal([.admit(unknown, weight: nil, zone: nil)]) == .notAMember)
    #expect(refusal([.remove(unknown, isDead: false)]) == .notAMember)
    #expect(refusal([.weigh(unknown, 5)]) == .notAMember)
    #expect(refusal([.weigh(world.id(1), 0)]) == .invalidArgument)
    #expect(refusal([.remove(world.id(1), isDead: true)]) == .invalidArgument, "it is there")
    #expect(refusal([.remove(world.id(1), isDead: false)]) == .tooManyReplicas)
    #expect(try world.database().change == nil)

    world.subvert { $0.stopsBefore = [.begin] }
    try world.join()
    #expect(refusal([.weigh(world.id(1), 50)]) == .busy)
    _ = try world[1].changeMembers(.cancel)
    #expect(try world.database().change == nil, "nothing had begun")
    #expect(refusal([.weigh(world.id(1), 50)]) == nil)
  }

  @Test func `a cancelled change leaves nothing half-way`() throws {
    let world = try NodeWorld(3, replicas: 2)
    try world.make()
    try Self.write(world, "v")
    world.subvert { $0.stopsBefore = [.flip] }
    let new = try world.join()
    try world.beat(3)
    #expect(try world.database().ring.copies.count == 1)
    _ = try world[0].changeMembers(.cancel)
    world.subvert { $0.stopsBefore = [] }
    try world.settle()
    try Self.check(world, "v", counts: 1)
    // And on, by another change.
    _ = try world[0].changeMembers(MembersRequest([.weigh(world.id(new), 90)]))
    try world.settle()
    try Self.check(world, "v", counts: 1)
  }
}
