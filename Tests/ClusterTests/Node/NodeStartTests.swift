import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// Nodes whose directory fails or is slow while they begin and say where they are, and what they bear of
/// requests that wait elsewhere.
// Budget: 5 s
@Suite struct NodeStartTests {
  private static func founding(
    _ world: NodeWorld, _ index: Int, _ environment: Environment
  ) throws -> ClusterFounding {
    var cluster = ClusterOptions(cluster: "test")
    cluster.replicas = world.replicas
    return try ClusterFounding(
      at: "/disk/db", NodeWorld.options, cluster, directory: world.directory,
      address: try NodeWorld.address(index), environment)
  }

  @Test(arguments: [TestDirectory.Call.grantLease, .records(ClusterRecordName.nodes)])
  func `a node that cannot begin leaves no thread and no record behind`(failing: TestDirectory.Call) throws {
    let world = try NodeWorld(3)
    try world.close(2)
    let made = Guarded<[ManualWorkers]>([])
    var environment = world.disks[2].environment
    environment.makeWorkers = {
      let workers = ManualWorkers()
      made.withLock { $0.append(workers) }
      return workers
    }
    let founding = try Self.founding(world, 2, environment)
    let number = NodeID(rawValue: 99)
    var failures = 0
    world.directory.before = { call throws(DatabaseError) in
      guard call == failing else { return }
      failures += 1
      throw DatabaseError(.storage, "the directory is away")
    }
    let start = code {
      _ = try ClusterNode.start(
        founding, transport: world.messages.transport(of: number), address: try NodeWorld.address(2)
      ) { _ in }
    }
    #expect(start == .storage && failures == 1)
    world.directory.before = nil
    // The store's, its member's, and the node's five: none of them takes anything any more.
    let workers = made.withLock { $0 }
    #expect(workers.count >= 7)
    for one in workers {
      one.submit(.urgent) {}
      #expect(one.waitingCount(.urgent) == 0)
    }
    #expect(try world.directory.record(ClusterRecordName.node(number)) == nil)
    try world.restart(2)
  }

  @Test func `a node whose record somebody else was writing says where it is with the next beat`() throws {
    let world = try NodeWorld(3)
    // All leases end.
    world.time.advance(byNanoseconds: 60_000_000_000)
    world.directory.poll()
    let name = ClusterRecordName.node(world.numbers[0])
    var revoked = 0
    world.directory.before = { if case .revoke = $0 { revoked += 1 } }
    world.directory.isOvertaken = { $0 == name }
    for beat in 1...3 {
      try world[0].beat()
      #expect(try world.directory.record(name) == nil)
      #expect(revoked == beat, "the lease that nothing hangs on is not kept")
    }
    world.directory.isOvertaken = { _ in false }
    try world[0].beat()
    #expect(try world.directory.record(name)?.lease != nil)
    // From now on it is kept up.
    for _ in 0..<4 {
      world.time.advance(byNanoseconds: 6_000_000_000)
      try world[0].beat()
    }
    world.directory.poll()
    #expect(try world.directory.record(name) != nil)
    #expect(revoked == 3)
  }

  @Test func `so many requests wait at other nodes at a time, and no more`() throws {
    let world = try NodeWorld(4, replicas: 2)
    try world.make("k", .lastWriterWins)
    let key = try #require(
      (0..<1_000).lazy.map { "k\($0)" }.first {
        !world[3].view.isReplica(world.id(3), of: world[3].partition(of: Array($0.utf8)))
      })
    world.wire.fate = { message, _, _ in message.kind == NodeMessageKind.key ? .held : .arrives }
    let refused = Guarded<[DatabaseError.Code]>([])
    let done = Guarded(0)
    let request = KeyRequest(.put([1], timeToLiveMilliseconds: nil), Array(key.utf8), in: "k")
    func ask() {
      world[3].perform(request, deadline: world.time.monotonicNanoseconds + 5_000_000_000) { result in
        switch result {
        case .success: done.withLock { $0 += 1 }
        case .failure(let error): refused.withLock { $0.append(error.code) }
        }
      }
    }
    for _ in 0..<130 { ask() }
    #expect(world.wire.heldCount == 128)
    #expect(refused.withLock { $0 } == [.busy, .busy] && done.withLock { $0 } == 0)
    // Those that are answered make room again.
    world.wire.fate = { _, _, _ in .arrives }
    world.wire.release()
    #expect(done.withLock { $0 } == 128, "each was handed to the other replica")
    for _ in 0..<130 { ask() }
    #expect(done.withLock { $0 } == 258 && refused.withLock { $0.count } == 2)
  }
}
