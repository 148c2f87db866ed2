import RoostCausality

// What replicas say to each other about a key:
//
//   message := version u8 (2) | head (`MessageHead`) | flags u8 (bit 0: synced; bit 1: has `as of`;
//              bit 2: old)
//            | as of u64, a timestamp, where it has one | target u64 (of a hint, else 0)
//            | key lengthPrefixed | record lengthPrefixed (empty in a fetch)
//
// The answer to an apply or a hint is empty, to a fetch a record, or nothing where the key was never written.

/// A message between replicas of a key.
struct ReplicaMessage {
  /// By the list of the key's partition.
  var head: MessageHead
  var key: [UInt8]
  /// Whether it is to survive the machine before it is acknowledged.
  var isSynced = false
  /// Whom a hint is for.
  var target = MemberID(rawValue: 0)
  var record: Record?
  /// When the state was read from a replica, at the latest; where tombstones are reaped only.
  var asOf: Timestamp?
  /// Whether the record is nothing but what may be reaped where it comes from.
  var isOld = false

  init(_ head: MessageHead, key: [UInt8]) {
    self.head = head
    self.key = key
  }

  func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: 2)
    writer.write(head)
    writer.write(byte: (isSynced ? 1 : 0) | (asOf == nil ? 0 : 2) | (isOld ? 4 : 0))
    if let asOf { writer.write(fixed: asOf.rawValue) }
    writer.write(fixed: target.rawValue)
    writer.write(lengthPrefixed: key)
    writer.write(lengthPrefixed: Self.bytes(of: record))
    return writer.bytes
  }

  /// - Throws: `.invalidArgument`, `.newerFormat`, `.corruption` (the record).
  init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "a replica's message", .invalidArgument)
    guard try reader.readVersion(upTo: 2) == 2 else { throw reader.damaged("a version of no release") }
    head = try reader.readHead()
    let flags = try reader.readByte()
    guard flags < 8 else { throw reader.damaged("flags of \(flags)") }
    isSynced = flags & 1 != 0
    isOld = flags & 4 != 0
    if flags & 2 != 0 { asOf = Timestamp(rawValue: try reader.readFixed()) }
    target = MemberID(rawValue: try reader.readFixed())
    key = try reader.readLengthPrefixed()
    record = try Self.record(try reader.readLengthPrefixed())
    try reader.readEnd()
  }

  static func bytes(of record: Record?) -> [UInt8] {
    var bytes: [UInt8] = []
    record?.encode(into: &bytes)
    return bytes
  }

  /// - Throws: `.corruption`, `.newerFormat`.
  static func record(_ bytes: [UInt8]) throws(DatabaseError) -> Record? {
    if bytes.isEmpty { return nil }
    return try causally { () throws(CausalityError) in try unsafe Record(decoding: bytes.span.bytes) }
  }
}
