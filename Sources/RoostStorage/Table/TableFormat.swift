// A table file
//
//   file         := block* footer block        := payload | compression u8 | checksum u64 payload
//   := contents                                   where compression is 0
//                 | varint contentsLength, LZ4 block           where compression is 1
//   handle       := varint offset | varint payloadLength       (without the trailer's nine bytes)
//
// Integers are little-endian; varints are unsigned LEB128. A block's checksum is the XXH64 of
// payload and compression byte under a seed made of the file's identity and the block's offset, so
// that a block that was read from the wrong place, or that belongs to another file, does not match.
//
// Blocks come in this order: for each index partition its data blocks, its filter (where there is
// one) and the partition itself; then the range tombstones (where there are any), the properties,
// the top index. Readers find blocks by handles alone.
//
//   data block   := entry* restart u32* restartCount u32                 (see Block.swift) index
//   block  := the same shape; an entry's payload is one or two handles filter       := line*
//   lineCount u32 | probeCount u8 | zero 3 bytes   (see BloomFilter.swift) tombstones   :=
//   fragment* fragment     := start lengthPrefixed | end lengthPrefixed | varint count | varint
//   sequence* properties   := (name lengthPrefixed | value lengthPrefixed)*        names ascending
//
//   footer, 128 bytes at the end of the file:
//     offset  size  meaning
//          0    16  top index: offset u64, payload length u64
//         16    16  range tombstones, likewise; zeros where there are none
//         32    16  properties, likewise
//         48    16  identity of the file
//         64     8  tree id
//         72     8  file number
//         80    28  zero
//        108     4  format version: 1
//        112     8  XXH64 of bytes 0 to 111, seed 0
//        120     8  "ROOSTSST"

/// 128 random bits that name one file for ever: a file number may come again under links and
/// copies.
package struct FileIdentity: Hashable, Sendable {
  package let low: UInt64
  package let high: UInt64

  package init(low: UInt64, high: UInt64) {
    self.low = low
    self.high = high
  }
}

/// Where a block lies in its file.
package struct BlockHandle: Hashable, Sendable {
  package let offset: UInt64
  /// Bytes of payload, without the trailer.
  package let size: UInt64

  static let none = BlockHandle(offset: 0, size: 0)

  @inline(__always) var isNone: Bool { size == 0 }
  /// The first byte after the block's trailer.
  @inline(__always) var end: UInt64 { offset &+ size &+ UInt64(TableFormat.trailerBytes) }
}

/// What a block holds.
package enum BlockKind: UInt8, Sendable {
  case data, partitionIndex, topIndex, filter, rangeTombstones, properties
}

enum TableFormat {
  static let version: UInt32 = 1
  static let magic: [UInt8] = Array("ROOSTSST".utf8)
  static let footerBytes = 128
  static let trailerBytes = 9

  /// What a block's checksum is seeded with.
  @inline(__always)
  static func seed(_ identity: FileIdentity, offset: UInt64) -> UInt64 {
    let high = identity.high
    return identity.low ^ (high &<< 32 | high &>> 32) ^ (offset &* 0x9E37_79B9_7F4A_7C15)
  }
}

/// The last 128 bytes of a table file. A value.
struct TableFooter: Equatable {
  var topIndex = BlockHandle.none
  var rangeTombstones = BlockHandle.none
  var properties = BlockHandle.none
  var identity = FileIdentity(low: 0, high: 0)
  var treeID: UInt64 = 0
  var fileNumber: UInt64 = 0

  func encode(to out: inout ByteBuffer) {
    var footer = ByteBuffer(capacity: TableFormat.footerBytes)
    for handle in [topIndex, rangeTombstones, properties] {
      footer.append(littleEndian: handle.offset)
      footer.append(littleEndian: handle.size)
    }
    footer.append(littleEndian: identity.low)
    footer.append(littleEndian: identity.high)
    footer.append(littleEndian: treeID)
    footer.append(littleEndian: fileNumber)
    footer.append(zeros: 28)
    footer.append(littleEndian: TableFormat.version)
    footer.append(littleEndian: XXH64.hash(footer.view))
    footer.append(TableFormat.magic)
    out.append(footer.view)
  }

  /// - Throws: `.corruption` where the bytes are no footer, `.newerFormat` where a later version of
  ///   Roost wrote them.
  static func decode(
    _ bytes: ByteView, file: @autoclosure () -> String, fileSize: UInt64
  ) throws(StoreError) -> TableFooter {
    func damaged(_ what: String) -> StoreError {
      .corruption(what, file: file(), offset: Int64(fileSize) - Int64(bytes.count))
    }
    guard bytes.count == TableFormat.footerBytes, bytes.dropFirst(120).array == TableFormat.magic
    else { throw damaged("the file does not end with a table's footer") }
    guard bytes.loadUInt64(at: 112) == XXH64.hash(bytes.prefix(112)) else {
      throw damaged("the footer's checksum does not match")
    }
    let version = bytes.loadUInt32(at: 108)
    guard version != 0 else { throw damaged("the footer's format version is 0") }
    guard version <= TableFormat.version else {
      throw StoreError(
        .newerFormat,
        "table format \(version); this version of Roost reads up to \(TableFormat.version)",
        file: file())
    }
    func handle(_ offset: Int) -> BlockHandle {
      BlockHandle(offset: bytes.loadUInt64(at: offset), size: bytes.loadUInt64(at: offset + 8))
    }
    guard bytes.slice(80, 108).array.allSatisfy({ $0 == 0 }) else {
      throw damaged("reserved bytes of the footer are not zero")
    }
    return TableFooter(
      topIndex: handle(0), rangeTombstones: handle(16), properties: handle(32),
      identity: FileIdentity(low: bytes.loadUInt64(at: 48), high: bytes.loadUInt64(at: 56)),
      treeID: bytes.loadUInt64(at: 64), fileNumber: bytes.loadUInt64(at: 72))
  }
}
