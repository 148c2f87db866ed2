import RoostStorage

// An index token's payload:
//
//   payload := keyspace u64 | bounds u64 | suffix lengthPrefixed
//
// `keyspace` is the hash that stands for database and keyspace, `bounds` the XXH64 of
//
//   bounds := name lengthPrefixed | form u8 | bound | bound
//   bound  := 0 u8, or 1 u8 | bytes lengthPrefixed
//   form   := 0 all, 1 equals, 2 prefix, 3 range
//
// The query goes on behind `suffix`, the last entry that was looked at, without its partition.

/// Where a query goes on: behind the last entry that was looked at. Opaque; keep it as ``bytes`` or
/// ``text``.
///
/// Bound to the database, the keyspace, the index's name and the query's terms; it survives restarts,
/// moves of partitions and the index being built anew. A plain value.
public struct IndexToken: Hashable, Sendable {
  let keyspace: UInt64
  let bounds: UInt64
  let suffix: [UInt8]

  init(keyspace: UInt64, bounds: UInt64, suffix: [UInt8]) {
    self.keyspace = keyspace
    self.bounds = bounds
    self.suffix = suffix
  }

  /// The token as bytes, to be kept or sent.
  public var bytes: [UInt8] {
    var writer = FieldWriter()
    writer.write(fixed: keyspace)
    writer.write(fixed: bounds)
    writer.write(lengthPrefixed: suffix)
    return SealedToken.seal(.index, writer.bytes)
  }

  /// The token that ``bytes`` gave.
  ///
  /// - Throws: ``DatabaseError`` with code `.damagedToken`, or `.newerFormat`.
  public init(bytes: [UInt8]) throws(DatabaseError) {
    let payload = try SealedToken.open(.index, bytes)
    var reader = FieldReader(payload, "an index token", .damagedToken)
    keyspace = try reader.readFixed()
    bounds = try reader.readFixed()
    suffix = try reader.readLengthPrefixed()
    guard IndexKey.split(suffix) != nil else { throw reader.damaged("no entry of an index") }
    try reader.readEnd()
  }

  /// The token as text of letters, digits, dashes and underscores (base64 for URLs, RFC 4648).
  public var text: String { Base64.encode(bytes) }

  /// The token that ``text`` gave.
  ///
  /// - Throws: ``DatabaseError`` with code `.damagedToken`, or `.newerFormat`.
  public init(text: String) throws(DatabaseError) {
    guard let bytes = Base64.decode(text) else {
      throw DatabaseError(.damagedToken, "an index token's text is no base64")
    }
    try self.init(bytes: bytes)
  }

  static func bounds(_ name: String, _ range: TermRange) -> UInt64 {
    var writer = FieldWriter()
    func write(_ form: UInt8, _ first: [UInt8]?, _ second: [UInt8]?) {
      writer.write(byte: form)
      for bound in [first, second] {
        writer.write(byte: bound == nil ? 0 : 1)
        if let bound { writer.write(lengthPrefixed: bound) }
      }
    }
    writer.write(text: name)
    switch range {
    case .all: write(0, nil, nil)
    case .equals(let term): write(1, term, nil)
    case .prefix(let prefix): write(2, prefix, nil)
    case .range(let lower, let upper): write(3, lower, upper)
    }
    return Checksum.xxh64(writer.bytes)
  }
}
