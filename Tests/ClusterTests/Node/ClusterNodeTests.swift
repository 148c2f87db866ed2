import RoostCausality
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// Nodes of a cluster: quorums, hints, repair, and what they refuse.
// Budget: 10 s
@Suite struct ClusterNodeTests {
  // MARK: - Founding

  @Test func `founders agree on one ring`() throws {
    let world = try NodeWorld(5)
    let rings = world.running.map { world[$0].core.ring }
    #expect(Set(rings.map(\.epoch)).count == 1)
    #expect(rings.allSatisfy { $0.members.map(\.id) == rings[0].members.map(\.id) })
    #expect(Set(world.running.map { world[$0].core.id }).count == 1)
    #expect(Set(world.running.map { world[$0].local.id }).count == 5)
  }

  @Test func `a node waits for founders no longer than it was told`() throws {
    let world = try NodeWorld(1, replicas: 1)
    let lone = SimulatedEnvironment(seed: 77)
    var cluster = ClusterOptions(cluster: "other")
    cluster.foundingNodes = 3
    let founding = try ClusterFounding(
      at: "/d", NodeWorld.options, cluster, directory: MemoryDirectory(lone.time),
      address: try NodeWorld.address(0), lone.environment)
    do {
      _ = try founding.finish(until: lone.time.monotonicNanoseconds + 1_000_000_000)
      Issue.record("it was founded")
    } catch {
      #expect(error.code == .deadlineExceeded)
      #expect(error.message.contains("1 of 3"))
    }
    #expect(world.running == [0])
  }

  @Test func `a founder that is killed before the founding is the same when it is back`() throws {
    let environment = SimulatedEnvironment(seed: 3)
    let first = try FoundingStore("/d", NodeWorld.options, environment.environment)
    let (member, database) = (first.member, first.database)
    let again = try FoundingStore(
      "/d", NodeWorld.options, environment.crashed(.dropAll, seed: 1).environment)
    #expect(again.member == member)
    #expect(again.database == database)
    #expect(!again.isMember)
  }

  @Test func `who comes too late is told, and so is a wiped disk`() throws {
    let world = try NodeWorld(3)
    let late = SimulatedEnvironment(seed: 50, time: world.time)
    var cluster = ClusterOptions(cluster: "test")
    cluster.foundingNodes = 3
    let founding = try ClusterFounding(
      at: "/d", NodeWorld.options, cluster, directory: world.directory,
      address: try NodeWorld.address(9), late.environment)
    #expect(code { _ = try founding.finish(until: .max) } == .notAMember)
    world.wipe(2)
    #expect(code { try world.restart(2) } == .notAMember)
  }

  @Test func `options are checked`() {
    for change: (inout ClusterOptions) -> Void in [
      { $0.cluster = "" }, { $0.foundingNodes = 0 }, { $0.weight = 0 }, { $0.replicaTimeout = .zero },
      { $0.requestLimit = 0 }, { $0.lease = .zero }, { $0.hintBytesPerSecond = 1 }, { $0.impatience = .zero },
      { $0.zone = String(repeating: "z", count: 256) }, { $0.foundingTimeout = .seconds(-1) },
      { $0.repairInterval = .seconds(59) }, { $0.repairBytesPerSecond = 0 }, { $0.repairTimeout = .zero },
      { $0.fullRepairEvery = 0 }, { $0.moveBytesPerSecond = 0 }, { $0.hintBytesPerSecond = 0 },
    ] {
      var options = ClusterOptions(cluster: "c")
      change(&options)
      #expect(code { try options.validate() } == .invalidOption)
    }
    #expect(code { try ClusterOptions(cluster: "c").validate() } == nil)
  }

  // MARK: - Reads and writes

