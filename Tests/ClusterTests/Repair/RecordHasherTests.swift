import RoostCausality
import RoostEnvironment
import TestSupport
import Testing

@testable import RoostCluster

/// What is hashed of a record: all that a join looks at, and nothing else.
// Budget: 3 s
@Suite struct RecordHasherTests {
  private static func hash(_ record: Record, _ key: [UInt8] = [1], seed: UInt64 = 5) -> UInt64 {
    var hasher = RecordHasher(seed: seed)
    return unsafe hasher.hash(key.span.bytes, record)
  }

  private static func dot(_ replica: UInt64, _ counter: UInt64) -> Dot {
    Dot(replica: ReplicaID(rawValue: replica), counter: counter)
  }

  /// Whether each of the two is what the join of both is.
  private static func isNothingToJoin(_ one: Record, _ other: Record) -> Bool {
    var (left, right) = (one, other)
    left.join(other)
    right.join(one)
    return left == one && right == other
  }

  @Test func `hashes are equal where a join would change neither, and nowhere else`() throws {
    try withSeeds("hashesAndJoins", count: TestSize.of(quick: 150, full: 3_000)) { seed, random in
      var replicas = RandomRecords(replicas: 3)
      for step in 0..<60 {
        try replicas.step(&random)
        for one in replicas.records {
          for other in replicas.records {
            let alike = Self.hash(one) == Self.hash(other)
            try #require(
              alike == Self.isNothingToJoin(one, other), "step \(step), seed \(seed): \(one) \(other)")
            if one == other { try #require(alike) }
          }
        }
      }
    }
  }

  @Test func `what a dot names does not count, and the dot does`() throws {
    func put(_ value: [UInt8], _ dot: Dot) throws -> Record {
      var record = Record()
      try record.put(value, replacing: VersionVector(), dot: dot, timestamp: Timestamp(milliseconds: 1))
      return record
    }
    let long = [UInt8](repeating: 7, count: 100_000)
    #expect(try Self.hash(put([1], Self.dot(1, 1))) == Self.hash(put(long, Self.dot(1, 1))))
    #expect(try Self.hash(put([1], Self.dot(1, 1))) != Self.hash(put([1], Self.dot(1, 2))))
    #expect(try Self.hash(put([1], Self.dot(1, 1))) != Self.hash(put([1], Self.dot(2, 1))))
  }

  @Test func `an expiry that one side has written down counts`() throws {
    var record = Record()
    try record.put(
      [1], expiry: 10, replacing: VersionVector(), dot: Self.dot(1, 1), timestamp: Timestamp(milliseconds: 1))
    var expired = record
    let hasExpired = expired.expire(at: 20)
    #expect(hasExpired)
    #expect(expired.context == record.context)
    #expect(Self.hash(expired) != Self.hash(record))
  }

  @Test func `elements' and fields' names count`() throws {
    func set(_ elements: [[UInt8]]) throws -> Record {
      var record = Record()
      try record.update(ORSet.self, dot: Self.dot(1, 1)) { set, dot in
        for element in elements { set.insert(element, dot: dot) }
      }
      return record
    }
    let sets: [[[UInt8]]] = [[[1]], [[2]], [[1], [2]], [[1, 2]], [[]], [[], [1]]]
    let hashes = try sets.map { try Self.hash(set($0)) }
    #expect(Set(hashes).count == sets.count)
  }

  @Test func `keys and seeds count`() throws {
    var record = Record()
    try record.delete(replacing: VersionVector(), dot: Self.dot(1, 1))
    let keys: [[UInt8]] = [[1], [1, 0], [1, 0, 0], [0, 1], [2]]
    #expect(Set(keys.map { Self.hash(record, $0) }).count == keys.count)
    #expect(Set((0..<100).map { Self.hash(record, seed: $0) }).count == 100)
  }

  @Test func `keys spread over the leaves, those of one tag as well`() {
    let hasher = RecordHasher(seed: 11)
    var counts = [Int](repeating: 0, count: HashTree.leafCount)
    for number in 0..<64 * HashTree.leafCount {
      counts[unsafe hasher.leaf(of: Array("{tag}\(number)".utf8).span.bytes)] += 1
    }
    // 64 on the average, with a deviation of 8.
    #expect(counts.min() ?? 0 > 16 && counts.max() ?? .max < 128)
  }

  @Test func `a tree does not mind the order, and sees each change`() {
    var random = SplitMix64(seed: 3)
    let hashes = (0..<200).map { _ in (random.next(), random.below(HashTree.leafCount)) }
    var one = HashTree()
    var other = HashTree()
    for (hash, leaf) in hashes { one.add(hash, toLeaf: leaf) }
    for (hash, leaf) in hashes.reversed() { other.add(hash, toLeaf: leaf) }
    #expect(one == other && one.root == other.root && one.keyCount == 200)
    for (hash, leaf) in hashes {
      var changed = one
      changed.add(hash ^ 1, toLeaf: leaf)
      #expect(changed.root != one.root)
      let groups = (0..<HashTree.groupCount).filter { changed.groups[$0] != one.groups[$0] }
      #expect(groups == [leaf / 32])
    }
    #expect(HashTree().root == HashTree().root)
  }
}
