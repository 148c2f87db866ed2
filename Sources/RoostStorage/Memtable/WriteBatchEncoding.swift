// The encoding of a batch of operations: the payload of a write-ahead log record.
//
//   batch     := base sequence u64 | operation count u32 | operation*
//   operation := kind u8 | tree id varint | key | (put: value) (deleteRange: end key)
//   key, end key, value := length varint | bytes
//
// Kinds: 0 delete, 1 put, 2 deleteRange, 3 deleteLate. Integers are little-endian. Operation i, from 0,
// has the sequence number base + i. A key has 1 to 65,535 bytes, a value at most 2^30; in a deleteRange the
// key is less than the end key, and the keys from the one up to the other are deleted.

/// What an operation of a batch does.
enum BatchOperationKind: UInt8 {
  case delete = 0
  case put = 1
  case deleteRange = 2
  /// Deletes an entry that is dead already, when the memtable is flushed: ``LateDeleteCursor``.
  case deleteLate = 3

  /// Whether something follows the key: a value, or an end key.
  @inline(__always) var hasSecond: Bool { self == .put || self == .deleteRange }
}

/// One operation of a batch. Its views are of the batch's bytes.
struct BatchOperation {
  var kind: BatchOperationKind
  var treeID: UInt64
  var key: ByteView
  /// A put's value; a range deletion's end key; empty for the other deletions.
  var value: ByteView
}

/// Writes operations into one buffer. Callers have checked keys and values against ``Limits``.
///
/// Not thread-safe. `view` is valid until the next mutation.
struct WriteBatchEncoder: ~Copyable {
  static let headerBytes = 12

  private var buffer: ByteBuffer
  private(set) var count = 0

  init(capacity: Int = 256) {
    buffer = ByteBuffer(capacity: capacity)
    buffer.append(zeros: WriteBatchEncoder.headerBytes)
  }

  var isEmpty: Bool { count == 0 }
  /// Bytes of the encoding so far, header included.
  @inline(__always) var byteCount: Int { buffer.count }
  /// Bytes of memory held.
  var capacity: Int { buffer.capacity }

  @inline(__always)
  mutating func put(treeID: UInt64, key: ByteView, value: ByteView) {
    begin(.put, treeID, key, 5 &+ value.count)
    buffer.append(varint: value.count)
    buffer.append(value)
  }

  @inline(__always)
  mutating func delete(treeID: UInt64, key: ByteView) {
    begin(.delete, treeID, key, 0)
  }

  mutating func deleteLate(treeID: UInt64, key: ByteView) {
    begin(.deleteLate, treeID, key, 0)
  }

  mutating func deleteRange(treeID: UInt64, from start: ByteView, to end: ByteView) {
    begin(.deleteRange, treeID, start, 5 &+ end.count)
    buffer.append(varint: end.count)
    buffer.append(end)
  }

  @inline(__always)
  private mutating func begin(
    _ kind: BatchOperationKind, _ treeID: UInt64, _ key: ByteView, _ more: Int
  ) {
    buffer.reserve(1 &+ 10 &+ 5 &+ key.count &+ more)
    buffer.append(kind.rawValue)
    buffer.append(varint: treeID)
    buffer.append(varint: key.count)
    buffer.append(key)
    count &+= 1
    buffer.store(littleEndian: UInt32(truncatingIfNeeded: count), at: 8)
  }

  /// The sequence number of the first operation: known only when the batch is committed.
  mutating func setBaseSequence(_ sequence: UInt64) {
    buffer.store(littleEndian: sequence, at: 0)
  }

  mutating func removeAll() {
    buffer.truncate(to: 0)
    buffer.append(zeros: WriteBatchEncoder.headerBytes)
    count = 0
  }

  /// The batch's encoding.
  @inline(__always) var view: ByteView { buffer.view }
}

/// Reads a batch's operations in order. All damage throws; nothing is read outside the bytes.
struct WriteBatchDecoder {
  let baseSequence: UInt64
  let count: Int
  private var reader: ByteReader
  private var left: Int

  /// - Throws: `.corruption` where there is no whole header or a sequence number would pass 56
  ///   bits.
  init(_ bytes: ByteView) throws(StoreError) {
    var reader = ByteReader(bytes)
    guard let base = reader.readUInt64(), let count = reader.readUInt32() else {
      throw StoreError(.corruption, "a batch ends within its header")
    }
    guard base <= Tag.maxSequence, UInt64(count) <= Tag.maxSequence - base else {
      throw StoreError(.corruption, "a batch has sequence numbers above 2^56")
    }
    baseSequence = base
    self.count = Int(count)
    left = Int(count)
    self.reader = reader
  }

  /// The next operation, or `nil` after the last.
  ///
  /// - Throws: `.corruption` where the bytes are no operation, end early or go on after the last.
  @inline(__always)
  mutating func next() throws(StoreError) -> BatchOperation? {
    if left == 0 {
      if !reader.isAtEnd { throw damaged("has bytes after its last operation") }
      return nil
    }
    guard let kindByte = reader.readUInt8(), let kind = BatchOperationKind(rawValue: kindByte)
    else {
      throw damaged("has no known operation")
    }
    guard let treeID = reader.readVarint(), let key = reader.readLengthPrefixed() else {
      throw damaged("ends within an operation")
    }
    if key.isEmpty || key.count > Limits.keyBytes {
      throw damaged("has a key of no allowed length")
    }
    var value = key.prefix(0)
    if kind.hasSecond {
      guard let bytes = reader.readLengthPrefixed() else {
        throw damaged("ends within an operation")
      }
      value = bytes
      if kind == .put {
        if value.count > Limits.valueBytes { throw damaged("has a value of no allowed length") }
      } else if value.count > Limits.keyBytes || !(key < value) {
        throw damaged("has a range that is none")
      }
    }
    left &-= 1
    return BatchOperation(kind: kind, treeID: treeID, key: key, value: value)
  }

  @inline(never)
  private func damaged(_ what: String) -> StoreError {
    StoreError(.corruption, "a batch \(what), at operation \(count - left) of \(count)")
  }
}
