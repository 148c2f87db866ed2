import Testing

@testable import RoostStorage

/// The parts that tables are made of.
// Budget: 5 s
@Suite struct BlockTests {
  @Test func varintsDecodeAsTheyWereEncoded() {
    var random = TableRandom(30)
    for i in 0..<20_000 {
      let value =
        i < 64 ? 1 << UInt64(i) &- UInt64(i % 2) : random.next() >> UInt64(random.below(64))
      var buffer = ByteBuffer()
      buffer.append(varint: value)
      let length = buffer.count
      #expect(length == varintLength(value))
      buffer.append(zeros: 8)
      var offset = 0
      #expect(unsafe decodeVarint(buffer.view.base, &offset, length) == value, replay)
      #expect(offset == length)
      offset = 0
      if length > 1 { #expect(unsafe decodeVarint(buffer.view.base, &offset, length - 1) == nil) }
      offset = length
      #expect(unsafe decodeVarint(buffer.view.base, &offset, length) == nil)
    }
    // Eleven bytes, and ten that say more than 64 bits.
    for bytes in [[UInt8](repeating: 0xFF, count: 11), [UInt8](repeating: 0xFF, count: 9) + [2]] {
      (bytes + [UInt8](repeating: 0, count: 8)).withByteView { view in
        var offset = 0
        #expect(unsafe decodeVarint(view.base, &offset, bytes.count) == nil)
      }
    }
  }

  @Test func separatorsSeparateAndAreShort() {
    func separator(_ a: [UInt8], _ b: [UInt8]) -> [UInt8] {
      var out = ByteBuffer()
      a.withByteView { a in b.withByteView { b in appendSeparator(a, b, to: &out) } }
      return out.view.array
    }
    #expect(separator([1, 2, 3, 4], [1, 2, 9, 9]) == [1, 2, 9])
    #expect(separator([1, 2, 3, 4], [1, 2, 5]) == [1, 2, 4])
    #expect(separator([1, 2, 3, 4, 5, 6], [1, 2, 4]) == [1, 2, 3, 5])
    #expect(separator([1, 2, 3, 255, 255], [1, 2, 4]) == [1, 2, 3, 255, 255])
    #expect(separator([1, 2], [1, 2, 0]) == [1, 2])
    var random = TableRandom(31)
    for _ in 0..<20_000 {
      var a = random.bytes(1 + random.below(6), alphabet: 3).map { $0 == 2 ? 255 : $0 }
      var b = random.bytes(1 + random.below(6), alphabet: 3).map { $0 == 2 ? 255 : $0 }
      if b.lexicographicallyPrecedes(a) { swap(&a, &b) }
      guard a != b else { continue }
      let s = separator(a, b)
      #expect(!s.lexicographicallyPrecedes(a) && s.lexicographicallyPrecedes(b), replay)
      #expect(s.count <= a.count, replay)
    }
  }

  @Test(arguments: [(5, 0.13), (10, 0.0125), (16, 0.0025)])
  func filtersLetFewStrangersPass(_ bits: Int, _ limit: Double) {
    var builder = BloomFilterBuilder(bitsPerKey: bits)
    var random = TableRandom(32)
    let keys = (0..<20_000).map { _ in random.next() }
    func hash(_ number: UInt64) -> UInt64 {
      var buffer = ByteBuffer()
      buffer.append(littleEndian: number)
      return BloomFilter.hash(buffer.view)
    }
    for key in keys { builder.add(hash(key)) }
    var filter = ByteBuffer()
    builder.finish(to: &filter)
    #expect(BloomFilter.isValid(filter.view))
    let size = filter.count
    #expect(size <= keys.count * bits / 8 + 80)
    #expect(keys.allSatisfy { BloomFilter.mayContain(filter.view, hash: hash($0)) }, replay)
    let strangers = 200_000
    let passed = (0..<strangers).count { _ in
      BloomFilter.mayContain(filter.view, hash: hash(random.next()))
    }
    #expect(Double(passed) / Double(strangers) < limit, replay)
    #expect(Double(passed) / Double(strangers) > limit / 10, replay)
  }

  @Test func lz4RoundTripsAndRefusesDamage() {
    var random = TableRandom(33)
    for size in [1, 100, 4096, 70_000] {
      let bytes = random.bytes(size, alphabet: 4)
      var packed = ByteBuffer()
      let fits = bytes.withByteView { LZ4.compress($0, to: &packed, limit: $0.count + 1000) }
      #expect(fits)
      let memory = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 16)
      defer { unsafe memory.deallocate() }
      #expect(unsafe LZ4.decompress(packed.view, to: memory, count: size))
      #expect(unsafe ByteView(memory, count: size).array == bytes)
      #expect(unsafe !LZ4.decompress(packed.view, to: memory, count: size - 1))
      #expect(unsafe !LZ4.decompress(packed.view.prefix(packed.count - 1), to: memory, count: size))
      for _ in 0..<200 {
        var damaged = packed.view.array
        damaged[random.below(damaged.count)] = UInt8(random.below(256))
        damaged.withByteView { _ = unsafe LZ4.decompress($0, to: memory, count: size) }
      }
    }
    // What does not shrink enough is refused whole.
    var packed = ByteBuffer()
    #expect(!random.bytes(4096).withByteView { LZ4.compress($0, to: &packed, limit: 3584) })
    let left = packed.count
    #expect(left == 0)
  }
}
