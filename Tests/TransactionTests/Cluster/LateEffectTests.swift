import RoostCluster
import TestSupport
import Testing

@testable import RoostSimulation
@testable import RoostTransactions

/// Effects whose messages come when nobody waits for them any more.
// Budget: 5 s
@Suite struct LateEffectTests {
  private typealias World = RoostSimulation.Simulation

  /// The first message of an effect is on its way while the second one has it done, its end becomes durable,
  /// and its mark goes.
  @Test(arguments: [1, 2, 3] as [UInt64]) func `an effect is not done again once its mark is gone`(
    seed: UInt64
  ) throws {
    try World(seed: seed).run { world in
      let nodes = try world.cluster(of: 4)
      let (x, y) = (try world.name(at: nodes[1]), try world.name(at: nodes[2]))
      // Of other nodes than the one that coordinates: its messages go over the network.
      let counter = try #require(
        (0..<100).lazy.map { "likes\($0)" }.first { !world.replicas(of: $0).contains(nodes[0]) })
      let told = Box<[UInt64]>([])
      let forgotten = Box<UInt64?>(nil)
      world.transactionFate = { envelope, _, _ in
        switch envelope.message.body {
        case .effect:
          told.value.append(world.milliseconds)
          return told.value.count == 1 ? .late(.seconds(4)) : .arrives
        case .forgetEffects:
          if forgotten.value == nil { forgotten.value = world.milliseconds }
          return .arrives
        default: return .arrives
        }
      }
      try world.transaction(at: nodes[0]) { transaction in
        try transaction.put(x, "liked")
        try transaction.increment(counter)
      }
      let isDone = { (try? world.get(counter, at: nodes[1]).count) == 1 }
      try world.run(untilTrue: { told.value.count > 1 }, within: .seconds(2))
      for _ in 0..<20 where !isDone() { world.run(for: .milliseconds(50)) }
      #expect(isDone())
      // Decisions that come after its END make that durable.
      for number in 0..<10 where forgotten.value == nil {
        try world.transaction(at: nodes[0]) { transaction in
          try transaction.put(x, "\(number)")
          try transaction.put(y, "\(number)")
        }
        world.run(for: .milliseconds(20))
      }
      let first = try #require(told.value.first)
      let last = try #require(forgotten.value, "its mark stays")
      #expect(last + 500 < first + 4_000, "the message comes after the mark has gone")
      world.run(for: .seconds(5))
      try world.settle()
      #expect(try world.get(counter, at: nodes[1]).count == 1)
      #expect(world.violations() == [])
    }
  }
}
