import RoostCausality
import RoostCluster
import RoostSimulation
import TestSupport
import Testing

@testable import RoostTransactions

/// When a node may tell what became of a transaction.
// Budget: 5 s
@Suite struct RemoteOutcomeTests {
  /// A world with a key of node 1 that holds "old".
  private static func world() throws -> (RemoteWorld, name: String) {
    let world = try RemoteWorld()
    let name = try world.names(at: 1)[0]
    try world.write([name: "old"], at: 0)
    world.pass(seconds: 1)
    return (world, name)
  }

  /// It can be read from the store before its sync, and may yet go with the machine.
  @Test func `an outcome that is not durable is no node's to tell`() throws {
    let (world, name) = try Self.world()
    let transaction = try world.begin([name: "new"], at: 0)
    let (id, manager) = (transaction.id, try world.manager(1))
    let store = try #require(manager.stores.all.first)
    let standings = Guarded<[OutcomeStanding]>([])
    let disk = world.hosts[1].disk
    disk.onOperation { operation in
      // Only once: later syncs may be made with locks held.
      guard operation.kind == .sync, standings.withLock({ $0.isEmpty }),
        (try? store.outcome(of: id)) != nil, let standing = try? manager.standing(of: id)
      else { return }
      standings.withLock { $0.append(standing) }
    }
    let outcome = try world.commit(transaction)
    try world.settle { outcome.withLock { $0 != nil } }
    disk.onOperation(nil)
    let before = try #require(standings.withLock { $0.first }, "it was applied, and not yet synced")
    #expect(before.record == nil && !before.isSettled)
    guard case .committed(let time) = outcome.withLock({ $0 }) else {
      Issue.record("it has not committed")
      return
    }
    #expect(try manager.standing(of: id).record == .committed(time))
  }

  @Test func `what is being written, or may be lost, is no outcome`() {
    var bench = ParticipantBench()
    bench.isPrompt = false
    bench.receive(txn(1), .inquire, from: .participant(member(2)))
    #expect(bench.participant.isWritingOutcome(txn(1)))
    bench.finishWrite()
    #expect(!bench.participant.isWritingOutcome(txn(1)) && bench.answers == [.aborted])
    bench.commitAtOnce(txn(2), put("a"))
    #expect(bench.participant.isWritingOutcome(txn(2)))
    bench.finishWrite()
    #expect(!bench.participant.isWritingOutcome(txn(2)))
    bench.commitAtOnce(txn(3), put("b"))
    bench.finishWrite(failure: "the disk failed")
    #expect(bench.participant.isWritingOutcome(txn(3)))
  }

  /// Whoever is told of a commit takes a snapshot next, at any node, and expects to see it there.
  @Test func `a commit is told once all clocks have passed its time`() throws {
    let (world, name) = try Self.world()
    // So nobody but its store knows, and its coordinator does not wait for it.
    world.wire.fate = { $0.message.body.name == "committedAtOnce" ? .lost : .arrives }
    let transaction = try world.begin([name: "new"], at: 0)
    _ = try world.commit(transaction)
    guard case .committed(let time) = try world.manager(1).standing(of: transaction.id).record else {
      Issue.record("it has not committed")
      return
    }
    for index in 0..<3 {
      #expect(try world.outcome(of: transaction.id, at: index, steps: 0) == .undecided)
    }
    world.time.advance(byNanoseconds: 10_000_000)
    for index in 0..<3 {
      #expect(try world.outcome(of: transaction.id, at: index, steps: 0) == .committed(time))
      #expect(try world.values([name], at: index) == ["new"])
    }
  }

  /// Who is told of a commit is told by the thread that handles events: what is asked of the coordinator then
  /// stands behind it, and the question behind that.
  @Test func `an abort that was asked for before the question is in the answer`() throws {
    let (world, name) = try Self.world()
    let manager = try world.manager(0)
    let other = try TransactionCore(manager)
    let told = Guarded<[Result<KnownOutcome, DatabaseError>]>([])
    let toldAtOnce = Guarded<Int?>(nil)
    // At two stores, so that it goes through the log.
    let transaction = try world.begin([name: "new", try world.names(at: 2)[0]: "new"], at: 0)
    try transaction.commit(isSynced: true) { _ in
      other.abort()
      manager.outcome(of: other.id) { result in told.withLock { $0.append(result) } }
      toldAtOnce.withLock { $0 = told.withLock { $0.count } }
    }
    try world.settle { told.withLock { !$0.isEmpty } }
    #expect(toldAtOnce.withLock { $0 } == 0, "the question did not wait for its turn")
    let results = told.withLock { $0 }
    #expect(results.count == 1)
    guard case .success(.aborted) = results[0] else {
      Issue.record("\(results)")
      return
    }
  }

  /// Whoever asks a coordinator that stops is answered all the same.
  @Test func `a question that waits for its turn is answered when the transactions are closed`() throws {
    let (world, name) = try Self.world()
    let manager = try world.manager(0)
    let other = try TransactionCore(manager)
    let answers = Guarded(0)
    let transaction = try world.begin([name: "new", try world.names(at: 2)[0]: "new"], at: 0)
    try transaction.commit(isSynced: true) { _ in
      manager.outcome(of: other.id) { _ in answers.withLock { $0 += 1 } }
      try? manager.close(waits: false)
    }
    try world.settle { answers.withLock { $0 > 0 } }
    #expect(answers.withLock { $0 } == 1)
  }

