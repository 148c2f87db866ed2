import RoostCluster
import RoostEnvironment
import TestSupport
import Testing

@testable import RoostSimulation
@testable import RoostTransactions

/// Transactions of a simulated cluster, as users' own tests have them.
// Budget: 10 s
@Suite struct SimulatedTransactionTests {
  private typealias World = RoostSimulation.Simulation

  @Test func `money is moved between nodes, and all of it is there`() throws {
    try World(seed: 7).run { world in
      let nodes = try world.cluster(of: 3)
      let names = world.names(6)
      world.bank = (names, 600)
      try world.transaction(at: nodes[0]) { transaction in
        for name in names { try transaction.put(name, "100") }
        #expect(try transaction.get(names[0]) == "100", "it reads its own writes")
        try transaction.increment("moved", by: 5)
      }
      for number in 0..<9 {
        let (from, to) = (names[number % 6], names[(number * 4 + 1) % 6])
        try world.transaction(at: nodes[number % 3]) { transaction in
          guard from != to else { return }
          let source = try #require(try transaction.get(from, forUpdate: true).flatMap { Int($0) })
          let target = try #require(try transaction.get(to, forUpdate: true).flatMap { Int($0) })
          try transaction.put(from, "\(source - 7)")
          try transaction.put(to, "\(target + 7)")
          try transaction.increment("moved")
        }
        let balances = try world.snapshot(of: names, at: nodes[(number + 1) % 3])
        #expect(balances.values.compactMap { Int($0) }.reduce(0, +) == 600)
      }
      try world.transaction(at: nodes[1]) { try $0.delete(names[5]) }
      #expect(try world.snapshot(of: names, at: nodes[2])[names[5]] == nil)
      world.bank = nil
      try world.settle()
      #expect(world.violations() == [])
      #expect(world.replicasAgree)
      let (least, most) = world.history.effectBounds(of: "moved")
      #expect(least == most && least > 5)
      #expect(try world.get("moved", at: nodes[0]).count == least)
    }
  }

  @Test func `what a body throws leaves nothing, and what has ended takes nothing more`() throws {
    try World(seed: 8).run { world in
      struct Stop: Error {}
      let nodes = try world.cluster(of: 3)
      #expect(throws: Stop.self) {
        try world.transaction(at: nodes[0]) { transaction in
          try transaction.put("a", "1")
          throw Stop()
        }
      }
      #expect(try world.snapshot(of: ["a"], at: nodes[1]) == [:])
      // A store refuses to commit at once what began before its transactions were opened.
      world.run(for: .milliseconds(50))
      let transaction = try world.beginTransaction(at: nodes[2])
      try transaction.put("a", "2")
      guard case .committed(let time) = try transaction.commit() else {
        Issue.record("it met nobody")
        return
      }
      #expect(throws: (any Error).self) { try transaction.put("a", "3") }
      #expect(throws: (any Error).self) { try transaction.commit() }
      for node in nodes { #expect(try world.outcome(of: transaction.id, at: node) == .committed(at: time)) }
      try world.close(nodes[2])
      #expect(throws: DatabaseError.self) { try world.beginTransaction(at: nodes[2]) }
      try world.settle()
      #expect(try world.snapshot(of: ["a"], at: nodes[2]) == ["a": "2"])
      #expect(world.violations() == [])
    }
  }

  /// The older of two waits for nobody, and the younger is begun anew.
  @Test func `of two that meet one goes on`() throws {
    try World(seed: 9).run { world in
      let nodes = try world.cluster(of: 3)
      let older = try world.beginTransaction(at: nodes[0])
      _ = try older.get("a", forUpdate: true)
      world.run(for: .milliseconds(20))
      let younger = try world.beginTransaction(at: nodes[1])
      _ = try younger.get("b", forUpdate: true)
      _ = try older.get("b", forUpdate: true)
      try older.put("b", "older")
      guard case .committed = try older.commit() else {
        Issue.record("the older one was aborted")
        return
      }
      #expect(throws: SimulatedConflict.self) { _ = try younger.get("a") }
      younger.abort()
      try world.transaction(at: nodes[1]) { try $0.put("a", try $0.get("b") ?? "") }
      #expect(try world.snapshot(of: ["a", "b"], at: nodes[2]) == ["a": "older", "b": "older"])
      try world.settle()
      #expect(world.violations() == [])
    }
  }

