import TestSupport
import Testing

@testable import RoostCluster

/// FORMAT.md's examples of where keys go and of a ring are what is computed and written.
///
/// A changed byte means that the format has changed, and with it the version of rings; a changed hash,
/// that the keys of databases are no longer found.
// Budget: 1 s
@Suite struct RingFormatTests {
  /// Three stores, of which one leaves; the first of its moves is done.
  @Test func `the ring is the one shown`() throws {
    let members = [
      RingMember(id: MemberID(rawValue: 0x1122_3344_5566_7788), name: "nvme", weight: 300, zone: "a"),
      RingMember(id: MemberID(rawValue: 0x2A), name: "ssd", weight: 150, zone: "b"),
      RingMember(id: MemberID(rawValue: 0xFF00_0000_0000_0000), name: "old", weight: 100),
    ]
    let ring = try Ring(partitionCount: 4, replicas: 2, members: members, epoch: 300)
    let plan = try ring.plan(to: Array(members.prefix(2)))
    var current = plan.start
    try current.apply(plan.moves[0])
    try #require(current.leaving.map(\.name) == ["old"])
    let shown = try FormatDocument.example("ring-table")
    #expect(current.encoded() == shown)
    #expect(try Ring(decoding: shown) == current)
  }

  @Test func `keys go where it is shown`() throws {
    let rows = try FormatDocument.text().matches(
      of: /\| `([^`]*)` \| (?:`([^`]*)`|none) \| `([0-9a-f]{16})` \| ([0-9]+) \| ([0-9]+) \|/)
    #expect(rows.count == 6)
    for row in rows {
      let key = Array(row.1.utf8)
      let tag = unsafe Placement.tag(of: key.span.bytes).map { String(decoding: key[$0], as: UTF8.self) }
      #expect(tag == row.2.map(String.init))
      let hash = unsafe Placement.hash(key.span.bytes)
      #expect(MemberID(rawValue: hash).description == row.3, "\(row.1)")
      #expect("\(Placement.partition(ofHash: hash, count: 64))" == row.4, "\(row.1)")
      #expect("\(Placement.partition(ofHash: hash, count: 1000))" == row.5, "\(row.1)")
    }
  }
}
