import Testing

@testable import RoostCluster

/// The records of a cluster's directory, as FORMAT.md tells them, byte by byte.
// Budget: 1 s
@Suite struct ClusterRecordTests {
  /// The record `database` as it was before it had changes of the members: two stores, two partitions of one
  /// replica.
  private static let first: [UInt8] = [
    0x01,  // version 1
    0x05, 0x6D, 0x75, 0x73, 0x69, 0x63,  // cluster `music`
    0x01, 0, 0, 0, 0, 0, 0, 0x80, 0x02, 0, 0, 0, 0, 0, 0, 0,  // database
    0x41,  // a ring state of 65 bytes
    0x01, 0x03,  // its version, revision 3
    0x21,  // a ring of 33 bytes
    0x01, 0x02, 0x01, 0x01,  // its version, 2 partitions, 1 replica, epoch 1
    0x02,  // 2 members
    0x01, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x64, 0x01, 0x61, 0x00,  // `a`, stays, weight 100, no zone
    0x02, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x64, 0x01, 0x62, 0x00,  // `b`
    0x00, 0x01,  // partition 0 at `a`, partition 1 at `b`
    0x02,  // 2 places
    0x01, 0, 0, 0, 0, 0, 0, 0, 0x03, 0x61, 0x3A, 0x31,  // `a:1`
    0x02, 0, 0, 0, 0, 0, 0, 0, 0x03, 0x62, 0x3A, 0x32,  // `b:2`
    0x00, 0x00,  // nothing moves, nothing is to be deleted
    0x01, 0x01,  // tenancies
  ]

  private static func check(_ record: DatabaseRecord) {
    #expect(record.cluster == "music")
    #expect(record.database == DatabaseID(high: 0x8000_0000_0000_0001, low: 2))
    #expect(record.ring.revision == 3 && record.ring.ring.members.map(\.name) == ["a", "b"])
    #expect(record.ring.places == [MemberID(rawValue: 1): "a:1", MemberID(rawValue: 2): "b:2"])
    #expect(record.change == nil && !record.hasTransactions)
  }

  @Test func `the record of a database of version 1 is read, and written as version 2`() throws {
    let record = try DatabaseRecord(decoding: Self.first)
    Self.check(record)
    // No change, and no transactions: two bytes more.
    #expect(record.encoded() == [0x02] + Self.first.dropFirst() + [0x00, 0x00])
    Self.check(try DatabaseRecord(decoding: record.encoded()))
  }

  @Test func `that of a cluster with transactions has version 3, and says who has held partitions`() throws {
    var record = try DatabaseRecord(decoding: Self.first)
    record.hasTransactions = true
    record.holders = [MemberID(rawValue: 2), MemberID(rawValue: 1)]
    let bytes: [UInt8] =
      [0x03] + Self.first.dropFirst() + [
        0x00, 0x01,  // no change, transactions
        0x02, 0x01, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0,  // two members
      ]
    #expect(record.encoded() == bytes)
    #expect(try DatabaseRecord(decoding: bytes).holders == record.holders)
    // Of version 2 all members have.
    let old: [UInt8] = [0x02] + Self.first.dropFirst() + [0x00, 0x01]
    #expect(try DatabaseRecord(decoding: old).holders == record.holders)
  }

  @Test func `that of a cluster whose lists keep their order has version 4`() throws {
    var record = try DatabaseRecord(decoding: Self.first)
    record.hasFewerReplicas = true
    // No change, no transactions, nobody who has held a partition since.
    let bytes: [UInt8] = [0x04] + Self.first.dropFirst() + [0x00, 0x00, 0x00]
    #expect(record.encoded() == bytes && record.keepsOrder)
    let found = try DatabaseRecord(decoding: bytes)
    Self.check(found)
    #expect(found.hasFewerReplicas && found.holders.isEmpty)
    record.hasTransactions = true
    record.holders = [MemberID(rawValue: 2)]
    let both = try DatabaseRecord(decoding: record.encoded())
    #expect(both.hasFewerReplicas && both.hasTransactions && both.holders == record.holders)
  }

  @Test func `cut off or too long it is refused`() {
    for count in Self.first.indices {
      #expect(code { _ = try DatabaseRecord(decoding: Array(Self.first[..<count])) } == .corruption)
    }
    #expect(code { _ = try DatabaseRecord(decoding: Self.first + [0]) } == .corruption)
    #expect(code { _ = try DatabaseRecord(decoding: [5] + Self.first.dropFirst()) } == .newerFormat)
  }
}
