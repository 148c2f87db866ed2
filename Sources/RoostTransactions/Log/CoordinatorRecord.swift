import RoostCausality
package import RoostCluster

// The records of a coordinator log. Fixed integers are little-endian.
//
//   record := begin | COMMIT | END
//   begin  := 1 u8 | version u8 (1) | coordinator u64 | device varint | inode varint
//           | device varint | inode varint | change time u64
//           | count varint | (COMMIT lengthPrefixed)*
//   COMMIT := 2 u8 | id | timestamp u64 | flags u8 (1 synced) | writer count varint | member u64*
//           | effect count varint | effect*
//   END    := 3 u8 | id
//   id     := start u64 | coordinator u64
//   effect := keyspace varint | key lengthPrefixed | target member u64 | change
//   change := 1 u8 | amount u64 (two's complement)
//           | 2 u8 | value lengthPrefixed | context
//           | 3 u8 | context
//   context := 0 u8 | 1 u8 | bytes lengthPrefixed
//
// A log begins with `begin`, which has none behind it: who the coordinator is, which file the log was made
// as, which file PLACE was then, and all that was decided and not ended when the log was begun.

/// What stands in a coordinator log.
package enum CoordinatorRecord: Equatable, Sendable {
  case begin(LogBeginning)
  case commit(CommitRecord)
  case end(TransactionID)

  private static let beginKind: UInt8 = 1
  private static let commitKind: UInt8 = 2
  private static let endKind: UInt8 = 3

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    switch self {
    case .begin(let beginning):
      writer.write(byte: Self.beginKind)
      writer.write(byte: LogBeginning.formatVersion)
      writer.write(fixed: beginning.coordinator.rawValue)
      writer.write(varint: beginning.log.device)
      writer.write(varint: beginning.log.inode)
      writer.write(varint: beginning.place.device)
      writer.write(varint: beginning.place.inode)
      writer.write(fixed: UInt64(bitPattern: beginning.changeNanoseconds))
      writer.write(count: beginning.commits.count)
      for commit in beginning.commits {
        writer.write(lengthPrefixed: CoordinatorRecord.commit(commit).encoded())
      }
    case .commit(let record):
      writer.write(byte: Self.commitKind)
      writer.write(record.transaction)
      writer.write(fixed: record.timestamp.rawValue)
      writer.write(byte: record.isSynced ? 1 : 0)
      writer.write(count: record.writers.count)
      for member in record.writers { writer.write(fixed: member.rawValue) }
      writer.write(count: record.effects.count)
      for effect in record.effects { writer.write(effect) }
    case .end(let id):
      writer.write(byte: Self.endKind)
      writer.write(id)
    }
    return writer.bytes
  }

  /// - Throws: `.corruption`, `.newerFormat`.
  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "a record of the coordinator log")
    let kind = try reader.readByte()
    switch kind {
    case Self.beginKind: self = .begin(try LogBeginning(&reader))
    case Self.commitKind: self = .commit(try CommitRecord(&reader))
    case Self.endKind: self = .end(try reader.readTransactionID())
    default: throw reader.damaged("it is of kind \(kind)")
    }
    try reader.readEnd()
  }
}

/// The first record of a coordinator log.
package struct LogBeginning: Equatable, Sendable {
  static let formatVersion: UInt8 = 1

  /// A file's place on its device.
  package struct File: Equatable, Sendable {
    package var device: UInt64
    package var inode: UInt64

    package init(device: UInt64, inode: UInt64) {
      self.device = device
      self.inode = inode
    }
  }

  package var coordinator: CoordinatorID
  /// The log itself, when it was made.
  package var log: File
  /// The file PLACE, which nobody writes to: a copy is another file, or has changed later.
  package var place: File
  package var changeNanoseconds: Int64
  package var commits: [CommitRecord]

  package init(
    _ coordinator: CoordinatorID, log: File, place: File, changeNanoseconds: Int64, commits: [CommitRecord]
  ) {
    self.coordinator = coordinator
    self.log = log
    self.place = place
    self.changeNanoseconds = changeNanoseconds
    self.commits = commits
  }

  fileprivate init(_ reader: inout FieldReader) throws(DatabaseError) {
    _ = try reader.readVersion(upTo: Self.formatVersion)
    coordinator = CoordinatorID(rawValue: try reader.readFixed())
    log = File(device: try reader.readVarint(), inode: try reader.readVarint())
    place = File(device: try reader.readVarint(), inode: try reader.readVarint())
    changeNanoseconds = Int64(bitPattern: try reader.readFixed())
    commits = []
    for _ in 0..<(try reader.readCount(of: 29)) {
      guard case .commit(let record) = try CoordinatorRecord(decoding: try reader.readLengthPrefixed()) else {
        throw reader.damaged("it begins with what is no decision")
      }
      commits.append(record)
    }
  }
}

extension CommitRecord {
  fileprivate init(_ reader: inout FieldReader) throws(DatabaseError) {
    let transaction = try reader.readTransactionID()
    let timestamp = Timestamp(rawValue: try reader.readFixed())
    let isSynced = try reader.readFlag()
    var writers: [MemberID] = []
    for _ in 0..<(try reader.readCount(of: 8)) {
      writers.append(MemberID(rawValue: try reader.readFixed()))
    }
    var effects: [EventualEffect] = []
    for _ in 0..<(try reader.readCount(of: 12)) { effects.append(try reader.readEffect()) }
    self.init(
      transaction: transaction, timestamp: timestamp, writers: writers, effects: effects,
      isSynced: isSynced)
  }
}

// Messages between nodes have these too.

extension FieldWriter {
  mutating func write(_ id: TransactionID) {
    write(fixed: id.start.rawValue)
    write(fixed: id.coordinator.rawValue)
  }

  mutating func write(_ effect: EventualEffect) {
    write(varint: effect.keyspace)
    write(lengthPrefixed: effect.key)
    write(fixed: effect.target.rawValue)
    switch effect.change {
    case .increment(let amount):
      write(byte: 1)
      write(fixed: UInt64(bitPattern: amount))
    case .put(let value, let context):
      write(byte: 2)
      write(lengthPrefixed: value)
      write(context: context)
    case .delete(let context):
      write(byte: 3)
      write(context: context)
    }
  }

  private mutating func write(context: [UInt8]?) {
    write(byte: context == nil ? 0 : 1)
    if let context { write(lengthPrefixed: context) }
  }
}

extension FieldReader {
  mutating func readTransactionID() throws(DatabaseError) -> TransactionID {
    TransactionID(
      start: Timestamp(rawValue: try readFixed()),
      coordinator: CoordinatorID(rawValue: try readFixed()))
  }

  mutating func readEffect() throws(DatabaseError) -> EventualEffect {
    let keyspace = try readVarint()
    let key = try readLengthPrefixed()
    let target = MemberID(rawValue: try readFixed())
    let kind = try readByte()
    let change: EventualEffect.Change
    switch kind {
    case 1: change = .increment(Int64(bitPattern: try readFixed()))
    case 2: change = .put(try readLengthPrefixed(), context: try readContext())
    case 3: change = .delete(context: try readContext())
    default: throw damaged("an effect of kind \(kind)")
    }
    return EventualEffect(keyspace: keyspace, key: key, change: change, target: target)
  }

  private mutating func readContext() throws(DatabaseError) -> [UInt8]? {
    try readFlag() ? try readLengthPrefixed() : nil
  }
}
