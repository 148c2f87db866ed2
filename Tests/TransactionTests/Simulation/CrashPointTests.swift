import RoostCluster
import RoostTransactions
import TestSupport
import Testing

/// One fixed transaction, and every node killed before and after every message and every record,
/// alone and together, brought back in every order.
// Budget: 60 s
@Suite("Every crash point")
struct CrashPointTests {
  struct Plan: CustomStringConvertible {
    var step: Int
    /// In the order in which they are brought back.
    var nodes: [Node]
    var loss: CrashLoss
    /// What they sent last never left.
    var isMute: Bool

    var description: String { "\(nodes) at step \(step), loss \(loss), mute \(isMute)" }
  }

  static var options: SimulationOptions {
    var options = SimulationOptions()
    options.coordinatorCount = 1
    options.clientCount = 0
    (options.lossRate, options.doublingRate, options.slownessRate) = (0, 0, 0)
    options.workload.accountCount = 3
    options.workload.listCount = 3
    options.workload.registerCount = 3
    return options
  }

  static let nodes: [Node] = [.coordinator(0), .participant(0), .participant(1), .participant(2)]

  /// Two lists at two participants are appended to, and a third one is read.
  static func twoWriters(hasEffect: Bool) -> TransactionProgram {
    let keys = (0..<3).map { Keys.key(.list, $0, 3) }
    let steps = keys.map {
      TransactionProgram.Step(
        participant: $0.partition, locks: [$0 == keys[2] ? .shared($0) : .exclusive($0)], read: .keys([$0]))
    }
    return TransactionProgram(kind: .lists, steps: steps) { answers in
      var result = TransactionProgram.Result()
      let lists = keys.indices.map { index in answers.map { Keys.decode($0[index].entries.first?.value) } }
      for index in 0..<2 {
        result.writes[index] = [TransactionWrite(keys[index], Keys.encode((lists[index] ?? []) + [7]))]
        result.operations += [.readList("l\(index)", lists[index]), .append("l\(index)", 7)]
      }
      result.operations.append(.readList("l2", lists[2]))
      result.hasEffect = hasEffect
      return result
    }
  }

  static var atOnce: TransactionProgram {
    TransactionProgram(kind: .registers, steps: []) { _ in
      var result = TransactionProgram.Result()
      let key = Keys.key(.register, 0, 3)
      result.writes[0] = [TransactionWrite(key, Keys.encode([7]))]
      result.operations = [.write("r0", 7)]
      return result
    }
  }

  /// Two lists at two participants are read.
  static var readOnly: TransactionProgram {
    let keys = (0..<2).map { Keys.key(.list, $0, 3) }
    let steps = keys.map {
      TransactionProgram.Step(participant: $0.partition, locks: [.shared($0)], read: .keys([$0]))
    }
    return TransactionProgram(kind: .lists, steps: steps) { answers in
      var result = TransactionProgram.Result()
      for index in keys.indices {
        result.operations.append(
          .readList("l\(index)", answers.map { Keys.decode($0[index].entries.first?.value) }))
      }
      return result
    }
  }

  /// - Parameters:
  ///   - mutation: a rule to break.
  ///   - down: what happens to the nodes while they are down.
  /// - Returns: what is wrong, and how many steps there were while the transaction ran.
  static func run(
    _ program: TransactionProgram, _ plan: Plan?, breaking mutation: Mutation? = nil,
    down: @escaping (SimulatedCluster) -> Void = { _ in }
  ) -> (faults: [String], steps: Int) {
    var options = options
    options.mutation = mutation
    let simulation = Simulation(options, seed: 1)
    let cluster = simulation.cluster
    for node in cluster.nodes { cluster.restart(node) }
    var isDue = plan != nil
    func strike() {
      guard isDue, let plan else { return }
      isDue = false
      for node in plan.nodes { cluster.crash(node, plan.loss, isMute: plan.isMute) }
      down(cluster)
      for (index, node) in plan.nodes.enumerated() {
        cluster.after(milliseconds: 3_000 * (index + 1)) { [unowned cluster] in cluster.restart(node) }
      }
    }
    cluster.beforeStep = { if $0 == plan?.step { strike() } }
    SimulatedClient(0, cluster, simulation.record).attempt(program) {}
    cluster.run(untilMilliseconds: 2_900)
    let steps = cluster.step
    // After the last step there is no other to strike before.
    strike()
    cluster.run(untilMilliseconds: 6_000 + 3_000 * UInt64(plan?.nodes.count ?? 0))
    cluster.heal()
    let faults = simulation.judge(atMilliseconds: cluster.now / 1_000 + 12_000)
    cluster.beforeStep = nil
    return (faults, steps)
  }

  /// All orders of all choices of so many nodes.
  static func orders(_ count: Int, of nodes: [Node] = nodes) -> [[Node]] {
    if count == 0 { return [[]] }
    return nodes.flatMap { first in
      orders(count - 1, of: nodes.filter { $0 != first }).map { [first] + $0 }
    }
  }

  static func check(_ program: TransactionProgram) throws -> Int {
    let calm = run(program, nil)
    try #require(calm.faults == [])
    var count = 0
    let most = TestSize.of(quick: 2, full: 4)
    for step in 1...(calm.steps + 1) {
      for victims in 1...most {
        for nodes in orders(victims) {
          for loss in victims == 1 || TestSize.isFull ? [CrashLoss.everything, .nothing] : [.everything] {
            for isMute in victims == 1 || TestSize.isFull ? [false, true] : [false] {
              let plan = Plan(step: step, nodes: nodes, loss: loss, isMute: isMute)
              try #require(run(program, plan).faults == [], "\(plan)")
              count += 1
            }
          }
        }
      }
    }
    return count
  }

  /// The coordinator's log is lost as well; what its successor must not do is presume abort.
  static func lostLogFaults(presumesAbort: Bool) -> [String] {
    let program = twoWriters(hasEffect: true)
    let plans = (1...run(program, nil).steps).flatMap { step in
      [false, true].map { isMute in
        Plan(step: step, nodes: [.coordinator(0)], loss: .everything, isMute: isMute)
      }
    }
    return plans.flatMap { plan -> [String] in
      let faults = run(program, plan) { cluster in
        cluster.coordinators[0].loseLog()
        cluster.coordinators[0].presumesAbort = presumesAbort
      }.faults
      // In doubt is what it may be; then nothing is committed yet, whatever was told.
      if faults.contains(where: { $0.contains("prepared still") }) { return [] }
      return faults.filter { $0.contains("in part") || $0.contains("told") }.map { "\(plan): \($0)" }
    }
  }

  @Test("with the coordinator's log lost: atomic still, if perhaps in doubt")
  func lostLog() {
    #expect(Self.lostLogFaults(presumesAbort: false) == [])
    #expect(Self.lostLogFaults(presumesAbort: true) != [])
  }

  @Test("of two writers and a reader")
  func twoWriters() throws { #expect(try Self.check(Self.twoWriters(hasEffect: false)) > 500) }

  @Test("of two writers with an effect")
  func effect() throws { #expect(try Self.check(Self.twoWriters(hasEffect: true)) > 500) }

  @Test("of a commit at once")
  func atOnce() throws { #expect(try Self.check(Self.atOnce) > 50) }

  @Test("of a transaction that only reads")
  func readOnly() throws { #expect(try Self.check(Self.readOnly) > 100) }
}
