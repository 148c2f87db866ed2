import RoostCausality
import RoostCluster
import TestSupport
import Testing

@testable import RoostSimulation
@testable import RoostTransactions

/// The interleavings that break a careless version of transactions, in simulated clusters; some also with the
/// rule broken that prevents them.
// Budget: 15 s
@Suite("Interleavings of transactions between nodes") struct InterleavingClusterTests {
  private typealias World = RoostSimulation.Simulation

  private func put(_ values: [String: String], at node: SimulatedNode, _ world: SimulatedWorld) throws {
    try world.transaction(at: node) { transaction in
      for (key, value) in values.sorted(by: { $0.key < $1.key }) { try transaction.put(key, value) }
    }
  }

  private func commit(_ transaction: SimulatedTransaction) -> Box<RecordedTransaction.Outcome?> {
    let outcome = Box<RecordedTransaction.Outcome?>(nil)
    transaction.run.commit { outcome.value = $0 }
    return outcome
  }

  // MARK: 9

  /// The caller is told as soon as all clocks have passed the commit; one of the stores has not heard of it.
  private func tornSnapshot(
    breaking subversion: Subversion
  ) throws -> (read: [String: String], faults: [String]) {
    try World(seed: 9).run { world in
      let nodes = try world.cluster(of: 3)
      let (x, y) = (try world.name(at: nodes[1]), try world.name(at: nodes[2]))
      try put([x: "old", y: "old"], at: nodes[0], world)
      world.run(for: .seconds(5))
      world.subvert(subversion)
      world.transactionFate = { envelope, _, to in
        switch envelope.message.body {
        // Who does not hear of it asks.
        case .commit where to == 2, .answer where to == 2: .late(.seconds(2))
        default: .arrives
        }
      }
      try put([x: "new", y: "new"], at: nodes[0], world)
      // Until it asks.
      world.run(for: .milliseconds(300))
      #expect(try world.inDoubt(at: nodes[2]).count == 1)
      let read = try world.snapshot(of: [x, y], at: nodes[1])
      try world.settle()
      return (["x": read[x] ?? "", "y": read[y] ?? ""], world.violations())
    }
  }

  @Test("9: torn snapshot: a read waits for what is prepared at another store")
  func tornSnapshot() throws {
    let whole = try tornSnapshot(breaking: .none)
    #expect(whole.read == ["x": "new", "y": "new"])
    #expect(whole.faults == [])
    let torn = try tornSnapshot(breaking: .readsThePast)
    #expect(torn.read == ["x": "new", "y": "old"])
    #expect(!torn.faults.isEmpty)
  }

  // MARK: 10

  /// The first reads x at one store and writes y at another, whose vote is late; meanwhile the second writes
  /// x.
  ///
  /// - Returns: whether the second was done before the first was decided.
  private func readOnlyParticipant(
    breaking subversion: Subversion
  ) throws -> (isEarly: Bool, one: Timestamp, two: Timestamp, faults: [String]) {
    try World(seed: 10).run { world in
      let nodes = try world.cluster(of: 3)
      let (x, y) = (try world.name(at: nodes[1]), try world.name(at: nodes[2]))
      try put([x: "old", y: "old"], at: nodes[0], world)
      let first = try world.beginTransaction(at: nodes[0])
      #expect(try first.get(x) == "old")
      try first.put(y, "new")
      let hasVoted = Box(false)
      world.transactionFate = { envelope, from, _ in
        guard case .vote = envelope.message.body else { return .arrives }
        if from == 1 { hasVoted.value = true }
        return from == 2 ? .late(.seconds(1)) : .arrives
      }
      world.subvert(subversion)
      let outcome = commit(first)
      try world.run(untilTrue: { hasVoted.value }, within: .seconds(5))
      world.run(for: .milliseconds(20))
      let second = try world.beginTransaction(at: nodes[1])
      try second.put(x, "new")
      let after = commit(second)
      world.run(for: .milliseconds(700))
      #expect(outcome.value == nil)
      let isEarly = after.value != nil
      try world.run(untilTrue: { outcome.value != nil && after.value != nil }, within: .seconds(20))
      guard case .committed(let one)? = outcome.value, case .committed(let two)? = after.value else {
        Issue.record("\(String(describing: outcome.value)), \(String(describing: after.value))")
        return (isEarly, .zero, .zero, [])
      }
      try world.settle()
      return (isEarly, one, two, world.violations())
    }
  }

