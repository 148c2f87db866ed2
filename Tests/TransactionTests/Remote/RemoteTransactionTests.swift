import RoostCausality
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster
@testable import RoostTransactions

/// Transactions over the nodes of a cluster, where nothing goes wrong but messages and clocks.
// Budget: 15 s
@Suite struct RemoteTransactionTests {
  private static func isCommitted(_ outcome: TransactionOutcome) -> Bool {
    if case .committed = outcome { true } else { false }
  }

  @Test func `a transaction of one node writes at two others, and all read it`() throws {
    let world = try RemoteWorld()
    let names = try (0..<3).map { try world.names(at: $0)[0] }
    #expect(Self.isCommitted(try world.write([names[1]: "1", names[2]: "2"], at: 0)))
    #expect(Self.isCommitted(try world.write([names[0]: "0"], at: 2)), "one key, elsewhere")
    for index in 0..<3 { #expect(try world.values(names, at: index) == ["0", "1", "2"]) }
    #expect(!world.isInDoubt)
    #expect(world.warnings.withLock { $0 } == [])
  }

  @Test func `a read locks at another node, and the younger writer waits`() throws {
    let world = try RemoteWorld()
    let name = try world.names(at: 1)[0]
    try world.write([name: "1"], at: 0)
    let reader = try TransactionCore(try world.manager(0))
    let read = Guarded<String??>(nil)
    try world.read(name, in: reader, forUpdate: false) { result in
      read.withLock { $0 = try? result.get() }
    }
    try world.settle { read.withLock { $0 != nil } }
    #expect(read.withLock { $0 } == .some("1"))
    world.time.advance(byNanoseconds: 20_000_000)
    let outcome = try world.commit(try world.begin([name: "2"], at: 2))
    for _ in 0..<3 { world.step() }
    #expect(outcome.withLock { $0 } == nil)
    reader.abort()
    try world.settle { outcome.withLock { $0 != nil } }
    #expect(try world.values([name], at: 0) == ["2"])
  }

  @Test(arguments: [
    "acquire", "acquired", "prepare", "vote", "commit", "acknowledged", "commitAtOnce", "committedAtOnce",
    "effect", "effectDone",
  ])
  func `a message that is lost is sent again, and one that comes twice counts once`(
    kind: String
  ) throws {
    for fate in [Wire.Fate.lost, .doubled, .held] {
      let world = try RemoteWorld(seed: 5)
      let names = try (0..<3).map { try world.names(at: $0)[0] }
      var left = 1
      world.wire.fate = { envelope in
        guard envelope.message.body.name == kind, left > 0 else { return .arrives }
        left -= 1
        return fate
      }
      #expect(Self.isCommitted(try world.write([names[1]: "1", names[2]: "2"], counter: "n", at: 0)))
      #expect(Self.isCommitted(try world.write([names[1]: "3"], at: 0)))
      // An effect on a key that this node has is done here.
      if !kind.hasPrefix("effect") { #expect(left == 0, "\(kind) was not sent") }
      #expect(try world.values(names, at: 2) == [nil, "3", "2"])
      try world.settle { try (0..<3).allSatisfy { try world.count("n", at: $0) == 1 } }
      world.pass(seconds: 5)
      for index in 0..<3 { #expect(try world.count("n", at: index) == 1) }
      #expect(!world.isInDoubt)
    }
  }

  /// Where the keyspace of counters has as many replicas as the cluster, and where it has fewer.
  @Test(arguments: [nil, 2, 1] as [Int?])
  func `an effect is done at one replica, and reaches the others`(statisticsReplicas: Int?) throws {
    let count = statisticsReplicas ?? 2
    let world = try RemoteWorld(
      4, replicas: statisticsReplicas == nil ? 2 : 3, statisticsReplicas: statisticsReplicas)
    let name = try world.names(at: 3)[0]
    // Also of partitions of which the node that commits is a replica, and does not hold the counters.
    for counter in (0..<8).map({ "n\($0)" }) {
      let replicas = try world.replicas(of: counter)
      #expect(replicas.count == count)
      for index in 0..<4 {
        #expect(Self.isCommitted(try world.write([name: "v"], counter: counter, at: index)))
      }
      try world.settle { try replicas.allSatisfy { try world.count(counter, at: $0) == 4 } }
      for index in 0..<4 where !replicas.contains(index) { #expect(try world.count(counter, at: index) == 0) }
    }
  }

  @Test func `a partition's first replica has it, and others refuse`() throws {
    let world = try RemoteWorld()
    let name = try world.names(at: 1)[0]
    let target = world.reference(name)
    let manager = try world.manager(0)
    for index in [0, 2] {
      let transaction = try TransactionCore(manager)
      let answer = Guarded<Result<ReadAnswer, TransactionAborted>?>(nil)
      manager.acquire(
        transaction.id, at: try world.node(index).local.id, [.exclusive(target)], .keys([target])
      ) { result in answer.withLock { $0 = result } }
      try world.settle { answer.withLock { $0 != nil } }
      #expect(throws: TransactionAborted(.moving)) { try answer.withLock { $0! }.get() }
      let read = Guarded<Result<ReadAnswer, DatabaseError>?>(nil)
      manager.snapshot(.keys([target]), at: try manager.now(), of: try world.node(index).local.id) { result in
        read.withLock { $0 = result }
      }
      try world.settle { read.withLock { $0 != nil } }
      let error = #expect(throws: DatabaseError.self) { try read.withLock { $0! }.get() }
      #expect(error?.code == .busy)
    }
  }

  @Test func `a member that is away fails a transaction clearly, and no other`() throws {
    let world = try RemoteWorld()
    let names = try (0..<3).map { try world.names(at: $0)[0] }
    try world.write([names[0]: "0"], at: 1)
    world.kill(2)
    guard case .aborted(.unreachable) = try world.write([names[1]: "1", names[2]: "2"], at: 1) else {
      Issue.record("it was not told that a store is away")
      return
    }
    #expect(Self.isCommitted(try world.write([names[0]: "a", names[1]: "b"], at: 1)))
    #expect(try world.values([names[0], names[1]], at: 0) == ["a", "b"])
  }

  @Test func `a clock beyond the bound is refused, and its node fences itself`() throws {
    let world = try RemoteWorld()
    let names = try (0..<3).map { try world.names(at: $0)[0] }
    try world.write([names[1]: "1"], at: 0)
    world.hosts[0].time.aheadMilliseconds = 300
    guard case .aborted(.clock) = try world.write([names[1]: "2", names[2]: "2"], at: 0) else {
      Issue.record("it was not refused")
      return
    }
    let error = #expect(throws: DatabaseError.self) { _ = try world.begin([names[0]: "3"], at: 0) }
    #expect(error?.code == .clockOutOfBound)
    #expect(world.warnings.withLock { $0.contains { $0.contains("apart") } })
    #expect(Self.isCommitted(try world.write([names[1]: "4", names[2]: "4"], at: 1)), "the others go on")
    world.hosts[0].time.aheadMilliseconds = 0
    world.pass(seconds: 25)
    #expect(Self.isCommitted(try world.write([names[1]: "5", names[2]: "5"], at: 0)))
  }

  @Test func `nodes that go by different bounds refuse each other`() throws {
    let world = try RemoteWorld { index, options in
      if index == 0 { options.transactions.clockBound = .milliseconds(9) }
    }
    let names = try (0..<3).map { try world.names(at: $0)[0] }
    guard case .aborted(.clock) = try world.write([names[1]: "1", names[2]: "1"], at: 0) else {
      Issue.record("it was not refused")
      return
    }
    #expect(world.warnings.withLock { $0.contains { $0.contains("goes by a clock bound of 9 ms") } })
  }

  @Test func `what is no message is dropped with a warning`() throws {
    let world = try RemoteWorld(2)
    let transport = world.wire.transport(of: world.hosts[0].number)
    for body in [[], [1], [UInt8](repeating: 0xFF, count: 60)] as [[UInt8]] {
      for kind in NodeMessageKind.transactions {
        try transport.tell(
          NodeMessage(kind: kind, body: body), to: world.hosts[1].number,
          deadline: world.time.monotonicNanoseconds + 1_000_000_000)
      }
    }
    #expect(world.warnings.withLock { $0.count } == 3)
    let name = try world.names(at: 1)[0]
    #expect(Self.isCommitted(try world.write([name: "1"], at: 0)))
  }
}
