// What nodes write into their cluster's directory:
//
//   `database`       := version u8 (1) | cluster lengthPrefixed | database high u64 | low u64
//                     | ring state lengthPrefixed
//   `schema`         := a schema, as in the system tree: the cluster's keyspaces, without indexes
//   `founder/MEMBER` := version u8 (1) | cluster lengthPrefixed | name lengthPrefixed | zone lengthPrefixed
//                     | weight varint; with a lease
//   `node/NODE`      := version u8 (1) | member u64 | address lengthPrefixed; with a lease
//
// MEMBER and NODE are 16 hexadecimal digits. `database` is written once, by whichever founder is first; the
// ring is of the founders that registered first.

/// The names of a cluster's records in its directory.
enum ClusterRecordName {
  static let database = "database"
  static let schema = "schema"
  static let founders = "founder/"
  static let nodes = "node/"

  static func founder(_ member: MemberID) -> String {
    founders + NodeID(rawValue: member.rawValue).description
  }
  static func node(_ node: NodeID) -> String { nodes + node.description }
}

/// What database a cluster has, and who holds it.
struct DatabaseRecord {
  var cluster: String
  var database: DatabaseID
  var ring: RingState

  func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: 1)
    writer.write(text: cluster)
    writer.write(fixed: database.high)
    writer.write(fixed: database.low)
    writer.write(lengthPrefixed: ring.encoded())
    return writer.bytes
  }

  init(cluster: String, database: DatabaseID, ring: RingState) {
    self.cluster = cluster
    self.database = database
    self.ring = ring
  }

  /// - Throws: `.corruption`, `.newerFormat`.
  init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "the record `database` of the cluster's directory")
    _ = try reader.readVersion(upTo: 1)
    cluster = try reader.readText()
    database = DatabaseID(high: try reader.readFixed(), low: try reader.readFixed())
    ring = try RingState(decoding: try reader.readLengthPrefixed())
    try reader.readEnd()
  }
}

/// A store that a cluster may be founded with.
struct FounderRecord {
  var cluster: String
  var name: String
  var zone: String
  var weight: Int

  func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: 1)
    writer.write(text: cluster)
    writer.write(text: name)
    writer.write(text: zone)
    writer.write(count: weight)
    return writer.bytes
  }

  init(cluster: String, name: String, zone: String, weight: Int) {
    self.cluster = cluster
    self.name = name
    self.zone = zone
    self.weight = weight
  }

  /// - Throws: `.corruption`, `.newerFormat`.
  init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "a founder's record in the cluster's directory")
    _ = try reader.readVersion(upTo: 1)
    cluster = try reader.readText()
    name = try reader.readText()
    zone = try reader.readText()
    let raw = try reader.readVarint()
    guard (1...1_000).contains(raw) else { throw reader.damaged("a weight of \(raw)") }
    weight = Int(raw)
    try reader.readEnd()
  }

  /// The member that a founder's record names.
  static func member(ofRecord name: String) throws(DatabaseError) -> MemberID {
    guard let raw = UInt64(name.dropFirst(ClusterRecordName.founders.count), radix: 16) else {
      throw DatabaseError(.corruption, "the cluster's directory has a founder `\(name.prefix(40))`")
    }
    return MemberID(rawValue: raw)
  }
}

/// Where a node is, and which store it has.
struct NodeRecord {
  var member: MemberID
  var address: NodeAddress

  func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: 1)
    writer.write(fixed: member.rawValue)
    writer.write(text: address.description)
    return writer.bytes
  }

  init(member: MemberID, address: NodeAddress) {
    self.member = member
    self.address = address
  }

  /// - Throws: `.corruption`, `.newerFormat`.
  init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "a node's record in the cluster's directory")
    _ = try reader.readVersion(upTo: 1)
    member = MemberID(rawValue: try reader.readFixed())
    let text = try reader.readText()
    try reader.readEnd()
    do throws(TransportError) { address = try NodeAddress(text) } catch {
      throw reader.damaged(error.message)
    }
  }
}