  @Test("10: a read-only participant keeps its locks until it knows the commit timestamp")
  func readOnlyParticipant() throws {
    let whole = try readOnlyParticipant(breaking: .none)
    #expect(!whole.isEarly && whole.one < whole.two)
    #expect(whole.faults == [])
    let torn = try readOnlyParticipant(breaking: .releasesReadLocks)
    #expect(torn.isEarly && torn.two < torn.one, "a reader between them sees the new x and the old y")
    #expect(!torn.faults.isEmpty)
  }

  // MARK: 11

  /// A commit at a node whose clock is ahead, and at once a read at one whose clock is behind; and back.
  @Test("11: a caller is told once all clocks have passed the commit")
  func wholeWait() throws {
    try World(seed: 11).run { world in
      let nodes = try world.cluster(of: 3)
      let names = world.names(3)
      for round in 0..<6 {
        let (ahead, behind) = (nodes[round % 3], nodes[(round + 1) % 3])
        for node in nodes { try world.setClock(node, ahead: .zero) }
        try world.setClock(ahead, ahead: .milliseconds(75))
        try world.setClock(behind, ahead: .milliseconds(-75))
        world.run(for: .seconds(1))
        let begun = world.elapsed
        try put([names[round % 3]: "\(round)"], at: ahead, world)
        #expect(world.elapsed - begun >= .milliseconds(SimulatedWorld.clockBoundMilliseconds))
        #expect(try world.snapshot(of: [names[round % 3]], at: behind).values.first == "\(round)")
        try world.transaction(at: behind) { transaction in
          #expect(try transaction.get(names[round % 3], forUpdate: true) == "\(round)")
          try transaction.put(names[round % 3], "\(round) and more")
        }
      }
      try world.settle()
      #expect(world.violations() == [])
    }
  }

  // MARK: 12

  /// Its node goes as the decision leaves it; the caller knows nothing, and all of it is done.
  private func forgottenOutcome(breaking subversion: Subversion) throws -> TransactionOutcome? {
    try World(seed: 12).run { world in
      let nodes = try world.cluster(of: 4)
      let (x, y) = (try world.name(at: nodes[1]), try world.name(at: nodes[2]))
      let transaction = try world.beginTransaction(at: nodes[0])
      try transaction.put(x, "paid")
      try transaction.put(y, "paid")
      let isDecided = Box(false)
      world.transactionFate = { envelope, _, _ in
        if case .commit = envelope.message.body { isDecided.value = true }
        return .arrives
      }
      let outcome = commit(transaction)
      try world.run(untilTrue: { isDecided.value }, within: .seconds(5))
      try world.kill(nodes[0])
      guard case .unknown? = outcome.value else {
        Issue.record("\(String(describing: outcome.value))")
        return nil
      }
      try world.restart(nodes[0])
      // Told, acknowledged and ended; and with another decision after it that is durable.
      world.run(for: .seconds(40))
      try put([x: "paid, and more", y: "paid, and more"], at: nodes[0], world)
      world.run(for: .seconds(60))
      world.subvert(subversion)
      let told = try world.outcome(of: transaction.id, at: nodes[3])
      try world.settle()
      #expect(world.violations() == [])
      for node in nodes {
        guard case .committed? = try world.outcome(of: transaction.id, at: node) else {
          Issue.record("\(node) does not know any more")
          continue
        }
      }
      return told
    }
  }

