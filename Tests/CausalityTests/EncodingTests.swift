import RoostEnvironment
import TestSupport
import Testing

@testable import RoostCausality

/// Records read back as they were written, and only in the one spelling.
// Budget: 3 s
@Suite struct EncodingTests {
  /// A context of one replica, number 5, seen up to 9.
  private let one: [UInt8] = [1, 1, 5, 0, 0, 0, 0, 0, 0, 0, 9]
  /// Of replicas 5 and 6, seen up to 9 and 200.
  private let two: [UInt8] = [1, 2, 5, 0, 0, 0, 0, 0, 0, 0, 9, 6, 0, 0, 0, 0, 0, 0, 0, 200, 1]
  private let time: [UInt8] = [1, 0, 0, 0, 0, 0, 0, 0]

  private func expectGood(_ bytes: [UInt8], _ sourceLocation: SourceLocation = #_sourceLocation) throws {
    #expect(try Record(decoding: bytes).encoded == bytes, sourceLocation: sourceLocation)
  }

  private func expectDamaged(
    _ bytes: [UInt8], _ message: String, _ sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let error = #expect(throws: CausalityError.self, sourceLocation: sourceLocation) {
      try Record(decoding: bytes)
    }
    #expect(error?.code == .damaged, sourceLocation: sourceLocation)
    let isNamed = error?.message.contains(message) == true
    #expect(isNamed, "\(error?.message ?? "")", sourceLocation: sourceLocation)
    #expect(error?.offset.map { $0 <= bytes.count } == true, sourceLocation: sourceLocation)
  }

  /// Read eight bytes at once where there are so many, else byte by byte.
  @Test func `varints read the same whatever stands behind them`() throws {
    for shift in 0..<64 as Range<UInt64> {
      for value in [1 << shift, (1 << shift) &- 1, (1 << shift) | 1, UInt64.max >> shift] as [UInt64] {
        var encoded: [UInt8] = []
        encoded.appendVarint(value)
        for behind in 0..<9 {
          for filler in [0, 0x7F, 0x80, 0xFF] as [UInt8] {
            let bytes = [9] + encoded + [UInt8](repeating: filler, count: behind)
            var reader = ByteReader(bytes.rawSpan)
            _ = reader.readUInt8()
            let read = reader.readVarint()
            #expect(read == value && reader.offset == 1 + encoded.count)
            guard encoded.count < 10 else { continue }
            // The same with a needless byte.
            var needless = encoded
            needless[needless.count - 1] |= 0x80
            needless += [0] + [UInt8](repeating: filler, count: behind)
            reader = ByteReader(needless.rawSpan)
            let other = reader.readVarint()
            #expect(other == nil)
          }
        }
        for cut in 0..<encoded.count {
          let short = Array(encoded[..<cut])
          var reader = ByteReader(short.rawSpan)
          let read = reader.readVarint()
          #expect(read == nil)
        }
      }
    }
  }

  @Test func `what histories reach reads back`() throws {
    try withSeeds("EncodingTests", count: TestSize.of(quick: 1000, full: 5000)) { _, random in
      let history = try History<Record>(replicas: 3, steps: 30, &random)
      for record in history.past {
        try check(try Record(decoding: record.encoded) == record, "\(record)")
        var behind: [UInt8] = [1, 2, 3]
        record.encode(into: &behind)
        try check(behind == [1, 2, 3] + record.encoded, "encoding appends")
      }
    }
  }

  @Test func `a newer version is refused by name`() throws {
    let error = #expect(throws: CausalityError.self) { try Record(decoding: [3] + one.dropFirst()) }
    #expect(error?.code == .newerFormat && error?.offset == 0)
    expectDamaged([0], "version 0")
    expectDamaged([], "no bytes")
  }

  @Test func `the empty record is three zeros`() throws {
    #expect(Record().encoded == [1, 0, 0, 0])
    try expectGood([1, 0, 0, 0])
    expectDamaged([1, 0, 0, 0, 0], "too many")
    expectDamaged([1, 0, 0x80, 0, 0], "count")
  }

  @Test func `a context has one spelling`() throws {
    try expectGood(one + [0, 0])
    try expectGood(two + [0, 0])
    var bytes = one + [0, 0]
    bytes[10] = 0
    expectDamaged(bytes, "counter is 0")
    bytes = two + [0, 0]
    bytes[11] = 5
    expectDamaged(bytes, "replicas are out of order")
    bytes[2] = 7
    bytes[11] = 6
    expectDamaged(bytes, "replicas are out of order")
    expectDamaged(Array(one.dropLast()) + [0x89, 0, 0, 0], "cut short")
    expectDamaged([1, 2] + one.dropFirst(2) + [0, 0], "a context's count")
  }

  @Test func `siblings have one spelling`() throws {
    let sibling: ([UInt8]) -> [UInt8] = { $0 + self.time + [0, 1, 65] }
    try expectGood(one + [2] + sibling([0, 8]) + sibling([0, 9]) + [0])
    expectDamaged(one + [2] + sibling([0, 9]) + sibling([0, 8]) + [0], "dots are out of order")
    expectDamaged(one + [2] + sibling([0, 9]) + sibling([0, 9]) + [0], "dots are out of order")
    expectDamaged(one + [1] + sibling([0, 10]) + [0], "the context does not contain")
    expectDamaged(one + [1] + sibling([0, 0]) + [0], "the context does not contain")
    expectDamaged(one + [1] + sibling([1, 1]) + [0], "no replica")
    expectDamaged(one + [1, 0, 9] + time + [0, 2, 65, 0], "count")
    expectDamaged(one + [1, 0, 9] + time + [0, 200, 65, 0], "cut short")
    expectDamaged(one + [1, 0, 9] + time + [0x80, 0, 1, 65, 0], "cut short")
  }

  @Test func `states have one spelling`() throws {
    let flag: [UInt8] = [4, 1, 0, 9]
    let counter: [UInt8] = [2, 1, 0, 9, 1, 0]
    try expectGood(one + [0, 2] + counter + flag)
    expectDamaged(one + [0, 2] + flag + counter, "states are out of order")
    expectDamaged(one + [0, 2] + flag + flag, "states are out of order")
    for kind in 1...6 as ClosedRange<UInt8> { expectDamaged(one + [0, 1, kind, 0, 0, 0], "an empty state") }
    for kind in [0, 7, 255] as [UInt8] { expectDamaged(one + [0, 1, kind, 1, 0, 9], "unknown kind") }
  }

  @Test func `the bodies of states have one spelling`() throws {
    try expectGood(two + [0, 1, 1, 2, 0, 9, 7, 1, 1, 8])
    expectDamaged(two + [0, 1, 1, 2, 0, 8, 7, 0, 9, 8], "a counter's replicas")
    expectDamaged(two + [0, 1, 1, 2, 1, 8, 7, 0, 9, 8], "a counter's replicas")
    try expectGood(two + [0, 1, 2, 2, 0, 9, 7, 0, 1, 1, 8, 0])
    expectDamaged(two + [0, 1, 2, 2, 0, 8, 7, 0, 0, 9, 8, 0], "a counter's replicas")
    try expectGood(one + [0, 1, 3, 2, 0, 8] + time + [0, 0, 9] + time + [1, 65])
    expectDamaged(one + [0, 1, 3, 2, 0, 9] + time + [0, 0, 8] + time + [1, 65], "dots are out of order")
    try expectGood(one + [0, 1, 4, 2, 0, 8, 0, 9])
    expectDamaged(one + [0, 1, 4, 2, 0, 9, 0, 8], "dots are out of order")
    try expectGood(one + [0, 1, 5, 2, 0, 1, 0, 8, 1, 65, 1, 0, 9])
    expectDamaged(one + [0, 1, 5, 2, 1, 65, 1, 0, 9, 0, 1, 0, 8], "elements are out of order")
    expectDamaged(one + [0, 1, 5, 2, 1, 65, 1, 0, 9, 1, 65, 1, 0, 8], "elements are out of order")
    expectDamaged(one + [0, 1, 5, 1, 1, 65, 0, 0, 0], "an empty state")
    try expectGood(one + [0, 1, 6, 2, 0, 4, 1, 0, 8, 1, 65, 4, 1, 0, 9])
    try expectGood(one + [0, 1, 6, 2, 0, 1, 1, 0, 8, 5, 0, 4, 1, 0, 9])
    expectDamaged(one + [0, 1, 6, 2, 1, 65, 4, 1, 0, 9, 0, 4, 1, 0, 8], "fields are out of order")
    expectDamaged(one + [0, 1, 6, 2, 0, 4, 1, 0, 9, 0, 4, 1, 0, 8], "fields are out of order")
    expectDamaged(one + [0, 1, 6, 2, 0, 4, 1, 0, 9, 0, 1, 1, 0, 8, 5], "fields are out of order")
    expectDamaged(one + [0, 1, 6, 1, 0, 6, 1, 0, 4, 1, 0, 9], "a map in a map")
  }

  @Test func `operations have one spelling, in version 2 alone`() throws {
    let id = { (low: UInt8) -> [UInt8] in [0, 0, 1, 0, 0, 0, 0, 0, low, 0, 0, 0, 0, 0, 0, 0] }
    let one = [2] + one.dropFirst()
    // No entry and two operations; an entry and one; in a map's field.
    try expectGood(one + [0, 1, 2, 0, 2, 0, 8] + id(1) + [6, 0, 9] + id(2) + [5])
    try expectGood(one + [0, 1, 2, 1, 0, 9, 1, 0, 1, 0, 9] + id(1) + [0])
    try expectGood(one + [0, 1, 6, 1, 0, 2, 0, 1, 0, 9] + id(1) + [6])
    expectDamaged(one + [0, 1, 2, 0, 2, 0, 9] + id(1) + [6, 0, 8] + id(2) + [5], "dots are out of order")
    expectDamaged(one + [0, 1, 2, 0, 1, 0, 10] + id(1) + [6], "the context does not contain")
    expectDamaged(one + [0, 1, 2, 0, 0, 0, 0], "an empty state")
    expectDamaged(one + [0, 1, 2, 0, 1, 0, 9] + id(1).dropLast() + [], "the count of operations")
    expectDamaged(one + [0, 1, 2, 0, 1, 0, 9] + id(1) + [0x80], "an operation is cut short")
    expectDamaged(one + [0, 1, 2, 0, 0xFF, 0xFF, 0x7F] + id(1) + [6], "the count of operations")
    // What says the same in version 1 has version 1.
    expectDamaged(one + [0, 1, 2, 1, 0, 9, 1, 0, 0], "version 2 without an operation")
    expectDamaged(one + [0, 0], "version 2 without an operation")
    expectDamaged([1] + one.dropFirst() + [0, 1, 2, 0, 1, 0, 9] + id(1) + [6], "an empty state")
  }

  /// Memory is taken for what follows, not for what a count says: these would ask for all there is.
  @Test func `counts that lie are refused before anything is made for them`() {
    for count in [1 << 20, 1 << 40, 1 << 62, UInt64.max] {
      var lie: [UInt8] = []
      lie.appendVarint(count)
      let rest = [UInt8](repeating: 0, count: 64)
      expectDamaged([1] + lie + rest, "a context's count")
      expectDamaged(one + lie + rest, "the siblings' count")
      expectDamaged(one + [0] + lie + rest, "the states' count")
      for kind in 1...6 as ClosedRange<UInt8> {
        expectDamaged(one + [0, 1, kind] + lie + rest, "a state's count")
      }
      expectDamaged(one + [0, 1, 5, 1] + lie + rest, "a set is cut short")
      expectDamaged(one + [0, 1, 5, 1, 0] + lie + rest, "a state's count")
      expectDamaged(one + [0, 1, 6, 1] + lie + rest, "a map is cut short")
      expectDamaged(one + [1, 0, 9] + time + [0] + lie + rest, "a sibling is cut short")
      expectDamaged(one + [0, 1, 3, 1, 0, 9] + time + lie + rest, "a register is cut short")
    }
  }

  @Test func `varints are those of the format`() {
    for (value, bytes) in [
      (0, [0]), (127, [0x7F]), (128, [0x80, 1]), (300, [0xAC, 2]),
      (.max, [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1]),
    ] as [(UInt64, [UInt8])] {
      var written: [UInt8] = []
      written.appendVarint(value)
      #expect(written == bytes)
    }
    for bytes in [
      [0x80], [0x80, 0], [0xFF, 0x80, 0], [UInt8](repeating: 0xFF, count: 9) + [2],
      [UInt8](repeating: 0xFF, count: 10) + [0], [UInt8](repeating: 0x80, count: 9) + [0],
    ] as [[UInt8]] {
      var reader = ByteReader(bytes.rawSpan)
      let value = reader.readVarint()
      #expect(value == nil, "\(bytes)")
    }
    for shift in 0..<64 as Range<UInt64> {
      for value in [1 << shift, (1 << shift) &- 1, UInt64.max >> shift] as [UInt64] {
        var written: [UInt8] = []
        written.appendVarint(value)
        var reader = ByteReader(written.rawSpan)
        let read = reader.readVarint()
        #expect(read == value && reader.remaining == 0)
      }
    }
  }
}
