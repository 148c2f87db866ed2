import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// A transaction's effect is done at one store, with a mark in the same batch. Were it shipped to another
/// replica before the mark is durable, a power loss could leave the effect there and take the mark: then it
/// would be done again.
// Budget: 1 s
@Suite struct Interleaving14ShippedEffectTests {
  @Test func `an effect reaches other stores only once its mark is durable`() throws {
    let world = TransferWorld(seed: 14)
    let core = try world.open([0, 1], replicas: 2) { $0.store.logAccess = .calls }
    let statistics = try core.keyspace("statistics", .eventual)
    let operations = Guarded<[Operation]>([])
    for number in 0..<20 {
      operations.withLock { $0 = [] }
      world.fileSystem.onOperation { operation in operations.withLock { $0.append(operation) } }
      var target: MemberID?
      try "done\(number)".withKeyBytes { key throws(DatabaseError) in
        try statistics.increment(key, by: 1) { member, _ in target = member }
      }
      world.fileSystem.onOperation(nil)
      let marked = try #require(core.presentMembers.first { $0.id == target }).path
      let all = operations.withLock { $0 }
      let shipped = try #require(
        all.firstIndex { $0.kind == .write && !$0.path.string.hasPrefix(marked) }, "it is not shipped")
      let synced = all.firstIndex { $0.kind == .sync && $0.path.string.hasPrefix(marked) }
      #expect(synced.map { $0 < shipped } == true, "\(all)")
      #expect(try statistics.total(text: "done\(number)") == 1)
    }
    try core.close()
  }
}
