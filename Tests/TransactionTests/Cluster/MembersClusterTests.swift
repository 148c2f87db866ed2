import RoostCluster
import TestSupport
import Testing

@testable import RoostSimulation

/// Members of simulated clusters that come and go while transactions run, as an operator has it.
// Budget: 5 s
@Suite struct MembersClusterTests {
  private typealias World = RoostSimulation.Simulation

  /// Moves money between accounts, at one node after the other. At least half of it must be done.
  private func move(
    _ world: SimulatedWorld, _ names: [String], at nodes: [SimulatedNode],
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    var done = 0
    var refused: [String] = []
    for number in 0..<24 {
      let (from, to) = (names[number % names.count], names[(number * 5 + 1) % names.count])
      do {
        try world.transaction(at: nodes[number % nodes.count]) { transaction in
          let source = try transaction.get(from, forUpdate: true).flatMap { Int($0) } ?? 0
          let target = try transaction.get(to, forUpdate: true).flatMap { Int($0) } ?? 0
          try transaction.put(from, "\(source - 3)")
          try transaction.put(to, "\(target + 3)")
        }
        done += 1
      } catch let error as DatabaseError {
        // Who has just joined, or is about to leave, begins none; what moves is to be tried again later.
        refused.append("\(error)")
      } catch let conflict as SimulatedConflict {
        refused.append("\(conflict)")
      }
      world.run(for: .milliseconds(50))
    }
    #expect(done >= 12, "\(done) of 24: \(refused)", sourceLocation: sourceLocation)
  }

  /// Whether a partition moves to a node.
  private func receives(_ node: SimulatedNode, _ world: SimulatedWorld) -> Bool {
    let member = world.hosts[node.index].member
    return world.membership?.moves.contains { $0.to == member } ?? false
  }

  private func ownsSome(_ node: SimulatedNode, _ world: SimulatedWorld) -> Bool {
    guard let running = world.hosts[node.index].node else { return false }
    return (0..<16).contains { running.ownsTransactions(of: $0) }
  }

  @Test func `money stays whole while its owners come and go, and a dead one is not given up`() throws {
    try World(seed: 21).run { world in
      let nodes = try world.cluster(of: 3)
      let names = world.names(6)
      world.bank = (names, 600)
      try world.transaction(at: nodes[0]) { transaction in
        for name in names { try transaction.put(name, "100") }
      }
      let fourth = try world.join(through: nodes[0])
      try move(world, names, at: nodes)
      #expect(try world.finishChange(within: .seconds(300)))
      #expect(ownsSome(fourth, world))
      try world.remove(nodes[0], through: nodes[1])
      // Who gets what it gives away is killed meanwhile.
      try world.run(untilTrue: { receives(nodes[2], world) }, within: .seconds(60))
      try #require(receives(nodes[2], world), "nothing moves to it")
      try world.kill(nodes[2])
      world.run(for: .seconds(2))
      try world.restart(nodes[2])
      // The others hear within that time that it is back.
      world.run(for: .seconds(1))
      try move(world, names, at: [nodes[1], nodes[2], fourth])
      #expect(try world.finishChange(within: .seconds(300)))
      #expect(world.runningNodes == [nodes[1], nodes[2], fourth])
      try world.weigh(nodes[1], 300, through: fourth)
      try move(world, names, at: [nodes[1], nodes[2], fourth])
      #expect(try world.finishChange(within: .seconds(300)))
      try world.kill(fourth)
      world.run(for: .seconds(40))
      let refused = #expect(throws: DatabaseError.self) {
        try world.replace(fourth, isDead: true, through: nodes[1])
      }
      #expect(refused?.code == .wrongPolicy, "it alone has keys of transactions")
      try world.settle()
      #expect(world.runningNodes == [nodes[1], nodes[2], fourth])
      #expect(world.violations() == [])
      #expect(try world.snapshot(of: names, at: nodes[2]).values.compactMap { Int($0) }.reduce(0, +) == 600)
    }
  }
}
