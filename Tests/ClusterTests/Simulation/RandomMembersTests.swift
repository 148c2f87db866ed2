import RoostCluster
import TestSupport
import Testing

@testable import RoostSimulation

/// Changes of the members, and reaping, as parts of the random scenario; and what a world does where a change
/// waits for what is gone for good.
// Budget: 30 s
@Suite struct RandomMembersTests {
  private static func run(
    _ world: SimulatedWorld, nodes: Int, minutes: Double = 1, keyspaceReplicas: Int? = nil,
    reaping: Bool = false, _ faults: SimulationFaults
  ) throws {
    try world.cluster(of: nodes, keyspaceReplicas: keyspaceReplicas, reaping: reaping)
    var options = SimulationOptions()
    options.minutes = minutes
    options.faults = faults
    world.eventLimit = 5_000_000
    try world.runRandomly(options)
    try world.settle()
  }

  @Test func `nodes come and go at random, and promises hold`() throws {
    var (joined, gone) = (0, 0)
    let count = TestSize.of(quick: 6, full: 60)
    for (number, seed) in Seeds.of("nodes come and go at random", count: count).enumerated() {
      try Simulation(seed: seed).run { world in
        let nodes = 3 + number % 3
        try Self.run(world, nodes: nodes, [.members, .network, .power, .processes, .lostDisks])
        #expect(world.violations() == [], "seed \(seed), \(nodes) nodes")
        #expect(world.replicasAgree, "seed \(seed)")
        let members = try #require(world.membership)
        #expect(!members.isChanging, "seed \(seed)")
        #expect((3...nodes + 2).contains(members.staying.count), "seed \(seed): \(members.staying.count)")
        joined += world.hosts.count - nodes
        gone += world.hosts.count { $0.isLost }
      }
    }
    #expect(joined > 0 && gone > 0)
  }

  /// A keyspace on fewer nodes than a list has members, of which tombstones are reaped too.
  @Test func `nodes come and go at random beside a keyspace with fewer replicas`() throws {
    var (joined, gone, reaped) = (0, 0, UInt64(0))
    let count = TestSize.of(quick: 5, full: 60)
    let name = "nodes come and go at random beside a keyspace with fewer replicas"
    for (number, seed) in Seeds.of(name, count: count).enumerated() {
      try Simulation(seed: seed).run { world in
        let (nodes, own, reaps) = (3 + number % 2, 1 + number % 3 % 2, number % 2 == 0)
        let faults: SimulationFaults = [.members, .network, .power, .processes, .slowness]
        try Self.run(world, nodes: nodes, keyspaceReplicas: own, reaping: reaps, faults)
        if reaps { world.run(for: SimulatedWorld.tombstoneHorizon + .seconds(10)) }
        #expect(world.violations() == [], "seed \(seed), \(nodes) nodes, \(own) of 3")
        #expect(world.replicasAgree, "seed \(seed)")
        // Who does not hold a key has nothing of it.
        for key in world.history.keys {
          let holders = world.replicas(of: key)
          #expect(holders.count == own, "seed \(seed), \(key)")
          for node in world.runningNodes where !holders.contains(node) {
            let held = try world.held(key, at: world.host(node)).get()
            #expect(held == nil, "seed \(seed), \(key) at \(node)")
          }
        }
        joined += world.hosts.count - nodes
        gone += world.hosts.count { $0.isLost }
        reaped += world.hosts.reduce(0) { $0 + ($1.node?.figures.reaped ?? 0) }
      }
    }
    #expect(joined > 0 && gone > 0 && reaped > 0)
  }

  @Test func `tombstones are reaped at random, and nothing comes back`() throws {
    var reaped: UInt64 = 0
    let count = TestSize.of(quick: 4, full: 40)
    for (number, seed) in Seeds.of("tombstones are reaped at random", count: count).enumerated() {
      try Simulation(seed: seed).run { world in
        let members: SimulationFaults = number % 2 == 0 ? .members : .lostDisks
        try Self.run(
          world, nodes: 3, minutes: 1.2, reaping: true, [.network, .power, .processes, .slowness, members])
        world.run(for: SimulatedWorld.tombstoneHorizon + .seconds(10))
        #expect(world.violations() == [], "seed \(seed)")
        #expect(world.replicasAgree, "seed \(seed)")
        reaped += world.hosts.reduce(0) { $0 + ($1.node?.figures.reaped ?? 0) }
      }
    }
    #expect(reaped > 0)
  }

