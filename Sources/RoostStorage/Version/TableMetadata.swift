/// What the manifest knows of one table file.
package struct TableMetadata: Sendable, Equatable {
  package var number: UInt64
  package var identity: FileIdentity
  package var byteCount: Int64
  /// The least user key in the file, counting the starts of range tombstones.
  package var smallest: [UInt8]
  /// The greatest user key, or the greatest end of a range tombstone, which is then exclusive.
  package var largest: [UInt8]
  package var largestIsExclusive: Bool
  package var smallestSequence: UInt64
  package var largestSequence: UInt64
  package var entryCount: UInt64
  package var deleteCount: UInt64
  package var rangeTombstoneCount: UInt64
  package var rawKeyBytes: UInt64
  package var rawValueBytes: UInt64

  init(number: UInt64, identity: FileIdentity, summary: TableSummary) {
    self.number = number
    self.identity = identity
    byteCount = Int64(clamping: summary.byteSize)
    smallest = summary.smallest
    largest = summary.largest
    largestIsExclusive = summary.largestIsExclusive
    smallestSequence = summary.smallestSequence
    largestSequence = summary.largestSequence
    entryCount = summary.entryCount
    deleteCount = summary.deleteCount
    rangeTombstoneCount = summary.rangeTombstoneCount
    rawKeyBytes = summary.rawKeyBytes
    rawValueBytes = summary.rawValueBytes
  }

  /// Fields in the order of FORMAT.md's `table` edit.
  func encode(into buffer: inout ByteBuffer) {
    buffer.append(varint: number)
    buffer.append(littleEndian: identity.low)
    buffer.append(littleEndian: identity.high)
    buffer.append(varint: UInt64(byteCount))
    smallest.withByteView { buffer.append(lengthPrefixed: $0) }
    largest.withByteView { buffer.append(lengthPrefixed: $0) }
    buffer.append(largestIsExclusive ? 1 : 0)
    buffer.append(varint: smallestSequence)
    buffer.append(varint: largestSequence)
    buffer.append(varint: entryCount)
    buffer.append(varint: deleteCount)
    buffer.append(varint: rangeTombstoneCount)
    buffer.append(varint: rawKeyBytes)
    buffer.append(varint: rawValueBytes)
  }

  /// `nil` where the bytes are damaged or contradict themselves.
  init?(from reader: inout ByteReader) {
    guard let number = reader.readVarint(), let low = reader.readUInt64(), let high = reader.readUInt64(),
      let byteCount = reader.readVarint(), byteCount <= UInt64(Int64.max),
      let smallest = reader.readLengthPrefixed(), let largest = reader.readLengthPrefixed(),
      let flags = reader.readUInt8(), flags <= 1,
      let smallestSequence = reader.readVarint(), let largestSequence = reader.readVarint(),
      largestSequence <= Tag.maxSequence, smallestSequence <= largestSequence,
      let entryCount = reader.readVarint(), let deleteCount = reader.readVarint(),
      let rangeTombstoneCount = reader.readVarint(),
      let rawKeyBytes = reader.readVarint(), let rawValueBytes = reader.readVarint(),
      smallest <= largest
    else { return nil }
    self.number = number
    identity = FileIdentity(low: low, high: high)
    self.byteCount = Int64(byteCount)
    self.smallest = smallest.array
    self.largest = largest.array
    largestIsExclusive = flags == 1
    self.smallestSequence = smallestSequence
    self.largestSequence = largestSequence
    self.entryCount = entryCount
    self.deleteCount = deleteCount
    self.rangeTombstoneCount = rangeTombstoneCount
    self.rawKeyBytes = rawKeyBytes
    self.rawValueBytes = rawValueBytes
  }
}
