import RoostCausality
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// Keyspaces with fewer replicas than the cluster's: which nodes hold them, and who counts for what.
// Budget: 5 s
@Suite struct FewerReplicasTests {
  private static let keys = (0..<40).map { "k\($0)" }

  /// Three nodes, each a replica of every partition, and a keyspace that some of them hold.
  private static func world(
    _ replicas: Int, _ configure: @escaping (inout ClusterOptions) -> Void = { _ in }
  ) throws -> NodeWorld {
    let world = try NodeWorld(3, configure)
    // All know of all.
    try world.beat(2)
    try world.make(replicas: replicas)
    return world
  }

  private static func request(
    _ replicas: Int?, _ name: String = "k", _ kind: KeyspacePolicy.Kind = .keep,
    _ quorums: KeyspaceQuorums = KeyspaceQuorums()
  ) -> KeyspaceRequest {
    KeyspaceRequest(name: name, kind: kind, replicas: replicas, quorums: quorums)
  }

  /// The nodes that are to hold a key, in the order of its list, and those of the list that are not; of those
  /// that are up.
  static func nodes(
    of key: String, _ world: NodeWorld
  ) throws -> (holders: [Int], others: [Int]) {
    let keyspace = try world[world.running[0]].keyspace("k")
    let list = try world.database().ring.ring.replicas(of: try keyspace.partition(of: Array(key.utf8)))
    func indices(_ members: ArraySlice<MemberID>) -> [Int] {
      members.compactMap { member in world.running.first { world.id($0) == member } }
    }
    return (indices(list.prefix(keyspace.replicas)), indices(list.dropFirst(keyspace.replicas)))
  }

  /// The keys of all changes, asked of one node.
  static func told(_ world: NodeWorld, at index: Int) throws -> Set<[UInt8]> {
    var keys: Set<[UInt8]> = []
    var token: ChangeToken?
    for _ in 0..<100 {
      let page = try world.changes(since: token, at: index).page
      for change in page.changes {
        if case .changed(let key, _) = change.event { keys.insert(key) }
      }
      if page.isAtEnd { return keys }
      token = page.token
    }
    Issue.record("changes without an end")
    return keys
  }

  @Test(arguments: [1, 2])
  func `a key is at the first nodes of its list, and every node reads it`(_ replicas: Int) throws {
    let world = try Self.world(replicas)
    for (number, key) in Self.keys.enumerated() {
      try world.put(key, "v", at: number % 3)
      try world.increment("n" + key, at: (number + 1) % 3)
    }
    var counts = [0, 0, 0]
    for key in Self.keys {
      let holders = try Self.nodes(of: key, world).holders
      #expect(holders.count == replicas)
      for index in 0..<3 {
        #expect(try world.values(key, at: index) == ["v"] && world.count("n" + key, at: index) == 1)
        #expect(try (world.held(key, at: index) != nil) == holders.contains(index))
        if holders.contains(index) { counts[index] += 1 }
      }
      #expect(try world.agree(on: key))
    }
    #expect(counts.allSatisfy { $0 > 0 }, "all nodes hold some of it")
    for index in 0..<3 {
      #expect(try world.scan(at: [index]).count == 2 * Self.keys.count)
      #expect(try Self.told(world, at: index).count == 2 * Self.keys.count)
      let report = try world.repair(at: index, isFull: true)
      #expect(report.differing == 0 && report.notCompared == 0)
      #expect((report.compared > 0) == (replicas > 1))
    }
  }

