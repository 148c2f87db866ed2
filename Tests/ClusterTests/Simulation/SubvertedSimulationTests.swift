import RoostCluster
import TestSupport
import Testing

@testable import RoostSimulation

/// Simulations in which a rule of the database is broken on purpose: the checks must see it. Each is told in
/// a few steps, beside the same steps with the rule kept.
// Budget: 10 s
@Suite struct SubvertedSimulationTests {
  @Test(arguments: [false, true])
  func `a replica that acknowledges what it does not have loses it`(_ isBroken: Bool) throws {
    try Simulation(seed: 5).run { world in
      let nodes = try world.cluster(of: 3)
      if isBroken { world.subvert(.forgetsApplied) }
      let backup = try world.backUp(nodes[0])
      try world.put("k", "v", at: nodes[0])
      try world.restore(nodes[0], from: backup)
      try world.settle()
      #expect(world.replicasAgree)
      #expect(world.violations().isEmpty != isBroken, "\(world.violations())")
    }
  }

  /// Put back to the last number of a file, a store looks as it did when it was closed.
  @Test(arguments: [false, true])
  func `a store that goes back in time does no harm`(_ isImage: Bool) throws {
    try Simulation(seed: 6).run { world in
      let nodes = try world.cluster(of: 3)
      try world.put("k", "first", at: nodes[0])
      try world.close(nodes[0])
      let image = try isImage ? world.image(nodes[0]) : world.backUp(nodes[0])
      try world.restart(nodes[0])
      // As others know where the node is.
      world.run(for: .seconds(2))
      try world.put("k", "second", at: nodes[0])
      if isImage {
        try world.putBack(nodes[0], image: image)
      } else {
        try world.restore(nodes[0], from: image)
      }
      try world.restart(nodes[0])
      try world.put("k", "third", at: nodes[0])
      try world.settle()
      #expect(world.violations().isEmpty, "\(world.violations())")
    }
  }

  @Test(arguments: [false, true])
  func `a hint that is forgotten is a write that is lost`(_ isBroken: Bool) throws {
    try Simulation(seed: 7).run { world in
      let nodes = try world.cluster(of: 4)
      if isBroken { world.subvert(.dropsHints) }
      // A key that is held by three nodes: the fourth keeps hints for two of them.
      let key = try #require((0..<100).lazy.map { "k\($0)" }.first { world.replicas(of: $0).count == 3 })
      let holders = world.replicas(of: key)
      let fallback = try #require(nodes.first { !holders.contains($0) })
      let backup = try world.backUp(holders[0])
      world.partition(Array(holders[1...]), from: [holders[0], fallback])
      try world.put(key, "v", at: holders[0])
      try world.restore(holders[0], from: backup)
      try world.settle()
      #expect(world.replicasAgree)
      #expect(world.violations().isEmpty != isBroken, "\(world.violations())")
    }
  }

  // MARK: - Tombstones

  /// One that was cut off has missed a delete, and hints for it have become too old. Until it has the
  /// tombstone, the others keep theirs.
  @Test(arguments: [false, true])
  func `a tombstone that is reaped while another replica has missed it brings back what it deleted`(
    _ isBroken: Bool
  ) throws {
    try Simulation(seed: 8).run { world in
      let nodes = try world.cluster(of: 3, reaping: true)
      if isBroken { world.subvert(.reapsEarly) }
      let context = try world.put("k", "v", at: nodes[0])
      world.run(for: .seconds(1))
      world.partition([nodes[2]], from: [nodes[0], nodes[1]])
      try world.delete("k", at: nodes[0], context: context)
      world.run(for: .seconds(10))
      world.heal()
      world.run(for: .seconds(50))
      for host in world.hosts[..<2] {
        let held = try host.node?.keyspace(SimulatedWorld.keyspace).held(Array("k".utf8))
        #expect((held == nil) == isBroken)
      }
      try world.settle()
      #expect(world.replicasAgree)
      #expect(world.violations().isEmpty != isBroken, "\(world.violations())")
    }
  }

  // MARK: - Moves

  /// Two nodes that hold all keys, and a third one that a partition of theirs is moving to, which has just
  /// been written down.
  private struct Joining {
    var move: PartitionMove
    var from: SimulatedNode
    var other: SimulatedNode
    var receiver: ClusterNode
    var new: SimulatedNode
    /// Of the partition.
    var key: String

    init(_ world: SimulatedWorld, stopsBefore step: MoveStep? = nil) throws {
      new = try world.join(through: world.nodes[0])
      let receiver = try #require(world.hosts[new.index].node)
      if let step { receiver.subversions.stopsBefore = [step] }
      try world.run(untilTrue: { !receiver.changeProgress.moving.isEmpty }, within: .seconds(30))
      let move = try #require(receiver.changeProgress.moving.first)
      let source = try #require(world.hosts.first { $0.member == move.from })
      let keyspace = try #require(source.node).keyspace(SimulatedWorld.keyspace)
      let keys = (0..<1_000).map { "k\($0)" }
      key = try #require(
        try keys.first { try keyspace.partition(of: Array($0.utf8)) == move.partition })
      from = world.nodes[source.index]
      other = world.nodes[1 - source.index]
      self.receiver = receiver
      self.move = move
    }
  }

  /// A write that comes when the receiver has compared the partition with its source already: only the source
  /// has it, and sends it on. Reads ask both replicas, so that one store is enough for a write.
  @Test(arguments: [false, true])
  func `a write that is not sent on while its partition moves is missing after that`(
    _ isBroken: Bool
  ) throws {
    try Simulation(seed: 9).run { world in
      try world.cluster(of: 2, readQuorum: 2, writeQuorum: 1)
      world.history.checksMovedReads = true
      if isBroken { world.subvert(.dropsForwards) }
      let joining = try Joining(world)
      let receiver = joining.receiver
      // It gets this partition alone; and its source keeps what it gave away.
      receiver.subversions.stopsBefore = [.begin]
      world.hosts[joining.from.index].node?.subversions.stopsBefore = [.compare]
      // The comparison with the other one takes a moment longer.
      try world.slow(joining.other, by: 30)
      try world.run(untilTrue: { receiver.changeProgress.bytes > 0 }, within: .seconds(30))
      world.cut(from: joining.from, to: joining.other)
      try world.put(joining.key, "v", at: joining.from)
      let move = joining.move
      try world.run(
        untilTrue: { receiver.core.ring.replicas(of: move.partition).contains(move.to) },
        within: .seconds(30))
      #expect(try world.get(joining.key, at: joining.new).values == (isBroken ? [] : ["v"]))
      try world.settle()
      #expect(world.replicasAgree)
      #expect(world.violations().isEmpty != isBroken, "\(world.violations())")
    }
  }

  /// Both replicas must have a write, so that one is enough for a read: the one that has missed it.
  @Test(arguments: [false, true])
  func `a write that counts whom its partition moves to is missing at a replica`(_ isBroken: Bool) throws {
    try Simulation(seed: 10).run { world in
      try world.cluster(of: 2, readQuorum: 1, writeQuorum: 2)
      world.history.checksMovedReads = true
      if isBroken { world.subvert(.countsPending) }
      let joining = try Joining(world, stopsBefore: .catchUp)
      world.run(for: .seconds(1))
      world.partition([joining.from], from: [joining.other])
      let written = try? world.put(joining.key, "v", at: joining.from)
      #expect((written != nil) == isBroken)
      #expect(try world.get(joining.key, at: joining.other).values == [])
      try world.settle()
      #expect(world.replicasAgree)
      #expect(world.violations().isEmpty != isBroken, "\(world.violations())")
    }
  }
}