  /// Each is kept until it is answered, and no coordinator's event is ever dropped for its sake.
  @Test func `where too many questions wait another is refused at once`() throws {
    let (world, name) = try Self.world()
    let manager = try world.manager(0)
    let other = try TransactionCore(manager)
    let answers = Guarded<[Result<OutcomeStanding, DatabaseError>]>([])
    let toldAtOnce = Guarded<[Result<OutcomeStanding, DatabaseError>]>([])
    let transaction = try world.begin([name: "new", try world.names(at: 2)[0]: "new"], at: 0)
    try transaction.commit(isSynced: true) { _ in
      for _ in 0...OutcomeQuestions.limit {
        manager.standing(of: other.id) { result in answers.withLock { $0.append(result) } }
      }
      let told = answers.withLock { $0 }
      toldAtOnce.withLock { $0 = told }
    }
    try world.settle { answers.withLock { $0.count > OutcomeQuestions.limit } }
    let told = toldAtOnce.withLock { $0 }
    #expect(told.count == 1)
    for result in told { #expect(code { _ = try result.get() } == .busy) }
    let rest = answers.withLock { $0.dropFirst() }
    #expect(rest.count == OutcomeQuestions.limit)
    #expect(rest.allSatisfy { result in code { _ = try result.get() } == nil })
    // There is room again.
    _ = try world.outcome(of: other.id, at: 0)
  }

  @Test func `a partition that there is not is nobody's`() throws {
    let (world, name) = try Self.world()
    let manager = try world.manager(0)
    for (index, partition) in [(0, 16), (1, 16), (1, 32_767)] {
      let target = KeyReference(keyspace: world.accounts, partition: partition, key: [1])
      let owner = try world.node(index).local.id
      let locked = Guarded<Result<ReadAnswer, TransactionAborted>?>(nil)
      manager.acquire(
        try manager.begin(age: nil), at: owner, [.exclusive(target)], .keys([target])
      ) { result in locked.withLock { $0 = result } }
      try world.settle { locked.withLock { $0 != nil } }
      #expect(throws: TransactionAborted(.moving)) { try locked.withLock { $0! }.get() }

      let written = Guarded<TransactionOutcome?>(nil)
      manager.commit(
        try manager.begin(age: nil), [owner: [TransactionWrite(target, [1])]], [], isSynced: true
      ) { outcome in written.withLock { $0 = outcome } }
      try world.settle { written.withLock { $0 != nil } }
      #expect(written.withLock { $0 } == .aborted(.moving))

      let read = Guarded<Result<ReadAnswer, DatabaseError>?>(nil)
      manager.snapshot(.keys([target]), at: try manager.now(), of: owner) { result in
        read.withLock { $0 = result }
      }
      try world.settle { read.withLock { $0 != nil } }
      let error = #expect(throws: DatabaseError.self) { try read.withLock { $0! }.get() }
      #expect(error?.code == .busy)
    }
    #expect(try world.values([name], at: 2) == ["old"])
  }

  /// Its partition could not move.
  @Test func `a value that no message takes is refused where its key is at the node itself, too`() throws {
    let world = try RemoteWorld(largestBody: 80 << 10)
    let names = try world.names(2, at: 0)
    let limit = try world.node(0).largestTransactionBody
    let error = #expect(throws: DatabaseError.self) {
      _ = try world.commit(try world.begin([names[0]: String(repeating: "v", count: limit)], at: 0))
    }
    #expect(error?.code == .transactionTooLarge)
    #expect(!world.isInDoubt)
    // Together they may be longer: they stay here, and travel one by one.
    let half = String(repeating: "v", count: limit / 2 + 100)
    #expect(
      RemoteMoveTests.isCommitted(try world.write([names[0]: half, names[1]: half], at: 0)))
  }

  /// What is decided and cannot be sent would be told again and again, for ever.
  @Test func `an effect that is longer than a message is refused before anything is promised`() throws {
    let world = try RemoteWorld(largestBody: 80 << 10)
    let limit = try world.node(0).largestTransactionBody
    #expect(limit == 16 << 10)
    let names = [try world.names(at: 1)[0], try world.names(at: 2)[0]]
    try world.write([names[0]: "old", names[1]: "old"], at: 0)
    func begin(_ byteCount: Int) throws -> TransactionCore {
      let transaction = try world.begin([names[0]: "new", names[1]: "new"], at: 0)
      try transaction.add(
        keyspace: world.statistics, Array("big".utf8), partition: world.reference("big").partition,
        .put([UInt8](repeating: 7, count: byteCount), context: nil))
      return transaction
    }
    var kinds: [String] = []
    world.wire.fate = { envelope in
      kinds.append(envelope.message.body.name)
      return .arrives
    }
    let error = #expect(throws: DatabaseError.self) { _ = try world.commit(try begin(20_000)) }
    #expect(error?.code == .transactionTooLarge)
    #expect(error?.message.contains("effect 0") == true && error?.message.contains("\(limit)") == true)
    #expect(!kinds.contains("prepare") && !world.isInDoubt)
    #expect(try world.values(names, at: 1) == ["old", "old"])

    let outcome = try world.commit(try begin(12_000))
    try world.settle { outcome.withLock { $0 != nil } }
    guard case .committed = outcome.withLock({ $0 }) else {
      Issue.record("one that fits was not committed")
      return
    }
    #expect(try world.values(names, at: 1) == ["new", "new"])
    try world.settle {
      try (0..<3).allSatisfy {
        try world.node($0).keyspace("statistics").held(Array("big".utf8))?.siblings.elements.count == 1
      }
    }
  }
}