  @Test func `quorums are of its replicas, and another node keeps what one of them misses`() throws {
    let world = try Self.world(2)
    let key = try #require(try Self.keys.first { try Self.nodes(of: $0, world).holders.contains(0) })
    let (holders, others) = try Self.nodes(of: key, world)
    let (other, third) = (holders.first { $0 != 0 }!, others[0])
    try world.put(key, "v", at: third)
    for quorum in [0, 3] {
      #expect(code { _ = try world.get(key, at: third, quorum: quorum) } == .invalidArgument)
      #expect(code { try world.put(key, "x", at: 0, quorum: quorum) } == .invalidArgument)
      #expect(code { _ = try world.scan(quorum: quorum, at: [0]) } == .invalidArgument)
    }
    // A node that does not hold it is not missed.
    world.crash(third, .keepAll)
    try world.put(key, "w", at: 0, context: try world.get(key, at: other).context)
    #expect(try world.values(key, at: 0, quorum: 2) == ["w"])
    try world.restart(third)
    try world.beat(2)
    // One that does is: both are to answer a read, and the third node keeps a write for it.
    let missed = world.id(other)
    world.crash(other, .keepAll)
    try world.put(key, "x", at: 0)
    #expect(world[third].hints.statistics.hints[missed] == 1)
    #expect(try world.held(key, at: third) == nil, "as a hint and no more")
    #expect(code { _ = try world.get(key, at: 0) } == .unreachable)
    #expect(try world.values(key, at: third, quorum: 1) == ["w", "x"])
    try world.restart(other)
    try world.beat(12)
    #expect(world[third].hints.statistics.hints.isEmpty)
    #expect(try world.agree(on: key) && world.held(key, at: third) == nil)
    #expect(try world.values(key, at: other) == ["w", "x"])
  }

  @Test func `with one replica it is where that node is`() throws {
    let world = try Self.world(1) { $0.repairInterval = nil }
    let key = try #require(try Self.keys.first { try Self.nodes(of: $0, world).holders == [1] })
    try world.put(key, "v", at: 0)
    world.crash(0, .keepAll)
    try world.put(key, "w", at: 2, context: try world.get(key, at: 2).context)
    #expect(try world.values(key, at: 2) == ["w"])
    world.crash(1, .keepAll)
    #expect(code { try world.put(key, "x", at: 2) } == .unreachable)
    #expect(code { _ = try world.get(key, at: 2) } == .unreachable)
    #expect(try world.held(key, at: 2) == nil && world[2].hints.statistics.hints.isEmpty)
  }

  @Test func `all nodes know how many it has, also when they are back`() throws {
    let world = try Self.world(2)
    try world.put("k", "v", at: 0)
    #expect(try world.database().hasFewerReplicas)
    for index in 0..<3 {
      try world.close(index)
      try world.restart(index)
      #expect(world[index].core.keyspaceEntries.map(\.replicas) == [2])
      #expect(world[index].view.hasFewerReplicas && world[index].view.keepsOrder)
      let status = world[index].status
      #expect(status.keyspaces == [NodeStatus.Keyspace(name: "k", kind: .keep, replicas: 2)])
      #expect(try NodeStatus(decoding: status.encoded()) == status)
      #expect(status.encoded()[0] == 6 && status.replicas == 3 && status.keepsOrder)
      #expect(try world.values("k", at: index) == ["v"])
    }
  }

  @Test func `numbers that cannot be, or are others`() throws {
    let world = try Self.world(2)
    #expect(code { try world[0].makeKeyspace(Self.request(0, "l")) } == .invalidArgument)
    #expect(code { try world[0].makeKeyspace(Self.request(-1, "l")) } == .invalidArgument)
    #expect(code { try world[0].makeKeyspace(Self.request(4, "l")) } == .tooManyReplicas)
    #expect(code { try world[0].makeKeyspace(Self.request(1, "l", .transactional)) } == .wrongPolicy)
    for quorums in [KeyspaceQuorums(read: 3), KeyspaceQuorums(write: 3)] {
      #expect(code { try world[0].makeKeyspace(Self.request(2, "l", .keep, quorums)) } == .invalidArgument)
    }
    try world[0].learnKeyspaces()
    #expect(world[0].core.keyspaceEntries.map(\.name) == ["k"])
    // What is not said is as it is.
    for replicas in [nil, 2] {
      try world[2].makeKeyspace(Self.request(replicas))
      #expect(try world[2].core.keyspace("k", .eventual(replicas: replicas)).replicas == 2)
    }
    for replicas in [1, 3] {
      #expect(code { try world[2].makeKeyspace(Self.request(replicas)) } == .wrongPolicy)
      #expect(code { _ = try world[2].core.keyspace("k", .eventual(replicas: replicas)) } == .wrongPolicy)
    }
    try world[1].makeKeyspace(
      Self.request(2, "q", .lastWriterWins, KeyspaceQuorums(read: 1, write: 2)))
    #expect(try world[0].keyspace("q").quorums == KeyspaceQuorums(read: 1, write: 2))
  }

