import Roost
import RoostSimulation
import RoostStorage
import TestSupport
import Testing

@testable import RoostCluster

/// Keyspaces on fewer stores than the database's others, in one process.
// Budget: 2 s
@Suite struct FewerReplicasTests {
  private static let keys = (0..<40).map { "k\($0)" }

  /// The stores that hold a key, by their directories, in the order of its list, all others behind them.
  private static func list(_ database: SynchronousDatabase, _ key: String) throws -> [String] {
    let ring = database.core.ringSnapshot
    let members = ring.ring.replicas(of: database.partition(key))
    return members.compactMap { ring.directories[$0] }
  }

  private static func check(
    _ database: SynchronousDatabase, _ key: String, replicas: Int, _ comment: Comment? = nil
  ) throws {
    let list = try list(database, key)
    for (place, directory) in list.enumerated() {
      let holds = try database.record(key, inStore: directory) != nil
      #expect(holds == (place < replicas), comment)
    }
    let records = try list.compactMap { try database.record(key, inStore: $0) }
    #expect(Set(records).count == 1, comment)
  }

  @Test(arguments: [1, 2])
  func `a key is at the first stores of its list`(_ replicas: Int) throws {
    let world = SimulatedEnvironment()
    let policy = KeyspacePolicy.eventual(replicas: replicas)
    var database = try SynchronousDatabase(world, stores: 3, replicas: 3, policy)
    for key in Self.keys {
      try database.put(key, "v")
      try database.increment("n" + key)
    }
    let others = try database.core.keyspace("others", .eventual)
    #expect(others.replicas == 3 && database.posts.replicas == replicas)
    for key in Self.keys { try Self.check(database, key, replicas: replicas, "\(key)") }
    #expect(Set(try Self.keys.map { try Self.list(database, $0)[0] }).count == 3)
    #expect(try database.changes().changes.count == 2 * Self.keys.count)
    database = try database.reopened()
    #expect(database.posts.replicas == replicas)
    for key in Self.keys {
      #expect(try database.values(key) == ["v"] && database.count("n" + key) == 1)
      try database.delete(key)
      try Self.check(database, key, replicas: replicas, "\(key)")
      #expect(try database.values(key) == [])
    }
    #expect(try database.core.repair().keys == (replicas == 1 ? 0 : 4 * Self.keys.count))
    for key in Self.keys { try Self.check(database, "n" + key, replicas: replicas, "\(key)") }
    try database.core.close()
  }

  @Test func `stores that are missing are missed by the keys that they hold`() throws {
    let world = SimulatedEnvironment()
    let policy = KeyspacePolicy.eventual(replicas: 2)
    var database = try SynchronousDatabase(world, stores: 3, replicas: 3, policy)
    for key in Self.keys { try database.put(key, "old") }
    let lists = try Self.keys.map { try Self.list(database, $0) }
    let present = Databases.directories(3)[0]
    database = try database.reopened(at: [present]) { $0.allowsMissingStores = true }
    var reachable = 0
    for (key, list) in zip(Self.keys, lists) {
      if list.prefix(2).contains(present) {
        reachable += 1
        #expect(try database.values(key) == ["old"])
        try database.put(key, "new", try database.context(key))
      } else {
        #expect(thrownCode { _ = try database.values(key) } == .unreachable)
        #expect(thrownCode { try database.put(key, "new") } == .unreachable)
        #expect(try database.record(key, inStore: present) == nil)
      }
    }
    #expect(reachable > 0 && reachable < Self.keys.count)
    database = try database.reopened(at: Databases.directories(3))
    for (key, list) in zip(Self.keys, lists) {
      #expect(try database.values(key) == [list.prefix(2).contains(present) ? "new" : "old"])
      database.core.finishReadRepairs()
      try Self.check(database, key, replicas: 2, "\(key)")
    }
    try database.core.close()
  }

