import RoostCausality
import RoostCluster
import TestSupport
import Testing

@testable import RoostTransactions

/// Transactions that nodes run for programs that are none: what is done once, what ends them, what they may
/// take. Nodes in one thread.
// Budget: 15 s
@Suite struct ServedTransactionTests {
  private let world: RemoteWorld
  private let client: WorldClient
  /// An account at each node.
  private let names: [String]

  init() throws {
    let world = try RemoteWorld()
    self.world = world
    client = WorldClient(world)
    names = try (0..<3).map { try world.names(at: $0)[0] }
  }

  private func openCount(_ index: Int = 0) throws -> Int {
    try #require(world.hosts[index].transactions).clients.served.openCount
  }

  private func code(_ body: () throws -> Void) -> DatabaseError.Code? {
    do {
      try body()
      return nil
    } catch { return (error as? DatabaseError)?.code }
  }

  private func isCommitted(_ outcome: TransactionOutcome) -> Bool {
    if case .committed = outcome { true } else { false }
  }

  @Test func `a client's transaction reads and writes at all nodes`() throws {
    let id = try client.begin()
    try client.put(id, names[1], "1")
    try client.put(id, names[2], "2")
    #expect(try client.get(id, names) == [nil, "1", "2"], "its own writes")
    #expect(try client.run(id, .delete(Array(names[2].utf8), keyspace: "accounts")) == .noted)
    #expect(
      try client.run(id, .effect(.increment(3), Array("n".utf8), keyspace: "statistics")) == .noted)
    #expect(isCommitted(try client.commit(id)))
    #expect(try openCount() == 0)
    for index in 0..<3 { #expect(try world.values(names, at: index) == [nil, "1", nil]) }
    try world.settle { try (0..<3).allSatisfy { try world.count("n", at: $0) == 3 } }
    // Whichever node is asked.
    let asked = try client.ask(NodeMessageKind.clientOutcome, ClientOutcome.encode(id), at: 2)
    guard case .committed = try ClientOutcome.answer(asked) else {
      Issue.record("another node does not know that it has committed")
      return
    }
    let doubts = try client.ask(NodeMessageKind.clientDoubts, ClientDoubt.question, at: 1)
    #expect(try ClientDoubt.decode(doubts) == [])
  }

  @Test func `a statement that comes twice, or before its turn, is not done`() throws {
    let id = try client.begin()
    let key = Array(names[1].utf8)
    let first = client.next(id, .put(key, Array("1".utf8), keyspace: "accounts"))
    #expect(try client.wait(client.send(first)) == .noted)
    try client.put(id, names[1], "2")
    #expect(code { _ = try client.wait(client.send(first)) } == .invalidArgument)
    let early = ClientStatement(id, 4, .put(key, Array("4".utf8), keyspace: "accounts"))
    #expect(code { _ = try client.wait(client.send(early)) } == .invalidArgument)
    #expect(try client.get(id, [names[1]]) == ["2"])
    let increment = client.next(id, .effect(.increment(1), Array("n".utf8), keyspace: "statistics"))
    #expect(try client.wait(client.send(increment)) == .noted)
    #expect(code { _ = try client.wait(client.send(increment)) } == .invalidArgument)
    #expect(isCommitted(try client.commit(id)))
    #expect(try world.values([names[1]], at: 0) == ["2"])
    try world.settle { try (0..<3).allSatisfy { try world.count("n", at: $0) == 1 } }
    #expect(code { try client.put(id, names[1], "5") } == .transactionEnded)
    // So it is with what begins one.
    let begin = ClientStatement(
      nil, 77, .begin(age: nil, idleMilliseconds: 5_000, durationMilliseconds: 0))
    _ = try client.wait(client.send(begin))
    #expect(code { _ = try client.wait(client.send(begin)) } == .invalidArgument)
    #expect(try openCount() == 1)
  }

  @Test func `another connection has nothing of a transaction`() throws {
    let id = try client.begin()
    try client.put(id, names[0], "1")
    let other = WorldClient(world, number: 2_000)
    let commit = ClientStatement(id, 2, .commit(isSynced: nil))
    #expect(code { _ = try other.wait(other.send(commit)) } == .transactionEnded)
    #expect(try other.wait(other.send(ClientStatement(id, 2, .abort))) == .noted)
    try other.disconnect()
    #expect(isCommitted(try client.commit(id)))
    #expect(try client.wait(client.send(ClientStatement(id, 9, .abort), at: 1)) == .noted, "nothing to end")
  }

