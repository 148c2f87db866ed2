// What nodes write into their cluster's directory:
//
//   `database`       := version u8 (2, 3, 4) | cluster lengthPrefixed | database high u64 | low u64
//                     | ring state lengthPrefixed | has change u8 | change, where there is one
//                     | has had transactions u8 | count varint | holder u64* (version 2 has no holders: it
//                       is written where there were no transactions; version 4 where a keyspace has fewer
//                       replicas than the database, and with no holders where there were no transactions)
//   change           := number varint | flags u8 (bit 0 forced, bit 1 cancelled) | count varint | dead u64*
//                       (version 1 has none)
//   `schema`         := a schema, as in the system tree: the cluster's keyspaces, without indexes
//   `founder/MEMBER` := version u8 (1) | cluster lengthPrefixed | name lengthPrefixed | zone lengthPrefixed
//                     | weight varint; with a lease
//   `candidate/MEMBER` := as a founder's: a store that asks to be taken in; with a lease
//   `node/NODE`      := version u8 (1) | member u64 | address lengthPrefixed; with a lease
//
// MEMBER and NODE are 16 hexadecimal digits. `database` is made by whichever founder is first, of the
// founders that registered first; whoever changes the ring later writes it anew.

/// The names of a cluster's records in its directory.
enum ClusterRecordName {
  static let database = "database"
  static let schema = "schema"
  static let founders = "founder/"
  static let candidates = "candidate/"
  static let nodes = "node/"

  static func founder(_ member: MemberID) -> String {
    founders + NodeID(rawValue: member.rawValue).description
  }
  static func candidate(_ member: MemberID) -> String {
    candidates + NodeID(rawValue: member.rawValue).description
  }
  static func node(_ node: NodeID) -> String { nodes + node.description }
}

/// What database a cluster has, and who holds it.
struct DatabaseRecord {
  var cluster: String
  var database: DatabaseID
  var ring: RingState
  /// What the ring is on its way to; `nil` where it is there.
  var change: MembershipChange?
  /// Whether the cluster has had transactions: what moves then needs the word of whoever has it.
  var hasTransactions = false
  /// Whether it may have keyspaces with fewer replicas than the database: then no list changes its order.
  var hasFewerReplicas = false
  /// Members that have held a partition since: what they know of transactions is not to be lost.
  var holders: Set<MemberID> = []

  /// Whether who has which place of a list changes by a move only.
  var keepsOrder: Bool { hasTransactions || hasFewerReplicas }

  func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: hasFewerReplicas ? 4 : hasTransactions ? 3 : 2)
    writer.write(text: cluster)
    writer.write(database)
    writer.write(lengthPrefixed: ring.encoded())
    writer.write(byte: change == nil ? 0 : 1)
    change?.write(to: &writer)
    writer.write(byte: hasTransactions ? 1 : 0)
    if hasTransactions || hasFewerReplicas {
      writer.write(count: holders.count)
      for member in holders.sorted() { writer.write(fixed: member.rawValue) }
    }
    return writer.bytes
  }

  init(cluster: String, database: DatabaseID, ring: RingState, change: MembershipChange? = nil) {
    self.cluster = cluster
    self.database = database
    self.ring = ring
    self.change = change
  }

  /// - Throws: `.corruption`, `.newerFormat`.
  init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "the record `database` of the cluster's directory")
    let version = try reader.readVersion(upTo: 4)
    cluster = try reader.readText()
    database = try reader.readDatabase()
    ring = try RingState(decoding: try reader.readLengthPrefixed())
    if version >= 2 {
      if try reader.readFlag() { change = try MembershipChange(from: &reader) }
      hasTransactions = try reader.readFlag()
    }
    hasFewerReplicas = version >= 4
    if version >= 3 {
      for _ in 0..<(try reader.readCount(of: 8)) {
        holders.insert(MemberID(rawValue: try reader.readFixed()))
      }
    } else if hasTransactions {
      holders = Set(ring.ring.members.map(\.id))
    }
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

  /// The member that a founder's or a candidate's record names.
  static func member(ofRecord name: String) throws(DatabaseError) -> MemberID {
    guard let raw = UInt64(name.split(separator: "/").last ?? "", radix: 16) else {
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
