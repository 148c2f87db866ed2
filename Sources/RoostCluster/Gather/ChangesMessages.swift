// What clients ask of a node about a keyspace's changes:
//
//   request := version u8 (1) | keyspace lengthPrefixed | limit varint
//            | change token lengthPrefixed (empty: from the beginning)
//   answer  := version u8 (1) | policy u8 (as in the schema) | is end u8 | change token lengthPrefixed
//            | count varint | event*
//   event   := 0 u8 | partition varint, which begins again
//            | 1 u8 | key lengthPrefixed | record lengthPrefixed

/// Asks any node for one page of a keyspace's changes, over all partitions. A plain value.
package struct ChangesRequest: Sendable, Equatable {
  package var keyspace: String
  /// Most changes, at least 1.
  package var limit: Int
  /// After which to go on; from the beginning where `nil`.
  package var token: ChangeToken?

  package init(in keyspace: String, limit: Int, since token: ChangeToken? = nil) {
    self.keyspace = keyspace
    self.limit = limit
    self.token = token
  }

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: 1)
    writer.write(text: keyspace)
    writer.write(count: max(limit, 0))
    writer.write(lengthPrefixed: token?.bytes ?? [])
    return writer.bytes
  }

  /// - Throws: `.invalidArgument`, `.newerFormat`, and what a change token is refused with.
  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "a request for changes", .invalidArgument)
    _ = try reader.readVersion(upTo: 1)
    keyspace = try reader.readText()
    limit = Int(try reader.readOrdinal())
    let bytes = try reader.readLengthPrefixed()
    token = bytes.isEmpty ? nil : try ChangeToken(bytes: bytes)
    try reader.readEnd()
  }
}

/// One page of a keyspace's changes. A plain value.
package struct ChangesAnswer: Sendable {
  /// Of the keyspace: says which of several values counts.
  package var policy: KeyspacePolicy.Kind
  package var events: [FeedChange.Event]
  package var isAtEnd: Bool
  /// Resumes after the page.
  package var token: ChangeToken

  package init(policy: KeyspacePolicy.Kind, _ page: ChangePage) {
    self.policy = policy
    events = page.changes.map(\.event)
    isAtEnd = page.isAtEnd
    token = page.token
  }

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: 1)
    writer.write(byte: policy.rawValue)
    writer.write(byte: isAtEnd ? 1 : 0)
    writer.write(lengthPrefixed: token.bytes)
    writer.write(count: events.count)
    for event in events {
      switch event {
      case .resync(let partition):
        writer.write(byte: 0)
        writer.write(count: partition)
      case .changed(let key, let record):
        writer.write(byte: 1)
        writer.write(lengthPrefixed: key)
        writer.write(lengthPrefixed: ReplicaMessage.bytes(of: record))
      }
    }
    return writer.bytes
  }

  /// - Throws: `.corruption`, `.newerFormat`, and what a change token is refused with.
  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "a page of changes")
    _ = try reader.readVersion(upTo: 1)
    policy = try reader.readPolicy()
    isAtEnd = try reader.readFlag()
    token = try ChangeToken(bytes: try reader.readLengthPrefixed())
    events = []
    for _ in 0..<(try reader.readCount(of: 2)) {
      switch try reader.readByte() {
      case 0: events.append(.resync(partition: Int(try reader.readOrdinal())))
      case 1:
        let key = try reader.readLengthPrefixed()
        guard let record = try ReplicaMessage.record(try reader.readLengthPrefixed()) else {
          throw reader.damaged("a change without a record")
        }
        events.append(.changed(key: key, record))
      case let other: throw reader.damaged("an event of kind \(other)")
      }
    }
    try reader.readEnd()
  }
}
