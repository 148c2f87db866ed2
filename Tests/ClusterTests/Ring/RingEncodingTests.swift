import RoostEnvironment
import TestSupport
import Testing

@testable import RoostCluster

/// Rings in bytes: there and back, and nothing but that.
// Budget: 5 s
@Suite struct RingEncodingTests {
  /// Settled or half-way between two.
  private func ring(_ generator: inout SplitMix64) throws -> Ring {
    let random = RandomMembers(usesWeights: true, usesZones: true)
    let replicas = 1 + generator.below(3)
    let members = random.members(replicas + generator.below(5), &generator)
    let ring = try Ring(
      partitionCount: 1 + generator.below(40), replicas: replicas, members: members,
      epoch: generator.next() >> UInt64(2 + generator.below(62)))
    let plan = try ring.plan(to: random.changed(members, least: replicas, &generator))
    var current = plan.start
    for move in plan.moves.prefix(generator.below(plan.moves.count + 1)) { try current.apply(move) }
    return current
  }

  private func code(_ bytes: [UInt8]) -> RingError.Code? {
    do { _ = try Ring(decoding: bytes) } catch { return error.code }
    return nil
  }

  @Test func `a ring comes back as it was`() throws {
    try withSeeds(#function, count: TestSize.of(quick: 100, full: 2000)) { _, generator in
      let ring = try ring(&generator)
      let bytes = ring.encoded()
      let back = try Ring(decoding: bytes)
      #expect(back == ring && back.encoded() == bytes)
    }
    // Slots of two bytes, and the largest epoch.
    let large = try Ring(
      partitionCount: 400, replicas: 1, members: RingTests.members(200), epoch: 1 << 62)
    #expect(try Ring(decoding: large.encoded()) == large)
    let long = try Ring(partitionCount: 32_768, replicas: 1, members: RingTests.members(1))
    #expect(try Ring(decoding: long.encoded()) == long)
  }

  @Test func `equal texts of other bytes are other rings`() throws {
    let composed = RingMember(id: MemberID(rawValue: 1), name: "caf\u{E9}", zone: "\u{E9}")
    let decomposed = RingMember(id: MemberID(rawValue: 1), name: "cafe\u{301}", zone: "e\u{301}")
    let a = try Ring(partitionCount: 4, replicas: 1, members: [composed])
    let b = try Ring(partitionCount: 4, replicas: 1, members: [decomposed])
    #expect(a != b && a.encoded() != b.encoded())
    #expect(try Ring(decoding: b.encoded()) == b)
  }

  /// Any change of a byte, any cut, anything behind: damage, or a ring of exactly these bytes.
  @Test func `any bytes throw or are the encoding of what they decode to`() throws {
    try withSeeds(#function, count: TestSize.of(quick: 20, full: 1500)) { _, generator in
      let bytes = try ring(&generator).encoded()
      for count in 0..<bytes.count { #expect(code(Array(bytes.prefix(count))) == .damaged) }
      #expect(code(bytes + [0]) == .damaged)
      for _ in 0..<50 {
        var changed = bytes
        for _ in 0..<1 + generator.below(3) {
          changed[generator.below(changed.count)] = UInt8(generator.below(256))
        }
        expectExact(changed)
        expectExact(generator.bytes(generator.below(60)))
        expectExact([1] + generator.bytes(generator.below(60)))
      }
    }
  }

  private func expectExact(_ bytes: [UInt8]) {
    do {
      let ring = try Ring(decoding: bytes)
      #expect(ring.encoded() == bytes)
      // Nothing that decodes may trap later.
      #expect(throws: Never.self) { _ = try ring.plan(to: ring.staying) }
    } catch {
      #expect(error.code == .damaged || error.code == .newerFormat)
    }
  }

  @Test func `what a decoder refuses`() throws {
    // Two partitions, one replica, members 1 ("a") and 2 ("b").
    func member(_ id: UInt8, _ state: UInt8 = 0, _ weight: [UInt8] = [1]) -> [UInt8] {
      [id, 0, 0, 0, 0, 0, 0, 0, state] + weight + [1, 0x60 + id, 0]
    }
    func bytes(
      _ head: [UInt8] = [1, 2, 1, 5, 2], _ members: [UInt8]? = nil, _ slots: [UInt8] = [0, 1]
    ) -> [UInt8] { head + (members ?? member(1) + member(2)) + slots }

    let good = try Ring(decoding: bytes())
    #expect(good.epoch == 5 && good.members.map(\.name) == ["a", "b"])
    #expect(code([]) == .damaged)
    #expect(code(bytes([2, 2, 1, 5, 2])) == .newerFormat)
    #expect(code([255]) == .newerFormat && code(bytes([0, 2, 1, 5, 2])) == .damaged)
    #expect(code(bytes([1, 0, 1, 5, 2], nil, [])) == .damaged, "no partitions")
    #expect(code(bytes([1, 0x81, 0x80, 2, 1, 5, 2])) == .damaged, "32,769 partitions")
    #expect(code(bytes([1, 2, 0, 5, 2], nil, [])) == .damaged, "no replicas")
    #expect(code(bytes([1, 2, 3, 5, 2])) == .damaged, "more replicas than members")
    #expect(code(bytes([1, 2, 1, 0x85, 0, 2])) == .damaged, "a varint with bytes to spare")
    #expect(
      code(bytes([1, 2, 1] + [UInt8](repeating: 0xFF, count: 9) + [0x7F, 2])) == .damaged,
      "a varint above 2^64")
    #expect(
      code(bytes([1, 2, 1] + [UInt8](repeating: 0x81, count: 8) + [0x40, 2])) == .damaged,
      "an epoch above 2^62")
    #expect(code(bytes([1, 2, 1, 5, 0], [], [])) == .damaged, "no members")
    #expect(code(bytes([1, 2, 1, 5, 2], member(2) + member(1))) == .damaged, "out of order")
    #expect(code(bytes([1, 2, 1, 5, 2], member(1) + member(1))) == .damaged, "twice the same")
    #expect(code(bytes([1, 2, 1, 5, 2], member(1, 2) + member(2))) == .damaged, "state 2")
    #expect(code(bytes([1, 2, 1, 5, 2], member(1, 1) + member(2))) == nil, "one leaves")
    #expect(code(bytes([1, 2, 1, 5, 2], member(1, 1) + member(2, 1))) == .damaged, "all leave")
    #expect(
      code(bytes([1, 2, 1, 5, 2], member(1, 1) + member(2), [1, 1])) == .damaged,
      "one leaves that holds nothing")
    #expect(code(bytes([1, 2, 1, 5, 2], member(1, 0, [0]) + member(2))) == .damaged, "weight 0")
    #expect(
      code(bytes([1, 2, 1, 5, 2], member(1, 0, [0xE9, 7]) + member(2))) == .damaged, "weight 1001")
    var text = bytes()
    text[16] = 0xFF
    #expect(code(text) == .damaged, "a name that is not UTF-8")
    #expect(code(bytes([1, 2, 1, 5, 2], nil, [0, 2])) == .damaged, "a member that is not there")
    #expect(code(bytes([1, 1, 2, 5, 2], nil, [0, 0])) == .damaged, "one member twice")
    #expect(code(bytes([1, 1, 2, 5, 2], nil, [1, 0])) == nil)
    do { _ = try Ring(decoding: bytes([1, 2, 1, 5, 2], nil, [0, 2])) } catch {
      #expect("\(error)" == "damaged: the ring has 2 as its member of a slot at offset 32")
    }
  }
}
