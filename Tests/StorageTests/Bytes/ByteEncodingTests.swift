import Testing

@testable import RoostStorage

// Budget: 1 s
@Suite struct ByteEncodingTests {
  @Test func varintsHaveTheKnownBytes() {
    for (value, bytes) in [
      (0, [0]), (1, [1]), (127, [0x7F]), (128, [0x80, 1]), (300, [0xAC, 2]),
      (16_383, [0xFF, 0x7F]), (16_384, [0x80, 0x80, 1]),
      (.max, [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1]),
    ] as [(UInt64, [UInt8])] {
      var buffer = ByteBuffer()
      buffer.append(varint: value)
      #expect(buffer.view.array == bytes)
    }
  }

  @Test func varintsReadBackAtEveryWidth() {
    for shift in 0..<64 as Range<UInt64> {
      for value in [1 << shift, (1 << shift) &- 1, (1 << shift) | 1, UInt64.max >> shift]
        as [UInt64]
      {
        var buffer = ByteBuffer()
        buffer.append(varint: value)
        #expect(buffer.count == varintLength(value))
        var reader = ByteReader(buffer.view)
        #expect(reader.readVarint() == value && reader.isAtEnd)
        for cut in 0..<buffer.count {
          var short = ByteReader(buffer.view.prefix(cut))
          #expect(short.readVarint() == nil, "cut off at \(cut)")
        }
      }
    }
  }

  @Test func varintsBeyond64BitsAreRefused() {
    for bytes in [
      [UInt8](repeating: 0xFF, count: 9) + [2], [UInt8](repeating: 0x80, count: 10) + [0],
      [UInt8](repeating: 0xFF, count: 20),
    ] {
      bytes.withByteView {
        var reader = ByteReader($0)
        #expect(reader.readVarint() == nil)
      }
    }
  }

