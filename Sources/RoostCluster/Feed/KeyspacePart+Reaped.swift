import RoostStorage

// What a store remembers of the records that it reaped, in the feed of their keyspace, for each partition of
// which it did: under the change number 0, which no change has.
//
//   mark's key   := partition u16 big-endian | 0 u64
//   mark's value := version u8 (1) | change number u64, the highest that a reaped record had
//
// It is written in the batch in which a record goes, and goes with the partition. A reader who has read
// changes up to a lower number may have been told of a key and not of its delete, of which nothing is left:
// it has to begin the partition anew.
//
// One who is being told the partition from its beginning, from a moment on when all changes up to some number
// were in the store (`FeedPosition.Place.began`), has been told of no key that was deleted by then: of those
// it misses nothing. Without that it would begin anew again and again.

/// The mark of a partition of which a store has reaped something.
package enum ReapedMark {
  static let version: UInt8 = 1

  package static func key(_ partition: Int) -> [UInt8] { FeedKey.make(partition, 0) }

  package static func encode(_ number: UInt64) -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: version)
    writer.write(fixed: number)
    return writer.bytes
  }

  /// - Throws: `.corruption`, `.newerFormat`.
  package static func decode(_ bytes: [UInt8]) throws(DatabaseError) -> UInt64 {
    var reader = FieldReader(bytes, "the mark of what was reaped of a partition")
    _ = try reader.readVersion(upTo: version)
    let number = try reader.readFixed()
    try reader.readEnd()
    return number
  }
}

extension KeyspacePart {
  /// The highest change number of a record of a partition that was reaped here; 0 where none was.
  ///
  /// - Throws: `.corruption`, `.newerFormat`, `.storage`.
  /// - Complexity: a lookup.
  func reapedChange(of partition: Int) throws(DatabaseError) -> UInt64 {
    let bytes = try storing("the changes in \(member.path) could not be read") { () throws(StoreError) in
      try changes.get(ReapedMark.key(partition))
    }
    guard let bytes else { return 0 }
    return try ReapedMark.decode(bytes)
  }
}
