import RoostCluster
import RoostTransactions
import TestSupport
import Testing

/// Rules of the protocol broken one at a time: the simulation must notice each.
// Budget: 60 s
@Suite("A broken rule is noticed")
struct MutationTests {
  /// How many seeds it may take.
  static let patience = 200

  @Test("by the simulation", arguments: Mutation.allCases.filter { $0 != .readBoundIgnored })
  func noticed(_ mutation: Mutation) throws {
    let seeds = Seeds.of("noticed " + mutation.rawValue, count: Self.patience)
    for (count, seed) in seeds.enumerated() {
      let options = SimulationOptions(breaking: mutation)
      let faults = Simulation(options, seed: seed).run()
      guard let first = faults.first else { continue }
      print("\(mutation) is noticed with seed \(seed), after \(count) others: \(first)")
      // It is the rule that makes the difference.
      var whole = options
      whole.mutation = nil
      #expect(Simulation(whole, seed: seed).run() == [], "seed \(seed)")
      return
    }
    Issue.record("\(mutation) is not noticed with \(Self.patience) seeds")
  }

  @Test(
    "at a crash point",
    arguments: [
      Mutation.prepareNotForced, .commitNotForced, .commitAtOnceNotForced, .decisionsForgotten,
    ])
  func noticedAtCrashPoints(_ mutation: Mutation) {
    let programs = [CrashPointTests.twoWriters(hasEffect: true), CrashPointTests.atOnce]
    let found = programs.lazy.flatMap { program in
      (1...CrashPointTests.run(program, nil).steps).lazy.flatMap { step in
        CrashPointTests.nodes.lazy.flatMap { node -> [String] in
          // What the last step sent is on its way, or never left.
          [CrashPointTests.Plan(step: step, nodes: [node], loss: .everything, isMute: false),
            CrashPointTests.Plan(step: step, nodes: [node], loss: .everything, isMute: true)]
            .flatMap { plan in
              CrashPointTests.run(program, plan, breaking: mutation).faults.map { "\(plan): \($0)" }
            }
        }
      }
    }.first
    #expect(found != nil)
    if let found { print("\(mutation) is noticed at \(found)") }
  }

  // MARK: A reader that restarts

  /// The first transaction reads at participant 0, which restarts before it knows the commit timestamp,
  /// and is cut off from the coordinator; the second one then writes there what the first one read.
  /// The clocks of the first one's coordinator and writer are ahead.
  private static func restartedReader(before step: Int, _ mutation: Mutation?) -> [String] {
    var options = CrashPointTests.options
    options.mutation = mutation
    options.coordinatorCount = 2
    options.boundAheadMilliseconds = 1
    options.times.clockBoundMilliseconds = 300
    options.skewMilliseconds = 300
    let simulation = Simulation(options, seed: 1)
    let cluster = simulation.cluster
    for node in cluster.nodes { cluster.setClock(node, to: 0) }
    for node in [Node.coordinator(0), .participant(1)] { cluster.setClock(node, to: 200) }
    for node in cluster.nodes { cluster.restart(node) }
    cluster.beforeStep = { [unowned cluster] in
      guard $0 == step else { return }
      cluster.crash(.participant(0), .nothing)
      cluster.restart(.participant(0))
      cluster.cut(.coordinator(0), .participant(0))
      cluster.after(milliseconds: 300) { [unowned cluster] in
        cluster.join(.coordinator(0), .participant(0))
      }
      cluster.after(milliseconds: 2) { [unowned cluster] in
        SimulatedClient(1, cluster, simulation.record).attempt(append(to: 0, reading: nil)) {}
      }
    }
    SimulatedClient(0, cluster, simulation.record).attempt(append(to: 1, reading: 0)) {}
    cluster.run(untilMilliseconds: 6_000)
    cluster.heal()
    return simulation.judge(atMilliseconds: 18_000)
  }

  private static func append(to list: Int, reading other: Int?) -> TransactionProgram {
    let keys = ([other].compactMap { $0 } + [list]).map { Keys.key(.list, $0, 3) }
    let steps = keys.map {
      TransactionProgram.Step(
        participant: $0.partition, locks: [$0 == keys.last ? .exclusive($0) : .shared($0)],
        read: .keys([$0]))
    }
    return TransactionProgram(kind: .lists, steps: steps) { answers in
      var result = TransactionProgram.Result()
      let lists = keys.indices.map { index in answers.map { Keys.decode($0[index].entries.first?.value) } }
      for (key, value) in zip(keys, lists) {
        result.operations.append(.readList("l\(Keys.number(key.key))", value))
      }
      let own = lists[keys.count - 1] ?? []
      result.writes[keys[keys.count - 1].partition] = [
        TransactionWrite(keys[keys.count - 1], Keys.encode(own + [1_000 + list]))
      ]
      result.operations.append(.append("l\(list)", 1_000 + list))
      return result
    }
  }

  @Test("a commit above the bound of a reader that restarted")
  func readBound() {
    #expect((1...30).flatMap { Self.restartedReader(before: $0, nil) } == [])
    let found = (1...30).flatMap { Self.restartedReader(before: $0, .readBoundIgnored) }
    #expect(found.contains { $0.hasPrefix("timestamp order") })
    print("readBoundIgnored is noticed: \(found.first ?? "-")")
  }
}
