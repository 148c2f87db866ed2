import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// A store that goes back to before partitions came to it.
// Budget: 1 s
@Suite struct EarlierTenureTests {
  @Test func `a store says so where it deletes a partition that it owns`() throws {
    let environment = SimulatedEnvironment().environment
    let warnings = Guarded<[String]>([])
    var options = NodeWorld.options
    options.warn = { text in warnings.withLock { $0.append(text) } }
    let first = try FoundingStore("/disk/db", options, environment)
    let (member, database) = (first.member, first.database)
    let ring = try Ring(
      partitionCount: 16, replicas: 2,
      members: [
        RingMember(id: member, name: "here"), RingMember(id: MemberID(rawValue: 99), name: "there"),
      ])
    let known = RingState(ring: ring, places: [member: "/disk/db"])
    try first.complete(database, known, [], isReaped: true).close()
    #expect(warnings.withLock { $0 } == [])
    // All partitions have left meanwhile, and come back.
    var next = known
    next.revision += 1
    next.tenancies = next.tenancies.map { $0 + 1 }
    let again = try FoundingStore("/disk/db", options, environment)
    try again.complete(database, next, [], isReaped: true).close()
    let owned = (0..<16).filter { ring.replica(of: $0, slot: 0) == member }
    #expect(!owned.isEmpty, "or the test shows nothing")
    let told = warnings.withLock { $0 }
    #expect(told.count == owned.count)
    for (text, partition) in zip(told, owned) {
      #expect(text.contains("before partition \(partition) ") && text.contains("/disk/db"))
    }
  }
}
