import RoostCausality
import RoostEnvironment
import TestSupport
import Testing

/// Version vectors, dots and contexts, against plain dictionaries.
// Budget: 2 s
@Suite struct VectorTests {
  @Test func `dots are ordered by replica, then counter`() {
    let ordered = [dot("a", 1), dot("a", 2), dot("b", 1)]
    #expect(ordered.reversed().sorted() == ordered)
    #expect("\(Dot(replica: ReplicaID(rawValue: 0xA1), counter: 17))" == "00000000000000a1#17")
  }

  @Test func `a vector contains what it includes and all before`() {
    var vector = VersionVector()
    #expect(vector.isEmpty && !vector.contains(dot("a", 1)) && vector[replica("a")] == 0)
    vector.include(dot("b", 3))
    vector.include(dot("a", 5))
    vector.include(dot("b", 2))
    #expect(vector.contains(dot("b", 1)) && vector.contains(dot("b", 3)) && !vector.contains(dot("b", 4)))
    #expect(vector.entries.map(\.counter) == [5, 3])
    #expect(vector == VersionVector([dot("a", 5), dot("b", 3)]))
  }

  @Test func `the four relations`() {
    let none = VersionVector()
    let a1 = VersionVector([dot("a", 1)])
    let a2 = VersionVector([dot("a", 2)])
    let b1 = VersionVector([dot("b", 1)])
    let both = VersionVector([dot("a", 2), dot("b", 1)])
    #expect(none.compare(to: none) == .equal && a1.compare(to: a1) == .equal)
    #expect(none.compare(to: a1) == .before && a1.compare(to: none) == .after)
    #expect(a1.compare(to: a2) == .before && a2.compare(to: both) == .before)
    #expect(b1.compare(to: both) == .before && both.compare(to: a1) == .after)
    #expect(a1.compare(to: b1) == .concurrent && b1.compare(to: a2) == .concurrent)
    #expect(VersionVector([dot("a", 1), dot("b", 2)]).compare(to: both) == .concurrent)
    #expect(a1.isAtMost(a1) && a1.isAtMost(a2) && !a2.isAtMost(a1) && !a1.isAtMost(b1))
  }

  @Test func `vectors do as dictionaries do`() throws {
    try withSeeds("VectorTests", count: TestSize.of(quick: 1000, full: 5000)) { _, random in
      var vectors = [VersionVector(), VersionVector()]
      var models: [[ReplicaID: UInt64]] = [[:], [:]]
      for _ in 0..<random.below(40) {
        let side = random.below(2)
        if random.chance(1, of: 12) {
          vectors[side].merge(vectors[1 - side])
          models[side].merge(models[1 - side], uniquingKeysWith: max)
        } else {
          let dot = Dot(
            replica: ReplicaID(rawValue: UInt64(random.below(8))), counter: UInt64(1 + random.below(5)))
          vectors[side].include(dot)
          models[side][dot.replica] = max(models[side][dot.replica] ?? 0, dot.counter)
        }
        for side in 0..<2 {
          let sorted = models[side].sorted { $0.key < $1.key }
          try check(vectors[side].entries.map(\.replica) == sorted.map(\.key), "replicas")
          try check(vectors[side].entries.map(\.counter) == sorted.map(\.value), "counters")
          for replica in 0..<9 as Range<UInt64> {
            let replica = ReplicaID(rawValue: replica)
            try check(vectors[side][replica] == models[side][replica] ?? 0, "lookup")
          }
        }
        let keys = Set(models[0].keys).union(models[1].keys)
        let order = (
          keys.allSatisfy { models[0][$0] ?? 0 <= models[1][$0] ?? 0 },
          keys.allSatisfy { models[0][$0] ?? 0 >= models[1][$0] ?? 0 }
        )
        let expected: CausalOrder =
          order.0 ? (order.1 ? .equal : .before) : order.1 ? .after : .concurrent
        try check(vectors[0].compare(to: vectors[1]) == expected, "compare")
      }
    }
  }

  @Test func `a context reads back, and nothing else does`() throws {
    let vector = VersionVector([dot("a", 300), dot("b", 1)])
    for own in [nil, dot("c", 7), dot("a", 301)] {
      let context = CausalContext(binding: 0x0102_0304_0506_0708, vector: vector, dot: own)
      var bytes: [UInt8] = []
      context.encode(into: &bytes)
      #expect(Array(bytes.prefix(10)) == [1, 8, 7, 6, 5, 4, 3, 2, 1, 2])
      #expect(try decode(bytes) == context)
      try expectOneSpelling(bytes)
    }
    let nothing = CausalContext(binding: 7, vector: VersionVector())
    #expect(nothing.isEmpty && nothing != CausalContext(binding: 8, vector: VersionVector()))
    #expect(!CausalContext(binding: 7, vector: vector).isEmpty)
    #expect(!CausalContext(binding: 7, vector: VersionVector(), dot: dot("a", 1)).isEmpty)
  }

  private func expectOneSpelling(_ bytes: [UInt8]) throws {
    for position in bytes.indices {
      #expect(throws: CausalityError.self) { try decode(Array(bytes[..<position])) }
      for value in UInt8.min ... .max where value != bytes[position] {
        var damaged = bytes
        damaged[position] = value
        guard let read = try? decode(damaged) else { continue }
        var again: [UInt8] = []
        read.encode(into: &again)
        #expect(again == damaged)
      }
    }
    #expect(throws: CausalityError.self) { try decode(bytes + [0]) }
    let newer = #expect(throws: CausalityError.self) { try decode([2] + bytes.dropFirst()) }
    #expect(newer?.code == .newerFormat)
  }

  private func decode(_ bytes: [UInt8]) throws -> CausalContext { try CausalContext(decoding: bytes.rawSpan) }
}
