import RoostStorage

// An export in the format `binary`. Integers are little-endian, varints unsigned LEB128; offsets
// count from the start.
//
//   export  := header chunk* end
//   header  := magic "ROOSTEXP"      8 bytes
//              format version        u32, 1
//              zero                  4 bytes
//              checksum              u64, XXH64 of bytes 0..<16, seed 0
//   chunk   := length                u32, bytes of payload, at least 1
//              record count          u32, at least 1
//              checksum              u64, XXH64 of length, record count and payload together,
//                                    seed: the offset at which the chunk begins
//              payload               length bytes: record*, of one chunk's records none is cut
//   record  := key length varint | key | value length varint | value
//   end     := zero                  u32, where a chunk has its length
//              zero                  u32
//              checksum              u64, XXH64 of the two zeros and the count,
//                                    seed: the offset of `end`
//              record count          u64, of all chunks
//
// Keys have 1 to 65,535 bytes, values at most 2^30, a payload less than 2^32. Records come in key
// order, each key once, but a reader takes them in any order. Nothing follows `end`: a file that
// stops without it was cut short.
//
// Versions: a reader refuses versions above its own. What a version means never changes.

enum BinaryFormat {
  static let magic = Array("ROOSTEXP".utf8)
  static let version: UInt32 = 1
  static let headerBytes = 24
  static let chunkHeaderBytes = 16
  /// A chunk is closed once it has so many bytes of payload.
  static let chunkBytes = 256 << 10
  static let maxKeyBytes = 65_535
  static let maxValueBytes = 1 << 30
  static let maxPayloadBytes = chunkBytes + maxKeyBytes + maxValueBytes + 20

  static func header() -> [UInt8] {
    var bytes = magic
    bytes.append(littleEndian: version)
    bytes.append(littleEndian: 0 as UInt32)
    bytes.append(littleEndian: Checksum.xxh64(bytes))
    return bytes
  }

  static func checksum(_ head: [UInt8], _ payload: [UInt8], at offset: Int64) -> UInt64 {
    Checksum.xxh64(head + payload, seed: UInt64(offset))
  }
}

/// Writes an export.
struct BinaryWriter: RecordWriter {
  let output: Output
  private var payload: [UInt8] = []
  private var count: UInt32 = 0
  private var total: UInt64 = 0
  private var offset: Int64 = 0

  init(_ output: Output) throws {
    self.output = output
    try emit(BinaryFormat.header())
  }

  mutating func write(key: RawSpan, value: RawSpan) throws {
    append(key)
    append(value)
    count += 1
    total += 1
    if payload.count >= BinaryFormat.chunkBytes { try closeChunk() }
  }

  mutating func finish() throws {
    if count > 0 { try closeChunk() }
    let head = [UInt8](repeating: 0, count: 8)
    var tail: [UInt8] = []
    tail.append(littleEndian: total)
    var end = head
    end.append(littleEndian: BinaryFormat.checksum(head, tail, at: offset))
    try emit(end + tail)
    try output.flush()
  }

  private mutating func append(_ bytes: RawSpan) {
    payload.append(varint: UInt64(bytes.byteCount))
    unsafe bytes.withUnsafeBytes { unsafe payload.append(contentsOf: $0) }
  }

  private mutating func closeChunk() throws {
    var head: [UInt8] = []
    head.append(littleEndian: UInt32(payload.count))
    head.append(littleEndian: count)
    let checksum = BinaryFormat.checksum(head, payload, at: offset)
    head.append(littleEndian: checksum)
    try emit(head)
    try emit(payload)
    payload.removeAll(keepingCapacity: true)
    count = 0
  }

  private mutating func emit(_ bytes: [UInt8]) throws {
    output.buffer.append(contentsOf: bytes)
    offset += Int64(bytes.count)
    try output.flushIfFull()
  }
}

/// Reads an export. A chunk's records are given out only after its checksum was found right.
struct BinaryReader: RecordReader {
  let input: Input
  private var payload: [UInt8] = []
  private var at = 0
  private var left: UInt32 = 0
  private var total: UInt64 = 0
  private var payloadOffset: Int64 = 0
  private var isAtEnd = false

