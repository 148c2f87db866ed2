// Blocks of entries
//
//   block  := entry* restart u32* restartCount u32 entry  := shared varint | unshared varint |
//   payload | key suffix | value
//
//   payload of a data block            tag varint (sequence << 4 | kind) | valueLength varint (puts
//   only) payload of an index partition      handle of the data block payload of the top index
//   handle of the index partition | handle of its filter (size 0: none)
//
// An entry's key is the first `shared` bytes of the key before it and then its suffix of `unshared`
// bytes. `shared` is as large as it can be, except at restart points, where it is 0: lookups depend
// on both. `restart` are the offsets of the restart points, ascending, the first being 0; there is
// at least one, also in a block without entries. Only data blocks have values.
//
// Keys ascend; in a data block the versions of one key follow each other, tags descending. In an
// index block a key is a separator: at least every user key of the block it leads to, and less than
// the first key of the next block, or equal to it where the versions of one key span the two.

/// A block's uncompressed bytes, in memory, with a table's cache and its readers as owners.
///
/// Immutable and thread-safe. The bytes stay where they are as long as the block lives: whoever
/// holds a view of them holds the block.
@safe
final class Block: @unchecked Sendable {
  private let base: UnsafeMutableRawPointer
  let count: Int
  let kind: BlockKind
  /// The payload's length in the file, to tell a handle that lies about it.
  let storedSize: UInt64
  /// Where entries end and restarts begin; 0 in blocks without entries, but in filters.
  let entriesEnd: Int
  let restartCount: Int

  // A filter's numbers, in the place of those.
  @inline(__always) var filterLineCount: Int { entriesEnd }
  @inline(__always) var filterProbeCount: Int { restartCount }

  /// Takes over `base`, which was allocated and filled by the caller.
  ///
  /// - Returns: `nil` where the bytes have not the shape of a block of this kind. `base` is freed
  ///   then as well.
  init?(
    adopting base: UnsafeMutableRawPointer, count: Int, kind: BlockKind, storedSize: UInt64
  ) {
    let view = unsafe ByteView(UnsafeRawPointer(base), count: count)
    var entriesEnd = 0
    var restartCount = 0
    var isValid = true
    switch kind {
    case .data, .partitionIndex, .topIndex:
      isValid = false
      if count >= 8 {
        restartCount = Int(view.loadUInt32(at: count - 4))
        let tail = 4 * (restartCount + 1)
        if restartCount >= 1, tail <= count {
          entriesEnd = count - tail
          isValid = view.loadUInt32(at: entriesEnd) == 0
        }
      }
    case .filter:
      isValid = BloomFilter.isValid(view)
      if isValid {
        entriesEnd = Int(view.loadUInt32(at: count - 8))
        restartCount = Int(view[count - 4])
      }
    case .rangeTombstones, .properties: break
    }
    unsafe self.base = base
    self.count = count
    self.kind = kind
    self.storedSize = storedSize
    self.entriesEnd = entriesEnd
    self.restartCount = restartCount
    if !isValid { return nil }
  }

  deinit { unsafe base.deallocate() }

  @inline(__always)
  var view: ByteView { unsafe ByteView(UnsafeRawPointer(base), count: count) }

  /// Memory this block takes, bookkeeping of the allocator and the cache included.
  var charge: Int { count + 128 }
}

/// What stands between an entry's key lengths and its key.
protocol EntryPayload {
  /// All zero.
  init()
  /// Decodes the payload at `offset`. A block has eight readable bytes from each offset up to
  /// `limit`.
  static func decode(_ base: UnsafeRawPointer, _ offset: inout Int, _ limit: Int) -> Self?
  /// Orders entries of the same key, greater first.
  var order: UInt64 { get }
  /// Bytes after the key.
  var valueLength: Int { get }
}

/// The payload of a data block's entry.
struct DataEntry: EntryPayload {
  var tag = Tag(word: 0)
  var valueLength = 0

