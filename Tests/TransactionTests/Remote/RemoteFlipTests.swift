import RoostCausality
import TestSupport
import Testing

@testable import RoostCluster
@testable import RoostTransactions

/// Moves whose last step the directory was asked for and did not answer.
// Budget: 5 s
@Suite struct RemoteFlipTests {
  /// Whether a change of the directory lets a move's receiver take the place.
  static func flips(_ move: PartitionMove, _ name: String, _ value: [UInt8]?) -> Bool {
    guard name == ClusterRecordName.database, let value, let record = try? DatabaseRecord(decoding: value)
    else { return false }
    return record.ring.ring.replica(of: move.partition, slot: move.slot) == move.to
  }

  @Test(arguments: [false, true])
  func `a flip that is on its way while its move is begun anew comes too late`(restarts: Bool) throws {
    let (world, names, new, owner, move) = try RemoteMoveTests.joining(before: .flip, seed: 5)
    world.directory.fate = { name, value in Self.flips(move, name, value) ? .late : .told }
    try world.subvert { $0.stopsBefore = [] }
    try world.settle { world.directory.lateCount > 0 }
    world.directory.fate = { _, _ in .told }
    // The next attempt deletes what this one has brought, and goes on to there.
    try world.subvert { $0.stopsBefore = [.freeze] }
    if restarts {
      world.kill(new)
      try world.restart(new)
    }
    world.pass(seconds: 20)
    #expect(try world.node(owner).handovers.partitions == [move.partition], "it gave it up, and waits")
    #expect(try !world.directory.deliver(), "the directory took it")
    #expect(try world.database().ring.copies.contains(move))
    try world.subvert { $0.stopsBefore = [] }
    try world.settleMembers()
    try RemoteMoveTests.check(world, names, "old")
  }

  @Test func `a flip that was made and not heard of counts`() throws {
    let (world, names, new, _, move) = try RemoteMoveTests.joining(before: .flip, seed: 6)
    var hasFlipped = false
    world.directory.fate = { name, value in
      guard !hasFlipped, Self.flips(move, name, value) else { return .told }
      hasFlipped = true
      return .unheard
    }
    try world.subvert { $0.stopsBefore = [] }
    try world.settleMembers()
    #expect(hasFlipped)
    let name = try #require(names.first { world.partition($0) == move.partition })
    #expect(try world.owner(name) == new)
    let moved = try names.count { try world.owner($0) == new }
    #expect(try world.node(new).figures.movesDone == UInt64(moved), "this one among them")
    try RemoteMoveTests.check(world, names, "old")
  }
}
