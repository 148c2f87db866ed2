import RoostStorage
import TestSupport
import Testing

@testable import RoostCluster

/// Where keys go: a published rule, so its results are pinned.
// Budget: 2 s
@Suite struct PlacementTests {
  private func hash(_ key: String) -> UInt64 {
    let bytes = Array(key.utf8)
    return unsafe Placement.hash(bytes.span.bytes)
  }

  private func tag(_ key: String) -> String? {
    let bytes = Array(key.utf8)
    return unsafe Placement.tag(of: bytes.span.bytes).map { String(decoding: bytes[$0], as: UTF8.self) }
  }

  @Test func `the tag is what stands between the first brace and the next`() {
    #expect(tag("song:{42}:plays") == "42")
    #expect(tag("{a}") == "a" && tag("x{a}") == "a" && tag("{a}x") == "a")
    #expect(tag("{a}{b}") == "a" && tag("{a{b}c}") == "a{b" && tag("}{a}") == "a")
    #expect(tag("") == nil && tag("plain") == nil && tag("{open") == nil && tag("close}") == nil)
    #expect(tag("{}") == nil && tag("{}{a}") == nil && tag("{") == nil && tag("}{") == nil)
  }

  @Test func `a key goes where its tag goes`() {
    #expect(hash("song:{42}:plays") == hash("42") && hash("{42}") == hash("42"))
    #expect(hash("{}42") == Checksum.xxh64(Array("{}42".utf8)))
    #expect(hash("abc") == 0x44bc_2cf5_ad77_0999, "XXH64 of `abc`, as FORMAT.md has it")
    #expect(hash("") == 0xef46_db37_51d8_e999)
  }

  @Test func `partitions are equal ranges of hashes`() {
    #expect(Placement.partition(ofHash: 0, count: 7) == 0)
    #expect(Placement.partition(ofHash: .max, count: 7) == 6)
    #expect(Placement.partition(ofHash: .max, count: 32_768) == 32_767)
    #expect(Placement.partition(ofHash: .max, count: 1) == 0)
    for bit in 0..<15 {
      // The first hash of each half, quarter, …
      let count = 1 << bit
      for partition in [0, count / 2, count - 1] {
        let first = bit == 0 ? 0 : UInt64(partition) << UInt64(64 - bit)
        #expect(Placement.partition(ofHash: first, count: count) == partition)
        if partition > 0 {
          #expect(Placement.partition(ofHash: first - 1, count: count) == partition - 1)
        }
      }
    }
  }

  @Test func `keys spread evenly over partitions`() {
    var counts = Array(repeating: 0, count: 64)
    for number in 0..<64_000 {
      counts[Placement.partition(ofHash: hash("song:\(number)"), count: 64)] += 1
    }
    // Binomial, standard deviation 31: six of them.
    #expect(counts.allSatisfy { abs($0 - 1000) < 190 }, "\(counts)")
  }

  /// The rings of databases that exist depend on it.
  @Test func `members stand where they always stood`() throws {
    let positions = VirtualNodes.positions(of: MemberID(rawValue: 1), count: 2)
    let bytes: [UInt8] = [1] + Array(repeating: 0, count: 15)
    #expect(positions[0] == Checksum.xxh64(bytes))
    #expect(positions[1] == Checksum.xxh64([1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]))
    #expect(VirtualNodes.point(of: 3) == Checksum.xxh64([3, 0, 0, 0, 0, 0, 0, 0], seed: 1))
    let ring = try Ring(partitionCount: 8, replicas: 2, members: RingTests.members(3))
    #expect(ring.slots == [0, 1, 1, 0, 2, 0, 2, 0, 2, 1, 0, 1, 1, 2, 0, 2])
  }

  @Test func `a walk goes on at the circle's beginning`() throws {
    let nodes = VirtualNodes([RingTests.member(1)])
    let positions = VirtualNodes.positions(of: MemberID(rawValue: 1), count: 64).sorted()
    #expect(nodes.distance(fromPoint: .max, to: 0) == positions[0] + 1)
    #expect(nodes.distance(fromPoint: positions[63] + 1, to: 0) == positions[0] &- positions[63] - 1)
    #expect(nodes.distance(fromPoint: positions[7], to: 0) == 0)
    #expect(nodes.distance(fromPoint: positions[7] + 1, to: 0) == positions[8] - positions[7] - 1)
  }
}
