package import RoostCausality
package import RoostCluster

// What nodes send each other about transactions. A header begins each:
//
//   header   := version u8 (1) | database high u64 | low u64 | member u64 (the sender's)
//             | clock bound varint (milliseconds) | timestamp u64 | physical clock varint (milliseconds since
//             1970)
//   envelope := header | from | to | transaction start u64 | coordinator u64 | body
//   endpoint := 1 u8 | coordinator u64 · 2 u8 | member u64
//   read     := header | to member u64 | at u64 | read
//   question := header | transaction start u64 | coordinator u64
//   standing := version u8 (1) | coordinator | record | settled u8 (0, 1)
//   coordinator := 0 u8, not here | 1 u8, not decided | 2 u8 | committed u64 | 3 u8, aborted
//             | 4 u8, no record, and so never to commit by it | 5 u8, no record | 6 u8, too old
//   record   := 0 u8, none | 1 u8 | committed u64 | 2 u8, aborted
//
// A read is answered with the answer of a read, as messages have it, or with a refusal; a question with a
// standing.
//
//   refusal  := 4 u8 | clock u64 | text lengthPrefixed

/// What begins each message about transactions: whose it is, and the sender's clock.
package struct RemoteHeader: Hashable, Sendable {
  static let version: UInt8 = 1

  package var database: DatabaseID
  /// The member whose node sends it.
  package var member: MemberID
  /// The sender's ``ProtocolTimes/clockBoundMilliseconds``: all nodes must go by one.
  package var clockBoundMilliseconds: UInt64
  package var timestamp: Timestamp
  package var physicalMilliseconds: UInt64

  package init(
    database: DatabaseID, member: MemberID, clockBoundMilliseconds: UInt64, timestamp: Timestamp,
    physicalMilliseconds: UInt64
  ) {
    self.database = database
    self.member = member
    self.clockBoundMilliseconds = clockBoundMilliseconds
    self.timestamp = timestamp
    self.physicalMilliseconds = physicalMilliseconds
  }

  func write(to writer: inout FieldWriter) {
    writer.write(byte: Self.version)
    writer.write(database)
    writer.write(fixed: member.rawValue)
    writer.write(varint: clockBoundMilliseconds)
    writer.write(fixed: timestamp.rawValue)
    writer.write(varint: physicalMilliseconds)
  }

  init(from reader: inout FieldReader) throws(DatabaseError) {
    _ = try reader.readVersion(upTo: Self.version)
    database = try reader.readDatabase()
    member = MemberID(rawValue: try reader.readFixed())
    clockBoundMilliseconds = try reader.readVarint()
    timestamp = try reader.readTimestamp()
    physicalMilliseconds = try reader.readVarint()
  }
}

/// A message of a coordinator or participant to one on another node.
package struct RemoteEnvelope: Hashable, Sendable {
  package var header: RemoteHeader
  /// With the header's clock.
  package var envelope: Envelope

  package init(
    _ envelope: Envelope, database: DatabaseID, member: MemberID, clockBoundMilliseconds: UInt64
  ) {
    header = RemoteHeader(
      database: database, member: member, clockBoundMilliseconds: clockBoundMilliseconds,
      timestamp: envelope.timestamp, physicalMilliseconds: envelope.physicalMilliseconds)
    self.envelope = envelope
  }

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    header.write(to: &writer)
    writer.write(envelope.from)
    writer.write(envelope.to)
    writer.write(envelope.message.transaction)
    envelope.message.body.write(to: &writer)
    return writer.bytes
  }

  /// - Throws: `.invalidArgument`, `.newerFormat`.
  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "a transaction's message", .invalidArgument)
    header = try RemoteHeader(from: &reader)
    let from = try reader.readEndpoint()
    let to = try reader.readEndpoint()
    let transaction = try reader.readTransactionID()
    let body = try Message.Body(from: &reader)
    try reader.readEnd()
    envelope = Envelope(
      from: from, to: to, timestamp: header.timestamp, physicalMilliseconds: header.physicalMilliseconds,
      Message(transaction, body))
  }
}

/// Asks a member's node for keys as of a time.
package struct RemoteRead: Hashable, Sendable {
  package var header: RemoteHeader
  package var member: MemberID
  package var time: Timestamp
  package var read: TransactionRead

  package init(_ header: RemoteHeader, of member: MemberID, at time: Timestamp, _ read: TransactionRead) {
    self.header = header
    self.member = member
    self.time = time
    self.read = read
  }

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    header.write(to: &writer)
    writer.write(fixed: member.rawValue)
    writer.write(fixed: time.rawValue)
    writer.write(read: read)
    return writer.bytes
  }

  /// - Throws: `.invalidArgument`, `.newerFormat`.
  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "a read of a transactional keyspace", .invalidArgument)
    header = try RemoteHeader(from: &reader)
    member = MemberID(rawValue: try reader.readFixed())
    time = try reader.readTimestamp()
    guard let read = try reader.readRead() else { throw reader.damaged("it reads nothing") }
    self.read = read
    try reader.readEnd()
  }

}

/// What a read as of a time is answered with.
package enum RemoteReadAnswer: Hashable, Sendable {
  case found(ReadAnswer)
  /// The node keeps no versions of that time any more. Reads above its clock, which it tells, it answers.
  case tooOld(clock: Timestamp, String)

  /// In place of the flags that begin what was found.
  private static let refusal: UInt8 = 4

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    switch self {
    case .found(let answer): answer.write(to: &writer)
    case .tooOld(let clock, let text):
      writer.write(byte: Self.refusal)
      writer.write(fixed: clock.rawValue)
      writer.write(text: text)
    }
    return writer.bytes
  }

  /// - Throws: `.corruption`.
  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "the answer of a read")
    if bytes.first == Self.refusal {
      _ = try reader.readByte()
      let clock = try reader.readTimestamp()
      self = .tooOld(clock: clock, try reader.readText())
    } else {
      self = .found(try ReadAnswer(from: &reader))
    }
    try reader.readEnd()
  }
}

/// Asks a node what it knows of a transaction.
package struct OutcomeQuestion: Hashable, Sendable {
  package var header: RemoteHeader
  package var transaction: TransactionID

  package init(_ header: RemoteHeader, _ transaction: TransactionID) {
    self.header = header
    self.transaction = transaction
  }

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    header.write(to: &writer)
    writer.write(transaction)
    return writer.bytes
  }

  /// - Throws: `.invalidArgument`, `.newerFormat`.
  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "a question about a transaction", .invalidArgument)
    header = try RemoteHeader(from: &reader)
    transaction = try reader.readTransactionID()
    try reader.readEnd()
  }
}

extension FieldWriter {
  fileprivate mutating func write(_ endpoint: Endpoint) {
    switch endpoint {
    case .coordinator(let id):
      write(byte: 1)
      write(fixed: id.rawValue)
    case .participant(let member):
      write(byte: 2)
      write(fixed: member.rawValue)
    }
  }
}

extension FieldReader {
  fileprivate mutating func readEndpoint() throws(DatabaseError) -> Endpoint {
    switch try readByte() {
    case 1: .coordinator(CoordinatorID(rawValue: try readFixed()))
    case 2: .participant(MemberID(rawValue: try readFixed()))
    case let other: throw damaged("an endpoint of kind \(other)")
    }
  }
}
