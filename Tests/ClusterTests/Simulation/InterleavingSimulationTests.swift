import RoostCausality
import RoostCluster
import TestSupport
import Testing

@testable import RoostSimulation

/// The interleavings that break a careless version, in simulated clusters: those that need no more than
/// replicas, hints and repairs. The second half of the sixth, a disk that goes back, is `Kv679Tests` and
/// `SubvertedSimulationTests`.
// Budget: 10 s
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

  /// Replicas get the third write, and not the second. Were it sent as a bare dot with a raised context, they
  /// would claim the second, and delete it at the only one that has it (`MutationSearchTests`).
  @Test func `3, gaps`() throws {
    try Simulation(seed: 3).run { world in
      let nodes = try world.cluster(of: 3, writeQuorum: 1)
      try world.put("k", "7", at: nodes[0])
      world.run(for: .seconds(1))
      world.partition([nodes[0]], from: [nodes[1], nodes[2]])
      try world.put("k", "15", at: nodes[0])
      world.heal()
      try world.put("k", "20", at: nodes[0])
      try checkSettled(world, "k", ["15", "20", "7"])
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
