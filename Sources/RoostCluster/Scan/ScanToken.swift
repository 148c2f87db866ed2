import RoostStorage

// A scan token's payload:
//
//   payload := keyspace u64 | bounds u64 | key lengthPrefixed
//
// `keyspace` is the hash that stands for database and keyspace, `bounds` the XXH64 of
//
//   bounds := order u8 | bound | bound | prefix lengthPrefixed | bound (the tag)
//   bound  := 0 u8, or 1 u8 | bytes lengthPrefixed
//
// The scan goes on behind `key`. Nothing in it says where a key is kept, so a token survives
// restarts, moves of partitions and changes of the ring.

/// Where a scan goes on: behind the last key that was looked at. Opaque; keep it as ``bytes`` or
/// ``text``.
///
/// Bound to the database, the keyspace and the scan's range and order. A plain value.
public struct ScanToken: Hashable, Sendable {
  let keyspace: UInt64
  let bounds: UInt64
  /// The last key that was looked at: not always one that was shown.
  let key: [UInt8]

  /// The token as bytes, to be kept or sent: 27 and a few more than the key has.
  public var bytes: [UInt8] {
    var writer = FieldWriter()
    writer.write(fixed: keyspace)
    writer.write(fixed: bounds)
    writer.write(lengthPrefixed: key)
    return SealedToken.seal(.scan, writer.bytes)
  }

  /// The token that ``bytes`` gave.
  ///
  /// - Throws: ``DatabaseError`` with code `.damagedToken`, or `.newerFormat`.
  public init(bytes: [UInt8]) throws(DatabaseError) {
    let payload = try SealedToken.open(.scan, bytes)
    var reader = FieldReader(payload, "a scan token", .damagedToken)
    keyspace = try reader.readFixed()
    bounds = try reader.readFixed()
    key = try reader.readLengthPrefixed()
    guard key.count >= 1, key.count <= StoredKey.longestKey else {
      throw reader.damaged("a key of \(key.count) bytes")
    }
    try reader.readEnd()
  }

  /// The token as text of letters, digits, dashes and underscores (base64 for URLs, RFC 4648).
  public var text: String { Base64.encode(bytes) }

  /// The token that ``text`` gave.
  ///
  /// - Throws: ``DatabaseError`` with code `.damagedToken`, or `.newerFormat`.
  public init(text: String) throws(DatabaseError) {
    guard let bytes = Base64.decode(text) else {
      throw DatabaseError(.damagedToken, "a scan token's text is no base64")
    }
    try self.init(bytes: bytes)
  }

  init(keyspace: UInt64, bounds: UInt64, key: [UInt8]) {
    self.keyspace = keyspace
    self.bounds = bounds
    self.key = key
  }

  /// Where a scan of a keyspace goes on that ended behind a key.
  package init(_ keyspace: KeyspaceCore, _ range: ScanRange, _ order: ScanOrder, behind key: [UInt8]) {
    self.init(keyspace: keyspace.bindingSeed, bounds: Self.bounds(range, order), key: key)
  }

  /// The key behind which a scan goes on.
  ///
  /// - Throws: `.foreignToken` where it is another scan's.
  package func position(
    in keyspace: KeyspaceCore, _ range: ScanRange, _ order: ScanOrder
  ) throws(DatabaseError) -> [UInt8] {
    guard self.keyspace == keyspace.bindingSeed else {
      throw DatabaseError(.foreignToken, "the scan token is another keyspace's or database's")
    }
    guard bounds == Self.bounds(range, order) else {
      throw DatabaseError(.foreignToken, "the scan token is that of another range or order")
    }
    return key
  }

  static func bounds(_ range: ScanRange, _ order: ScanOrder) -> UInt64 {
    var writer = FieldWriter()
    func write(bound: [UInt8]?) {
      writer.write(byte: bound == nil ? 0 : 1)
      if let bound { writer.write(lengthPrefixed: bound) }
    }
    writer.write(byte: order.rawValue)
    write(bound: range.lower)
    write(bound: range.upper)
    writer.write(lengthPrefixed: range.prefix)
    write(bound: range.tag)
    return Checksum.xxh64(writer.bytes)
  }
}
