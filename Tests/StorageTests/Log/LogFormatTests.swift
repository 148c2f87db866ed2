import Testing

@testable import RoostStorage

// Budget: 1 s
@Suite struct LogFormatTests {
  /// Made by an independent program from the grammar in LogFormat.swift: log 7 with salt
  /// 0x0123456789ABCDEF; records "hello" and "", a mark at 104, an end that names log 8.
  static let golden =
    "524f4f53544c4f4701000000010000000700000000000000efcdab8967452301"
    + "000102030405060708090a0b0c0d0e0f000000000000000090349ddef58b6695"
    + "2d5895f6551cb38f050000000100000068656c6c6f000000f41f171c46aa2db2"
    + "000000000100000093d383fac965e92010000000020000000700000000000000"
    + "6800000000000000a543f15827135d0108000000030000000800000000000000"

  /// The same in version 2, in which write-ahead logs are written: the version and the
  /// header's checksum differ.
  static var writtenBytes: [UInt8] {
    var bytes = goldenBytes
    bytes[8] = 2
    bytes.replaceSubrange(56..<64, with: [0xE5, 0x7D, 0x9A, 0x5F, 0x93, 0x99, 0x8D, 0xA2])
    return bytes
  }

  static var goldenBytes: [UInt8] {
    var digits = golden[...]
    var bytes: [UInt8] = []
    while !digits.isEmpty {
      bytes.append(UInt8(digits.prefix(2), radix: 16)!)
      digits = digits.dropFirst(2)
    }
    return bytes
  }

  @Test(arguments: [StoreOptions.LogAccess.mapped, .calls])
  func writesTheGoldenBytes(_ access: StoreOptions.LogAccess) throws {
    let fixture = LogFixture(access, capacity: 192)
    let first = try fixture.segment(salt: 0x0123_4567_89AB_CDEF)
    let writer = LogWriter(first) { _ throws(StoreError) in try fixture.segment(capacity: 4096) }
    try writer.append([UInt8]("hello".utf8))
    try writer.append([])
    try writer.sync()
    try writer.append([UInt8](repeating: 1, count: 40))
    try writer.sync()
    #expect(fixture.files["000007.log"] == Self.writtenBytes + [UInt8](repeating: 0, count: 32))
  }

  @Test(arguments: [1, 2]) func readsTheGoldenBytes(_ version: Int) throws {
    let files = MemoryFiles()
    files["000007.log"] = version == 1 ? Self.goldenBytes : Self.writtenBytes
    let reader = try LogReader(files, "/store/000007.log")
    #expect(reader.header.number == 7 && reader.header.salt == 0x0123_4567_89AB_CDEF)
    #expect(reader.header.identity == LogFixture.identity && reader.header.purpose == .writeAhead)
    var seen: [String] = []
    while case .frame(let frame) = try reader.next() {
      seen.append("\(frame.offset) \(frame.kind) \(frame.payload.array)")
    }
    #expect(
      seen == [
        "64 record [104, 101, 108, 108, 111]", "88 record []",
        "104 mark [7, 0, 0, 0, 0, 0, 0, 0, 104, 0, 0, 0, 0, 0, 0, 0]",
        "136 end [8, 0, 0, 0, 0, 0, 0, 0]",
      ])
    #expect(reader.offset == 160)
  }

  /// Of a write-ahead log, a manifest, a coordinator log, and something yet to come.
  @Test(arguments: [(1, 3), (2, 2), (3, 2), (4, 3)])
  func refusesALaterVersionByName(_ purpose: Int, _ version: Int) throws {
    var bytes = Self.goldenBytes
    bytes[8] = UInt8(version)
    bytes[12] = UInt8(purpose)
    let sum = Array(bytes[0..<56]).withByteView { XXH64.hash($0) }
    for i in 0..<8 { bytes[56 + i] = UInt8(truncatingIfNeeded: sum >> UInt64(8 * i)) }
    let files = MemoryFiles()
    files["000007.log"] = bytes
    let error = #expect(throws: StoreError.self) { _ = try LogReader(files, "/store/000007.log") }
    #expect(error?.code == .newerFormat)
  }

  /// A frame whose checksum is right and whose kind or shape no writer makes was not torn: it is
  /// refused.
  @Test(arguments: [(UInt32(4), 8), (0, 8), (2, 8), (3, 16), (0x101, 8)])
  func refusesUnknownFrames(_ kind: UInt32, _ length: Int) throws {
    var frame = ByteBuffer()
    frame.append(littleEndian: UInt32(length))
    frame.append(littleEndian: kind)
    frame.append(zeros: length)
    let sum = LogFrame.checksum(frame.view, at: 64, salt: 0x0123_4567_89AB_CDEF)
    var file = ByteBuffer()
    file.append(Array(Self.goldenBytes[..<64]))
    file.append(littleEndian: sum)
    file.append(frame.view)
    let files = MemoryFiles()
    files["000007.log"] = file.view.array
    let outcome = LogFixture.replay(
      [.init(number: 7, salt: 0x0123_4567_89AB_CDEF, byteCount: 64)], files)
    #expect(outcome.error?.code == .corruption && outcome.error?.offset == 64)
  }
}