  @Test func `databases exchange states whatever each has of replicas`() throws {
    let one = try SynchronousDatabase(stores: 3, replicas: 3, .eventual(replicas: 1))
    // Of another seed: else both have the same identities.
    let other = try SynchronousDatabase(
      SimulatedEnvironment(seed: 2), stores: 3, replicas: 3, .eventual(replicas: 2))
    for key in Self.keys {
      try one.put(key, "one")
      try other.put(key, "other")
    }
    try one.exchange(with: other)
    for key in Self.keys {
      #expect(try one.values(key) == ["one", "other"] && other.values(key) == ["one", "other"])
      try Self.check(one, key, replicas: 1, "\(key)")
      try Self.check(other, key, replicas: 2, "\(key)")
    }
    try one.core.close()
    try other.core.close()
  }

  @Test func `a keyspace says how many it has, and has no other number`() throws {
    let database = try SynchronousDatabase(stores: 3, replicas: 2, .eventual(replicas: 1))
    let core = database.core
    #expect(database.posts.policy.replicas == 1)
    for replicas in [nil, 1] { _ = try core.keyspace("posts", .eventual(replicas: replicas)) }
    #expect(thrownCode { _ = try core.keyspace("posts", .eventual(replicas: 2)) } == .wrongPolicy)
    #expect(thrownCode { _ = try core.keyspace("more", .eventual(replicas: 3)) } == .tooManyReplicas)
    #expect(thrownCode { _ = try core.keyspace("none", .eventual(replicas: 0)) } == .invalidArgument)
    #expect(core.keyspaceEntries.map(\.hasFewerReplicas) == [true])
    #expect(core.schema.encoded()[0] == 4 && core.ringSnapshot.keepsOrder)
    try core.close()
  }

  /// A schema that the ring does not have the stores for is damage, and so is one that says a wrong number.
  @Test func `a schema that does not fit the ring is refused`() throws {
    for (replicas, hasFewer) in [(3, true), (2, true), (1, false)] {
      let world = SimulatedEnvironment()
      let database = try SynchronousDatabase(world, stores: 2, replicas: 2, .eventual)
      var schema = database.core.schema
      schema.keyspaces[0].replicas = replicas
      schema.keyspaces[0].hasFewerReplicas = hasFewer
      schema.revision += 1
      for member in database.core.presentMembers {
        try member.writeSystem(Member.SystemKey.schema, schema.encoded())
      }
      #expect(thrownCode { _ = try database.reopened() } == .corruption, "\(replicas)")
    }
  }

  /// What is on disk may have the lists in another order then: that must not be what the next open finds.
  @Test func `a ring in doubt is told anew before anything counts on its order`() throws {
    let database = try SynchronousDatabase(stores: 2, replicas: 2, .eventual)
    let core = database.core
    let revision = core.ringState.revision
    core.topology.withLock { core.isRingInDoubt = true }
    _ = try core.keyspace("others", .eventual)
    #expect(core.isRingInDoubt && core.ringState.revision == revision)
    _ = try core.keyspace("few", .eventual(replicas: 1))
    #expect(!core.isRingInDoubt && core.ringState.revision == revision + 1)
    try core.close()
  }

  /// One store may have kept a new order that failed at another, though the others took it back.
  @Test func `all stores are told the ring anew before the first keyspace counts on its order`() throws {
    let database = try SynchronousDatabase(stores: 2, replicas: 2, .eventual)
    let core = database.core
    var revision = core.ringState.revision
    for (name, replicas, isFirst) in [("all", 2, false), ("few", 1, true), ("fewer", 1, false)] {
      _ = try core.keyspace(name, .eventual(replicas: replicas))
      if isFirst { revision += 1 }
      #expect(core.ringState.revision == revision, "\(name)")
      for member in core.presentMembers {
        let bytes = try #require(try member.system.get(Member.SystemKey.ring))
        #expect(try RingState(decoding: bytes).revision == revision, "\(name)")
      }
    }
    try core.close()
  }
}
