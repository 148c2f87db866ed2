/// What a comparison with the other replicas came to. A plain value.
///
///   report := version u8 (1) | keys varint | differing varint | mended varint | compared varint
///           | not compared varint | bytes varint | problem lengthPrefixed
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

  package init() {}

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: 1)
    write(to: &writer)
    return writer.bytes
  }

  /// - Throws: `.corruption`, `.newerFormat`.
  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "a repair's report")
    _ = try reader.readVersion(upTo: 1)
    try self.init(from: &reader)
    try reader.readEnd()
  }

  /// Without a version: as a part of another message.
  func write(to writer: inout FieldWriter) {
    for count in [keys, differing, mended, compared, notCompared, bytes] { writer.write(varint: count) }
    writer.write(text: problem)
  }

  init(from reader: inout FieldReader) throws(DatabaseError) {
    keys = try reader.readVarint()
    differing = try reader.readVarint()
    mended = try reader.readVarint()
    compared = try reader.readVarint()
    notCompared = try reader.readVarint()
    bytes = try reader.readVarint()
    problem = try reader.readText()
  }
}
