import RoostCluster
import TestSupport
import Testing

@testable import RoostSimulation

/// Nodes that join a simulated cluster, leave it and replace a dead one, while clients write.
// Budget: 10 s
@Suite struct MembersSimulationTests {
  /// Writes that may fail, each at another node, with time between them.
  private static func write(_ world: SimulatedWorld, _ round: String, at nodes: [SimulatedNode]) {
    for number in 0..<16 {
      let node = nodes[number % nodes.count]
      _ = try? world.put("k\(number)", "\(round) \(number)", at: node)
      _ = try? world.increment("n\(number % 4)", by: 1, at: node)
      world.run(for: .milliseconds(100))
    }
  }

  /// Four that are there in the end: none of those that began but one.
  private static func course(_ world: SimulatedWorld) throws {
    let nodes = try world.cluster(of: 3)
    world.weather.late = 60
    world.weather.doubled = 15
    write(world, "before", at: nodes)
    let fourth = try world.join(through: nodes[0])
    write(world, "joining", at: nodes + [fourth])
    #expect(try world.finishChange(within: .seconds(600)))
    #expect(world.runningNodes.count == 4)
    try world.remove(nodes[0], through: nodes[1])
    write(world, "leaving", at: [nodes[1], nodes[2], fourth])
    #expect(try world.finishChange(within: .seconds(600)))
    #expect(world.runningNodes == [nodes[1], nodes[2], fourth])
    // Its disk is gone, and a new machine takes its place.
    try world.wipe(nodes[1])
    world.run(for: .seconds(20))
    let fifth = try world.replace(nodes[1], isDead: true, through: nodes[2])
    write(world, "replacing", at: [nodes[2], fourth, fifth])
    #expect(try world.finishChange(within: .seconds(600)))
    #expect(world.runningNodes == [nodes[2], fourth, fifth])
    write(world, "after", at: [nodes[2], fourth, fifth])
    try world.settle()
    #expect(world.replicasAgree)
    #expect(world.violations() == [])
    for number in 0..<16 {
      #expect(try world.get("k\(number)", at: fifth).values.contains("after \(number)"))
    }
  }

  @Test func `nodes come and go, and nothing acknowledged is lost`() throws {
    try withSeeds("nodes come and go", count: TestSize.of(quick: 2, full: 12)) { seed, _ in
      try Simulation(seed: seed).run { world in try Self.course(world) }
    }
  }

  @Test func `the same seed takes the same course`() throws {
    let hashes = try (0..<2).map { _ in
      try Simulation(seed: 77).run { world in
        try Self.course(world)
        return world.traceHash
      }
    }
    #expect(hashes[0] == hashes[1])
  }

  @Test func `changes that cannot be are refused, and leave the cluster as it was`() throws {
    try Simulation(seed: 5).run { world in
      let nodes = try world.cluster(of: 3)
      #expect(throws: DatabaseError.self) { try world.remove(nodes[1], through: nodes[0]) }
      #expect(throws: DatabaseError.self) { try world.replace(nodes[1], isDead: true, through: nodes[0]) }
      try world.kill(nodes[2])
      #expect(throws: SimulationError.self) { try world.join(through: nodes[2]) }
      try world.put("k", "v", at: nodes[0])
      try world.settle()
      #expect(world.runningNodes == nodes)
      #expect(world.replicasAgree && world.violations() == [])
    }
  }
}
