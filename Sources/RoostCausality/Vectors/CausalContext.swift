/// What a read saw, to be handed back by the write that replaces it.
///
/// Opaque: bound to the database, keyspace and key it was read from, since the context of one key,
/// used on another, would erase what nobody saw.
///
///     payload := version u8 (1) | binding u64 LE | vector | count u8 (0 or 1) | dot*
///     dot     := replica u64 LE | counter varint
///     vector  := as in a record
///
/// A plain value.
public struct CausalContext: Hashable, Sendable, CustomStringConvertible {
  /// A hash of database, keyspace and key.
  package let binding: UInt64
  package let seen: CompactVector

  /// One write more that was seen, where the vector cannot say so without claiming others: a client's
  /// own, beside siblings from the same store that it has not read.
  package let dot: Dot?

  package init(binding: UInt64, vector: VersionVector, dot: Dot? = nil) {
    self.init(binding: binding, seen: CompactVector(vector), dot: dot)
  }

  package init(binding: UInt64, seen: CompactVector, dot: Dot? = nil) {
    self.binding = binding
    self.seen = seen
    self.dot = dot
  }

  package var vector: VersionVector { seen.vector }

  /// Whether the read saw no write at all.
  public var isEmpty: Bool { seen.isEmpty && dot == nil }

  public var description: String { "context \(CausalFormat.short.text(vector))" }

  static let version: UInt8 = 1

  /// Appends the payload. Whoever hands it out adds a checksum.
  package func encode(into bytes: inout [UInt8]) {
    bytes.append(Self.version)
    bytes.appendUInt64(binding)
    bytes.append(vector)
    bytes.append(dot == nil ? 0 : 1)
    if let dot {
      bytes.appendUInt64(dot.replica.rawValue)
      bytes.appendVarint(dot.counter)
    }
  }

  /// Reads a payload: all of `bytes`.
  ///
  /// - Throws: ``CausalityError`` with code `.damaged` or `.newerFormat`.
  package init(decoding bytes: RawSpan) throws(CausalityError) {
    var reader = ByteReader(bytes)
    try reader.readVersion(upTo: Self.version)
    guard let binding = reader.readUInt64() else { throw reader.damaged("a context is cut short") }
    self.binding = binding
    seen = CompactVector(try reader.readVector())
    guard let count = reader.readUInt8(), count <= 1 else { throw reader.damaged("a context is cut short") }
    if count == 1 {
      guard let replica = reader.readUInt64(), let counter = reader.readVarint(), counter >= 1 else {
        throw reader.damaged("a context is cut short")
      }
      dot = Dot(replica: ReplicaID(rawValue: replica), counter: counter)
    } else {
      dot = nil
    }
    try reader.expectEnd()
  }
}
