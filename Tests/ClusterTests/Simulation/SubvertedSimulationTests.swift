import RoostSimulation
import TestSupport
import Testing

/// Simulations in which a rule of the database is broken on purpose: the checks must see it. Each is told in
/// a few steps, beside the same steps with the rule kept.
// Budget: 5 s
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
}
