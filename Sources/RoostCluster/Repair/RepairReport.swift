/// What a comparison with the other replicas came to. A plain value.
///
///   report := version u8 (2) | keys varint | differing varint | mended varint | compared varint
///           | not compared varint | bytes varint | problem lengthPrefixed | scanned varint
///           | wrong leaves varint
///
/// Version 1 ends with the problem.
package struct RepairReport: Sendable, Equatable {
  /// Keys held here when they were compared, each once however many other replicas it has.
  package var keys: UInt64 = 0
  /// Keys in which this node and another differed, once for each other.
  package var differing: UInt64 = 0
  /// Those of them in which they are alike now.
  package var mended: UInt64 = 0
  /// Partitions compared to their end, once for each keyspace and other replica.
  package var compared: UInt64 = 0
  /// Those that could not be: the other was out of reach, refused, or the time was over.
  package var notCompared: UInt64 = 0
  /// Of messages and their answers, without what the transport adds.
  package var bytes: UInt64 = 0
  /// Why the first of those was not; empty where all were.
  package var problem = ""
  /// Trees for which this node read all records of a partition, and not the leaves that are kept.
  package var scanned: UInt64 = 0
  /// Kept leaves of this node that were found wrong, and mended.
  package var wrongLeaves: UInt64 = 0

  static let version: UInt8 = 2

  package init() {}

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: Self.version)
    write(to: &writer)
    return writer.bytes
  }

  /// - Throws: `.corruption`, `.newerFormat`.
  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "a repair's report")
    let version = try reader.readVersion(upTo: Self.version)
    try self.init(from: &reader, version: version)
    try reader.readEnd()
  }

  /// Without a version: as a part of another message.
  func write(to writer: inout FieldWriter) {
    for count in [keys, differing, mended, compared, notCompared, bytes] { writer.write(varint: count) }
    writer.write(text: problem)
    writer.write(varint: scanned)
    writer.write(varint: wrongLeaves)
  }

  init(from reader: inout FieldReader, version: UInt8) throws(DatabaseError) {
    keys = try reader.readVarint()
    differing = try reader.readVarint()
    mended = try reader.readVarint()
    compared = try reader.readVarint()
    notCompared = try reader.readVarint()
    bytes = try reader.readVarint()
    problem = try reader.readText()
    if version == 1 { return }
    scanned = try reader.readVarint()
    wrongLeaves = try reader.readVarint()
  }
}

/// How a client asks for a comparison. A plain value.
///
///   request := nothing | flags u8 (bit 0: full)
package struct RepairRequest: Sendable, Equatable {
  /// Whether all records are read, and the leaves that are kept are checked by them.
  package var isFull: Bool

  package init(isFull: Bool = false) { self.isFull = isFull }

  package func encoded() -> [UInt8] { isFull ? [1] : [] }

  /// - Throws: `.invalidArgument`.
  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    guard bytes.count <= 1, bytes.first ?? 0 <= 1 else {
      throw DatabaseError(.invalidArgument, "a request for a repair of \(bytes.count) bytes")
    }
    isFull = bytes.first == 1
  }
}
