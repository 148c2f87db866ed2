/// Encodes one block after another from entries in order; the grammar stands in Block.swift.
///
/// The caller knows how many bytes a key shares with the one before it, since it checked their
/// order. Not thread-safe.
struct BlockBuilder: ~Copyable {
  private var entries: ByteBuffer
  private var restarts = ByteBuffer(capacity: 256)
  private let restartInterval: Int
  private var sinceRestart = 0
  private(set) var entryCount = 0

  init(restartInterval: Int, capacity: Int = 8192) {
    precondition(restartInterval >= 1)
    self.restartInterval = restartInterval
    entries = ByteBuffer(capacity: capacity)
  }

  @inline(__always) var isEmpty: Bool { entryCount == 0 }

  /// Bytes of the block if it were finished now.
  @inline(__always) var byteCount: Int { entries.count &+ max(restarts.count, 4) &+ 4 }

  /// Begins an entry and returns how many of the `shared` bytes may be left out.
  @inline(__always)
  private mutating func begin(_ shared: Int) -> Int {
    entryCount &+= 1
    if sinceRestart == 0 || sinceRestart == restartInterval {
      restarts.append(littleEndian: UInt32(truncatingIfNeeded: entries.count))
      sinceRestart = 1
      return 0
    }
    sinceRestart &+= 1
    return shared
  }

  /// Appends an entry of a data block, whose key has `shared` bytes in common with the one before
  /// it.
  @inline(__always)
  mutating func add(_ key: ByteView, shared: Int, _ tag: Tag, _ value: ByteView) {
    let left = begin(shared)
    entries.append(varint: UInt64(truncatingIfNeeded: left))
    entries.append(varint: UInt64(truncatingIfNeeded: key.count &- left))
    entries.append(varint: tag.sequence &<< 4 | tag.word & 0xF)
    if !tag.isDelete { entries.append(varint: UInt64(truncatingIfNeeded: value.count)) }
    entries.append(key.dropFirst(left))
    if !tag.isDelete { entries.append(value) }
  }

  /// Appends an entry of an index block.
  mutating func add(
    _ separator: ByteView, shared: Int, _ first: BlockHandle, _ second: BlockHandle? = nil
  ) {
    let left = begin(shared)
    entries.append(varint: left)
    entries.append(varint: separator.count - left)
    entries.append(varint: first.offset)
    entries.append(varint: first.size)
    if let second {
      entries.append(varint: second.offset)
      entries.append(varint: second.size)
    }
    entries.append(separator.dropFirst(left))
  }

  /// Ends the block. The view is valid until the next call; then ``reset()`` begins the next block.
  mutating func finish() -> ByteView {
    if restarts.isEmpty { restarts.append(littleEndian: UInt32(0)) }
    let count = UInt32(restarts.count / 4)
    entries.append(restarts.view)
    entries.append(littleEndian: count)
    return entries.view
  }

  mutating func reset() {
    entries.removeAll()
    restarts.removeAll()
    sinceRestart = 0
    entryCount = 0
  }
}

/// Appends to `out` a short key s with `last` ≤ s < `next`, where `last` < `next`.
func appendSeparator(_ last: ByteView, _ next: ByteView, to out: inout ByteBuffer) {
  let common = last.commonPrefix(with: next)
  // `last` begins `next`: nothing shorter is at least `last`.
  if common == last.count { return out.append(last) }
  // A true prefix of `next` that is above `last` in its final byte.
  if common + 1 < next.count { return out.append(next.prefix(common + 1)) }
  if last[common] + 1 < next[common] {
    out.append(last.prefix(common))
    return out.append(last[common] + 1)
  }
  // Above `last` in a later byte; `next` differs, and is greater, before it.
  var at = common + 1
  while at < last.count, last[at] == 0xFF { at += 1 }
  guard at < last.count else { return out.append(last) }
  out.append(last.prefix(at))
  out.append(last[at] + 1)
}
