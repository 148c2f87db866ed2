/// What most reads need of a record that is one value and nothing else, found in its encoding without
/// building the record.
///
/// The ranges count from the first byte of the encoding. A plain value.
package struct SoleSibling: Equatable, Sendable {
  package let dot: Dot
  package let timestamp: Timestamp
  /// Milliseconds since 1970; 0 for never.
  package let expiry: UInt64
  /// Where the value stands.
  package let value: Range<Int>
  /// Where the context stands, for ``VersionVector/init(decoding:)``.
  package let context: Range<Int>
  /// The context, where it is of one replica.
  package let onlyEntry: VersionVector.Entry?

  /// - Parameters:
  ///   - bytes: a record's encoding, all of it.
  ///   - milliseconds: the time of the read, since 1970.
  /// - Returns: `nil` wherever there is anything else to say: siblings, states, a tombstone, an expired
  ///   value, another version, damage. Then decode the whole.
  /// - Complexity: O(n) of the context; allocates nothing.
  package init?(in bytes: RawSpan, at milliseconds: UInt64) {
    var reader = ByteReader(bytes)
    guard reader.readUInt8() == Record.version, let count = reader.readCount(of: 9) else { return nil }
    let entriesOffset = reader.offset
    var last: VersionVector.Entry?
    for _ in 0..<count {
      guard let replica = reader.readUInt64(), let counter = reader.readVarint(), counter >= 1,
        last.map({ $0.replica.rawValue < replica }) ?? true
      else { return nil }
      last = VersionVector.Entry(replica: ReplicaID(rawValue: replica), counter: counter)
    }
    context = 1..<reader.offset
    guard reader.readVarint() == 1, let index = reader.readVarint(), index < UInt64(count),
      let counter = reader.readVarint(), counter >= 1
    else { return nil }
    onlyEntry = count == 1 ? last : nil
    // Of several, which have been read well, this walks to the one of the dot again.
    guard
      let entry = count == 1
        ? last : Self.entry(Int(truncatingIfNeeded: index), in: bytes.extracting(entriesOffset...)),
      counter <= entry.counter
    else { return nil }
    dot = Dot(replica: entry.replica, counter: counter)
    guard let timestamp = reader.readUInt64(), let expiry = reader.readVarint(),
      expiry == 0 || expiry > milliseconds, let value = reader.readLengthPrefixedRange(),
      reader.readVarint() == 0, reader.remaining == 0
    else { return nil }
    self.timestamp = Timestamp(rawValue: timestamp)
    self.expiry = expiry
    self.value = value
  }

  /// Where the value stands, for those who need no more: just where ``init(in:at:)`` finds it, in less
  /// time where the context is of one replica.
  package static func value(in bytes: RawSpan, at milliseconds: UInt64) -> Range<Int>? {
    var reader = ByteReader(bytes)
    guard reader.readUInt8() == Record.version, reader.readUInt8() == 1, reader.readUInt64() != nil,
      let seen = reader.readVarint(), reader.readUInt8() == 1, reader.readUInt8() == 0,
      let counter = reader.readVarint(), counter >= 1, counter <= seen, reader.readUInt64() != nil,
      let expiry = reader.readVarint(), expiry == 0 || expiry > milliseconds,
      let value = reader.readLengthPrefixedRange(), reader.readUInt8() == 0, reader.remaining == 0
    else { return SoleSibling(in: bytes, at: milliseconds)?.value }
    return value
  }

  private static func entry(_ index: Int, in bytes: RawSpan) -> VersionVector.Entry? {
    var reader = ByteReader(bytes)
    for _ in 0..<index {
      guard reader.readUInt64() != nil, reader.readVarint() != nil else { return nil }
    }
    guard let replica = reader.readUInt64(), let counter = reader.readVarint() else { return nil }
    return VersionVector.Entry(replica: ReplicaID(rawValue: replica), counter: counter)
  }
}
