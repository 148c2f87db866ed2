import RoostStorage

// The tree `leaves/<keyspace>` of a store of a cluster has the leaves of the keyspace's hash trees, partition
// by partition, and in front of each partition's a mark:
//
//   mark's key := partition u16 big-endian | 0 u8
//   mark       := version u8 (1) | seed u64
//   leaf's key := partition u16 big-endian | 1 u8 | leaf u16 big-endian
//   leaf       := hash u64 | keys u32
//
// Integers that are not said to be big-endian are little-endian. A leaf that has no key has no entry. With a
// mark the leaves are those of all records of the partition; without one, or with one that names another seed
// or version, nobody knows what is missing from them.

/// A leaf of a hash tree: the XOR of its keys' hashes, and how many they are. A plain value.
///
/// Leaves add up: what two sets of keys without a common one make, and what a change of a record makes of
/// its leaf, whatever else is in it. The count wraps around, so that a change that takes a key away is a leaf
/// too.
package struct TreeLeaf: Hashable, Sendable {
  package static let byteCount = 12

  package var hash: UInt64 = 0
  package var keys: UInt32 = 0

  package init(hash: UInt64 = 0, keys: UInt32 = 0) {
    self.hash = hash
    self.keys = keys
  }

  mutating func add(_ other: TreeLeaf) {
    hash ^= other.hash
    keys &+= other.keys
  }

  /// What must be added to `other` to make this.
  func difference(from other: TreeLeaf) -> TreeLeaf {
    TreeLeaf(hash: hash ^ other.hash, keys: keys &- other.keys)
  }

  package func encoded() -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(Self.byteCount)
    bytes.append(integer: hash.littleEndian)
    bytes.append(integer: keys.littleEndian)
    return bytes
  }

  /// `nil` where these are no leaf's bytes.
  package init?(decoding bytes: RawSpan) {
    guard bytes.byteCount == Self.byteCount else { return nil }
    hash = unsafe UInt64(littleEndian: bytes.unsafeLoadUnaligned(fromByteOffset: 0, as: UInt64.self))
    keys = unsafe UInt32(littleEndian: bytes.unsafeLoadUnaligned(fromByteOffset: 8, as: UInt32.self))
  }
}

/// Where a leaf, or the mark before a partition's leaves, stands in its tree.
package enum LeafKey: Equatable, Sendable {
  case mark(partition: Int)
  case leaf(Int, partition: Int)

  package var bytes: [UInt8] {
    switch self {
    case .mark(let partition): StoredKey.make(partition) + [0]
    case .leaf(let leaf, let partition):
      StoredKey.make(partition) + [1, UInt8(truncatingIfNeeded: leaf >> 8), UInt8(truncatingIfNeeded: leaf)]
    }
  }

  /// `nil` where it is neither.
  package init?(_ bytes: [UInt8]) {
    guard bytes.count > StoredKey.prefixBytes else { return nil }
    let partition = Int(bytes[0]) << 8 | Int(bytes[1])
    switch (bytes[2], bytes.count) {
    case (0, 3): self = .mark(partition: partition)
    case (1, 5):
      let leaf = Int(bytes[3]) << 8 | Int(bytes[4])
      guard leaf < HashTree.leafCount else { return nil }
      self = .leaf(leaf, partition: partition)
    default: return nil
    }
  }
}

/// Says that the leaves behind it are whole. A plain value.
package struct LeafMark: Equatable, Sendable {
  /// Of the hashes.
  package var seed: UInt64

  package init(seed: UInt64) { self.seed = seed }

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    // Another one where what is hashed of a record changes.
    writer.write(byte: 1)
    writer.write(fixed: seed)
    return writer.bytes
  }

  /// - Throws: `.corruption`, `.newerFormat`.
  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "the mark of a partition's leaves")
    _ = try reader.readVersion(upTo: 1)
    seed = try reader.readFixed()
    try reader.readEnd()
  }
}
