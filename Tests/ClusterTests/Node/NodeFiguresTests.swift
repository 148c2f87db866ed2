import TestSupport
import Testing

@testable import RoostCluster

/// What a node tells of itself: each call once, and its counters.
// Budget: 1 s
@Suite struct NodeFiguresTests {
  /// What one node has told.
  private final class Told: NodeObserver {
    struct Call: Equatable {
      var isWrite: Bool
      var failure: DatabaseError.Code?
    }
    let calls = Guarded<[Call]>([])
    let figures = Guarded<[NodeFigures]>([])

    func answered(isWrite: Bool, nanoseconds: UInt64, _ failure: DatabaseError.Code?) {
      calls.withLock { $0.append(Call(isWrite: isWrite, failure: failure)) }
    }
    func answeredCommit(nanoseconds: UInt64) {}
    func counted(_ figures: NodeFigures) { self.figures.withLock { $0.append(figures) } }

    var last: NodeFigures { figures.withLock { $0.last } ?? NodeFigures() }
    var all: [Call] { calls.withLock { $0 } }
  }

  /// Three nodes, of which the first is observed.
  private func world() throws -> (NodeWorld, Told) {
    let (world, told) = (try NodeWorld(3), Told())
    try world.make()
    world.observer = told
    try world.close(0)
    try world.restart(0)
    world.observer = nil
    return (world, told)
  }

  @Test func `each call is told once, with how it ended`() throws {
    let (world, told) = try world()
    try world.put("k", "v", at: 0)
    _ = try world.get("k", at: 0)
    #expect(code { _ = try world.perform(KeyRequest(.get, [1], in: "none"), at: 0) } == .unknownKeyspace)
    #expect(
      told.all == [
        .init(isWrite: true), .init(isWrite: false), .init(isWrite: false, failure: .unknownKeyspace),
      ])
    try world.beat()
    #expect(told.last.writes == 1 && told.last.reads == 1 && told.last.callsInHand == 0)
  }

  @Test func `what goes wrong is counted, and what mends it`() throws {
    let (world, told) = try world()
    world.crash(2, .keepAll)
    try world.put("k", "v", at: 0)
    try world.beat()
    #expect(told.last.hints == 1 && told.last.hintBytes > 0)
    #expect(told.last.indeterminateWrites == 0 && told.last.unavailableReads == 0)
    world.crash(1, .keepAll)
    #expect(code { try world.put("k", "w", at: 0) } == .indeterminate)
    #expect(code { _ = try world.get("k", at: 0) } != nil)
    try world.beat()
    #expect(told.last.indeterminateWrites == 1 && told.last.unavailableReads == 1)
    try world.restart(1)
    try world.restart(2)
    try world.beat(4)
    #expect(told.last.hints == 0 && told.last.hintsHandedOver >= 1)
    #expect(told.last.treePasses == 0)
    try world.repair(at: 0)
    try world.beat()
    #expect(told.last.treePasses == 1)
    // The last word is said when the node ends.
    try world.put("l", "v", at: 0)
    let writes = told.last.writes
    try world.close(0)
    #expect(told.last.writes == writes + 1)
  }

  @Test func `a lease that the directory has given up is counted`() throws {
    let (world, told) = try world()
    #expect(told.last.failedRenewals == 0)
    // Held up for longer than the lease.
    world.time.advance(byNanoseconds: 60_000_000_000)
    try world[0].beat()
    #expect(told.last.failedRenewals == 1)
    try world.beat()
    #expect(told.last.failedRenewals == 1)
  }
}
