import RoostEnvironment
import TestSupport
import Testing

@testable import RoostCausality

/// ``SolePut`` against ``Record``: the same bytes wherever it answers, and an answer wherever one value
/// of one replica is what is left.
// Budget: 2 s quick, 10 s full
@Suite struct SolePutTests {
  private static let now: UInt64 = 1_000

  private static func vector(_ random: inout SplitMix64) -> VersionVector {
    var vector = VersionVector()
    for _ in 0..<random.below(3) {
      vector.include(dot(random.pick(["a", "a", "b"]), 1 + UInt64(random.below(300))))
    }
    return vector
  }

  /// What may be under a key: mostly one value, and everything else too.
  private static func record(_ random: inout SplitMix64) throws -> Record? {
    if random.chance(1, of: 6) { return nil }
    var record = Record()
    for _ in 0...(random.chance(1, of: 3) ? random.below(4) : 0) {
      let replica: Character = random.chance(1, of: 5) ? "b" : "a"
      let dot = Dot(
        replica: CausalityTests.replica(replica),
        counter: record.context[CausalityTests.replica(replica)] + 1 + UInt64(random.below(200)))
      let replacing = random.chance(1, of: 2) ? record.context : VersionVector()
      switch random.below(12) {
      case 0: try record.delete(replacing: record.context, dot: dot)
      case 1:
        try record.update(PNCounter.self, dot: dot) { counter, dot in
          try counter.increment(by: 1, dot: dot)
        }
      default:
        let expiry = random.chance(1, of: 4) ? now - 1 + UInt64(random.below(3)) : 0
        try record.put(
          random.bytes(random.below(20)), expiry: expiry, replacing: replacing, dot: dot,
          timestamp: Timestamp(rawValue: dot.counter))
      }
    }
    return record
  }

  /// The put as a record makes it; `nil` where it throws.
  private static func reference(
    _ old: Record?, _ value: [UInt8], _ context: CausalContext?, replacesAll: Bool, expiry: UInt64,
    _ dot: Dot, _ timestamp: Timestamp
  ) -> Record? {
    var record = old ?? Record()
    _ = record.expire(at: now)
    var replacing = context?.vector ?? VersionVector()
    if replacesAll { replacing.merge(record.context) }
    do throws(CausalityError) {
      try record.put(
        value, expiry: expiry, replacing: replacing, and: context?.dot, dot: dot, timestamp: timestamp)
    } catch { return nil }
    return record
  }

  @Test func `a put of one value leaves the bytes that a record would`() throws {
    var answered = 0
    let count = TestSize.of(quick: 8_000, full: 200_000)
    try withSeeds("SolePutTests", count: count) { _, random in
      let old = try Self.record(&random)
      var context: CausalContext?
      if random.chance(2, of: 3) {
        let own = random.chance(1, of: 8) ? dot("a", 1 + UInt64(random.below(300))) : nil
        let vector = random.chance(1, of: 2) ? old?.context ?? VersionVector() : Self.vector(&random)
        context = CausalContext(binding: 1, vector: vector, dot: own)
      }
      let replacesAll = random.chance(1, of: 2)
      let dot = dot(random.pick(["a", "a", "a", "b"]), 1 + UInt64(random.below(800)))
      let timestamp = Timestamp(rawValue: random.next())
      let expiry = random.chance(1, of: 3) ? random.next() : 0
      let value = random.bytes(random.below(10) == 0 ? 1_000 : random.below(200))

      let expected = Self.reference(
        old, value, context, replacesAll: replacesAll, expiry: expiry, dot, timestamp)
      let encoded = old?.encoded
      let sole = encoded.flatMap { SoleSibling(in: $0.rawSpan, at: Self.now) }
      let put =
        encoded != nil && sole == nil
        ? nil : SolePut(over: sole, context: context, replacesAll: replacesAll)
      guard let put, put.replica ?? dot.replica == dot.replica, put.seen < dot.counter else {
        // Whoever asks for a newer dot, or another replica's, must not turn down what is common.
        let isCommon =
          put == nil && context?.dot == nil && (old == nil || sole != nil)
          && expected?.siblings.count == 1 && expected?.context.entries.count == 1
        try check(!isCommon, "turned down what leaves one value of one replica")
        return
      }
      answered += 1
      guard let expected else { throw Violated(description: "takes a dot that was seen") }
      try check(Self.encode(put, value, expiry, dot, timestamp) == expected.encoded, "the bytes")
      try check(expected.context == CompactVector(dot).vector, "the context")
    }
    #expect(answered > count / 10)
  }

  private static func encode(
    _ put: SolePut, _ value: [UInt8], _ expiry: UInt64, _ dot: Dot, _ timestamp: Timestamp
  ) -> [UInt8] {
    // No byte more than it says: the writer traps beyond.
    unsafe [UInt8](unsafeUninitializedCapacity: SolePut.overheadBytes + value.count) { memory, count in
      var bytes = unsafe ByteWriter(
        UnsafeMutableRawBufferPointer(start: memory.baseAddress, count: memory.count))
      put.encode(value.rawSpan, expiry: expiry, dot: dot, timestamp: timestamp, into: &bytes)
      count = bytes.count
    }
  }

  @Test func `the longest encoding fits`() throws {
    let dot = dot("a", .max)
    let put = try #require(SolePut(over: nil, context: nil, replacesAll: false))
    let bytes = Self.encode(put, [1], .max, dot, Timestamp(rawValue: .max))
    #expect(try Record(decoding: bytes).siblings.elements.map(\.expiry) == [.max])
  }

  @Test func `a compact vector is the vector`() throws {
    try withSeeds("SolePutTests", count: TestSize.of(quick: 2_000, full: 20_000)) { _, random in
      let (a, b) = (Self.vector(&random), Self.vector(&random))
      try check(CompactVector(a).vector == a, "there and back")
      try check((CompactVector(a) == CompactVector(b)) == (a == b), "equality")
      try check(CompactVector(a).isEmpty == a.isEmpty, "emptiness")
      for name in ["a", "b", "c"] as [Character] {
        try check(CompactVector(a)[replica(name)] == a[replica(name)], "lookup")
      }
    }
  }
}