  @Test func lengthsBeyondTheViewAreRefused() {
    for count in [5, 1 << 20, 1 << 48, (1 << 48) + 1, UInt64.max] as [UInt64] {
      var buffer = ByteBuffer()
      buffer.append(varint: count)
      buffer.append([1, 2, 3, 4])
      var reader = ByteReader(buffer.view)
      #expect(reader.readLengthPrefixed().map(\.array) == nil)
    }
    [UInt8]([3, 9, 8, 7, 6]).withByteView {
      var reader = ByteReader($0)
      #expect(reader.readLengthPrefixed()?.array == [9, 8, 7])
      #expect(
        reader.remaining == 1 && reader.read(2)?.count == nil && reader.read(-1)?.count == nil)
      #expect(reader.readUInt32() == nil && reader.readUInt64() == nil && reader.readUInt8() == 6)
    }
  }

  @Test func randomBytesNeverTrapAReader() {
    var random = LogRandom()
    for _ in 0..<2000 {
      random.bytes(Int.random(in: 0...24, using: &random)).withByteView {
        var reader = ByteReader($0)
        while !reader.isAtEnd {
          let before = reader.offset
          let read =
            switch Int.random(in: 0..<5, using: &random) {
            case 0: reader.readVarint() != nil
            case 1: reader.readLengthPrefixed() != nil
            case 2: reader.readUInt32() != nil
            case 3: reader.readUInt64() != nil
            default: reader.readUInt8() != nil
            }
          #expect(!read || reader.offset > before, random.comment)
          if !read { break }
        }
      }
    }
  }

  @Test func fixedWidthsAreLittleEndian() {
    var buffer = ByteBuffer(capacity: 0)
    buffer.append(littleEndian: 0x0102 as UInt16)
    buffer.append(littleEndian: 0x0304_0506 as UInt32)
    buffer.append(littleEndian: 0x0708_090A_0B0C_0D0E as UInt64)
    #expect(buffer.view.array == [2, 1, 6, 5, 4, 3, 14, 13, 12, 11, 10, 9, 8, 7])
    buffer.store(littleEndian: 0xFF as UInt32, at: 2)
    buffer.store(littleEndian: 1 as UInt64, at: 6)
    #expect(buffer.view.array == [2, 1, 255, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0])
    #expect(buffer.view.loadUInt32(at: 2) == 255 && buffer.view.loadUInt64(at: 6) == 1)
  }

  @Test func aBufferKeepsItsBytesAsItGrows() {
    var random = LogRandom()
    var buffer = ByteBuffer(capacity: 0)
    var expected: [UInt8] = []
    for _ in 0..<300 {
      let bytes = random.bytes(Int.random(in: 0...40, using: &random))
      switch Int.random(in: 0..<5, using: &random) {
      case 0:
        buffer.append(zeros: bytes.count)
        expected += [UInt8](repeating: 0, count: bytes.count)
      case 1:
        bytes.withByteView { buffer.append(lengthPrefixed: $0) }
        expected += [UInt8(bytes.count)] + bytes
      case 2:
        buffer.truncate(to: buffer.count / 2)
        expected.removeLast(expected.count - expected.count / 2)
      case 3:
        buffer.append(upTo: 60) { span in
          for (i, byte) in bytes.enumerated() {
            span.storeBytes(of: byte, toByteOffset: i, as: UInt8.self)
          }
          return bytes.count
        }
        expected += bytes
      default:
        buffer.append(bytes)
        expected += bytes
      }
      #expect(buffer.count <= buffer.capacity)
    }
    #expect(buffer.view.array == expected, random.comment)
    buffer.removeAll()
    #expect(buffer.isEmpty && buffer.view.isEmpty)
  }

  /// Long shared beginnings, so that every step width of the comparison decides at some time.
  @Test func viewsCompareAsTheirBytesDo() {
    var random = LogRandom()
    for _ in 0..<3000 {
      var a = [UInt8](repeating: 0x7F, count: Int.random(in: 0...20, using: &random))
      var b = [UInt8](repeating: 0x7F, count: Int.random(in: 0...20, using: &random))
      if !a.isEmpty {
        a[Int.random(in: 0..<a.count, using: &random)] = [0, 0x7E, 0x7F, 0x80, 0xFF].randomElement(
          using: &random)!
      }
      if !b.isEmpty {
        b[Int.random(in: 0..<b.count, using: &random)] = [0, 0x7E, 0x7F, 0x80, 0xFF].randomElement(
          using: &random)!
      }
      let less = a.lexicographicallyPrecedes(b)
      let shared = zip(a, b).prefix { $0 == $1 }.count
      a.withByteView { x in
        b.withByteView { y in
          #expect((x < y) == less && (x == y) == (a == b), random.comment)
          #expect((x.compare(y) < 0) == less && (y.compare(x) > 0) == less, random.comment)
          #expect((x <= y) == (less || a == b), random.comment)
          #expect(x.commonPrefix(with: y) == shared, random.comment)
          #expect(x.starts(with: y) == a.starts(with: b), random.comment)
          // Heads decide as the bytes do, or not at all.
          if x.head != y.head { #expect((x.head < y.head) == less, random.comment) }
        }
      }
    }
  }

  @Test func slicesStayInside() {
    [UInt8]([1, 2, 3, 4, 5]).withByteView {
      #expect($0.slice(1, 4).array == [2, 3, 4] && $0.slice(5, 5).isEmpty)
      #expect($0.dropFirst(2).array == [3, 4, 5] && $0.prefix(2).array == [1, 2])
      #expect($0.span.byteCount == 5 && $0[4] == 5)
    }
    #expect(ByteView.empty.array == [] && ByteView.empty.head == 0)
  }

  @Test func readingOutsideAViewTraps() async {
    await #expect(processExitsWith: .failure) { _ = [UInt8]([1]).withByteView { $0[1] } }
    await #expect(processExitsWith: .failure) { _ = [UInt8]([1]).withByteView { $0[-1] } }
    await #expect(processExitsWith: .failure) {
      _ = [UInt8]([1, 2, 3]).withByteView { $0.loadUInt32(at: 0) }
    }
    await #expect(processExitsWith: .failure) {
      _ = [UInt8]([1, 2]).withByteView { $0.slice(1, 3).count }
    }
  }
}
