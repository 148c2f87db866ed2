// Where the versions of a transactional keyspace's keys stand in its two trees:
//
//   current key := partition u16 big-endian | key
//   history key := partition u16 big-endian | escaped | ~timestamp u64 big-endian
//   escaped     := the key, each 00 as 00 FF, then 00 00
//
// So the history of a key is one run, its newest version first, and keys keep their order there.

/// Keys of a transactional keyspace's trees.
package enum VersionKey {
  /// The longest user key: escaped it may take twice its bytes, and 12 more.
  package static let longestKey = (65_535 - 12) / 2
  static let timestampBytes = 8

  package static func current(_ partition: Int, _ key: [UInt8]) -> [UInt8] {
    StoredKey.make(partition, key)
  }

  package static func history(_ partition: Int, _ key: [UInt8], _ timestamp: UInt64) -> [UInt8] {
    var bytes = historyPrefix(partition, key)
    bytes.append(integer: (~timestamp).bigEndian)
    return bytes
  }

  /// What the entries of one key begin with, and those of no other.
  static func historyPrefix(_ partition: Int, _ key: [UInt8]) -> [UInt8] {
    var bytes = StoredKey.make(partition)
    bytes.reserveCapacity(key.count + 12)
    for byte in key {
      bytes.append(byte)
      if byte == 0 { bytes.append(0xFF) }
    }
    bytes += [0, 0]
    return bytes
  }

  /// The first key behind all entries of a key.
  static func historyEnd(_ partition: Int, _ key: [UInt8]) -> [UInt8] {
    var bytes = historyPrefix(partition, key)
    bytes[bytes.count - 1] = 1
    return bytes
  }

  /// The parts of a history key; `nil` where it is none.
  package static func splitHistory(
    _ bytes: [UInt8]
  ) -> (partition: Int, key: [UInt8], timestamp: UInt64)? {
    guard bytes.count > StoredKey.prefixBytes + 2 + timestampBytes else { return nil }
    let partition = Int(bytes[0]) << 8 | Int(bytes[1])
    let end = bytes.count - timestampBytes
    var key: [UInt8] = []
    var index = StoredKey.prefixBytes
    while index + 1 < end {
      if bytes[index] != 0 {
        key.append(bytes[index])
        index += 1
        continue
      }
      if bytes[index + 1] == 0xFF {
        key.append(0)
        index += 2
        continue
      }
      guard bytes[index + 1] == 0, index + 2 == end, !key.isEmpty, key.count <= longestKey else {
        return nil
      }
      var inverted: UInt64 = 0
      for byte in bytes[end...] { inverted = inverted << 8 | UInt64(byte) }
      return (partition, key, ~inverted)
    }
    return nil
  }
}
