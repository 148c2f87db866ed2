import RoostCausality
import TestSupport
import Testing

@testable import RoostCluster
@testable import RoostSimulation

/// The interleavings that break a careless version, in simulated clusters: those that need no transactions.
/// The second half of the sixth, a disk that goes back, is `Kv679Tests` and
/// `SubvertedSimulationTests`.
// Budget: 15 s
@Suite struct InterleavingSimulationTests {
  private func held(_ key: String, at host: SimulatedHost) throws -> Record? {
    try #require(host.node).keyspace(SimulatedWorld.keyspace).held(Array(key.utf8))
  }

  /// Has all nodes forget what they keep for one that missed something: repair alone has to find it.
  private func forgetHints(_ world: SimulatedWorld, for index: Int) throws {
    let member = try #require(world.hosts[index].member)
    for host in world.hosts where host.index != index { _ = try host.node?.hints.forget(member) }
  }

  private func checkSettled(_ world: SimulatedWorld, _ key: String, _ values: [String]) throws {
    try world.settle()
    #expect(world.replicasAgree)
    #expect(world.violations() == [])
    for node in world.nodes { #expect(try world.get(key, at: node).values == values) }
  }

  @Test func `1, one identity: nodes that wrote one key without each other keep all values`() throws {
    try Simulation(seed: 1).run { world in
      let nodes = try world.cluster(of: 3, writeQuorum: 1)
      #expect(Set(world.hosts.compactMap { $0.node?.local.replica }).count == 3)
      for node in nodes { world.partition([node], from: nodes) }
      // As many each: their dots have the same counters.
      for node in nodes {
        let first = try world.put("k", "first of \(node)", at: node)
        try world.put("k", "\(node)", at: node, context: first)
      }
      try checkSettled(world, "k", nodes.map(\.description))
    }
  }

  /// A partition leaves a node with all its data, and comes back filled from one that has missed a write.
  /// What the node writes then must not stand for what it wrote before: broken, a store that gets a partition
  /// back goes on as the incarnation that it was.
  @Test(arguments: [false, true]) func `2, leave and return`(_ isBroken: Bool) throws {
    try Simulation(seed: 2).run { world in
      let nodes = try world.cluster(of: 4)
      func node(_ index: Int) throws -> ClusterNode { try #require(world.hosts[index].node) }
      for index in nodes.indices { try node(index).subversions.keepsIncarnation = isBroken }
      let partition = try node(0).partition(of: Array("k".utf8))
      let holders = world.replicas(of: "k")
      let (a, b, c) = (holders[0], holders[1], holders[2])
      let d = try #require(nodes.first { ![a, b, c].contains($0) })
      /// Has the partition move, and lets it.
      func move(from: SimulatedNode, to: SimulatedNode) throws {
        let (source, target) = (try node(from.index).local.id, try node(to.index).local.id)
        try node(to.index).changeRecord { record in
          let replicas = record.ring.ring.replicas(of: partition)
          guard let slot = replicas.firstIndex(of: source) else { return false }
          record.ring = record.ring.copying(
            PartitionMove(partition: partition, slot: slot, from: source, to: target))
          return true
        }
        // The source has nothing of it any more, either.
        try world.run(untilTrue: { world.membership?.isChanging == false }, within: .seconds(120))
        #expect(try node(to.index).view.isReplica(target, of: partition))
        #expect(try held("k", at: world.hosts[from.index]) == nil)
      }
      // `v` is at a and c; b has missed it, and nobody brings it there.
      world.partition([b], from: [a, c, d])
      try world.put("k", "v", at: a)
      world.run(for: .seconds(1))
      try forgetHints(world, for: b.index)
      try node(a.index).subversions.dropsUncompared = true
      try move(from: a, to: d)
      #expect(try held("k", at: world.hosts[d.index]) != nil)
      #expect(try held("k", at: world.hosts[b.index]) == nil)
      // It comes back from b, the only one that a can reach.
      world.heal()
      world.partition([a], from: [c, d])
      try node(b.index).subversions.dropsUncompared = true
      try move(from: b, to: a)
      try world.put("k", "w", at: a)
      world.heal()
      try world.settle()
      #expect(world.replicasAgree)
      #expect(world.violations().isEmpty != isBroken, "\(world.violations())")
      let values = isBroken ? ["w"] : ["v", "w"]
      for node in nodes { #expect(try world.get("k", at: node).values == values) }
    }
  }

  /// Replicas get the third write, and not the second. Sent as a bare dot with a raised context, they claim
  /// the second with it, and delete it at the only one that has it. The first goes: the third had read it.
  @Test(arguments: [false, true]) func `3, gaps`(_ isBroken: Bool) throws {
    try Simulation(seed: 3).run { world in
      let nodes = try world.cluster(of: 3, writeQuorum: 1)
      let first = try world.put("k", "7", at: nodes[0])
      world.run(for: .seconds(1))
      if isBroken { world.subvert(.sendsBareDots) }
      world.partition([nodes[0]], from: [nodes[1], nodes[2]])
      try world.put("k", "15", at: nodes[0])
      world.heal()
      try world.put("k", "20", at: nodes[0], context: first)
      // One store is enough for a write: to the others it is still under way.
      world.run(for: .milliseconds(100))
      for host in world.hosts[1...] {
        #expect(try held("k", at: host)?.siblings.count == (isBroken ? 1 : 2))
      }
      if !isBroken { return try checkSettled(world, "k", ["15", "20"]) }
      try world.settle()
      let violation = world.violations().first
      #expect(violation?.contains("the acknowledged, synced value 15 (#1) is lost") == true)
    }
  }

  @Test func `4, a delete that no hint tells is found by the trees`() throws {
    try Simulation(seed: 4).run { world in
      let nodes = try world.cluster(of: 3)
      let context = try world.put("k", "v", at: nodes[0])
      try world.insert("e", into: "s", at: nodes[0])
      world.run(for: .seconds(1))
      world.partition([nodes[2]], from: [nodes[0], nodes[1]])
      try world.delete("k", at: nodes[0], context: context)
      try world.remove("e", from: "s", at: nodes[1])
      world.run(for: .seconds(2))
      try forgetHints(world, for: 2)
      #expect(try held("k", at: world.hosts[2])?.isTombstone == false)
      try checkSettled(world, "k", [])
      for host in world.hosts {
        #expect(try held("k", at: host)?.isTombstone == true)
        #expect(try held("s", at: host)?.isTombstone == true)
      }
    }
  }

  /// All at once: clients at each node, hints that are handed over, reads that repair, a comparison of trees.
  @Test func `5, no write of a key is lost beside others`() throws {
    try Simulation(seed: 5).run { world in
      let nodes = try world.cluster(of: 3)
      world.partition([nodes[2]], from: [nodes[0], nodes[1]])
      for number in 0..<5 { try world.increment("n", at: nodes[number % 2]) }
      world.run(for: .seconds(2))
      world.heal()
      let ended = Box(0)
      let acknowledged = Box(0)
      for number in 0..<60 {
        let asked: AskedCall =
          switch number % 4 {
          case 0: .get("n")
          case 1: .put("k", "v\(number)", nil)
          default: .increment("n", 1)
          }
        world.begin(asked, at: world.hosts[number % 3], isSynced: true, client: number) { result in
          ended.value += 1
          if case .written = result { acknowledged.value += 1 }
        }
      }
      world.hosts[1].node?.repair(until: world.hosts[1].time.monotonicNanoseconds + 60_000_000_000) { _ in }
      try world.run(untilTrue: { ended.value == 60 }, within: .seconds(60))
      #expect(acknowledged.value == 45)
      try world.settle()
      #expect(world.replicasAgree)
      #expect(world.violations() == [])
      #expect(try world.get("n", at: nodes[2]).count == 35)
      #expect(try world.get("k", at: nodes[2]).values.count == 15)
    }
  }

  /// A state that was read before the delete comes when all have reaped: from a fallback that kept it as a
  /// hint for too long, say. Broken, what comes too late is joined.
  @Test(arguments: [false, true])
  func `7, a hint that comes after all have reaped`(_ isBroken: Bool) throws {
    try Simulation(seed: 7).run { world in
      if isBroken { world.brokenReaping = [.lateStates] }
      let nodes = try world.cluster(of: 3, reaping: true)
      let context = try world.put("k", "v", at: nodes[0])
      world.run(for: .seconds(1))
      let process = try #require(world.hosts[1].process)
      let node = try #require(process.node)
      let keyspace = try node.keyspace(SimulatedWorld.keyspace)
      var late = try node.place(keyspace, Array("k".utf8), quorum: nil, isSynced: true).message
      late.record = try held("k", at: world.hosts[1])
      #expect(late.record?.siblings.count == 1)
      try world.delete("k", at: nodes[0], context: context)
      world.run(for: .seconds(60))
      for host in world.hosts { #expect(try held("k", at: host) == nil) }
      world.network.send(
        NodeMessage(kind: NodeMessageKind.apply, body: late.encoded()), from: process,
        to: try #require(world.hosts[0].process).nodeID, remaining: 1_000_000_000, nil)
      world.run(for: .seconds(1))
      #expect(try (held("k", at: world.hosts[0]) != nil) == isBroken)
      try world.settle()
      #expect(world.replicasAgree)
      #expect(world.violations().isEmpty != isBroken, "\(world.violations())")
    }
  }

  /// What an expired value had replaced is still at a node that was away.
  @Test func `8, what expired does not come back`() throws {
    try Simulation(seed: 8).run { world in
      let nodes = try world.cluster(of: 3)
      let context = try world.put("k", "v0", at: nodes[2])
      world.run(for: .seconds(1))
      world.partition([nodes[2]], from: [nodes[0], nodes[1]])
      let node = try #require(world.hosts[0].node)
      var request = KeyRequest(
        .put(Array("v1".utf8), timeToLiveMilliseconds: 1_000), Array("k".utf8), in: SimulatedWorld.keyspace)
      request.context = context.token
      let isWritten = Box(false)
      node.perform(request, deadline: node.requestDeadline) { result in
        if case .success = result { isWritten.value = true }
      }
      try world.run(untilTrue: { isWritten.value }, within: .seconds(10))
      #expect(isWritten.value)
      world.run(for: .seconds(3))
      try forgetHints(world, for: 2)
      #expect(try held("k", at: world.hosts[2])?.siblings.elements.map(\.value) == [Array("v0".utf8)])
      try world.settle()
      #expect(world.replicasAgree)
      for node in nodes { #expect(try world.get("k", at: node).values == []) }
    }
  }

  /// A resolver runs on what reads return: reads, and comparisons, write no siblings.
  @Test func `15, siblings that are read come to rest`() throws {
    try Simulation(seed: 15).run { world in
      let nodes = try world.cluster(of: 3, writeQuorum: 1)
      for node in nodes { world.partition([node], from: nodes) }
      for node in nodes { try world.put("k", "\(node)", at: node) }
      try world.settle()
      let before = try held("k", at: world.hosts[0])
      #expect(before?.siblings.count == 3)
      for _ in 0..<5 {
        for node in nodes { #expect(try world.get("k", at: node).values.count == 3) }
        try world.settle()
      }
      for host in world.hosts { #expect(try held("k", at: host) == before) }
      let read = try world.get("k", at: nodes[1])
      try world.put("k", "merged", at: nodes[1], context: read.context)
      try checkSettled(world, "k", ["merged"])
    }
  }

  @Test func `16, the context of another key is refused, and erases nothing`() throws {
    try Simulation(seed: 16).run { world in
      let nodes = try world.cluster(of: 3)
      try world.put("k2", "unseen", at: nodes[0])
      var borrowed: SimulatedContext?
      for number in 0..<5 { borrowed = try world.put("k1", "v\(number)", at: nodes[0], context: borrowed) }
      let context = try #require(borrowed)
      for node in nodes {
        let refused = #expect(throws: DatabaseError.self) {
          try world.put("k2", "w", at: node, context: context)
        }
        #expect(refused?.code == .foreignContext)
        #expect(throws: DatabaseError.self) { try world.delete("k2", at: node, context: context) }
      }
      try checkSettled(world, "k2", ["unseen"])
    }
  }
}
