import RoostStorage

/// Where members stand on the circle of 64-bit hashes: consistent hashing (Karger et al. 1997), with
/// several virtual nodes a member.
///
/// Virtual node i of a member stands at the XXH64 (seed 0) of its id and i, both as u64,
/// little-endian. Partition p stands at the XXH64 (seed 1) of p as u64. A partition prefers the
/// members in the order in which a walk from it towards higher hashes meets them. A member of mean
/// weight has 64 virtual nodes, others as many more or fewer as they weigh, 8 to 1024; those of a
/// smaller weight are among those of a larger one, so a change of weight moves few preferences.
struct VirtualNodes {
  /// Each member's positions, rising.
  private let positions: [[UInt64]]
  private static let perMeanMember = 64
  private static let counts = 8...1024

  init(_ members: [RingMember]) {
    let weights = members.reduce(0) { $0 + $1.weight }
    positions = members.map { member in
      let wished = (member.weight * members.count * Self.perMeanMember + weights / 2) / weights
      let count = min(max(wished, Self.counts.lowerBound), Self.counts.upperBound)
      return Self.positions(of: member.id, count: count).sorted()
    }
  }

  /// The positions of a member's first virtual nodes, in their own order.
  static func positions(of id: MemberID, count: Int) -> [UInt64] {
    (0..<count).map { hash(id.rawValue, UInt64($0)) }
  }

  /// How far a walk from the partition goes until it meets the member at that place. O(log nodes).
  func distance(from partition: Int, to member: Int) -> UInt64 {
    distance(fromPoint: Self.point(of: partition), to: member)
  }

  func distance(fromPoint point: UInt64, to member: Int) -> UInt64 {
    let nodes = positions[member]
    var low = 0
    var high = nodes.count
    while low < high {
      let middle = (low + high) / 2
      if nodes[middle] < point { low = middle + 1 } else { high = middle }
    }
    return nodes[low < nodes.count ? low : 0] &- point
  }

  /// Where a partition stands.
  static func point(of partition: Int) -> UInt64 {
    let bytes = InlineArray<1, UInt64>(repeating: UInt64(partition).littleEndian)
    return unsafe Checksum.xxh64(bytes.span.bytes, seed: 1)
  }

  private static func hash(_ id: UInt64, _ index: UInt64) -> UInt64 {
    let bytes: InlineArray<2, UInt64> = [id.littleEndian, index.littleEndian]
    return unsafe Checksum.xxh64(bytes.span.bytes)
  }
}
