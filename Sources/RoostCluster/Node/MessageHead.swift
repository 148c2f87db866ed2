// What every message between replicas begins with, behind its version:
//
//   head := database high u64 | low u64 | revision varint | print u64 | keyspace id varint
//
// Revision and print tell by which ring the sender goes, and by which list of the partition that the message
// is about, or lists, where it is about several: see `RingView`. A message of another list is refused.

/// Of which database, by which lists and about which keyspace a message between replicas is. A plain value.
struct MessageHead: Hashable, Sendable {
  var database: DatabaseID
  /// By which list of its partition, or which lists, the sender goes.
  var ring: RingPrint
  /// The keyspace's number in the schema.
  var keyspace: UInt64

  init(database: DatabaseID, ring: RingPrint, keyspace: UInt64) {
    self.database = database
    self.ring = ring
    self.keyspace = keyspace
  }

  init(_ keyspace: KeyspaceCore, _ ring: RingPrint) {
    self.init(database: keyspace.shared.id, ring: ring, keyspace: keyspace.schemaID)
  }
}

extension FieldWriter {
  mutating func write(_ head: MessageHead) {
    write(head.database)
    head.ring.write(to: &self)
    write(varint: head.keyspace)
  }
}

extension FieldReader {
  mutating func readHead() throws(DatabaseError) -> MessageHead {
    MessageHead(
      database: try readDatabase(), ring: try RingPrint(from: &self), keyspace: try readOrdinal())
  }
}