  @Test func `the same seed has the same members come and go`() throws {
    let hashes = try (0..<2).map { _ in
      try Simulation(seed: 99).run { world in
        try Self.run(world, nodes: 4, minutes: 0.5, reaping: true, .all)
        return world.traceHash
      }
    }
    #expect(hashes[0] == hashes[1])
  }

  // MARK: - Changes that wait

  @Test func `a change that waits for a lost disk ends without it`() throws {
    try Simulation(seed: 3).run { world in
      let nodes = try world.cluster(of: 4)
      for number in 0..<12 { try world.put("k\(number)", "v", at: nodes[number % 4]) }
      world.run(for: .seconds(1))
      // It is about to leave, and gives nothing away any more.
      try world.remove(nodes[3], through: nodes[0])
      try world.wipe(nodes[3])
      #expect(try !world.finishChange(within: .seconds(20)))
      try world.settle()
      #expect(world.runningNodes == Array(nodes[..<3]))
      #expect(world.membership?.all.count == 3)
      #expect(world.violations() == [])
      for number in 0..<12 { #expect(try world.get("k\(number)", at: nodes[0]).values == ["v"]) }
    }
  }

  @Test func `a lost disk is replaced by a new one where too few others are left`() throws {
    try Simulation(seed: 4).run { world in
      let nodes = try world.cluster(of: 3)
      try world.put("k", "v", at: nodes[0])
      try world.wipe(nodes[1])
      world.run(for: .seconds(30))
      try world.replaceLost(through: nodes[0])
      try world.settle()
      #expect(world.runningNodes.map(\.index) == [0, 2, 3])
      #expect(world.replicas(of: "k").count == 3)
      #expect(world.violations() == [])
    }
  }

  @Test func `a change is cancelled, and another one begins`() throws {
    try Simulation(seed: 5).run { world in
      let nodes = try world.cluster(of: 4)
      for number in 0..<12 { try world.put("k\(number)", "v", at: nodes[number % 4]) }
      try world.cancelChange(through: nodes[0])
      try world.weigh(nodes[1], 300, through: nodes[0])
      #expect(throws: DatabaseError.self) { try world.weigh(nodes[2], 20, through: nodes[0]) }
      try world.cancelChange(through: nodes[2])
      #expect(try world.finishChange(within: .seconds(60)))
      try world.weigh(nodes[2], 20, through: nodes[1])
      try world.settle()
      #expect(world.membership?.isChanging == false && world.membership?.staying.count == 4)
      #expect(throws: DatabaseError.self) { try world.weigh(nodes[0], 0, through: nodes[1]) }
      #expect(world.violations() == [])
    }
  }

  // MARK: - Disks that went back behind what was reaped

  @Test func `a disk that has gone back too far is not taken back`() throws {
    try Simulation(seed: 6).run { world in
      let nodes = try world.cluster(of: 3, reaping: true)
      let context = try world.put("k", "v", at: nodes[0])
      world.run(for: .seconds(1))
      let backup = try world.backUp(nodes[2])
      try world.delete("k", at: nodes[1], context: context)
      world.run(for: .seconds(60))
      #expect(world.hosts.allSatisfy { $0.node?.figures.reaped == 1 })
      try world.restore(nodes[2], from: backup)
      let refused = #expect(throws: DatabaseError.self) { try world.restart(nodes[2]) }
      #expect(refused?.code == .notAMember)
      try world.settle()
      #expect(world.runningNodes == Array(nodes[..<2]))
      #expect(try world.get("k", at: nodes[0]).values == [])
      #expect(world.violations() == [])
    }
  }
}
