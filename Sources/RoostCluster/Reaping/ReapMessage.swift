import RoostCausality

//   reap     := version u8 (1) | head (`MessageHead`) | partition varint | asked u64, a timestamp
//             | horizon varint, in milliseconds | seed u64 | count varint | (key lengthPrefixed, hash u64)*
//
// The answer to a question (kind 15) is a `ReapVerdict` for each key, one byte; to an order (kind 16) a
// varint: how many records have gone.

/// What a replica has of a key that another one asks about.
enum ReapVerdict: UInt8, Sendable {
  case nothing = 0
  /// The very same record, old enough.
  case same = 1
  /// Something else, or something young, or a hint of it: it must not go.
  case other = 2
}

/// Whether tombstones may be reaped, and that they are to be. A plain value.
struct ReapMessage: Equatable, Sendable {
  /// By the list of the partition.
  var head: MessageHead
  var partition: Int
  /// When the question was asked, also in the order.
  var asked: Timestamp
  /// The sender's: the longer one counts.
  var horizon: UInt64
  /// Of the hashes.
  var seed: UInt64
  var keys: [HashedKey]

  func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: 1)
    writer.write(head)
    writer.write(count: partition)
    writer.write(fixed: asked.rawValue)
    writer.write(varint: horizon)
    writer.write(fixed: seed)
    writer.write(count: keys.count)
    for key in keys {
      writer.write(lengthPrefixed: key.key)
      writer.write(fixed: key.hash)
    }
    return writer.bytes
  }

  init(
    _ head: MessageHead, partition: Int, asked: Timestamp, horizon: UInt64, seed: UInt64, keys: [HashedKey]
  ) {
    self.head = head
    self.partition = partition
    self.asked = asked
    self.horizon = horizon
    self.seed = seed
    self.keys = keys
  }

  /// - Throws: `.invalidArgument`, `.newerFormat`.
  init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "a message about reaping", .invalidArgument)
    _ = try reader.readVersion(upTo: 1)
    head = try reader.readHead()
    let raw = try reader.readVarint()
    guard raw < 1 << 16 else { throw reader.damaged("a partition of \(raw)") }
    partition = Int(raw)
    asked = Timestamp(rawValue: try reader.readFixed())
    horizon = try reader.readOrdinal()
    seed = try reader.readFixed()
    keys = []
    for _ in 0..<(try reader.readCount(of: 9)) {
      let key = try reader.readLengthPrefixed()
      guard (1...StoredKey.longestKey).contains(key.count) else {
        throw reader.damaged("a key of \(key.count) bytes")
      }
      keys.append(HashedKey(key: key, hash: try reader.readFixed()))
    }
    try reader.readEnd()
  }

  /// - Throws: `.corruption`.
  static func verdicts(_ bytes: [UInt8], count: Int) throws(DatabaseError) -> [ReapVerdict] {
    guard bytes.count == count else {
      throw DatabaseError(.corruption, "\(bytes.count) verdicts about \(count) keys")
    }
    var verdicts: [ReapVerdict] = []
    for byte in bytes {
      guard let verdict = ReapVerdict(rawValue: byte) else {
        throw DatabaseError(.corruption, "a verdict of \(byte)")
      }
      verdicts.append(verdict)
    }
    return verdicts
  }
}
