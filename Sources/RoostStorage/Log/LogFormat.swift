// A log file, as the write-ahead log, the manifest and the coordinator log use it. Integers are
// little-endian; offsets count from the start of the file.
//
//   log    := header frame* rest header := magic "ROOSTLOG"   8 bytes
//             format version     u32, 1; of a write-ahead log 2
//             purpose            u32, 1 write-ahead log, 2 manifest, 3 coordinator log
//             file number        u64
//             salt               u64, random for every use of a file
//             store identity     16 bytes
//             zero               8 bytes
//             checksum           u64, XXH64 of bytes 0..<56, seed 0
//   frame  := checksum           u64, XXH64 of the frame's bytes 8..<16+length,
//                                seed: salt ^ (frame's offset * 0x9E3779B97F4A7C15)
//             length             u32, bytes of payload
//             kind               u8
//             zero               3 bytes
//             payload            length bytes
//             zero               0 to 7 bytes, to a multiple of 8
//   payload of kind 1, record  := what the log is for payload of kind 2, mark    := log number u64,
//   offset u64: when this was written, every byte of that
//                                 log before that offset, and all older logs, had been synced
//   payload of kind 3, end     := log number u64: this log is complete and that one goes on rest
//   := nothing, or a frame header of zeros and then any bytes
//
// Frames begin at offset 64 and then at multiples of 8. Behind the last frame of a file that was
// used before, old frames may follow; their checksums carry the old salt, so they are no frames of
// this log.

/// What a log file is for.
enum LogPurpose: UInt32, Sendable {
  case writeAhead = 1
  case manifest = 2
  case coordinator = 3

  var name: String {
    switch self {
    case .writeAhead: "log"
    case .manifest: "manifest"
    case .coordinator: "coordinator log"
    }
  }

  /// The version that its logs are written in; all up to it are read. Write-ahead logs of version 1 hold no
  /// late deletes.
  var formatVersion: UInt32 { self == .writeAhead ? 2 : 1 }

  func fileName(_ number: UInt64) -> String {
    self == .manifest ? FileNames.manifest(number) : FileNames.log(number)
  }
}

/// The first 64 bytes of a log file.
struct LogHeader: Equatable, Sendable {
  static let byteCount = 64
  /// "ROOSTLOG" as a little-endian number.
  static let magic: UInt64 = 0x474F_4C54_534F_4F52

  var purpose: LogPurpose
  var number: UInt64
  var salt: UInt64
  /// The store's 128 random bits.
  var identity: UInt128

  func encode(into buffer: inout ByteBuffer) {
    let start = buffer.count
    buffer.append(littleEndian: Self.magic)
    buffer.append(littleEndian: purpose.formatVersion)
    buffer.append(littleEndian: purpose.rawValue)
    buffer.append(littleEndian: number)
    buffer.append(littleEndian: salt)
    buffer.append(littleEndian: UInt64(truncatingIfNeeded: identity))
    buffer.append(littleEndian: UInt64(truncatingIfNeeded: identity >> 64))
    buffer.append(littleEndian: 0 as UInt64)
    buffer.append(littleEndian: XXH64.hash(buffer.view.slice(start, start + 56)))
  }

  /// - Throws: `.corruption` where the bytes are no header, `.newerFormat` where a later version of
  ///   Roost wrote them.
  static func decode(_ bytes: ByteView, file: String) throws(StoreError) -> LogHeader {
    guard bytes.count >= byteCount else {
      throw .corruption("a log shorter than its header", file: file, offset: 0)
    }
    guard bytes.loadUInt64(at: 0) == magic else {
      throw .corruption("not a log file: its first bytes are not ROOSTLOG", file: file, offset: 0)
    }
    guard XXH64.hash(bytes.prefix(56)) == bytes.loadUInt64(at: 56) else {
      throw .corruption("the checksum of a log's header does not match", file: file, offset: 0)
    }
    let version = bytes.loadUInt32(at: 8)
    let purpose = LogPurpose(rawValue: bytes.loadUInt32(at: 12))
    let latest = (purpose ?? .writeAhead).formatVersion
    guard version <= latest else {
      throw StoreError(
        .newerFormat, "log format \(version); this Roost reads up to \(latest)", file: file, offset: 8)
    }
    guard version >= 1, let purpose else {
      throw .corruption("a log's header with an unknown version or purpose", file: file, offset: 8)
    }
    return LogHeader(
      purpose: purpose, number: bytes.loadUInt64(at: 16), salt: bytes.loadUInt64(at: 24),
      identity: UInt128(bytes.loadUInt64(at: 40)) << 64 | UInt128(bytes.loadUInt64(at: 32)))
  }
}

extension LogHeader {
  /// What a damaged header says; `nil` where it is cut short.
  init?(unchecked bytes: ByteView) {
    guard bytes.count >= Self.byteCount else { return nil }
    self.init(
      purpose: LogPurpose(rawValue: bytes.loadUInt32(at: 12)) ?? .writeAhead,
      number: bytes.loadUInt64(at: 16), salt: bytes.loadUInt64(at: 24),
      identity: UInt128(bytes.loadUInt64(at: 40)) << 64 | UInt128(bytes.loadUInt64(at: 32)))
  }
}

/// A place in a sequence of logs. Orders by log, then by offset.
struct LogPosition: Comparable, Hashable, Sendable, CustomStringConvertible {
  var log: UInt64
  var offset: Int

  static func < (a: LogPosition, b: LogPosition) -> Bool {
    a.log != b.log ? a.log < b.log : a.offset < b.offset
  }

  var description: String { "log \(log) offset \(offset)" }
}

/// The layout of frames.
enum LogFrame {
  enum Kind: UInt32, Sendable {
    case record = 1
    case mark = 2
    case end = 3
  }

  static let headerBytes = 16
  /// Frames begin at multiples of this.
  static let alignment = 8
  static let maxPayloadBytes = Int(UInt32.max) - 63
  static let markPayloadBytes = 16
  static let endPayloadBytes = 8
  /// Room kept behind every record: a mark and an end frame always fit.
  static let reserveBytes = headerBytes + markPayloadBytes + headerBytes + endPayloadBytes
  /// What a log needs to hold anything at all.
  static let minLogBytes = LogHeader.byteCount + headerBytes + reserveBytes

  /// Bytes of a frame, padding included.
  @inline(__always)
  static func byteCount(payload: Int) -> Int {
    (headerBytes &+ payload &+ (alignment &- 1)) & ~(alignment &- 1)
  }

  /// The word behind the checksum: length, kind and three zero bytes.
  @inline(__always)
  static func word(_ kind: Kind, length: Int) -> UInt64 {
    UInt64(truncatingIfNeeded: length) | UInt64(kind.rawValue) &<< 32
  }

  /// The checksum over `bytes`, which are a frame's from its length on, payload included.
  @inline(__always)
  static func checksum(_ bytes: ByteView, at offset: Int, salt: UInt64) -> UInt64 {
    XXH64.hash(bytes, seed: salt ^ (UInt64(truncatingIfNeeded: offset) &* 0x9E37_79B9_7F4A_7C15))
  }
}
