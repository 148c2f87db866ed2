import RoostCausality
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// Random writes at random nodes, with cuts, crashes that lose what was not synced, and restarts. What was
/// acknowledged must be there once all is well again, no more than was asked for, and the same everywhere.
// Budget: 30 s
@Suite struct ClusterSimulationTests {
  private struct Model {
    /// By key: what was acknowledged, and what may have happened besides.
    var counted: [String: Int64] = [:]
    var doubtful: [String: Int64] = [:]
    var added: [String: Set<String>] = [:]
  }

  @Test(arguments: [(3, 3), (5, 3)])
  func `what was acknowledged is there when all is well again`(_ count: Int, _ replicas: Int) throws {
    try withSeeds("ClusterSimulationTests", count: TestSize.of(quick: 30, full: 400)) { seed, random in
      let world = try NodeWorld(count, replicas: replicas, seed: seed)
      try world.make()
      var model = Model()
      for step in 0..<120 {
        let index = world.running[random.below(world.running.count)]
        let key = "k\(random.below(4))"
        switch random.below(20) {
        case 0..<7:
          let amount = Int64(random.below(5)) + 1
          do {
            try world.increment("n" + key, by: amount, at: index, isSynced: true)
            model.counted["n" + key, default: 0] += amount
          } catch let error as DatabaseError {
            if error.code == .indeterminate { model.doubtful["n" + key, default: 0] += amount }
          }
        case 7..<14:
          // Each value once, and no context: nothing may go.
          let value = "\(step)"
          do {
            try world.put(key, value, at: index, isSynced: true)
            model.added[key, default: []].insert(value)
          } catch is DatabaseError {}
        case 14: _ = try? world.get(key, at: index)
        case 15:
          let others = world.running.filter { $0 != index }
          if let other = others.randomElement(using: &random) { world.cut(index, other) }
        case 16: world.heal()
        case 17:
          if world.running.count > count / 2 + 1 { world.crash(index, .random, seed: random.next()) }
        case 18:
          if let down = (0..<count).first(where: { world.nodes[$0] == nil }) { try world.restart(down) }
        default: try world.beat()
        }
      }
      world.heal()
      for index in 0..<count where world.nodes[index] == nil { try world.restart(index) }
      try world.beat(3)
      for index in 0..<count { try world.repair(at: index) }
      for key in Set(model.counted.keys).union(model.doubtful.keys) {
        let total = try world.count(key, at: 0, quorum: replicas)
        let least = model.counted[key] ?? 0
        try #require(
          total >= least && total <= least + (model.doubtful[key] ?? 0),
          "\(key): \(total), acknowledged \(least), in doubt \(model.doubtful[key] ?? 0)")
        try #require(try world.agree(on: key), "\(key)")
      }
      for (key, values) in model.added {
        let found = Set(try world.values(key, at: count - 1, quorum: replicas))
        try #require(values.isSubset(of: found), "\(key): \(values.subtracting(found)) are lost")
        try #require(try world.agree(on: key), "\(key)")
      }
    }
  }
}
