import RoostSimulation
import RoostTransactions
import TestSupport
import Testing

/// How many syncs stand between a caller and the answer that a transaction is durable, counted at the
/// simulated disk, with messages delivered round by round.
// Budget: 5 s
@Suite struct TransactionSyncTests {
  /// What went over the wire together, and which files were synced by its arrival.
  private struct Round: Equatable {
    var messages: [String]
    var synced: [String]
  }

  /// Commits, and delivers messages until the caller is answered.
  private func rounds(
    _ world: TransactionWorld, _ transaction: TransactionCore, isSynced: Bool = true
  ) throws -> [Round] {
    let fileSystem = world.world.fileSystem
    world.transport.isHolding = true
    defer {
      // The rest goes its way.
      world.transport.isHolding = false
      world.transport.deliver()
    }
    fileSystem.recordsTrace = true
    let answer = Answer<TransactionOutcome>()
    try transaction.commit(isSynced: isSynced) { answer.set($0) }
    var rounds: [Round] = []
    while answer.value == nil, rounds.count < 10 {
      let messages = world.transport.held
      fileSystem.recordsTrace = true
      world.transport.deliver()
      let synced = fileSystem.trace.filter { $0.kind == .sync }.map { operation in
        operation.path.string.contains("/coordinator/")
          ? "coordinator" : operation.path.removingLastComponent().string
      }
      rounds.append(Round(messages: messages, synced: synced.sorted()))
    }
    guard case .committed? = answer.value else {
      throw Mismatch("answered with \(String(describing: answer.value)) after \(rounds)")
    }
    return rounds
  }

  @Test func `across stores the caller waits for two syncs, one after the other`() throws {
    let world = try TransactionWorld(TransferWorld(seed: 1))
    let (a, _, b) = try world.keys()
    try world.commit(world.begin([a: "0", b: "0"]))
    let found = try rounds(world, try world.begin([a: "1", b: "1"], counter: "n"))
    #expect(
      found == [
        Round(messages: ["acquire", "acquire"], synced: []),
        Round(messages: ["acquired", "acquired"], synced: []),
        // Both on their way before either is answered: these two syncs are at one time.
        Round(messages: ["prepare", "prepare"], synced: ["/data/s0", "/data/s1"]),
        // The decision; no store has been told when the caller is answered.
        Round(messages: ["vote", "vote"], synced: ["coordinator"]),
      ], "\(found)")
    #expect(try world.value(a) == "1")
    #expect(try world.value(b) == "1")
    #expect(try world.count("n") == 1)
    try world.close()
  }

  @Test func `in one store the caller waits for one sync`() throws {
    let world = try TransactionWorld(TransferWorld(seed: 2))
    let (a, alsoA, _) = try world.keys()
    try world.commit(world.begin([a: "0", alsoA: "0"]))
    let found = try rounds(world, try world.begin([a: "1", alsoA: "1"]))
    #expect(
      found == [
        Round(messages: ["commitAtOnce"], synced: [try world.owner(a).path]),
        Round(messages: ["committedAtOnce"], synced: []),
      ], "\(found)")
    #expect(try world.value(alsoA) == "1")
    try world.close()
  }

  @Test func `without a wish for durability one store waits for no sync, and several for theirs`() throws {
    let world = try TransactionWorld(TransferWorld(seed: 3))
    let (a, alsoA, b) = try world.keys()
    try world.commit(world.begin([a: "0", b: "0"]))
    let alone = try rounds(world, try world.begin([a: "1", alsoA: "1"]), isSynced: false)
    #expect(alone.allSatisfy { $0.synced.isEmpty }, "\(alone)")
    // It could survive a power loss in part else.
    let spread = try rounds(world, try world.begin([a: "2", b: "2"]), isSynced: false)
    let wished = try rounds(world, try world.begin([a: "3", b: "3"]))
    #expect(spread == wished && spread.contains { !$0.synced.isEmpty }, "\(spread)")
    #expect(try world.value(a) == "3")
    try world.close()
  }
}