  /// The ways in which a client goes away, each of which lets go of its locks.
  @Test(arguments: ["disconnect", "idle", "duration", "abort", "statement"])
  func `a client that goes away leaves no locks`(way: String) throws {
    let id = try client.begin(
      idle: way == "idle" ? 500 : 60_000, duration: way == "duration" ? 700 : 0)
    #expect(try client.get(id, [names[1]], forUpdate: true) == [nil])
    try client.put(id, names[1], "1")
    switch way {
    case "disconnect": try client.disconnect()
    case "abort": #expect(try client.run(id, .abort) == .noted)
    case "statement":
      // It waits for what an older transaction has locked, for longer than its sender does.
      let age = TransactionID(start: Timestamp(rawValue: 1), coordinator: id.coordinator)
      let blocker = try client.begin(age: age)
      #expect(try client.get(blocker, [names[2]], forUpdate: true) == [nil])
      let statement = client.next(id, .get([Array(names[2].utf8)], keyspace: "accounts", forUpdate: true))
      let waiting = client.send(statement, seconds: 1)
      world.pass(seconds: 2)
      #expect(code { _ = try waiting.withLock { try $0?.get() } } == .indeterminate)
      #expect(try client.run(blocker, .abort) == .noted)
    default: world.pass(seconds: 2)
    }
    #expect(try openCount() == 0)
    #expect(code { try client.put(id, names[1], "2") } == .transactionEnded)
    let outcome = try world.write([names[1]: "free", names[2]: "free"], at: 2)
    #expect(isCommitted(outcome))
    #expect(try world.values([names[1]], at: 0) == ["free"])
  }

  @Test func `a commit that is under way goes on without its client`() throws {
    let id = try client.begin()
    try client.put(id, names[1], "new")
    try client.put(id, names[2], "new")
    world.wire.fate = { $0.message.body.name == "vote" ? .lost : .arrives }
    let commit = client.next(id, .commit(isSynced: nil))
    let answer = client.send(commit)
    try world.settle { world.isInDoubt }
    #expect(answer.withLock { $0 == nil })
    #expect(code { _ = try client.wait(client.send(commit)) } == .invalidArgument, "it is committed once")
    try client.disconnect()
    #expect(try openCount() == 1)
    world.wire.fate = { _ in .arrives }
    guard case .ended(.committed) = try client.wait(answer) else {
      Issue.record("it did not commit")
      return
    }
    #expect(try openCount() == 0)
    #expect(try world.values(names, at: 0) == [nil, "new", "new"])
  }

  @Test func `the node that runs it is killed before it decides, and others say so in the end`() throws {
    let id = try client.begin()
    try client.put(id, names[1], "new")
    try client.put(id, names[2], "new")
    world.wire.fate = { $0.message.body.name == "vote" ? .lost : .arrives }
    let answer = client.send(client.next(id, .commit(isSynced: nil)))
    try world.settle { world.isInDoubt }
    world.kill(0)
    world.wire.fate = { _ in .arrives }
    try world.restart(0)
    try world.settle { !world.isInDoubt }
    #expect(answer.withLock { $0.map { (try? $0.get()) != nil } } != true)
    world.pass(seconds: 25)
    let told = try client.ask(NodeMessageKind.clientOutcome, ClientOutcome.encode(id), at: 1)
    #expect(try ClientOutcome.answer(told) == .aborted(.recorded))
    #expect(try world.values([names[1], names[2]], at: 0) == [nil, nil])
    let again = client.send(ClientStatement(id, 4, .commit(isSynced: nil)))
    #expect(code { _ = try client.wait(again) } == .transactionEnded)
  }

  @Test func `an older transaction takes the lock, and the younger one is told so`() throws {
    let older = try client.begin()
    let younger = try client.begin()
    #expect(try client.get(younger, [names[1]], forUpdate: true) == [nil])
    #expect(try client.get(older, [names[1]], forUpdate: true) == [nil])
    let read = ClientStatement.Operation.get([Array(names[1].utf8)], keyspace: "accounts", forUpdate: false)
    #expect(try client.run(younger, read) == .aborted(.conflict))
    #expect(try openCount() == 1)
    try client.put(older, names[1], "1")
    #expect(isCommitted(try client.commit(older)))
    // Tried again under the age of the first attempt it goes before who has begun since.
    let between = try client.begin()
    #expect(try client.get(between, [names[2]], forUpdate: true) == [nil])
    let again = try client.begin(age: younger)
    #expect(try client.get(again, [names[2]], forUpdate: true) == [nil])
    #expect(try client.run(between, .commit(isSynced: nil)) == .ended(.aborted(.conflict)))
  }

  @Test func `a connection has so many transactions, and all of them together`() throws {
    let limits = ServedLimits()
    let count = limits.total / limits.perConnection
    let clients = (0..<count).map { WorldClient(world, number: 3_000 + UInt64($0)) }
    var first: [TransactionID] = []
    for client in clients {
      for _ in 0..<limits.perConnection {
        let id = try client.begin(idle: 60_000)
        if client === clients[0] { first.append(id) }
      }
      #expect(code { _ = try client.begin() } == .busy)
    }
    #expect(code { _ = try self.client.begin() } == .busy, "the node has its number")
    #expect(try clients[0].run(first[0], .abort) == .noted)
    _ = try self.client.begin()
    try clients[1].disconnect()
    #expect(try openCount() == limits.total - limits.perConnection)
  }

