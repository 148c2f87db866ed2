import RoostCausality
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// Keyspaces with read and write quorums of their own: what goes by them, and who is refused.
// Budget: 2 s
@Suite struct KeyspaceQuorumTests {
  private static func world(_ read: Int?, _ write: Int?) throws -> NodeWorld {
    let world = try NodeWorld(3)
    // All know of all.
    try world.beat(2)
    try world[1].makeKeyspace(request(read, write))
    return world
  }

  private static func request(
    _ read: Int?, _ write: Int?, _ kind: KeyspacePolicy.Kind = .keep, _ name: String = "k"
  ) -> KeyspaceRequest {
    KeyspaceRequest(name: name, kind: kind, quorums: KeyspaceQuorums(read: read, write: write))
  }

  @Test func `one answers a read, all have a write`() throws {
    let world = try Self.world(1, 3)
    try world.put("k", "v", at: 0)
    try world.put("gone", "v", at: 0)
    for index in 0..<3 { #expect(try world.values("k", at: index) == ["v"]) }
    world.crash(2, .keepAll)
    // A majority is there, which is not enough, unless a request says so.
    #expect(code { try world.put("k", "w", at: 0) } == .indeterminate)
    try world.put("two", "2", at: 0, quorum: 2)
    world.crash(1, .keepAll)
    #expect(try world.values("k", at: 0) == ["v", "w"])
    #expect(try world.values("two", at: 0) == ["2"])
    #expect(try world.scan(at: [0]).count == 3)
    for quorum in [2, 3] {
      #expect(code { _ = try world.get("k", at: 0, quorum: quorum) } == .unreachable)
      #expect(code { _ = try world.scan(quorum: quorum, at: [0]) } == .unreachable)
    }
    #expect(code { _ = try world.increment("n", at: 0) } == .indeterminate)
    // It reads one, as the keyspace says, and is to be written to one.
    var delete = KeyRequest(.delete, Array("gone".utf8), in: "k")
    delete.quorum = 1
    _ = try world.perform(delete, at: 0)
    #expect(try world.values("gone", at: 0) == [])
    #expect(code { _ = try world.get("k", at: 0, quorum: 4) } == .invalidArgument)
  }

  @Test func `all answer a read, one has a write`() throws {
    let world = try Self.world(3, 1)
    try world.put("k", "v", at: 0)
    world.crash(1, .keepAll)
    world.crash(2, .keepAll)
    try world.put("one", "1", at: 0)
    #expect(code { _ = try world.get("one", at: 0) } == .unreachable)
    #expect(try world.values("one", at: 0, quorum: 1) == ["1"])
    #expect(code { try world.put("one", "2", at: 0, quorum: 2) } == .indeterminate)
  }

  @Test func `all nodes know them, also when they are back`() throws {
    let world = try Self.world(nil, 3)
    let chosen = KeyspaceQuorums(write: 3)
    for index in 0..<3 { #expect(try world[index].keyspace("k").quorums == chosen) }
    for index in 0..<3 {
      try world.close(index)
      try world.restart(index)
    }
    for index in 0..<3 {
      #expect(world[index].core.keyspaceEntries.map(\.quorums) == [chosen])
      let policy = try world[index].core.keyspace("k", .eventual).policy
      #expect(policy.readQuorum == nil && policy.writeQuorum == 3)
      let status = world[index].status
      #expect(status.keyspaces == [NodeStatus.Keyspace(name: "k", kind: .keep, quorums: chosen)])
      #expect(try NodeStatus(decoding: status.encoded()) == status)
      #expect(status.encoded()[0] == 5)
    }
  }

  @Test func `quorums that cannot be, or are others`() throws {
    let world = try Self.world(1, 3)
    for (read, write) in [(0, nil), (nil, 0), (4, nil), (nil, 4), (-1, nil), (1, 5)] as [(Int?, Int?)] {
      #expect(code { try world[0].makeKeyspace(Self.request(read, write, .keep, "l")) } == .invalidArgument)
    }
    let transactional = Self.request(1, nil, .transactional, "t")
    #expect(code { try world[0].makeKeyspace(transactional) } == .wrongPolicy)
    try world[0].learnKeyspaces()
    #expect(world[0].core.keyspaceEntries.map(\.name) == ["k"])
    // What is not said is as it is.
    for (read, write) in [(nil, nil), (1, nil), (nil, 3), (1, 3)] as [(Int?, Int?)] {
      try world[2].makeKeyspace(Self.request(read, write))
      _ = try world[2].core.keyspace("k", .eventual(readQuorum: read, writeQuorum: write))
    }
    for (read, write) in [(2, nil), (nil, 2), (3, 1)] as [(Int?, Int?)] {
      #expect(code { try world[2].makeKeyspace(Self.request(read, write)) } == .wrongPolicy)
      let policy = KeyspacePolicy.eventual(readQuorum: read, writeQuorum: write)
      #expect(code { _ = try world[2].core.keyspace("k", policy) } == .wrongPolicy)
    }
    // A majority of three, chosen or not, is not the same: one would go on as the number of replicas changed.
    try world[0].makeKeyspace(KeyspaceRequest(name: "m", kind: .keep))
    #expect(code { try world[0].makeKeyspace(Self.request(2, nil, .keep, "m")) } == .wrongPolicy)
  }
}
