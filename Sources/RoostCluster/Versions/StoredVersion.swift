package import RoostCausality

// What stands under the keys of a transactional keyspace's trees:
//
//   current value := version u8 (1) | commit timestamp u64 little-endian | flags u8 | value
//   history value := version u8 (1) | superseded-at timestamp u64 little-endian | flags u8 | value
//   flags         := 1 for a deletion, which has no value; else 0
//
// An entry of the history counts from its own timestamp, which is in its key, up to and not with the one at
// which it was superseded.

/// A version of a key: its newest one, or one that was superseded.
package struct StoredVersion: Equatable, Sendable {
  static let formatVersion: UInt8 = 1
  package static let headerBytes = 10
  /// Of a value.
  package static let longestValue = (1 << 30) - headerBytes

  /// Of the newest version when it was committed; of one in the history when it was superseded.
  package var timestamp: Timestamp
  /// `nil` for a deletion.
  package var value: [UInt8]?

  package init(_ timestamp: Timestamp, _ value: [UInt8]?) {
    self.timestamp = timestamp
    self.value = value
  }

  package func encoded() -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(Self.headerBytes + (value?.count ?? 0))
    bytes.append(Self.formatVersion)
    bytes.append(integer: timestamp.rawValue.littleEndian)
    bytes.append(value == nil ? 1 : 0)
    if let value { bytes += value }
    return bytes
  }

  package init(decoding bytes: RawSpan) throws(DatabaseError) {
    let header = try Header(decoding: bytes)
    timestamp = header.timestamp
    value =
      header.isDeletion
      ? nil
      : unsafe bytes.extracting(droppingFirst: Self.headerBytes).withUnsafeBytes { unsafe [UInt8]($0) }
  }

  /// What stands before the value.
  struct Header {
    var timestamp: Timestamp
    var isDeletion: Bool

    init(decoding bytes: RawSpan) throws(DatabaseError) {
      guard bytes.byteCount >= StoredVersion.headerBytes else {
        throw DatabaseError(.corruption, "a version of \(bytes.byteCount) bytes is cut off")
      }
      let format = unsafe bytes.unsafeLoad(fromByteOffset: 0, as: UInt8.self)
      guard format >= 1 else { throw DatabaseError(.corruption, "it has version 0") }
      guard format <= StoredVersion.formatVersion else {
        throw DatabaseError(
          .newerFormat, "it has version \(format); this Roost reads up to \(StoredVersion.formatVersion)")
      }
      timestamp = Timestamp(
        rawValue: unsafe UInt64(
          littleEndian: bytes.unsafeLoadUnaligned(fromByteOffset: 1, as: UInt64.self)))
      let flags = unsafe bytes.unsafeLoad(fromByteOffset: 9, as: UInt8.self)
      guard flags <= 1 else { throw DatabaseError(.corruption, "flags of \(flags)") }
      isDeletion = flags == 1
      guard !isDeletion || bytes.byteCount == StoredVersion.headerBytes else {
        throw DatabaseError(.corruption, "a deletion with a value")
      }
    }
  }
}

/// What a transaction writes to one key.
package struct VersionedWrite: Sendable {
  package var partition: Int
  package var key: [UInt8]
  /// `nil` deletes.
  package var value: [UInt8]?

  package init(_ partition: Int, _ key: [UInt8], _ value: [UInt8]?) {
    self.partition = partition
    self.key = key
    self.value = value
  }
}

/// What a read finds of a key that is present.
package struct VersionedEntry: Hashable, Sendable {
  package var key: [UInt8]
  package var value: [UInt8]
  /// When it was committed.
  package var timestamp: Timestamp

  package init(key: [UInt8], value: [UInt8], timestamp: Timestamp) {
    self.key = key
    self.value = value
    self.timestamp = timestamp
  }
}

/// A part of a range, in key order.
package struct VersionedPage: Sendable {
  package var entries: [VersionedEntry] = []
  /// The key to go on from; `nil` where the range's end was reached.
  package var next: [UInt8]?

  package var isComplete: Bool { next == nil }

  package init() {}
}