  @Test("12: an outcome that its caller was not told is known after its end")
  func forgottenOutcome() throws {
    guard case .committed? = try forgottenOutcome(breaking: .none) else {
      Issue.record("it is not known any more")
      return
    }
    guard case .aborted? = try forgottenOutcome(breaking: .forgetsOutcomes) else {
      Issue.record("the broken rule does nothing")
      return
    }
  }

  // MARK: 13

  /// A store in doubt cannot reach the coordinator, and asks the other, whose PREPARE is on its way.
  private func askedTooEarly(breaking subversion: Subversion) throws -> [String] {
    try World(seed: 13).run { world in
      let nodes = try world.cluster(of: 3)
      let (x, y) = (try world.name(at: nodes[1]), try world.name(at: nodes[2]))
      try put([x: "old", y: "old"], at: nodes[0], world)
      let transaction = try world.beginTransaction(at: nodes[0])
      try transaction.put(x, "new")
      try transaction.put(y, "new")
      let hasVoted = Box(false)
      world.transactionFate = { envelope, from, to in
        switch envelope.message.body {
        case .vote where from == 1:
          hasVoted.value = true
          return .arrives
        case .prepare where to == 2: return .late(.seconds(3))
        default: return .arrives
        }
      }
      world.subvert(subversion)
      let outcome = commit(transaction)
      try world.run(untilTrue: { hasVoted.value }, within: .seconds(5))
      // The vote arrives; then the two hear nothing of each other.
      world.run(for: .milliseconds(50))
      world.partition([nodes[0]], from: [nodes[1]])
      world.run(for: .seconds(15))
      #expect(outcome.value != nil)
      try world.settle()
      let read = try world.snapshot(of: [x, y], at: nodes[0])
      if subversion == .none {
        #expect(read == [x: "old", y: "old"])
        guard case .aborted? = outcome.value else {
          Issue.record("\(String(describing: outcome.value))")
          return []
        }
      } else {
        #expect(read == [x: "old", y: "new"], "half of it is done")
      }
      return world.violations()
    }
  }

  @Test("13: asked too early: it answers aborted only once it has made sure of that")
  func askedTooEarly() throws {
    #expect(try askedTooEarly(breaking: .none) == [])
    #expect(try !askedTooEarly(breaking: .presumesAbort).isEmpty)
  }

  // MARK: 14

  /// The target has done the effect and sent it on; nobody hears of that, and it goes down.
  private func effectTwice(breaking subversion: Subversion) throws -> (count: Int64, faults: [String]) {
    try World(seed: 14).run { world in
      let nodes = try world.cluster(of: 4)
      let x = try world.name(at: nodes[1])
      // Of other nodes than the one that coordinates.
      let counter = try #require(
        (0..<100).lazy.map { "likes\($0)" }.first { !world.replicas(of: $0).contains(nodes[0]) })
      let target = Box<Int?>(nil)
      world.transactionFate = { envelope, from, _ in
        guard case .effectDone = envelope.message.body else { return .arrives }
        target.value = from
        return .lost
      }
      try world.transaction(at: nodes[0]) { transaction in
        try transaction.put(x, "liked")
        try transaction.increment(counter)
      }
      try world.run(untilTrue: { target.value != nil }, within: .seconds(10))
      let index = try #require(target.value)
      try world.crash(nodes[index], losing: .dropAll)
      world.subvert(subversion)
      // It is told again and again.
      world.run(for: .seconds(20))
      try world.restart(nodes[index])
      try world.settle()
      return (try world.get(counter, at: nodes[0]).count, world.violations())
    }
  }

  @Test("14: an effect has one target, and is done once")
  func effectTwice() throws {
    let whole = try effectTwice(breaking: .none)
    #expect(whole.count == 1)
    #expect(whole.faults == [])
    let twice = try effectTwice(breaking: .reroutesEffects)
    #expect(twice.count == 2)
    #expect(!twice.faults.isEmpty)
  }
}