  /// What a store has prepared survives its machine, with its locks, until who decided is back.
  @Test func `in doubt over a loss of power`() throws {
    try World(seed: 10).run { world in
      let nodes = try world.cluster(of: 3)
      let (x, y) = (try world.name(at: nodes[1]), try world.name(at: nodes[2]))
      try world.transaction(at: nodes[0]) { transaction in
        try transaction.put(x, "old")
        try transaction.put(y, "old")
      }
      let transaction = try world.beginTransaction(at: nodes[0])
      try transaction.put(x, "new")
      try transaction.put(y, "new")
      world.transactionFate = { envelope, _, to in
        if to == 0, case .vote = envelope.message.body { .lost } else { .arrives }
      }
      let outcome = Box<RecordedTransaction.Outcome?>(nil)
      transaction.run.commit { outcome.value = $0 }
      try world.run(
        untilTrue: { (try? world.inDoubt(at: nodes[1]).count) == 1 }, within: .seconds(5))
      try world.kill(nodes[0])
      guard case .unknown? = outcome.value else {
        Issue.record("\(String(describing: outcome.value))")
        return
      }
      try world.crash(nodes[1], losing: .dropAll)
      try world.restart(nodes[1])
      world.run(for: .seconds(4))
      #expect(try world.inDoubt(at: nodes[1]) == [transaction.id])
      world.transactionFate = nil
      try world.restart(nodes[0])
      try world.run(
        untilTrue: { nodes.allSatisfy { (try? world.inDoubt(at: $0)) == [] } }, within: .seconds(30))
      for node in nodes { #expect(try world.inDoubt(at: node) == []) }
      // A node that was started again is not asked for what was before that.
      world.run(for: .seconds(2))
      #expect(try world.snapshot(of: [x, y], at: nodes[0]) == [x: "old", y: "old"])
      try world.settle()
      #expect(world.violations() == [])
    }
  }

  /// Who waited for a time would move the clock of the whole world.
  @Test func `timers of a host are events, each at its time`() throws {
    try World(seed: 12).run { world in
      try world.cluster(of: 1)
      let time = world.hosts[0].time
      let timers = Timers(time, ManualWorkers())
      let called = Box<[Int]>([])
      let now = time.monotonicNanoseconds
      for (number, milliseconds) in ([30, 10, 20] as [UInt64]).enumerated() {
        timers.schedule(atMonotonicNanoseconds: now + milliseconds * 1_000_000) {
          called.value.append(number)
        }
      }
      world.run(for: .milliseconds(9))
      #expect(called.value == [])
      world.run(for: .milliseconds(5))
      #expect(called.value == [1])
      world.run(for: .milliseconds(30))
      #expect(called.value == [1, 2, 0])
      timers.schedule(atMonotonicNanoseconds: .max) { called.value.append(9) }
      timers.stop()
      #expect(called.value == [1, 2, 0, 9], "what waits is called when they stop")
      #expect(!timers.schedule(atMonotonicNanoseconds: now) {})
      world.run(for: .seconds(1))
      #expect(called.value == [1, 2, 0, 9])
    }
  }

  @Test func `the history has transactions beside calls`() throws {
    try World(seed: 11).run { world in
      let nodes = try world.cluster(of: 3)
      try world.put("bio", "hello", at: nodes[0])
      try world.transaction(at: nodes[1]) { transaction in
        _ = try transaction.get("a")
        try transaction.put("a", "1")
      }
      let lines = world.jsonHistory.split(separator: "\n")
      try #require(lines.count == 4)
      for (index, line) in lines.enumerated() { #expect(line.hasPrefix(#"{"index":\#(index),"#)) }
      #expect(lines[2].contains(#""value":[["r","a",null],["w","a","1"]],"node":2"#))
      #expect(lines[3].contains(#""type":"ok""#) && lines[3].contains(#""commit":"#))
    }
  }

  /// The judge itself: each history is wrong in one way.
  @Test func `wrong histories are found`() {
    typealias Operation = RecordedTransaction.Operation
    func history(_ change: (CallHistory) -> Void) -> [String] {
      let history = CallHistory()
      change(history)
      return history.orderViolations(checksRealTime: true) + history.bankViolations(["a", "b"], total: 20)
    }
    func run(
      _ history: CallHistory, at time: UInt64, _ operations: [(Bool, String, String?)],
      isSnapshot: Bool = false
    ) {
      let number = history.beginTransaction(node: 0, isSnapshot: isSnapshot, client: 0, at: 0)
      history.note(number) { noted in
        noted.hasAskedToCommit = !isSnapshot
        noted.operations = operations.map { Operation(kind: $0 ? .read : .write, key: $1, value: $2) }
      }
      history.endTransaction(number, .committed(.init(rawValue: time)), at: 1)
    }
    func opened(_ history: CallHistory) { run(history, at: 10, [(false, "a", "10"), (false, "b", "10")]) }
    let read = true
    let write = false
    #expect(
      history {
        opened($0)
        run($0, at: 20, [(read, "a", "10"), (write, "a", "5"), (read, "b", "10"), (write, "b", "15")])
        run($0, at: 30, [(read, "a", "5"), (read, "b", "15")], isSnapshot: true)
        run($0, at: 15, [(read, "a", "10")], isSnapshot: true)
      }.count == 1, "only the last one is before what had ended")
    #expect(
      history {
        opened($0)
        run($0, at: 20, [(write, "a", "5"), (write, "b", "15")])
        run($0, at: 30, [(read, "a", "5"), (read, "b", "10")], isSnapshot: true)
      }.count == 2, "torn: an old value, and a wrong total")
    #expect(
      history {
        opened($0)
        run($0, at: 20, [(read, "a", "10"), (write, "a", "11")])
        run($0, at: 30, [(read, "a", "10"), (write, "a", "12")])
      }.count == 1, "a lost update")
    #expect(
      history {
        opened($0)
        let number = $0.beginTransaction(node: 0, client: 0, at: 0)
        $0.note(number) { noted in
          noted.hasAskedToCommit = true
          noted.operations = [Operation(kind: .write, key: "a", value: "9")]
        }
        $0.endTransaction(number, .aborted("conflict"), at: 1)
        run($0, at: 30, [(read, "a", "9")], isSnapshot: true)
      }.count == 1, "what was aborted is there")
    #expect(
      history {
        opened($0)
        let number = $0.beginTransaction(node: 0, client: 0, at: 0)
        $0.note(number) { noted in
          noted.hasAskedToCommit = true
          noted.operations = [Operation(kind: .write, key: "a", value: "9")]
        }
        $0.endTransaction(number, .unknown("gone"), at: 1)
        run($0, at: 30, [(read, "a", "9")], isSnapshot: true)
        run($0, at: 31, [(read, "a", "10")], isSnapshot: true)
      } == [], "of what nobody knows nothing follows")
  }
}

extension SimulatedWorld {
  /// Keys that all nodes have some of, one after the other.
  func names(_ count: Int) -> [String] {
    (0..<count).compactMap { try? name($0 / nodes.count, at: nodes[$0 % nodes.count]) }
  }

  /// The key of that number that a node has, while all are up.
  func name(_ number: Int = 0, at node: SimulatedNode) throws -> String {
    let found = (0..<400).lazy.map { "key\($0)" }.filter { self.replicas(of: $0).first == node }
    return try #require(found.dropFirst(number).first { _ in true })
  }
}
