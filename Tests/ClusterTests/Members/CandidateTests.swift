import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// Who asks to join, as an operator is told, and the wait until a change is over.
// Budget: 5 s
@Suite struct CandidateTests {
  private static let candidates = [
    ClusterCandidate(id: MemberID(rawValue: 7), name: "10.0.0.4:7420", zone: "r1", weight: 200),
    ClusterCandidate(id: MemberID(rawValue: .max), name: "", zone: "", weight: 1),
  ]

  /// The bytes are for good.
  @Test func `a list has the bytes that the format says, and comes back as it went`() throws {
    let first = Array(Self.candidates.prefix(1))
    #expect(ClusterCandidate.encode(first) == (try FormatDocument.example("candidates")))
    #expect(NodeMessageKind.candidates == 17)
    for list in [[], first, Self.candidates] {
      #expect(try ClusterCandidate.decode(ClusterCandidate.encode(list)) == list)
    }
  }

  @Test func `cut off or changed, a list is refused or is another`() throws {
    let body = ClusterCandidate.encode(Self.candidates)
    for count in body.indices {
      #expect(code { _ = try ClusterCandidate.decode(Array(body[..<count])) } == .corruption)
    }
    #expect(code { _ = try ClusterCandidate.decode(body + [0]) } == .corruption)
    #expect(code { _ = try ClusterCandidate.decode([2] + body.dropFirst()) } == .newerFormat)
    for bit in 0..<(8 * body.count) {
      var changed = body
      changed[bit / 8] ^= 1 << UInt8(bit % 8)
      _ = try? ClusterCandidate.decode(changed)
    }
  }

  @Test func `a node that waits says once that it asks to join, and is listed while it does`() throws {
    let world = try NodeWorld(3)
    let index = world.addHost()
    let founding = try world.founding(index, joins: true)
    let asked = Guarded(0)
    founding.asksToJoin = { asked.withLock { $0 += 1 } }
    #expect(try world[0].askingToJoin().isEmpty)
    let deadline = world.time.monotonicNanoseconds + 30_000_000_000
    try founding.askToJoin()
    let found = try world[1].askingToJoin()
    #expect(found.map(\.id) == [founding.member])
    #expect(found.first?.weight == 100)
    // Over many terms of its lease.
    #expect(code { _ = try founding.finish(until: deadline) } == .deadlineExceeded)
    #expect(asked.withLock { $0 } == 1)
    #expect(try world[0].askingToJoin().isEmpty)
  }

  @Test func `waiting for a change ends with it, or says what is left`() throws {
    let world = try NodeWorld(3, replicas: 2)
    try world.make()
    try world[0].waitUntilSettled(.zero)
    world.subvert { $0.stopsBefore = [.flip] }
    let new = try world.join()
    try world.beat(3)
    do throws(DatabaseError) {
      try world[0].waitUntilSettled(.zero)
      Issue.record("8 partitions have yet to move")
    } catch {
      #expect(error.code == .deadlineExceeded && error.message.contains("8 moves"), "\(error)")
    }
    world.subvert { $0.stopsBefore = [] }
    try world.settle()
    try world.beat()
    for index in world.running { try world[index].waitUntilSettled(.zero) }
    let node = world[new]
    try world.close(new)
    #expect(code { try node.waitUntilSettled(.seconds(1)) } == .closed)
  }
}