  @Test func `ranges are shown page by page, with the transaction's own writes`() throws {
    let all = (0..<40).map { "r\($0 / 10)\($0 % 10)" }
    let writer = try client.begin()
    for name in all { try client.put(writer, name, String(repeating: name, count: 10)) }
    #expect(isCommitted(try client.commit(writer)))
    let id = try client.begin()
    #expect(try client.run(id, .delete(Array("r03".utf8), keyspace: "accounts")) == .noted)
    try client.put(id, "r045", "own")
    let expected = (all.filter { $0 != "r03" } + ["r045"]).sorted()
    func scan(
      _ id: TransactionID?, _ start: String, _ end: String?, _ limit: Int, at time: Timestamp? = nil
    ) throws -> [String] {
      let (start, end) = (Array(start.utf8), end.map { Array($0.utf8) })
      let answer: ClientAnswer
      if let id {
        answer = try client.run(id, .scan(from: start, to: end, limit: limit, keyspace: "accounts"))
      } else {
        let read = ClientRead(.range(from: start, to: end, limit: limit), in: "accounts", at: time!)
        answer = try ClientAnswer(decoding: client.ask(NodeMessageKind.clientRead, read.encoded()), of: nil)
      }
      guard case .entries(let page) = answer else { return [] }
      #expect(page.next == nil)
      return page.entries.map { String(decoding: $0.key, as: UTF8.self) }
    }
    #expect(try scan(id, "r", "s", 1_000) == expected)
    #expect(try scan(id, "r", nil, 7) == Array(expected.prefix(7)))
    #expect(try scan(id, "r1", "r2", 100) == expected.filter { $0.hasPrefix("r1") })
    #expect(try scan(id, "x", nil, 5) == [])
    let moment = try client.ask(NodeMessageKind.clientMoment, ClientMoment(nil).encoded())
    let now = try ClientMoment.answer(moment)
    #expect(try scan(nil, "r", "s", 1_000, at: now) == all, "others do not see what is not committed")
    #expect(try scan(nil, "r", "s", 3, at: now) == Array(all.prefix(3)))
    // The gaps are locked as well.
    let intruder = try client.begin()
    try client.put(intruder, "r155", "late")
    let late = client.send(client.next(intruder, .commit(isSynced: nil)))
    for _ in 0..<5 { world.step() }
    #expect(late.withLock { $0 == nil }, "the older one's range is locked")
    #expect(try client.run(id, .abort) == .noted)
    guard case .ended(.committed) = try client.wait(late) else {
      Issue.record("the range stayed locked")
      return
    }
  }

  @Test func `what is wrong with a statement is said, and the transaction goes on`() throws {
    let id = try client.begin()
    let key = Array(names[1].utf8)
    #expect(code { try client.run(id, .put(key, [1], keyspace: "none")) } == .unknownKeyspace)
    #expect(code { try client.run(id, .put(key, [1], keyspace: "statistics")) } == .wrongPolicy)
    #expect(code { try client.run(id, .effect(.increment(1), key, keyspace: "accounts")) } == .wrongPolicy)
    #expect(code { try client.run(id, .put([], [1], keyspace: "accounts")) } == .invalidArgument)
    try client.put(id, names[1], "1")
    #expect(isCommitted(try client.commit(id)))
    let read = ClientRead(.keys([key]), in: "none", at: try world.manager(0).now())
    #expect(code { _ = try client.ask(NodeMessageKind.clientRead, read.encoded()) } == .unknownKeyspace)
    // Messages that are none.
    for kind in NodeMessageKind.clientTransactions {
      for body in [[], [1], [9], [UInt8](repeating: 0xFF, count: 60)] as [[UInt8]] {
        if kind == NodeMessageKind.clientDoubts, body == ClientDoubt.question { continue }
        #expect(throws: (any Error).self, "\(kind) \(body)") { _ = try client.ask(kind, body) }
      }
    }
  }