  init(_ input: Input) throws {
    self.input = input
    let header = try input.read(BinaryFormat.headerBytes)
    guard header.starts(with: BinaryFormat.magic) else {
      throw Self.bad(0, "not a binary export: its first bytes are not ROOSTEXP")
    }
    guard header.count == BinaryFormat.headerBytes,
      Checksum.xxh64(Array(header[..<16])) == header.littleEndian(at: 16)
    else { throw Self.bad(0, "the header is damaged") }
    let version: UInt32 = header.littleEndian(at: 8)
    guard version <= BinaryFormat.version else {
      throw Failure(
        .newerFormat,
        "\(input.name): export format \(version); this roost reads up to \(BinaryFormat.version)")
    }
    guard version == BinaryFormat.version else { throw Self.bad(8, "format version \(version)") }
  }

  mutating func next() throws -> (key: [UInt8], value: [UInt8])? {
    while left == 0 {
      if isAtEnd { return nil }
      try readChunk()
    }
    let start = at
    guard let key = field(), !key.isEmpty, key.count <= BinaryFormat.maxKeyBytes,
      let value = field(),
      value.count <= BinaryFormat.maxValueBytes
    else {
      throw Self.bad(
        payloadOffset + Int64(start), "a chunk's checksum is right and its contents are no records")
    }
    left -= 1
    if left == 0, at != payload.count {
      throw Self.bad(payloadOffset + Int64(at), "a chunk goes on behind its last record")
    }
    total += 1
    return (key, value)
  }

  private mutating func readChunk() throws {
    let offset = input.offset
    let head = try input.read(BinaryFormat.chunkHeaderBytes)
    guard head.count == BinaryFormat.chunkHeaderBytes else { throw Self.cutShort(offset) }
    let length: UInt32 = head.littleEndian(at: 0)
    let count: UInt32 = head.littleEndian(at: 4)
    let checksum: UInt64 = head.littleEndian(at: 8)
    guard length > 0 || count == 0, length <= BinaryFormat.maxPayloadBytes else {
      throw Self.bad(offset, "a chunk's header is damaged")
    }
    let wanted = length > 0 ? Int(length) : 8
    payload = try input.read(wanted)
    guard payload.count == wanted else { throw Self.cutShort(offset) }
    guard BinaryFormat.checksum(Array(head[..<8]), payload, at: offset) == checksum,
      length == 0 || count > 0
    else {
      throw Self.bad(offset, "a chunk's checksum does not match")
    }
    if length == 0 {
      guard payload.littleEndian(at: 0) == total else {
        throw Self.bad(offset, "records are missing")
      }
      isAtEnd = true
      guard try input.read(1).isEmpty else {
        throw Self.bad(input.offset - 1, "bytes behind the end of the export")
      }
      return
    }
    payloadOffset = offset + Int64(BinaryFormat.chunkHeaderBytes)
    at = 0
    left = count
  }

  private mutating func field() -> [UInt8]? {
    var length: UInt64 = 0
    var shift: UInt64 = 0
    while true {
      guard at < payload.count, shift < 35 else { return nil }
      let byte = payload[at]
      at += 1
      length |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 { break }
      shift += 7
    }
    guard length <= UInt64(payload.count - at) else { return nil }
    defer { at += Int(length) }
    return Array(payload[at..<(at + Int(length))])
  }

  private static func cutShort(_ offset: Int64) -> BadRecord {
    bad(offset, "the file was cut short")
  }

  private static func bad(_ offset: Int64, _ message: String) -> BadRecord {
    BadRecord(place: "offset \(offset)", message: message)
  }
}

extension Array where Element == UInt8 {
  fileprivate mutating func append(littleEndian value: some FixedWidthInteger) {
    for shift in stride(from: 0, to: value.bitWidth, by: 8) {
      append(UInt8(truncatingIfNeeded: value >> shift))
    }
  }

  fileprivate mutating func append(varint value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    append(UInt8(rest))
  }

  fileprivate func littleEndian<Word: FixedWidthInteger>(at offset: Int) -> Word {
    var value: Word = 0
    for k in 0..<(Word.bitWidth / 8) {
      value |= Word(truncatingIfNeeded: self[offset + k]) << (8 * k)
    }
    return value
  }
}