  @Test func `what one node writes all nodes read`() throws {
    let world = try NodeWorld(3)
    try world.make()
    for index in 0..<3 { try world.put("k\(index)", "v\(index)", at: index) }
    for index in 0..<3 {
      for key in 0..<3 { #expect(try world.values("k\(key)", at: index) == ["v\(key)"]) }
      #expect(try world.values("none", at: index) == [])
      #expect(try world.get("none", at: index).record == nil)
    }
  }

  @Test func `a node that is no replica hands requests on`() throws {
    let world = try NodeWorld(5, replicas: 2)
    try world.make()
    for key in 0..<40 {
      let context = try world.put("k\(key)", "a", at: key % 5)
      try world.put("k\(key)", "b", at: (key + 1) % 5, context: context)
      #expect(try world.values("k\(key)", at: (key + 2) % 5) == ["b"])
      try world.increment("c\(key)", at: (key + 3) % 5)
      try world.increment("c\(key)", by: -3, at: (key + 4) % 5)
      #expect(try world.count("c\(key)", at: key % 5) == -2)
      #expect(try world.agree(on: "k\(key)"))
    }
    // Who is no replica of a key cannot say.
    let held = (0..<5).map { index in
      (0..<40).count { (try? world.held("k\($0)", at: index)) ?? nil != nil }
    }
    #expect(held.reduce(0, +) == 80, "each key is at two nodes: \(held)")
  }

  @Test func `three nodes count at once, and every node says the sum`() throws {
    let world = try NodeWorld(3)
    try world.make()
    for round in 0..<10 { for index in 0..<3 { try world.increment("likes", by: Int64(round), at: index) } }
    for index in 0..<3 { #expect(try world.count("likes", at: index) == 135) }
  }

  @Test func `concurrent writes on both sides of a cut are siblings afterwards`() throws {
    let world = try NodeWorld(3)
    try world.make()
    let first = try world.put("k", "first", at: 0)
    world.cut(0, 1)
    world.cut(0, 2)
    #expect(code { try world.put("k", "alone", at: 0, context: first) } == .indeterminate)
    try world.put("k", "others", at: 1, context: first)
    world.heal()
    #expect(try world.values("k", at: 2, quorum: 3) == ["alone", "others"])
    #expect(try world.agree(on: "k"), "the read repaired all")
    let context = try world.get("k", at: 1).context
    try world.put("k", "merged", at: 1, context: context)
    #expect(try world.values("k", at: 0) == ["merged"])
  }

  @Test func `a delete without a context takes what other replicas know`() throws {
    let world = try NodeWorld(3)
    try world.make()
    world.cut(0, 2)
    try world.put("k", "seen by 0 and 1", at: 0)
    world.heal()
    #expect(try world.held("k", at: 2) == nil)
    _ = try world.perform(KeyRequest(.delete, Array("k".utf8), in: "k"), at: 2)
    for index in 0..<3 { #expect(try world.values("k", at: index) == []) }
  }

  @Test func `sets, conditions and times to live`() throws {
    let world = try NodeWorld(3)
    try world.make()
    let key = Array("s".utf8)
    for (index, element) in ["a", "b", "c"].enumerated() {
      _ = try world.perform(KeyRequest(.add(Array(element.utf8)), key, in: "k"), at: index)
    }
    _ = try world.perform(KeyRequest(.remove(Array("b".utf8)), key, in: "k"), at: 1)
    let set = try #require(try world.get("s", at: 2).record).state(as: ORSet.self)
    #expect(set.count == 2)

    let context = try world.put("p", "1", at: 0)
    try world.put("p", "2", at: 1, context: context)
    var late = KeyRequest(.put([3], timeToLiveMilliseconds: nil), Array("p".utf8), in: "k")
    late.context = context
    late.isConditional = true
    #expect(code { _ = try world.perform(late, at: 2) } == .conditionFailed)
    #expect(try world.values("p", at: 2) == ["2"])

    let short = KeyRequest(.put([1], timeToLiveMilliseconds: 1_000), Array("t".utf8), in: "k")
    _ = try world.perform(short, at: 0)
    #expect(try world.values("t", at: 1).count == 1)
    world.time.advance(byNanoseconds: 1_100_000_000)
    #expect(try world.values("t", at: 1) == [])
  }

  // MARK: - Failures

  @Test func `with one of three nodes down all goes on, and hints bring it up`() throws {
    let world = try NodeWorld(3)
    try world.make()
    try world.increment("n", at: 2)
    world.crash(2, .keepAll)
    for _ in 0..<5 { try world.increment("n", at: 0) }
    try world.put("k", "v", at: 1)
    #expect(try world.count("n", at: 1) == 6)
    #expect(world[0].hints.statistics.hints.values.reduce(0, +) == 1, "one for the key, joined")
    try world.restart(2)
    #expect(try world.held("k", at: 2) == nil)
    try world.beat(2)
    #expect(try world.held("k", at: 2) != nil)
    #expect(try world.agree(on: "n"))
    for index in 0..<2 {
      #expect(world[index].hints.statistics.hints.isEmpty)
      #expect(world[index].hints.statistics.handedOver == 1)
    }
  }

  @Test func `with a fourth node a hint counts, and the fourth hands it over`() throws {
    let world = try NodeWorld(4, replicas: 3)
    try world.make()
    // A key of which nodes 0 and 1 are replicas, and 3 is not.
    let key = try #require(
      (0..<200).map { "k\($0)" }.first { key in
        let replicas = world[0].core.ring.replicas(
          of: try! world[0].keyspace("k").partition(of: Array(key.utf8)))
        return [0, 1, 2].allSatisfy { replicas.contains(world[$0].local.id) }
      })
    world.crash(1, .keepAll)
    world.crash(2, .keepAll)
    try world.put(key, "v", at: 0)
    #expect(world[3].hints.statistics.hints.values.reduce(0, +) == 1)
    try world.restart(1)
    try world.restart(2)
    try world.beat(2)
    #expect(try world.agree(on: key))
    #expect(world[3].hints.statistics.hints.isEmpty)
  }

  @Test func `too few replicas: a write is in doubt, a read refused, unless one is asked for`() throws {
    let world = try NodeWorld(3)
    try world.make()
    try world.put("k", "v", at: 0)
    world.crash(1, .keepAll)
    world.crash(2, .keepAll)
    #expect(code { try world.put("k", "w", at: 0) } == .indeterminate)
    #expect(code { _ = try world.get("k", at: 0) } == .unreachable)
    #expect(try world.values("k", at: 0, quorum: 1) == ["v", "w"])
    try world.put("one", "1", at: 0, quorum: 1)
    #expect(try world.values("one", at: 0, quorum: 1) == ["1"])
    #expect(code { _ = try world.get("k", at: 0, quorum: 4) } == .invalidArgument)
    let status = world[0].status
    #expect(status.counters.indeterminateWrites == 1)
    #expect(status.counters.unavailableReads == 1)
  }

  @Test func `what was acknowledged as synced survives any one disk, and any crash`() throws {
    for seed in Seeds.of("ackedSurvives", count: TestSize.of(quick: 5, full: 40)) {
      let world = try NodeWorld(3, seed: seed)
      try world.make()
      for key in 0..<20 { try world.put("k\(key)", "v", at: key % 3, isSynced: true) }
      for index in 0..<3 { world.crash(index, .dropAll, seed: seed) }
      world.wipe(Int(seed % 3))
      let left = (0..<3).filter { $0 != Int(seed % 3) }
      for index in left { try world.restart(index) }
      for key in 0..<20 { #expect(try world.values("k\(key)", at: left[key % 2]) == ["v"], "seed \(seed)") }
    }
  }

  /// The kv679 family: a node that lost what it had must not take its old dots for new writes.
  @Test func `a node that lost its last writes does not undo others' by writing again`() throws {
    let world = try NodeWorld(3)
    try world.make()
    try world.put("k", "old", at: 0, isSynced: true)
    try world.put("k", "new", at: 0)
    // The disk goes back to what was synced; the others have both.
    world.crash(0, .dropAll)
    try world.restart(0)
    try world.put("k", "after", at: 0)
    #expect(try world.values("k", at: 1, quorum: 3) == ["after", "new", "old"])
  }

  @Test func `a node that was closed is away, and comes back with what it had`() throws {
    let world = try NodeWorld(3)
    try world.make()
    try world.put("k", "v", at: 0)
    try world.close(0)
    try world.put("k2", "v", at: 1)
    try world.restart(0)
    #expect(try world.held("k", at: 0) != nil)
    #expect(try world.values("k2", at: 0) == ["v"])
    #expect(code { try world[0].close() } == nil)
    #expect(code { _ = try world.get("k", at: 0) } == .closed)
  }

  @Test func `a repair brings what no hint knows`() throws {
    let world = try NodeWorld(3)
    try world.make()
    world.cut(0, 2)
    world.cut(1, 2)
    for key in 0..<30 { try world.put("k\(key)", "v", at: key % 2) }
    for index in 0..<2 { _ = try world[index].hints.forget(world[2].local.id) }
    world.heal()
    #expect(try world.held("k0", at: 2) == nil)
    let report = try world.repair(at: 0)
    #expect(report.keys == 30 && report.differing == 30 && report.mended == 30)
    #expect(report.compared == 32 && report.notCompared == 0, "16 partitions with two others each")
    for key in 0..<30 {
      #expect(try world.held("k\(key)", at: 2) != nil)
      #expect(try world.agree(on: "k\(key)"))
    }
    #expect(world[0].status.lastPass?.report == report)
  }

  /// Interleaving 6, its second half: a volume that goes back to a clean close looks as it did then.
  @Test func `a disk that was rolled back to a clean close does not mint dots anew`() throws {
    let world = try NodeWorld(3)
    try world.make()
    try world.close(0)
    let old = world.snapshot(0)
    try world.restart(0)
    try world.put("k", "lost here", at: 0, isSynced: true)
    try world.increment("n", by: 5, at: 0, isSynced: true)
    world.rollBack(0, to: old)
    try world.restart(0)
    try world.put("k", "new", at: 0, isSynced: true)
    try world.increment("n", by: 3, at: 0, isSynced: true)
    #expect(try world.values("k", at: 1, quorum: 3) == ["lost here", "new"])
    #expect(try world.count("n", at: 2, quorum: 3) == 8)
  }

  @Test func `a removal takes what other replicas know`() throws {
    let world = try NodeWorld(3)
    try world.make()
    world.cut(0, 2)
    let key = Array("s".utf8)
    _ = try world.perform(KeyRequest(.add([1]), key, in: "k"), at: 0)
    world.heal()
    #expect(try world.held("s", at: 2) == nil)
    _ = try world.perform(KeyRequest(.remove([1]), key, in: "k"), at: 2)
    for index in 0..<3 {
      #expect(try world.get("s", at: index).record?.state(as: ORSet.self).count ?? 0 == 0)
    }
  }

  @Test func `the directory may fail for long, and nodes still know each other`() throws {
    let world = try NodeWorld(3)
    try world.make()
    // All leases end, and nobody renews them.
    world.time.advance(byNanoseconds: 60_000_000_000)
    world.directory.poll()
    #expect(try world.directory.records(prefix: "node/").isEmpty)
    try world.put("k", "v", at: 0)
    #expect(try world.values("k", at: 1, quorum: 3) == ["v"])
  }

  @Test func `a copy of a store takes over, and the original stops serving`() throws {
    let world = try NodeWorld(3)
    try world.make()
    try world.put("k", "v", at: 0, isSynced: true)
    let original = world[0]
    let copy = world.snapshot(0)
    world.rollBack(0, to: copy)
    try world.restart(0)
    #expect(try world.values("k", at: 0) == ["v"])
    let told = Guarded<DatabaseError.Code?>(nil)
    original.perform(
      KeyRequest(.get, Array("k".utf8), in: "k"), deadline: world.time.monotonicNanoseconds + 1_000_000_000
    ) { result in
      told.withLock { $0 = code { _ = try result.get() } }
    }
    #expect(told.withLock { $0 } == .unreachable)
    try original.close()
  }

  @Test func `founders that have gone get no place in the ring`() throws {
    let time = SimulatedTime()
    let directory = MemoryDirectory(time)
    func founding(_ seed: UInt64, _ name: String = "test") throws -> ClusterFounding {
      var cluster = ClusterOptions(cluster: name)
      cluster.foundingNodes = 2
      return try ClusterFounding(
        at: "/d", NodeWorld.options, cluster, directory: directory, address: NodeWorld.address(Int(seed)),
        SimulatedEnvironment(seed: seed, time: time).environment)
    }
    let gone = try founding(1)
    let goneMember = gone.store.member
    let stranger = try founding(2, "another")
    time.advance(byNanoseconds: 60_000_000_000)
    let (first, second) = (try founding(3), try founding(4))
    let ring = try first.finish().ring
    #expect(ring.members.count == 2)
    #expect(ring.member(goneMember) == nil)
    #expect(try second.finish().ring.members.map(\.id) == ring.members.map(\.id))
    #expect(code { _ = try stranger.finish() } == .foreignStore)
  }

  @Test func `what no node would take is not written`() throws {
    let world = try NodeWorld(3)
    try world.make()
    let large = KeyRequest(
      .put([UInt8](repeating: 1, count: 16 << 20), timeToLiveMilliseconds: nil), [1], in: "k")
    #expect(code { _ = try world.perform(large, at: 0) } == .invalidArgument)
    #expect(try world[0].keyspace("k").held([1]) == nil)
    var condition = KeyRequest(.delete, [1], in: "k")
    condition.isConditional = true
    #expect(code { _ = try world.perform(condition, at: 0) } == .invalidArgument)
    #expect(code { _ = try KeyRequest(decoding: condition.encoded()) } == .invalidArgument)
  }

  // MARK: - Keyspaces and refusals

  @Test func `a keyspace is the whole cluster's`() throws {
    let world = try NodeWorld(3)
    try world.make("k")
    try world[1].makeKeyspace(KeyspaceRequest(name: "l", kind: .lastWriterWins))
    try world[2].makeKeyspace(KeyspaceRequest(name: "l", kind: .lastWriterWins))
    #expect(code { try world[2].makeKeyspace(KeyspaceRequest(name: "l", kind: .keep)) } == .wrongPolicy)
    let transactional = KeyspaceRequest(name: "t", kind: .transactional)
    try world[2].makeKeyspace(transactional)
    // It is no keyspace for requests of single keys.
    #expect(code { _ = try world[0].keyspace("t") } == .wrongPolicy)
    #expect(code { _ = try world.perform(KeyRequest(.get, [1], in: "t"), at: 1) } == .wrongPolicy)
    #expect(code { try world[2].makeKeyspace(KeyspaceRequest(name: "a b", kind: .keep)) } == .invalidArgument)
    let ids = try (0..<3).map { try world[$0].keyspace("l").schemaID }
    #expect(Set(ids).count == 1)
    let unknown = KeyRequest(.get, [1], in: "nothing")
    #expect(code { _ = try world.perform(unknown, at: 0) } == .unknownKeyspace)
    #expect(code { _ = try world.perform(KeyRequest(.get, [], in: "k"), at: 0) } == .invalidArgument)
  }

  @Test func `a context of another key is refused`() throws {
    let world = try NodeWorld(3)
    try world.make()
    let context = try world.put("a", "1", at: 0)
    #expect(code { try world.put("b", "2", at: 1, context: context) } == .foreignContext)
  }

  @Test func `more requests than a node takes are refused`() {
    let counters = NodeCounters()
    for _ in 0..<3 {
      #expect(counters.enter(limit: 2) == .entered)
      #expect(counters.enter(limit: 2) == .entered)
      #expect(counters.enter(limit: 2) == .full)
      counters.leave()
      counters.leave()
    }
    #expect(counters.enter(limit: 2) == .entered)
    let isDrained = Guarded(0)
    counters.drain { isDrained.withLock { $0 += 1 } }
    #expect(counters.enter(limit: 2) == .draining)
    #expect(isDrained.withLock { $0 } == 0)
    counters.leave()
    #expect(isDrained.withLock { $0 } == 1)
    counters.drain { isDrained.withLock { $0 += 1 } }
    #expect(isDrained.withLock { $0 } == 2)
  }

  @Test func `status tells who is there`() throws {
    let world = try NodeWorld(3)
    try world.make()
    world.crash(2, .keepAll)
    // Its lease ends.
    try world.beat(12)
    let status = world[0].status
    #expect(Set(status.members.map(\.state)) == [.this, .reachable, .unreachable])
    #expect(status.keyspaces == [NodeStatus.Keyspace(name: "k", kind: .keep)])
    #expect(status.members.map(\.partitions) == [16, 16, 16])
    #expect(try NodeStatus(decoding: status.encoded()) == status)
  }
}