  @Test func `what all may keep is bounded, and a begin that nobody waits for leaves nothing`() throws {
    var limits = ServedLimits()
    limits.bytes = 10
    let served = ServedTransactions(try world.node(0), limits)
    let manager = try world.manager(0)
    let connection = ServedTransactions.Connection(node: client.number, number: 7)
    func begin(_ number: UInt64, isCancelled: Bool = false) throws -> TransactionID {
      try served.begin(
        number, age: nil, idle: 1_000, duration: 0, of: connection, manager,
        isCancelled: { isCancelled })
    }
    let first = try begin(1)
    let second = try begin(2)
    let put = ClientStatement.Operation.put([1], [UInt8](repeating: 0, count: 5), keyspace: "accounts")
    let target = try manager.reference([1], in: "accounts")
    func write(_ statement: ClientStatement, of id: TransactionID) throws {
      try served.take(statement, of: id, connection).write(target, [UInt8](repeating: 0, count: 5))
    }
    try write(ClientStatement(first, 1, put), of: first)
    let doubled = ClientStatement(first, 2, put)
    #expect(code { _ = try served.take(doubled, of: first, connection) } == .invalidArgument, "one is busy")
    served.finish(first)
    // The key's value takes the place of the one before, and of a statement that fails nothing is kept.
    let short = ClientStatement.Operation.put([1], [1], keyspace: "accounts")
    for number in 2..<20 {
      try served.take(ClientStatement(first, UInt64(number), short), of: first, connection).write(target, [1])
      served.finish(first)
    }
    for number in 20..<30 {
      _ = try served.take(ClientStatement(first, UInt64(number), put), of: first, connection)
      served.finish(first)
    }
    #expect(code { try write(ClientStatement(first, 30, put), of: first) } == nil)
    served.finish(first)
    #expect(code { _ = try served.take(ClientStatement(second, 1, put), of: second, connection) } == .busy)
    // Its number is used up, and it goes on.
    let get = ClientStatement.Operation.get([[1]], keyspace: "accounts", forUpdate: false)
    _ = try served.take(ClientStatement(second, 2, get), of: second, connection)
    served.finish(second)
    served.remove(first)
    _ = try served.take(ClientStatement(second, 3, put), of: second, connection)
    #expect(code { _ = try begin(3, isCancelled: true) } == .closed)
    #expect(served.openCount == 1)
    served.close()
    #expect(served.openCount == 0)
    #expect(code { _ = try begin(4) } == .closed)
  }

  /// The simulated clock goes on by the wait itself.
  @Test func `closing waits for COMMITs in hand, and for nothing else`() throws {
    let served = ServedTransactions(try world.node(0), ServedLimits())
    let connection = ServedTransactions.Connection(node: client.number, number: 7)
    func begin(_ number: UInt64) throws -> TransactionID {
      try served.begin(
        number, age: nil, idle: 1_000, duration: 0, of: connection, try world.manager(0),
        isCancelled: { false })
    }
    let id = try begin(1)
    _ = try begin(2)
    _ = try served.take(ClientStatement(id, 1, .commit(isSynced: nil)), of: id, connection)
    let before = world.time.monotonicNanoseconds
    served.close(waits: true)
    #expect(world.time.monotonicNanoseconds - before >= 2_000_000_000, "nobody answered it")
    #expect(served.openCount == 1, "it is not aborted")
    served.remove(id)
    served.answeredCommit()
    let then = world.time.monotonicNanoseconds
    served.close(waits: true)
    #expect(world.time.monotonicNanoseconds == then)
    #expect(served.openCount == 0)
  }

  @Test func `a statement that waits for a thread is no idleness`() throws {
    let served = ServedTransactions(try world.node(0), ServedLimits())
    let connection = ServedTransactions.Connection(node: client.number, number: 7)
    let id = try served.begin(
      1, age: nil, idle: 1_500, duration: 0, of: connection, try world.manager(0), isCancelled: { false })
    let statement = ClientStatement(id, 1, .commit(isSynced: nil))
    #expect(ClientStatement.transaction(in: statement.encoded()) == id)
    world.pass(seconds: 1)
    served.arrived(id, connection)
    world.pass(seconds: 1)
    #expect(served.openCount == 1)
    served.arrived(id, ServedTransactions.Connection(node: client.number, number: 8))
    world.pass(seconds: 1)
    #expect(served.openCount == 0, "another connection's statements do not count")
  }

  @Test func `a client's snapshot meets a node that was started again, and moves`() throws {
    try world.write([names[1]: "old"], at: 0)
    world.pass(seconds: 1)
    world.kill(1)
    try world.restart(1)
    func now() throws -> Timestamp {
      let moment = try client.ask(NodeMessageKind.clientMoment, ClientMoment(nil).encoded())
      return try ClientMoment.answer(moment)
    }
    func read(at time: Timestamp) throws -> ClientAnswer {
      let read = ClientRead(.keys([Array(names[1].utf8)]), in: "accounts", at: time)
      return try ClientAnswer(decoding: client.ask(NodeMessageKind.clientRead, read.encoded()), of: nil)
    }
    let time = try now()
    #expect(code { _ = try read(at: time) } == .snapshotTooOld)
    #expect(try read(at: try now()) == .values([Array("old".utf8)]))
    let earlier = try client.ask(NodeMessageKind.clientMoment, ClientMoment(time).encoded())
    #expect(try ClientMoment.answer(earlier) == time, "a time that was chosen stays")
  }
}
