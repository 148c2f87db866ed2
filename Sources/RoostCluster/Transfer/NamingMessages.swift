// What nodes ask each other before a member gives away what unfinished transactions may name it for, and what
// one that leaves gives to another (`NamingQuestions`, `TransactionLeave`):
//
//   naming   := version u8 (1) | database high u64 | low u64 | revision varint | member u64
//             | has partition u8 | partition varint, where it has one
//   answer   := unfinished varint
//
//   bequest  := version u8 (1) | database high u64 | low u64 | member u64 | count varint
//             | (key lengthPrefixed, value lengthPrefixed)* | count varint | coordinator u64*
//   answer   := nothing

/// Asks a node whether an unfinished transaction that it coordinates names a member: for an effect on a
/// partition, or at all. A plain value.
struct NamingRequest: Equatable, Sendable {
  var database: DatabaseID
  /// The node goes by this ring, or a later one, before it answers.
  var revision: UInt64
  var member: MemberID
  /// `nil` for anything that it may be named for.
  var partition: Int?

  func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: 1)
    writer.write(database)
    writer.write(varint: revision)
    writer.write(fixed: member.rawValue)
    writer.write(byte: partition == nil ? 0 : 1)
    if let partition { writer.write(count: partition) }
    return writer.bytes
  }

  init(database: DatabaseID, revision: UInt64, _ member: MemberID, partition: Int?) {
    self.database = database
    self.revision = revision
    self.member = member
    self.partition = partition
  }

  /// - Throws: `.invalidArgument`, `.newerFormat`.
  init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "a question about unfinished transactions", .invalidArgument)
    _ = try reader.readVersion(upTo: 1)
    database = try reader.readDatabase()
    revision = try reader.readOrdinal()
    member = MemberID(rawValue: try reader.readFixed())
    partition = try reader.readFlag() ? try reader.readPartition() : nil
    try reader.readEnd()
  }

  static func encode(unfinished count: Int) -> [UInt8] {
    var writer = FieldWriter()
    writer.write(count: count)
    return writer.bytes
  }

  /// - Throws: `.corruption`.
  static func unfinished(_ bytes: [UInt8]) throws(DatabaseError) -> UInt64 {
    var reader = FieldReader(bytes, "a number of unfinished transactions")
    let count = try reader.readOrdinal()
    try reader.readEnd()
    return count
  }
}

/// What a member that leaves has on record of transactions, for another one to keep. A plain value.
package struct TransactionBequest: Equatable, Sendable {
  package struct Record: Equatable, Sendable {
    package var key: [UInt8]
    package var value: [UInt8]

    package init(key: [UInt8], value: [UInt8]) {
      self.key = key
      self.value = value
    }
  }

  /// As the tree `transactions` has them.
  package var records: [Record] = []
  /// Coordinators that are over: of what they began all that committed is on record.
  package var ended: [UInt64] = []

  package init() {}

  func encoded(of member: MemberID, _ database: DatabaseID) -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: 1)
    writer.write(database)
    writer.write(fixed: member.rawValue)
    writer.write(count: records.count)
    for record in records {
      writer.write(lengthPrefixed: record.key)
      writer.write(lengthPrefixed: record.value)
    }
    writer.write(count: ended.count)
    for id in ended { writer.write(fixed: id) }
    return writer.bytes
  }

  /// - Throws: `.invalidArgument`, `.newerFormat`.
  static func decode(
    _ bytes: [UInt8]
  ) throws(DatabaseError) -> (bequest: Self, member: MemberID, database: DatabaseID) {
    var reader = FieldReader(bytes, "records of transactions", .invalidArgument)
    _ = try reader.readVersion(upTo: 1)
    let database = try reader.readDatabase()
    let member = MemberID(rawValue: try reader.readFixed())
    var bequest = Self()
    for _ in 0..<(try reader.readCount(of: 2)) {
      let key = try reader.readLengthPrefixed()
      bequest.records.append(Record(key: key, value: try reader.readLengthPrefixed()))
    }
    for _ in 0..<(try reader.readCount(of: 8)) { bequest.ended.append(try reader.readFixed()) }
    try reader.readEnd()
    return (bequest, member, database)
  }
}
