import RoostCluster
import TestSupport
import Testing

@testable import RoostSimulation

/// The simulated cluster as users' own tests use it.
// Budget: 10 s
@Suite struct SimulatedWorldTests {
  @Test func `both sides of a cut go on, and agree afterwards`() throws {
    try Simulation(seed: 7).run { world in
      let nodes = try world.cluster(of: 3)
      let first = try world.put("bio", "first", at: nodes[0])
      world.partition([nodes[0]], from: [nodes[1], nodes[2]])
      try world.put("bio", "theirs", at: nodes[1], context: first)
      #expect(throws: DatabaseError.self) { try world.put("bio", "mine", at: nodes[0], context: first) }
      world.heal()
      try world.settle()
      #expect(world.replicasAgree)
      #expect(world.violations() == [])
      let read = try world.get("bio", at: nodes[2])
      #expect(read.values == ["mine", "theirs"], "it was in doubt, and is there")
      try world.delete("bio", at: nodes[2], context: read.context)
      #expect(try world.get("bio", at: nodes[0]).values == [])
      try world.settle()
      #expect(world.violations() == [])
    }
  }

  /// The context of a write among siblings names its own value by its dot: a replica that had never seen that
  /// value could not replace it, and let it come back.
  @Test func `a client that goes on at another node replaces its own write`() throws {
    try Simulation(seed: 15).run { world in
      let nodes = try world.cluster(of: 3)
      let base = try world.put("k", "base", at: nodes[0])
      world.run(for: .seconds(1))
      world.partition([nodes[2]], from: [nodes[0], nodes[1]])
      try world.put("k", "other", at: nodes[0])
      let mine = try world.put("k", "mine", at: nodes[0], context: base)
      // A node that cannot ask the directory hands no hints over: the third has missed both.
      for node in nodes[..<2] { world.setDirectory(false, of: node) }
      world.heal()
      let again = try world.put("k", "mine again", at: nodes[2], context: mine)
      try world.settle()
      #expect(try world.get("k", at: nodes[1]).values == ["mine again", "other"])
      try world.delete("k", at: nodes[1], context: again)
      try world.settle()
      #expect(try world.get("k", at: nodes[0]).values == ["other"])
      #expect(world.violations() == [])
    }
  }

  @Test func `counters and sets merge`() throws {
    try Simulation(seed: 8).run { world in
      let nodes = try world.cluster(of: 5)
      for node in nodes {
        try world.increment("likes", by: Int64(node.index) + 1, at: node)
        try world.insert("e\(node.index)", into: "tags", at: node)
      }
      #expect(try world.get("likes", at: nodes[3]).count == 15)
      try world.settle()
      try world.remove("e1", from: "tags", at: world.replicas(of: "tags")[0])
      #expect(try world.get("tags", at: nodes[4]).elements == ["e0", "e2", "e3", "e4"])
      try world.settle()
      #expect(world.violations() == [])
    }
  }

  @Test func `a cut of one way holds answers back`() throws {
    try Simulation(seed: 9).run { world in
      let nodes = try world.cluster(of: 3)
      for other in nodes[1...] { world.cut(from: other, to: nodes[0]) }
      // They have it, and cannot say so.
      #expect(throws: DatabaseError.self) { try world.put("k", "v", at: nodes[0]) }
      #expect(try world.get("k", at: nodes[1]).values == ["v"])
    }
  }

  @Test func `a node that lost its power comes back with what it had synced`() throws {
    try Simulation(seed: 10).run { world in
      let nodes = try world.cluster(of: 3)
      try world.put("k", "v", at: nodes[0])
      for node in nodes { try world.crash(node, losing: .dropAll) }
      #expect(world.runningNodes == [])
      #expect(throws: DatabaseError.self) { try world.get("k", at: nodes[0]) }
      for node in nodes { try world.restart(node) }
      world.run(for: .seconds(3))
      #expect(try world.get("k", at: nodes[1]).values == ["v"])
      try world.crash(nodes[2], afterOperations: 3)
      for number in 0..<20 { _ = try? world.put("k\(number)", "v", at: nodes[2]) }
      #expect(world.runningNodes == [nodes[0], nodes[1]], "it went down in the middle of a write")
      try world.settle()
      #expect(world.violations() == [])
    }
  }

