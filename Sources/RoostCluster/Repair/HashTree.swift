import RoostStorage

/// Hashes over the records of one partition of a keyspace: two replicas that hold the same have the same
/// tree.
///
/// A leaf is the XOR of the hashes of the keys in it, so the order in which they come does not matter and the
/// memory does not grow with them. 32 leaves are a group, and the root is over the 32 groups. A plain value.
struct HashTree: Equatable, Sendable {
  static let groupCount = 32
  static let groupLeaves = 32
  static let leafCount = groupCount * groupLeaves
  /// A key's leaf are the highest bits of its hash.
  static let leafShift = UInt64(54)

  private(set) var leaves = [UInt64](repeating: 0, count: Self.leafCount)
  /// Keys of each leaf.
  private var counts = [UInt32](repeating: 0, count: Self.leafCount)

  /// Adds a key, once.
  mutating func add(_ hash: UInt64, toLeaf leaf: Int) {
    leaves[leaf] ^= hash
    counts[leaf] &+= 1
  }

  /// A leaf, with how many keys it has.
  subscript(_ leaf: Int) -> TreeLeaf {
    get { TreeLeaf(hash: leaves[leaf], keys: counts[leaf]) }
    set { (leaves[leaf], counts[leaf]) = (newValue.hash, newValue.keys) }
  }

  /// How many keys it has. O(leaves).
  var keyCount: Int { counts.reduce(0) { $0 + Int($1) } }

  /// What must be added to the leaves of `other` to make these, where that is anything.
  func difference(from other: HashTree) -> [(leaf: Int, by: TreeLeaf)] {
    leaves.indices.compactMap { leaf in
      let difference = self[leaf].difference(from: other[leaf])
      return difference == TreeLeaf() ? nil : (leaf, difference)
    }
  }

  /// The leaves of a group.
  func leaves(ofGroup group: Int) -> ArraySlice<UInt64> {
    leaves[group * Self.groupLeaves..<(group + 1) * Self.groupLeaves]
  }

  var groups: [UInt64] { (0..<Self.groupCount).map { Self.hash(leaves(ofGroup: $0)) } }

  var root: UInt64 { Self.hash(groups[...]) }

  private static func hash(_ hashes: ArraySlice<UInt64>) -> UInt64 {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(8 * hashes.count)
    for hash in hashes { bytes.append(integer: hash.littleEndian) }
    return Checksum.xxh64(bytes)
  }
}

/// Groups of a tree. A plain value.
struct GroupSet: Hashable, Sendable {
  /// Bit i is group i.
  private(set) var bits: UInt32 = 0

  init(bits: UInt32 = 0) { self.bits = bits }

  var isEmpty: Bool { bits == 0 }
  var count: Int { bits.nonzeroBitCount }
  func contains(_ group: Int) -> Bool { bits >> UInt32(group) & 1 == 1 }
  mutating func insert(_ group: Int) { bits |= 1 << UInt32(group) }

  /// Ascending.
  var groups: [Int] { (0..<HashTree.groupCount).filter(contains) }
}

/// Leaves of a tree. A plain value.
struct LeafSet: Hashable, Sendable {
  static let wordCount = HashTree.leafCount / 64

  /// Bit i % 64 of word i / 64 is leaf i.
  private(set) var words = [UInt64](repeating: 0, count: Self.wordCount)

  init() {}

  /// - Parameter words: ``wordCount`` of them.
  init(words: [UInt64]) {
    precondition(words.count == Self.wordCount)
    self.words = words
  }

  var isEmpty: Bool { words.allSatisfy { $0 == 0 } }
  func contains(_ leaf: Int) -> Bool { words[leaf / 64] >> UInt64(leaf % 64) & 1 == 1 }
  mutating func insert(_ leaf: Int) { words[leaf / 64] |= 1 << UInt64(leaf % 64) }
}

/// A key with the hash of what is known of it. A plain value.
struct HashedKey: Equatable, Sendable {
  var key: [UInt8]
  var hash: UInt64
}

/// Some of a replica's keys, in order, with their hashes. A plain value.
struct KeyPage: Equatable, Sendable {
  var keys: [HashedKey] = []
  /// Up to which key the page tells all; `nil` where that is the partition's end.
  var through: [UInt8]?
}
