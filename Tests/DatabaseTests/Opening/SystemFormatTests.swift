import Roost
import TestSupport
import Testing

@testable import RoostCluster

/// FORMAT.md's examples of the system tree's records and of indexes are what is written, and read.
// Budget: 1 s
@Suite struct SystemFormatTests {
  private static let member = MemberID(rawValue: 0x1122_3344_5566_7788)

  @Test func `the identity record`() throws {
    let bytes = try FormatDocument.example("identity")
    let identity = IdentityRecord(
      database: DatabaseID(high: 0x0F0E_0D0C_0B0A_0908, low: 0x0706_0504_0302_0100),
      member: Self.member, isComplete: true, replica: ReplicaID(rawValue: 0x00A1_0000_0000_0001),
      closed: IdentityRecord.CleanClose(
        counter: 300, device: 2_049, inode: 131, changeNanoseconds: 1_700_000_000_000_000_000))
    #expect(identity.encoded() == bytes)
    #expect(try IdentityRecord(decoding: bytes) == identity)
  }

  @Test func `the clock record`() throws {
    let bytes = try FormatDocument.example("clock")
    let bound = Timestamp(milliseconds: 1_700_000_004_000)
    #expect(ClockRecord.encode(bound) == bytes)
    #expect(try ClockRecord.decode(bytes) == bound)
  }

  @Test func `the ring record`() throws {
    let bytes = try FormatDocument.example("ring")
    let ring = try Ring(
      partitionCount: 2, replicas: 1,
      members: [RingMember(id: Self.member, name: "disk1", weight: 100, zone: "")])
    let state = RingState(ring: ring, places: [Self.member: "/disk1/db"])
    #expect(state.encoded() == bytes)
    #expect(try RingState(decoding: bytes) == state)
  }

  @Test func `the handover record`() throws {
    let bytes = try FormatDocument.example("handover")
    let record = HandoverRecord(
      partition: 300, member: Self.member, highest: Timestamp(milliseconds: 1_700_000_004_000))
    #expect(record.encoded() == bytes)
    #expect(try HandoverRecord(decoding: bytes) == record)
    for count in bytes.indices {
      #expect(throws: DatabaseError.self) { try HandoverRecord(decoding: Array(bytes.prefix(count))) }
    }
    #expect(throws: DatabaseError.self) { try HandoverRecord(decoding: bytes + [0]) }
  }

  @Test func `the schema record`() throws {
    let bytes = try FormatDocument.example("schema")
    var schema = Schema()
    schema.revision = 2
    let index = Schema.Index(name: "author", extractorVersion: 1, generation: 2, state: .current)
    schema.keyspaces = [
      Schema.Keyspace(id: 1, name: "posts", kind: .keep, replicas: 1, indexes: [index])
    ]
    #expect(schema.encoded() == bytes)
    #expect(try Schema(decoding: bytes) == schema)
  }

  @Test func `a schema with a transactional keyspace`() throws {
    let bytes = try FormatDocument.example("schema-transactional")
    var schema = Schema()
    schema.revision = 3
    schema.keyspaces = [
      Schema.Keyspace(id: 1, name: "accounts", kind: .transactional, replicas: 1, indexes: [])
    ]
    #expect(schema.encoded() == bytes)
    #expect(try Schema(decoding: bytes) == schema)
    // The version is that of the keyspaces, so that each schema has one encoding.
    for (index, value) in [(0, 1), (13, 1), (14, 2), (15, 1)] as [(Int, UInt8)] {
      var damaged = bytes
      damaged[index] = value
      #expect(throws: DatabaseError.self) { try Schema(decoding: damaged) }
    }
  }

  @Test func `a schema with a keyspace's quorums`() throws {
    let bytes = try FormatDocument.example("schema-quorums")
    var schema = Schema()
    schema.revision = 2
    schema.keyspaces = [
      Schema.Keyspace(
        id: 1, name: "carts", kind: .keep, replicas: 3, indexes: [],
        quorums: KeyspaceQuorums(read: 1, write: 3))
    ]
    #expect(schema.encoded() == bytes)
    #expect(try Schema(decoding: bytes) == schema)
    // Of version 2, transactional, on two replicas, and with a quorum of four: none is one.
    for (index, value) in [(0, 2), (10, 4), (11, 2), (12, 4)] as [(Int, UInt8)] {
      var damaged = bytes
      damaged[index] = value
      #expect(throws: DatabaseError.self) { try Schema(decoding: damaged) }
    }
    // A majority on both sides is not said: such a schema is one of version 1.
    #expect(throws: DatabaseError.self) { try Schema(decoding: Array(bytes[..<12]) + [0, 0, 0]) }
    schema.keyspaces[0].quorums.write = nil
    #expect(try Schema(decoding: schema.encoded()) == schema)
    schema.keyspaces[0].quorums.read = nil
    #expect(schema.encoded()[0] == 1)
    #expect(try Schema(decoding: schema.encoded()) == schema)
  }

  @Test func `a schema with a keyspace on fewer stores than the database's others`() throws {
    let bytes = try FormatDocument.example("schema-fewer-replicas")
    var schema = Schema()
    schema.revision = 2
    schema.keyspaces = [
      Schema.Keyspace(
        id: 1, name: "carts", kind: .keep, replicas: 2, indexes: [], hasFewerReplicas: true)
    ]
    #expect(schema.encoded() == bytes && schema.keepsOrder)
    #expect(try Schema(decoding: bytes) == schema)
    // Of version 3, transactional, of none, with as many as the database, and with a quorum of three.
    for (index, value) in [(0, 3), (10, 4), (11, 0), (12, 0), (12, 2), (13, 3)] as [(Int, UInt8)] {
      var damaged = bytes
      damaged[index] = value
      #expect(throws: DatabaseError.self) { try Schema(decoding: damaged) }
    }
    // What is beside it says so too.
    schema.keyspaces.append(
      Schema.Keyspace(id: 2, name: "posts", kind: .lastWriterWins, replicas: 3, indexes: []))
    #expect(try Schema(decoding: schema.encoded()) == schema)
    schema.keyspaces[0].hasFewerReplicas = false
    #expect(schema.encoded()[0] == 1 && !schema.keepsOrder)
  }

  @Test func `an index's entry and its build record`() throws {
    let term: [UInt8] = [0x61, 0, 0x62]
    let entry = try FormatDocument.example("index-entry")
    #expect(IndexKey.make(3, term, Array("p:1".utf8)) == entry)
    let split = try #require(IndexKey.split(Array(entry.dropFirst(2))))
    #expect(split.term == term && split.key == Array("p:1".utf8))
    let build = try FormatDocument.example("index-build")
    let record = BuildRecord(isDone: false, position: StoredKey.make(3, Array("p:9".utf8)))
    #expect(record.encoded() == build)
    #expect(try BuildRecord(decoding: build) == record)
  }
}