  @inline(__always) var order: UInt64 { tag.word }

  @inline(__always)
  static func decode(_ base: UnsafeRawPointer, _ offset: inout Int, _ limit: Int) -> DataEntry? {
    guard let word = unsafe decodeVarint(base, &offset, limit) else { return nil }
    let sequence = word &>> 4
    let kind = word & 0xF
    guard sequence <= Tag.maxSequence else { return nil }
    let tag = Tag(word: sequence &<< 8 | kind)
    if kind == UInt64(EntryKind.put.rawValue) {
      guard let length = unsafe decodeVarint(base, &offset, limit), length <= 1 &<< 40 else {
        return nil
      }
      return DataEntry(tag: tag, valueLength: Int(truncatingIfNeeded: length))
    }
    return kind == UInt64(EntryKind.delete.rawValue) ? DataEntry(tag: tag, valueLength: 0) : nil
  }
}

/// The payload of an index partition's entry.
struct PartitionEntry: EntryPayload {
  var block = BlockHandle.none

  @inline(__always) var order: UInt64 { 0 }
  @inline(__always) var valueLength: Int { 0 }

  @inline(__always)
  static func decode(
    _ base: UnsafeRawPointer, _ offset: inout Int, _ limit: Int
  ) -> PartitionEntry? {
    guard let at = unsafe decodeVarint(base, &offset, limit),
      let size = unsafe decodeVarint(base, &offset, limit)
    else { return nil }
    return PartitionEntry(block: BlockHandle(offset: at, size: size))
  }
}

/// The payload of the top index's entry.
struct TopEntry: EntryPayload {
  var partition = BlockHandle.none
  var filter = BlockHandle.none

  @inline(__always) var order: UInt64 { 0 }
  @inline(__always) var valueLength: Int { 0 }

  @inline(__always)
  static func decode(_ base: UnsafeRawPointer, _ offset: inout Int, _ limit: Int) -> TopEntry? {
    guard let partition = unsafe PartitionEntry.decode(base, &offset, limit),
      let filter = unsafe PartitionEntry.decode(base, &offset, limit)
    else { return nil }
    return TopEntry(partition: partition.block, filter: filter.block)
  }
}

/// A varint at `offset`, without a branch for its length. `nil` where it does not end before
/// `limit`.
///
/// Eight bytes from each offset up to `limit` must be readable: in a block they are, since at least
/// one restart and the count follow the entries.
@inline(__always)
func decodeVarint(_ base: UnsafeRawPointer, _ offset: inout Int, _ limit: Int) -> UInt64? {
  guard offset < limit else { return nil }
  let word = unsafe UInt64(
    littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
  if word & 0x80 == 0 {
    offset &+= 1
    return word & 0x7F
  }
  let stops = ~word & 0x8080_8080_8080_8080
  guard stops != 0 else { return unsafe decodeLongVarint(base, &offset, limit) }
  let stop = stops.trailingZeroBitCount
  var value = word & (UInt64.max &>> UInt64(truncatingIfNeeded: 63 &- stop))
  value = (value & 0x007F_007F_007F_007F) | (value & 0x7F00_7F00_7F00_7F00) &>> 1
  value = (value & 0x0000_3FFF_0000_3FFF) | (value & 0x3FFF_0000_3FFF_0000) &>> 2
  value = (value & 0x0000_0000_0FFF_FFFF) | (value & 0x0FFF_FFFF_0000_0000) &>> 4
  offset &+= (stop &+ 1) &>> 3
  return offset <= limit ? value : nil
}

@inline(never)
private func decodeLongVarint(
  _ base: UnsafeRawPointer, _ offset: inout Int, _ limit: Int
) -> UInt64? {
  var reader = unsafe ByteReader(ByteView(base, count: limit), at: offset)
  guard let value = reader.readVarint() else { return nil }
  offset = reader.offset
  return value
}
