import Testing

@testable import RoostStorage

// Budget: 5 s
@Suite struct WriteBatchEncodingTests {
  struct Operation: Equatable {
    var kind: UInt8
    var tree: UInt64
    var key: [UInt8]
    var value: [UInt8]
  }

  static func encode(_ operations: [Operation], base: UInt64) -> [UInt8] {
    var encoder = WriteBatchEncoder(capacity: 16)
    for op in operations {
      op.key.withByteView { key in
        op.value.withByteView { value in
          switch op.kind {
          case 0: encoder.delete(treeID: op.tree, key: key)
          case 1: encoder.put(treeID: op.tree, key: key, value: value)
          case 3: encoder.deleteLate(treeID: op.tree, key: key)
          default: encoder.deleteRange(treeID: op.tree, from: key, to: value)
          }
        }
      }
    }
    encoder.setBaseSequence(base)
    #expect(encoder.count == operations.count)
    #expect(encoder.byteCount == encoder.view.count)
    return encoder.view.array
  }

  /// The operations in `bytes`, or `nil` where they are damaged.
  static func decode(_ bytes: [UInt8]) -> (base: UInt64, operations: [Operation])? {
    bytes.withByteView { view in
      do {
        var decoder = try WriteBatchDecoder(view)
        var operations: [Operation] = []
        while let op = try decoder.next() {
          operations.append(
            Operation(
              kind: op.kind.rawValue, tree: op.treeID, key: op.key.array, value: op.value.array))
        }
        #expect(operations.count == decoder.count)
        return (decoder.baseSequence, operations)
      } catch {
        #expect((error as? StoreError)?.code == .corruption)
        return nil
      }
    }
  }

  static func random(_ random: inout SeededRandom, _ n: Int) -> [Operation] {
    func bytes(_ n: Int) -> [UInt8] { (0..<n).map { _ in UInt8(random.below(256)) } }
    return (0..<n).map { _ in
      let kind = UInt8(random.below(4))
      let tree = random.next() >> UInt64(random.below(64))
      let key = bytes(1 + random.below(random.below(10) == 0 ? 400 : 9))
      let value = kind == 0 || kind == 3 ? [] : kind == 1 ? bytes(random.below(300)) : key + bytes(1)
      return Operation(kind: kind, tree: tree, key: key, value: value)
    }
  }

  @Test func `is what FORMAT says, byte for byte`() {
    let bytes = WriteBatchEncodingTests.encode(
      [
        Operation(kind: 1, tree: 1, key: Array("ab".utf8), value: Array("xyz".utf8)),
        Operation(kind: 0, tree: 300, key: [0xFF], value: []),
        Operation(kind: 2, tree: 2, key: [1], value: [2, 0]),
        Operation(kind: 1, tree: 0, key: [0], value: []),
        Operation(kind: 3, tree: 4, key: [8, 9], value: []),
      ], base: 0x0102_0304_0506)
    #expect(
      bytes == [
        6, 5, 4, 3, 2, 1, 0, 0, 5, 0, 0, 0,
        1, 1, 2, 0x61, 0x62, 3, 0x78, 0x79, 0x7A,
        0, 0xAC, 0x02, 1, 0xFF,
        2, 2, 1, 1, 2, 2, 0,
        1, 0, 1, 0, 0,
        3, 4, 2, 8, 9,
      ])
  }

  @Test func `gives back what was put in`() throws {
    var random = SeededRandom()
    for n in [0, 1, 2, 200] {
      let operations = WriteBatchEncodingTests.random(&random, n)
      let decoded = try #require(
        WriteBatchEncodingTests.decode(WriteBatchEncodingTests.encode(operations, base: 77)))
      #expect(decoded.base == 77 && decoded.operations == operations, random.replay)
    }
    let longest = Operation(
      kind: 1, tree: .max, key: [UInt8](repeating: 1, count: Limits.keyBytes), value: [5])
    let decoded = WriteBatchEncodingTests.decode(
      WriteBatchEncodingTests.encode([longest], base: EntryTag.maxSequence - 1))
    #expect(decoded?.operations == [longest])
  }

  @Test func `an emptied encoder begins anew`() {
    var encoder = WriteBatchEncoder()
    [1, 2].withByteView { encoder.put(treeID: 3, key: $0, value: $0) }
    encoder.setBaseSequence(9)
    encoder.removeAll()
    #expect(encoder.isEmpty && encoder.view.array == [UInt8](repeating: 0, count: 12))
  }

  @Test func `damage to any byte never traps and truncation always throws`() {
    var random = SeededRandom()
    let whole = WriteBatchEncodingTests.encode(
      WriteBatchEncodingTests.random(&random, 12), base: 1)
    for length in 0..<whole.count {
      #expect(WriteBatchEncodingTests.decode(Array(whole[..<length])) == nil, random.replay)
    }
    #expect(WriteBatchEncodingTests.decode(whole + [0]) == nil)
    for at in whole.indices {
      for value in 0...255 as ClosedRange<UInt8> {
        var damaged = whole
        damaged[at] = value
        _ = WriteBatchEncodingTests.decode(damaged)
      }
    }
    for _ in 0..<2000 {
      let noise = (0..<random.below(60)).map { _ in UInt8(random.below(256)) }
      _ = WriteBatchEncodingTests.decode(noise)
    }
  }

  @Test func `refuses what no encoder writes`() {
    func header(_ count: UInt8) -> [UInt8] { [1, 0, 0, 0, 0, 0, 0, 0, count, 0, 0, 0] }
    let refused: [[UInt8]] = [
      header(1) + [4, 1, 1, 9],  // no such kind
      header(1) + [3, 1, 1, 9, 0],  // a value that is none of a late delete's
      header(1) + [0, 1, 0],  // no key
      header(1) + [2, 1, 1, 5, 1, 5],  // empty range
      header(1) + [2, 1, 1, 5, 1, 4],  // backward range
      header(1) + [2, 1, 1, 5, 0],  // no end
      header(1) + [0, 1, 0x80, 0x80, 4] + [UInt8](repeating: 1, count: 65_536),  // long key
      header(2) + [0, 1, 1, 9],  // one operation of two
      header(0) + [0, 1, 1, 9],  // one too many
      header(1) + [0, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 9],
      [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0],  // sequence 2^56
      [255, 255, 255, 255, 255, 255, 255, 0, 1, 0, 0, 0, 0, 1, 1, 9],  // passes 2^56 - 1
    ]
    for bytes in refused {
      #expect(WriteBatchEncodingTests.decode(bytes) == nil, "\(bytes.prefix(20))")
    }
    #expect(WriteBatchEncodingTests.decode(header(1) + [0, 1, 1, 9]) != nil)
  }
}
