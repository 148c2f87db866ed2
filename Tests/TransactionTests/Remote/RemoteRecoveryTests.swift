import RoostCausality
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster
@testable import RoostTransactions

/// Nodes that stop in the middle of a transaction: what they had promised is kept, and nothing stays in doubt
/// once they are back.
// Budget: 10 s
@Suite struct RemoteRecoveryTests {
  /// A world whose two accounts, at the nodes 1 and 2, hold "old".
  private static func world(_ seed: UInt64 = 1) throws -> (RemoteWorld, names: [String]) {
    let world = try RemoteWorld(seed: seed)
    let names = [try world.names(at: 1)[0], try world.names(at: 2)[0]]
    try world.write([names[0]: "old", names[1]: "old"], at: 0)
    world.pass(seconds: 1)
    return (world, names)
  }

  private static func check(_ world: RemoteWorld, _ names: [String], _ value: String) throws {
    try world.settle { !world.isInDoubt }
    for index in world.running { #expect(try world.values(names, at: index) == [value, value]) }
    // No lock was left behind.
    guard case .committed = try world.write([names[0]: "next", names[1]: "next"], at: 1) else {
      Issue.record("the keys cannot be written")
      return
    }
  }

  @Test(arguments: [CrashPolicy?.none, .dropAll, .random])
  func `a coordinator that is killed after PREPARE has aborted`(policy: CrashPolicy?) throws {
    let (world, names) = try Self.world()
    var voters: Set<Endpoint> = []
    world.wire.fate = { envelope in
      guard envelope.message.body.name == "vote" else { return .arrives }
      voters.insert(envelope.from)
      return .lost
    }
    let transaction = try world.begin([names[0]: "new", names[1]: "new"], at: 0)
    let outcome = try world.commit(transaction)
    try world.settle { voters.count == 2 }
    world.kill(0, losing: policy)
    world.wire.fate = { _ in .arrives }
    try world.settle { world.isInDoubt }
    #expect(try world.outcome(of: transaction.id, at: 1) == .undecided)
    try world.restart(0)
    try Self.check(world, names, "old")
    #expect(outcome.withLock { $0 } == nil)
    // What it sent before it was killed is too old by now to be taken anywhere.
    world.pass(seconds: 25)
    for index in 0..<3 { #expect(try world.outcome(of: transaction.id, at: index) == .aborted(.recorded)) }
  }

  @Test(arguments: [CrashPolicy?.none, .dropAll, .random])
  func `a coordinator that is killed after COMMIT goes on with it`(policy: CrashPolicy?) throws {
    let (world, names) = try Self.world()
    world.wire.fate = { $0.message.body.name == "commit" ? .lost : .arrives }
    let transaction = try world.begin([names[0]: "new", names[1]: "new"], counter: "n", at: 0)
    let outcome = try world.commit(transaction)
    try world.settle { outcome.withLock { $0 != nil } }
    guard case .committed(let time) = outcome.withLock({ $0! }) else {
      Issue.record("it has not committed")
      return
    }
    world.kill(0, losing: policy)
    world.wire.fate = { _ in .arrives }
    try world.restart(0)
    try Self.check(world, names, "new")
    for index in 0..<3 { #expect(try world.outcome(of: transaction.id, at: index) == .committed(time)) }
    try world.settle { try (0..<3).allSatisfy { try world.count("n", at: $0) == 1 } }
  }

  @Test(arguments: [CrashPolicy?.none, .dropAll, .random])
  func `a participant that is killed after its vote does what was decided`(policy: CrashPolicy?) throws {
    let (world, names) = try Self.world()
    let two = Endpoint.participant(world.hosts[2].member!)
    world.wire.fate = { $0.message.body.name == "commit" && $0.to == two ? .lost : .arrives }
    let transaction = try world.begin([names[0]: "new", names[1]: "new"], at: 0)
    let outcome = try world.commit(transaction)
    try world.settle { outcome.withLock { $0 != nil } }
    world.kill(2, losing: policy)
    // It asks by itself: nobody tells it.
    try world.restart(2)
    try world.settle { !world.isInDoubt }
    world.wire.fate = { _ in .arrives }
    try Self.check(world, names, "new")
  }

  @Test func `a participant in doubt finds its coordinator anew, and waits for one that is away`() throws {
    let (world, names) = try Self.world()
    world.wire.fate = { $0.message.body.name == "commit" ? .lost : .arrives }
    let transaction = try world.begin([names[0]: "new", names[1]: "new"], at: 0)
    let outcome = try world.commit(transaction)
    try world.settle { outcome.withLock { $0 != nil } }
    for index in 0..<3 { world.kill(index) }
    world.wire.fate = { _ in .arrives }
    try world.restart(1)
    try world.restart(2)
    world.pass(seconds: 3)
    #expect(world.isInDoubt)
    #expect(try world.outcome(of: transaction.id, at: 2) == .undecided)
    try world.restart(0)
    try Self.check(world, names, "new")
  }

  @Test func `an answer that is lost leaves the outcome unknown, and any node can tell it later`() throws {
    let (world, names) = try Self.world()
    world.wire.fate = { ["committedAtOnce", "answer"].contains($0.message.body.name) ? .lost : .arrives }
    let transaction = try world.begin([names[0]: "new"], at: 0)
    let outcome = try world.commit(transaction)
    try world.settle { outcome.withLock { $0 != nil } }
    #expect(outcome.withLock { $0 } == .unknown(transaction.id))
    for index in 0..<3 {
      guard case .committed = try world.outcome(of: transaction.id, at: index) else {
        Issue.record("node \(index) does not know that it has committed")
        return
      }
    }
    #expect(try world.values([names[0]], at: 2) == ["new"])
  }

  /// What a coordinator sent to commit at once may be on its way still when its next process is asked, which
  /// knows nothing of it.
  @Test func `nobody calls a commit aborted that may still arrive`() throws {
    let (world, names) = try Self.world()
    world.wire.fate = { $0.message.body.name == "commitAtOnce" ? .held : .arrives }
    let transaction = try world.begin([names[0]: "new"], at: 0)
    _ = try world.commit(transaction)
    #expect(world.wire.heldCount == 1)
    world.kill(0)
    try world.restart(0)
    for index in 0..<3 { #expect(try world.outcome(of: transaction.id, at: index, steps: 0) == .undecided) }
    // The process that sent it is not known any more: it is dropped, however late it comes.
    world.wire.fate = { _ in .arrives }
    world.pass(seconds: 25)
    for index in 0..<3 { #expect(try world.outcome(of: transaction.id, at: index) == .aborted(.recorded)) }
    #expect(try world.values([names[0]], at: 1) == ["old"])
  }

  @Test func `a snapshot that was not read moves above a node that was started again, and no other`() throws {
    let (world, names) = try Self.world()
    world.kill(1)
    try world.restart(1)
    let manager = try world.manager(0)
    let time = try manager.now()
    let start = try world.node(1).core.shared.clockStart
    try #require(time < start, "or the test shows nothing")
    #expect(try world.values([names[1]], at: 0, time) == ["old"], "the other node has all versions")
    let error = #expect(throws: DatabaseError.self) { _ = try world.values([names[0]], at: 0, time) }
    #expect(error?.code == .snapshotTooOld)
    // The refusal told how far ahead the node's clock is.
    #expect(try manager.now() > start)
    #expect(try world.values(names, at: 0) == ["old", "old"])
    let refused = try #require(error)
    let read = SnapshotMoment(time, isFixed: false, hold: nil)
    #expect(read.settle(at: time))
    let chosen = SnapshotMoment(time, isFixed: true, hold: nil)
    let seen = SnapshotMoment(time, isFixed: false, hold: nil)
    #expect(seen.fix() == time)
    for moment in [read, chosen, seen] {
      let stays = #expect(throws: DatabaseError.self) {
        _ = try moment.moves(after: refused, at: time, moves: 0)
      }
      #expect(stays?.code == .snapshotTooOld && stays?.message.contains("cannot move") == true)
      moment.move(from: time, to: Timestamp(rawValue: time.rawValue + 1), hold: nil)
      #expect(moment.current == time)
    }
    let unread = SnapshotMoment(time, isFixed: false, hold: nil)
    #expect(try unread.moves(after: refused, at: time, moves: 0))
    let later = Timestamp(rawValue: time.rawValue + 1)
    unread.move(from: time, to: later, hold: nil)
    #expect(!unread.settle(at: time), "what was read before it moved counts no more")
    #expect(try !unread.moves(after: refused, at: time, moves: 1), "another call has moved it")
    #expect(unread.settle(at: later))
    let fresh = SnapshotMoment(time, isFixed: false, hold: nil)
    #expect(throws: DatabaseError.self) {
      _ = try fresh.moves(after: refused, at: time, moves: SnapshotMoment.mostMoves)
    }
  }
}