  @Test func `as many as the cluster has are nothing of its own`() throws {
    let world = try Self.world(3)
    #expect(try !world.database().hasFewerReplicas)
    #expect(world[0].status.keyspaces == [NodeStatus.Keyspace(name: "k", kind: .keep)])
    #expect(world[0].status.encoded()[0] == 4 && !world[0].status.keepsOrder)
  }

  /// A node by an earlier ring might take other members for the first of a list.
  @Test func `a node learns that the order counts before it knows the keyspace`() throws {
    let world = try NodeWorld(3) { $0.repairInterval = nil }
    try world.beat(2)
    world.subvert([2]) { $0.isDeaf = true }
    try world.make(replicas: 2)
    #expect(world[1].view.hasFewerReplicas && !world[2].view.hasFewerReplicas)
    for partition in 0..<16 {
      #expect(world[1].view.print(of: partition).print != world[2].view.print(of: partition).print)
    }
    #expect(try world[2].keyspace("k").replicas == 2)
    #expect(world[2].view.hasFewerReplicas)
    // And from messages, where it is told of a key first.
    let other = try NodeWorld(3) { $0.repairInterval = nil }
    try other.beat(2)
    other.subvert([1, 2]) { $0.isDeaf = true }
    try other.make(replicas: 2)
    for key in Self.keys { try other.put(key, "v", at: 0) }
    for index in 0..<3 {
      #expect(other[index].view.hasFewerReplicas)
      for key in Self.keys {
        let holds = try other.held(key, at: index) != nil
        #expect(try holds == Self.nodes(of: key, other).holders.contains(index))
      }
    }
  }

  /// Nobody wrote such a one, and a store that made it durable would be of no use any more.
  @Test func `a schema of the directory that does not fit the ring is not taken over`() throws {
    for (replicas, hasFewer) in [(4, true), (3, true), (2, false)] {
      let world = try NodeWorld(3)
      try world.beat(2)
      var schema = Schema()
      schema.revision = 1
      schema.keyspaces = [
        Schema.Keyspace(
          id: 1, name: "k", kind: .keep, replicas: replicas, indexes: [], hasFewerReplicas: hasFewer)
      ]
      try Self.write(schema, world)
      #expect(code { try world[0].learnKeyspaces() } == .corruption, "\(replicas)")
      #expect(world[0].core.keyspaceEntries.isEmpty, "\(replicas)")
      try world.close(1)
      #expect(code { try world.restart(1) } == .corruption, "\(replicas)")
      schema.keyspaces[0].replicas = 3
      schema.keyspaces[0].hasFewerReplicas = false
      try Self.write(schema, world)
      try world.restart(1)
      for index in [0, 1] { #expect(try world[index].keyspace("k").replicas == 3) }
    }
  }

  private static func write(_ schema: Schema, _ world: NodeWorld) throws {
    let found = try world.directory.record(ClusterRecordName.schema)
    let version = try world.directory.compareAndSet(
      ClusterRecordName.schema, version: found?.version ?? 0, schema.encoded(), lease: nil)
    #expect(version != nil)
  }

  // MARK: - Reaping

  @Test(arguments: [false, true])
  func `a tombstone goes once the nodes that hold the key agree`(_ isHolderDown: Bool) throws {
    let world = try ReapingTests.world(4, keyspaceReplicas: 2)
    let key = try #require(try Self.keys.first { try Self.nodes(of: $0, world).holders.contains(0) })
    let (holders, others) = try Self.nodes(of: key, world)
    try world.put(key, "v", at: 0)
    try ReapingTests.delete(key, world, at: 0)
    #expect(try ReapingTests.holders(key, world) == 2)
    world.crash(isHolderDown ? holders.first { $0 != 0 }! : others[0], .keepAll)
    try world.beat(70)
    #expect(try ReapingTests.holders(key, world) == (isHolderDown ? 1 : 0))
  }
}
