import TestSupport
import Testing

@testable import RoostCluster
@testable import RoostSimulation

/// A simulated world that has ended is gone with all its nodes, those that were killed, closed or lost their
/// power on the way among them: a search through thousands of seeds takes the memory of one.
// Budget: 5 s
@Suite struct DroppedWorldTests {
  private struct Held {
    var name: String
    weak var object: AnyObject?
  }

  /// Notes what there is without holding it. Used by one thread.
  private final class Remains: @unchecked Sendable {
    private var all: [Held] = []

    private func note(_ name: String, _ object: AnyObject?) {
      if let object { all.append(Held(name: name, object: object)) }
    }

    func note(_ world: SimulatedWorld, _ when: String) {
      note("\(when), the world", world)
      note("\(when), its network", world.network)
      note("\(when), its directory", world.directory)
      for host in world.hosts {
        let name = "\(when), host \(host.index)"
        note(name, host)
        note("\(name): its disk", host.fileSystem)
        note("\(name): its process", host.process)
        note("\(name): its transactions", host.process?.transactions)
        note("\(name): their manager", host.process?.transactions?.current)
        note("\(name): its node", host.node)
        note("\(name): its database", host.node?.core)
        note("\(name): its store", host.node?.local.store)
      }
    }

    var count: Int { all.count }
    var left: [String] { all.filter { $0.object != nil }.map(\.name) }
  }

  @Test func `nodes that were killed, closed and lost their power`() throws {
    let remains = Remains()
    try Simulation(seed: 11).run { world in
      let nodes = try world.cluster(of: 3)
      remains.note(world, "at first")
      try world.transaction(at: nodes[0]) { try $0.put("account", "7") }
      for number in 0..<8 { try world.put("k\(number)", "v", at: nodes[number % 3]) }
      try world.kill(nodes[0])
      try world.crash(nodes[1])
      _ = try? world.put("lonely", "v", at: nodes[2])
      try world.restart(nodes[0])
      try world.restart(nodes[1])
      world.run(for: .seconds(2))
      remains.note(world, "after a restart")
      try world.crash(nodes[2], afterOperations: 5)
      for number in 0..<8 { _ = try? world.put("l\(number)", "v", at: nodes[2]) }
      try world.close(nodes[0])
      try world.settle()
      remains.note(world, "in the end")
    }
    #expect(remains.count > 40)
    #expect(remains.left == [])
  }

  /// Ended in the middle: messages and calls are under way, and nobody ever answers them.
  @Test(arguments: [false, true])
  func `a random world that ends at any time`(transactions: Bool) throws {
    try withSeeds(
      "DroppedWorldTests, transactions: \(transactions)", count: TestSize.of(quick: 2, full: 20)
    ) { seed, _ in
      let remains = Remains()
      try Simulation(seed: seed).run { world in
        try world.cluster(of: 3)
        remains.note(world, "at first")
        var options = SimulationOptions()
        options.minutes = 0.1
        options.transactions = transactions
        try? world.runRandomly(options)
        remains.note(world, "in the end")
        for (number, host) in world.hosts.enumerated() {
          world.begin(.put("late\(number)", "v", nil), at: host, isSynced: true) { _ in }
        }
        // Some are under way by then.
        world.run(for: .milliseconds(1))
      }
      try #require(remains.left == [])
    }
  }
}
