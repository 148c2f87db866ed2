import RoostCausality
import TestSupport
import Testing

@testable import RoostCluster
@testable import RoostTransactions

/// What a node tells of its transactions: how they ended, how long commits took, and what clients have open.
// Budget: 5 s
@Suite struct RemoteFiguresTests {
  /// What one node has told.
  private final class Told: NodeObserver {
    let commits = Guarded<[UInt64]>([])
    let figures = Guarded(NodeFigures())

    func answered(isWrite: Bool, nanoseconds: UInt64, _ failure: DatabaseError.Code?) {}
    func answeredCommit(nanoseconds: UInt64) { commits.withLock { $0.append(nanoseconds) } }
    func counted(_ figures: NodeFigures) { self.figures.withLock { $0 = figures } }
  }

  private static func figures(_ world: RemoteWorld, _ index: Int) throws -> TransactionFigures {
    try world.node(index).figures.transactions
  }

  @Test func `outcomes are counted where the coordinator is, and commits timed`() throws {
    let (world, told) = (try RemoteWorld(), Told())
    #expect(try Self.figures(world, 0) == TransactionFigures())
    world.kill(0)
    world.observer = told
    try world.restart(0)
    world.observer = nil
    world.pass(seconds: 6)
    let names = [try world.names(at: 0)[0], try world.names(at: 1)[0]]
    #expect(told.commits.withLock { $0.isEmpty })
    guard case .committed = try world.write([names[0]: "1", names[1]: "1"], at: 0) else {
      Issue.record("it was not committed")
      return
    }
    try world.settle { try Self.figures(world, 0).underWay == 0 }
    // The clocks' bound is waited for.
    #expect(told.commits.withLock { $0.count == 1 && $0[0] >= 1_000_000 && $0[0] < 10_000_000_000 })
    let given = try world.begin([names[0]: "2"], at: 0)
    #expect(try Self.figures(world, 0).underWay == 1)
    given.abort()
    // An older one takes what a younger one has locked.
    let old = try world.begin([:], at: 0)
    let young = try world.begin([:], at: 0)
    for transaction in [young, old] {
      let found = Guarded<Result<String?, TransactionAborted>?>(nil)
      try world.read(names[1], in: transaction) { result in found.withLock { $0 = result } }
      try world.settle { found.withLock { $0 != nil } }
    }
    let lost = try world.commit(young)
    try world.settle { lost.withLock { $0 != nil } }
    old.abort()
    try world.settle { try Self.figures(world, 0).underWay == 0 }
    let figures = try Self.figures(world, 0)
    #expect(figures.outcomes.committed == 1 && figures.outcomes.unknown == 0)
    #expect(figures.outcomes.aborted == [.requested: 2, .conflict: 1])
    #expect(told.commits.withLock { $0.count == 2 })
    #expect(try Self.figures(world, 1).outcomes == OutcomeCounts())
    // What was counted last is told when the node ends, whose transactions are closed by then.
    try world.write([names[0]: "4"], at: 0)
    try #require(world.hosts[0].transactions).close(waits: false)
    #expect(try Self.figures(world, 0).outcomes.committed == 2)
    try world.node(0).close()
    #expect(told.figures.withLock { $0.transactions.outcomes.committed } == 2)
    #expect(told.figures.withLock { $0.transactions.underWay } == 0)
  }

  @Test func `what is in doubt is shown as long as it is`() throws {
    let world = try RemoteWorld()
    let names = [try world.names(at: 1)[0], try world.names(at: 2)[0]]
    world.wire.fate = { ["commit", "answer"].contains($0.message.body.name) ? .lost : .arrives }
    let outcome = try world.commit(try world.begin([names[0]: "1", names[1]: "1"], at: 0))
    try world.settle { try (1...2).allSatisfy { try Self.figures(world, $0).inDoubt == 1 } }
    #expect(try Self.figures(world, 0).inDoubt == 0)
    #expect(try Self.figures(world, 0).underWay == 1, "it is not done everywhere")
    world.wire.fate = { _ in .arrives }
    try world.settle { outcome.withLock { $0 != nil } && !world.isInDoubt }
    try world.settle { try Self.figures(world, 0).underWay == 0 }
    for index in 0..<3 { #expect(try Self.figures(world, index).inDoubt == 0) }
  }

  @Test func `what clients have open is shown, and what they were refused counted`() throws {
    let world = try RemoteWorld()
    var limits = ServedLimits()
    (limits.perConnection, limits.total, limits.bytes) = (2, 3, 10)
    let served = ServedTransactions(try world.node(0), limits)
    let manager = try world.manager(0)
    func begin(_ number: UInt64, of connection: UInt64) throws -> TransactionID {
      try served.begin(
        number, age: nil, idle: 60_000, duration: 0,
        of: ServedTransactions.Connection(node: NodeID(rawValue: 900), number: connection), manager,
        isCancelled: { false })
    }
    func figures() -> [Int] { [served.figures.open, Int(served.figures.refused)] }
    let first = try begin(1, of: 1)
    _ = try begin(2, of: 1)
    #expect(throws: DatabaseError.self) { _ = try begin(3, of: 1) }
    _ = try begin(1, of: 2)
    #expect(figures() == [3, 1])
    #expect(throws: DatabaseError.self) { _ = try begin(2, of: 2) }
    let put = ClientStatement.Operation.put([1], [UInt8](repeating: 0, count: 20), keyspace: "accounts")
    let connection = ServedTransactions.Connection(node: NodeID(rawValue: 900), number: 1)
    #expect(throws: DatabaseError.self) {
      _ = try served.take(ClientStatement(first, 1, put), of: first, connection)
    }
    #expect(figures() == [3, 3])
    // What comes twice was not refused for want of room.
    #expect(throws: DatabaseError.self) { _ = try begin(1, of: 2) }
    served.remove(first)
    #expect(figures() == [2, 3])
    served.close()
    #expect(figures() == [0, 3])
    let client = WorldClient(world)
    _ = try client.begin()
    #expect(try Self.figures(world, 0).clientsOpen == 1)
  }
}
