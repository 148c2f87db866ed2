package import RoostCausality
package import RoostCluster

// The values of a store's tree `transactions`. Each has one encoding: what is read can be written out again
// and compared. Fixed integers are little-endian.
//
//   prepared := version u8 (1) | timestamp u64 | flags u8 (1 synced) | writer count varint | member u64*
//             | write count varint | write*
//   write    := keyspace varint | partition varint | key lengthPrefixed
//             | kind u8 (0 deletion, 1 value) | value lengthPrefixed, of a value only
//   outcome  := version u8 (1) | kind u8 (1 committed, 2 aborted) | timestamp u64 (0 of an abort)
//             | recorded u64
//   forced   := outcome
//   mark     := version u8 (1) | recorded u64

extension PreparedRecord {
  static let formatVersion: UInt8 = 1

  /// What stands in the store; the transaction's id is in the key.
  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: Self.formatVersion)
    writer.write(fixed: timestamp.rawValue)
    writer.write(byte: isSynced ? 1 : 0)
    writer.write(count: writers.count)
    for member in writers { writer.write(fixed: member.rawValue) }
    writer.write(count: writes.count)
    for write in writes { writer.write(write) }
    return writer.bytes
  }

  /// - Throws: `.corruption`, `.newerFormat`.
  package init(_ transaction: TransactionID, decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "the prepared record of \(transaction)")
    _ = try reader.readVersion(upTo: Self.formatVersion)
    let timestamp = Timestamp(rawValue: try reader.readFixed())
    let isSynced = try reader.readFlag()
    var writers: [MemberID] = []
    for _ in 0..<(try reader.readCount(of: 8)) {
      writers.append(MemberID(rawValue: try reader.readFixed()))
    }
    var writes: [TransactionWrite] = []
    for _ in 0..<(try reader.readCount(of: 5)) { writes.append(try reader.readWrite()) }
    try reader.readEnd()
    self.init(
      transaction: transaction, timestamp: timestamp, writes: writes, writers: writers, isSynced: isSynced)
  }
}

// Messages between nodes have these too.

extension FieldWriter {
  mutating func write(_ target: KeyReference) {
    write(varint: target.keyspace)
    write(count: target.partition)
    write(lengthPrefixed: target.key)
  }

  mutating func write(_ write: TransactionWrite) {
    self.write(write.target)
    self.write(byte: write.value == nil ? 0 : 1)
    if let value = write.value { self.write(lengthPrefixed: value) }
  }
}

extension FieldReader {
  mutating func readKeyReference() throws(DatabaseError) -> KeyReference {
    let keyspace = try readOrdinal()
    let partition = try readPartition()
    let key = try readLengthPrefixed()
    guard !key.isEmpty, key.count <= VersionKey.longestKey else {
      throw damaged("a key of \(key.count) bytes")
    }
    return KeyReference(keyspace: keyspace, partition: partition, key: key)
  }

  mutating func readWrite() throws(DatabaseError) -> TransactionWrite {
    let target = try readKeyReference()
    let isValue = try readFlag()
    return TransactionWrite(target, isValue ? try readLengthPrefixed() : nil)
  }
}

/// What became of a transaction in a store, and when that was recorded; or what an operator decided.
package struct OutcomeRecord: Hashable, Sendable {
  static let formatVersion: UInt8 = 1

  package var outcome: Outcome
  package var recorded: Timestamp

  package init(_ outcome: Outcome, recorded: Timestamp) {
    self.outcome = outcome
    self.recorded = recorded
  }

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: Self.formatVersion)
    switch outcome {
    case .committed(let timestamp):
      writer.write(byte: 1)
      writer.write(fixed: timestamp.rawValue)
    case .aborted:
      writer.write(byte: 2)
      writer.write(fixed: 0)
    }
    writer.write(fixed: recorded.rawValue)
    return writer.bytes
  }

  /// - Throws: `.corruption`, `.newerFormat`.
  package init(_ transaction: TransactionID, decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "the outcome of \(transaction)")
    _ = try reader.readVersion(upTo: Self.formatVersion)
    let kind = try reader.readByte()
    let timestamp = try reader.readFixed()
    switch kind {
    case 1: outcome = .committed(Timestamp(rawValue: timestamp))
    case 2 where timestamp == 0: outcome = .aborted
    default: throw reader.damaged("an outcome of kind \(kind)")
    }
    recorded = Timestamp(rawValue: try reader.readFixed())
    try reader.readEnd()
  }
}

/// Says that an effect of a transaction was done in a store.
package struct EffectMark: Hashable, Sendable {
  static let formatVersion: UInt8 = 1

  package var recorded: Timestamp

  package init(recorded: Timestamp) { self.recorded = recorded }

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: Self.formatVersion)
    writer.write(fixed: recorded.rawValue)
    return writer.bytes
  }

  /// - Throws: `.corruption`, `.newerFormat`.
  package init(_ transaction: TransactionID, decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "the mark of an effect of \(transaction)")
    _ = try reader.readVersion(upTo: Self.formatVersion)
    recorded = Timestamp(rawValue: try reader.readFixed())
    try reader.readEnd()
  }
}
