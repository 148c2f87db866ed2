/// What a read saw, to be handed back by the write that replaces it.
///
/// Opaque: bound to the database, keyspace and key it was read from, since the context of one key,
/// used on another, would erase what nobody saw.
///
///     payload := version u8 (1) | binding u64 LE | vector
///     vector  := as in a record
///
/// A plain value.
public struct CausalContext: Hashable, Sendable, CustomStringConvertible {
  /// A hash of database, keyspace and key.
  package var binding: UInt64
  package var vector: VersionVector

  package init(binding: UInt64, vector: VersionVector) {
    self.binding = binding
    self.vector = vector
  }

  /// Whether the read saw no write at all.
  public var isEmpty: Bool { vector.isEmpty }

  public var description: String { "context \(CausalFormat.short.text(vector))" }

  static let version: UInt8 = 1

  /// Appends the payload. Whoever hands it out adds a checksum.
  package func encode(into bytes: inout [UInt8]) {
    bytes.append(Self.version)
    bytes.appendUInt64(binding)
    bytes.append(vector)
  }

  /// Reads a payload: all of `bytes`.
  ///
  /// - Throws: ``CausalityError`` with code `.damaged` or `.newerFormat`.
  package init(decoding bytes: RawSpan) throws(CausalityError) {
    var reader = ByteReader(bytes)
    try reader.readVersion(upTo: Self.version)
    guard let binding = reader.readUInt64() else { throw reader.damaged("a context is cut short") }
    self.binding = binding
    vector = try reader.readVector()
    try reader.expectEnd()
  }
}
