package import RoostCausality

// What clients ask of a node about a range of keys:
//
//   request := version u8 (1) | keyspace lengthPrefixed | order u8 (0 ascending, 1 descending)
//            | bound (lower) | bound (upper) | prefix lengthPrefixed | bound (tag) | limit varint
//            | quorum varint (0: the keyspace's) | scan token lengthPrefixed (empty: from the beginning)
//   answer  := version u8 (1) | policy u8 (as in the schema) | scan token lengthPrefixed (empty at the end)
//            | count varint | (key lengthPrefixed | record lengthPrefixed)*

/// Asks any node for one page of a keyspace's keys, over all partitions. A plain value.
package struct ScanRequest: Sendable, Equatable {
  package var keyspace: String
  package var range: ScanRange
  package var order: ScanOrder
  /// Most entries, at least 1; no page has more than ``largestLimit``.
  package var limit: Int
  /// How many replicas of each partition must have answered; `nil` for what the keyspace goes by.
  package var quorum: Int?
  /// Where an earlier page of the same range and order ended.
  package var token: ScanToken?

  package static let largestLimit = 4_096

  package init(
    _ range: ScanRange = .all, _ order: ScanOrder = .ascending, in keyspace: String, limit: Int,
    after token: ScanToken? = nil
  ) {
    self.keyspace = keyspace
    self.range = range
    self.order = order
    self.limit = limit
    self.token = token
  }

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: 1)
    writer.write(text: keyspace)
    writer.write(byte: order.rawValue)
    writer.write(bound: range.lower)
    writer.write(bound: range.upper)
    writer.write(lengthPrefixed: range.prefix)
    writer.write(bound: range.tag)
    writer.write(count: max(limit, 0))
    writer.write(count: quorum ?? 0)
    writer.write(lengthPrefixed: token?.bytes ?? [])
    return writer.bytes
  }

  /// - Throws: `.invalidArgument`, `.newerFormat`, and what a scan token is refused with.
  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "a request for a scan", .invalidArgument)
    _ = try reader.readVersion(upTo: 1)
    keyspace = try reader.readText()
    order = try reader.readOrder()
    range = ScanRange()
    range.lower = try reader.readBound()
    range.upper = try reader.readBound()
    range.prefix = try reader.readLengthPrefixed()
    range.tag = try reader.readBound()
    limit = Int(try reader.readOrdinal())
    let size = try reader.readOrdinal()
    guard size <= 1_000 else { throw reader.damaged("a quorum of \(size)") }
    quorum = size == 0 ? nil : Int(size)
    let bytes = try reader.readLengthPrefixed()
    token = bytes.isEmpty ? nil : try ScanToken(bytes: bytes)
    try reader.readEnd()
  }
}

/// One page of a keyspace's keys as a quorum of each partition's replicas holds them. A plain value.
package struct ScanAnswer: Sendable, Equatable {
  package struct Entry: Sendable, Equatable {
    package var key: [UInt8]
    /// Without what has expired; never a tombstone.
    package var record: Record

    package init(key: [UInt8], record: Record) {
      self.key = key
      self.record = record
    }
  }

  /// Of the keyspace: says which of several values counts.
  package var policy: KeyspacePolicy.Kind
  /// In the order that was asked for.
  package var entries: [Entry]
  /// Where to go on; `nil` at the end. A page without entries may have one.
  package var token: ScanToken?

  package init(policy: KeyspacePolicy.Kind, entries: [Entry] = [], token: ScanToken? = nil) {
    self.policy = policy
    self.entries = entries
    self.token = token
  }

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: 1)
    writer.write(byte: policy.rawValue)
    writer.write(lengthPrefixed: token?.bytes ?? [])
    writer.write(count: entries.count)
    for entry in entries {
      writer.write(lengthPrefixed: entry.key)
      writer.write(lengthPrefixed: ReplicaMessage.bytes(of: entry.record))
    }
    return writer.bytes
  }

  /// - Throws: `.corruption`, `.newerFormat`, and what a scan token is refused with.
  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "a page of a scan")
    _ = try reader.readVersion(upTo: 1)
    policy = try reader.readPolicy()
    let bytes = try reader.readLengthPrefixed()
    token = bytes.isEmpty ? nil : try ScanToken(bytes: bytes)
    entries = []
    for _ in 0..<(try reader.readCount(of: 3)) {
      let key = try reader.readLengthPrefixed()
      guard let record = try ReplicaMessage.record(try reader.readLengthPrefixed()) else {
        throw reader.damaged("a key without a record")
      }
      entries.append(Entry(key: key, record: record))
    }
    try reader.readEnd()
  }
}

extension FieldReader {
  mutating func readPolicy() throws(DatabaseError) -> KeyspacePolicy.Kind {
    let raw = try readByte()
    guard let policy = KeyspacePolicy.Kind(rawValue: raw) else { throw damaged("a policy of \(raw)") }
    return policy
  }
}