  @Test func `a wiped disk is not taken back, and costs nothing`() throws {
    try Simulation(seed: 11).run { world in
      let nodes = try world.cluster(of: 3)
      for number in 0..<10 { try world.put("k\(number)", "v", at: nodes[number % 3]) }
      try world.wipe(nodes[1])
      do {
        try world.restart(nodes[1])
        Issue.record("it was taken back")
      } catch let error as DatabaseError { #expect(error.code == .notAMember) }
      try world.settle()
      #expect(world.runningNodes == [nodes[0], nodes[2]])
      #expect(world.violations() == [])
      #expect(try world.get("k7", at: nodes[0]).values == ["v"])
    }
  }

  @Test func `clocks that are off, slow nodes and full disks do no harm`() throws {
    try Simulation(seed: 12).run { world in
      let nodes = try world.cluster(of: 3)
      try world.setClock(nodes[0], ahead: .seconds(20))
      try world.setClock(nodes[1], ahead: .milliseconds(-300))
      try world.slow(nodes[1], by: 20)
      try world.fillDisk(nodes[2])
      world.weather = .rough
      for number in 0..<30 {
        // Some fail: what is checked is that none lies.
        try? world.increment("n", at: nodes[number % 3])
        _ = try? world.put("k\(number % 3)", "v\(number)", at: nodes[number % 2])
      }
      try world.settle()
      #expect(world.violations() == [])
      #expect(world.replicasAgree)
    }
  }

  @Test func `the end of the steps is told`() throws {
    try Simulation(seed: 13).run { world in
      let nodes = try world.cluster(of: 3)
      world.eventLimit = world.events + 5
      #expect(throws: SimulationError.self) { try world.put("k", "v", at: nodes[0]) }
      #expect(world.isExhausted)
    }
    #expect(throws: SimulationError.self) {
      try Simulation(seed: 1).run { world in
        try world.cluster(of: 3)
        try world.cluster(of: 3)
      }
    }
  }

  /// A cluster that feeds on itself must not take the machine's memory.
  @Test func `too much under way ends a simulation`() throws {
    for limit in [(events: 3, bytes: 1 << 30), (events: 1_000_000, bytes: 200)] {
      try Simulation(seed: 16).run { world in
        let nodes = try world.cluster(of: 3)
        world.queueLimit = limit
        let error = #expect(throws: SimulationError.self) {
          try world.put("k", String(repeating: "v", count: 300), at: nodes[0])
        }
        #expect(error?.message.hasPrefix("too many events") == true)
        #expect(world.isExhausted)
        world.run(for: .seconds(1))
        #expect(throws: SimulationError.self) { try world.settle() }
      }
    }
  }

  /// As users put programs of their own under it.
  @Test func `faults come while a program goes on`() throws {
    for seed in Seeds.of("faults come while a program goes on", count: TestSize.of(quick: 3, full: 30)) {
      try Simulation(seed: seed).run { world in
        let nodes = try world.cluster(of: 3)
        try world.beginFaults()
        #expect(throws: SimulationError.self) { try world.beginFaults() }
        var likes: Int64 = 0
        var failures: Int64 = 0
        for round in 0..<150 {
          do {
            try world.increment("likes", at: nodes[round % 3])
            likes += 1
          } catch is DatabaseError { failures += 1 }
          world.run(for: .milliseconds(100))
        }
        try world.settle()
        #expect(world.violations() == [], "seed \(seed)")
        // One may have lost its disk.
        let count = try world.get("likes", at: world.runningNodes[0]).count
        #expect(count >= likes && count <= likes + failures, "seed \(seed)")
        #expect(likes > 0, "seed \(seed)")
      }
    }
    #expect(throws: SimulationError.self) { try Simulation(seed: 1).run { try $0.beginFaults() } }
  }

  @Test func `a violation names its key and tells its history`() throws {
    try Simulation(seed: 5).run { world in
      let nodes = try world.cluster(of: 3)
      world.subvert(.forgetsApplied)
      let backup = try world.backUp(nodes[0])
      try world.put("song", "lost", at: nodes[0])
      try world.restore(nodes[0], from: backup)
      try world.settle()
      let violations = world.violations()
      #expect(violations.count == 1)
      #expect(violations.first?.hasPrefix("song: ") == true, "\(violations)")
      #expect(violations.first?.contains("put lost, synced: done") == true, "\(violations)")
    }
  }
}
