import RoostCausality
import RoostCluster
import TestSupport
import Testing

@testable import RoostSimulation

/// The family of riak_kv#679 in simulated clusters, under the names of its tests in riak_test: a replica
/// loses what it had, and writes again. As another incarnation it does no harm. Beside that, where it shows,
/// the same with stores that keep their incarnation: then something that was acknowledged is lost.
// Budget: 10 s
@Suite struct Kv679Tests {
  /// Gives a node its disk as it was once, and starts it.
  private func lose(
    _ world: SimulatedWorld, _ node: SimulatedNode, _ backup: SimulatedDisk, _ isBroken: Bool
  ) throws {
    try world.restore(node, from: backup)
    world.subvert(isBroken ? .keepsIncarnations : .none)
    try world.restart(node)
  }

  private func check(
    _ world: SimulatedWorld, _ key: String, _ values: [String], _ isBroken: Bool
  ) throws {
    try world.settle()
    let violations = world.violations()
    #expect(violations.isEmpty != isBroken, "\(violations)")
    guard !isBroken else { return }
    for node in world.nodes { #expect(try world.get(key, at: node).values == values) }
  }

  /// A key that three of four nodes hold: the holders, and the node that keeps hints for them.
  private func fallback(
    _ world: SimulatedWorld
  ) throws -> (key: String, holders: [SimulatedNode], fallback: SimulatedNode) {
    let nodes = try world.cluster(of: 4)
    let key = try #require((0..<100).lazy.map { "k\($0)" }.first { world.replicas(of: $0).count == 3 })
    let holders = world.replicas(of: key)
    return (key, holders, try #require(nodes.first { !holders.contains($0) }))
  }

  /// Plain values. The others' context claims the lost dots: a dot minted anew would be taken for one of
  /// them, and what it names dropped as replaced.
  @Test(arguments: [false, true]) func `kv679_dataloss`(_ isBroken: Bool) throws {
    try Simulation(seed: 67_901).run { world in
      let nodes = try world.cluster(of: 3)
      let backup = try world.backUp(nodes[0])
      var context: SimulatedContext?
      for number in 1...5 { context = try world.put("k", "v\(number)", at: nodes[0], context: context) }
      try lose(world, nodes[0], backup, isBroken)
      // It writes before it hears of what it lost.
      try world.put("k", "new", at: nodes[0])
      try check(world, "k", ["new", "v5"], isBroken)
    }
  }

  /// The same with a counter, whose entry must not begin anew.
  @Test(arguments: [false, true]) func `kv679_dataloss of a counter`(_ isBroken: Bool) throws {
    try Simulation(seed: 67_902).run { world in
      let nodes = try world.cluster(of: 3)
      let backup = try world.backUp(nodes[0])
      for _ in 0..<5 { try world.increment("n", at: nodes[0]) }
      try lose(world, nodes[0], backup, isBroken)
      try world.increment("n", by: 10, at: nodes[0])
      try check(world, "n", [], isBroken)
      if !isBroken { #expect(try world.get("n", at: nodes[1]).count == 15) }
    }
  }

  /// Through a fallback: the lost write is at no replica, but in a hint, which comes when the replica has
  /// written again.
  @Test(arguments: [false, true]) func `kv679_dataloss_fb`(_ isBroken: Bool) throws {
    try Simulation(seed: 67_903).run { world in
      let (key, holders, fallback) = try fallback(world)
      let backup = try world.backUp(holders[0])
      world.partition(Array(holders[1...]), from: [holders[0], fallback])
      try world.put(key, "v1", at: holders[0])
      try lose(world, holders[0], backup, isBroken)
      try world.put(key, "v2", at: holders[0])
      try check(world, key, ["v1", "v2"], isBroken)
    }
  }

  /// It is the fallback that goes back: it hands over once more what was replaced and deleted since, and then
  /// keeps hints again.
  @Test func `kv679_dataloss_fb2`() throws {
    try Simulation(seed: 67_904).run { world in
      let (key, holders, fallback) = try fallback(world)
      let others = [holders[0], holders[2], fallback]
      world.partition([holders[1]], from: others)
      let first = try world.put(key, "v1", at: holders[0])
      // Until the fallback keeps the hint.
      world.run(for: .seconds(2))
      let backup = try world.backUp(fallback)
      world.heal()
      world.run(for: .seconds(5))
      let second = try world.put(key, "v2", at: holders[0], context: first)
      try world.delete(key, at: holders[0], context: second)
      try lose(world, fallback, backup, false)
      world.run(for: .seconds(5))
      for node in world.nodes { #expect(try world.get(key, at: node).values == []) }
      world.partition([holders[1]], from: others)
      try world.put(key, "v3", at: holders[2])
      world.run(for: .seconds(2))
      try check(world, key, ["v3"], false)
    }
  }

  /// The tombstone is what is lost: it must not take what is written after it.
  @Test(arguments: [false, true]) func `kv679_tombstone`(_ isBroken: Bool) throws {
    try Simulation(seed: 67_905).run { world in
      let nodes = try world.cluster(of: 3)
      let backup = try world.backUp(nodes[0])
      let context = try world.put("k", "v", at: nodes[0])
      try world.delete("k", at: nodes[0], context: context)
      try lose(world, nodes[0], backup, isBroken)
      try world.put("k", "new", at: nodes[0])
      try check(world, "k", ["new"], isBroken)
    }
  }

  /// The same while a third replica has missed the delete: what was deleted must not come back with it, and
  /// what is written after must not go.
  @Test(arguments: [false, true]) func `kv679_tombstone2`(_ isBroken: Bool) throws {
    try Simulation(seed: 67_906).run { world in
      let nodes = try world.cluster(of: 3)
      let backup = try world.backUp(nodes[0])
      let context = try world.put("k", "v", at: nodes[0])
      world.run(for: .seconds(1))
      world.partition([nodes[2]], from: [nodes[0], nodes[1]])
      try world.delete("k", at: nodes[0], context: context)
      try lose(world, nodes[0], backup, isBroken)
      world.heal()
      try world.put("k", "new", at: nodes[0])
      try check(world, "k", ["new"], isBroken)
    }
  }

  /// A store that may have lost something is another one from then on: by a number that nobody has had.
  @Test(arguments: [false, true]) func `kv679_uid`(_ isBroken: Bool) throws {
    try Simulation(seed: 67_907).run { world in
      let nodes = try world.cluster(of: 3)
      let host = world.hosts[0]
      func replica() throws -> ReplicaID { try #require(host.node).local.replica }
      let backup = try world.backUp(nodes[0])
      var seen = [try replica()]
      try world.put("k", "first", at: nodes[0])
      try lose(world, nodes[0], backup, isBroken)
      seen.append(try replica())
      try world.put("k", "second", at: nodes[0])
      try world.crash(nodes[0], losing: .dropAll)
      try world.restart(nodes[0])
      seen.append(try replica())
      try world.kill(nodes[0])
      try world.restart(nodes[0])
      seen.append(try replica())
      #expect(Set(seen).count == (isBroken ? 1 : 4))
      try check(world, "k", ["first", "second"], isBroken)
      guard !isBroken else { return }
      let record = try #require(try host.node?.keyspace(SimulatedWorld.keyspace).held(Array("k".utf8)))
      #expect(record.siblings.elements.map(\.dot.replica).sorted() == Array(seen[..<2]).sorted())
    }
  }
}
