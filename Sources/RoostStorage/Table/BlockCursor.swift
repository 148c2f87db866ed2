/// What a move of a ``BlockCursor`` came to.
enum BlockStep: UInt8 {
  /// It stands on an entry.
  case entry
  /// There is no such entry; the position is undefined.
  case end
  /// The bytes are not what an encoder writes; the position is undefined.
  case damaged
}

/// A position in one block of entries.
///
/// Trivial state, so that moving it costs no reference counting: it holds neither the block (its
/// user does) nor, in the language's sense, the memory where it puts together keys that are
/// prefix-compressed. That memory goes with the cursor from block to block and is freed by
/// ``destroy()``.
///
/// Every offset and length is checked against the block before it is used: damage ends in
/// `.damaged` whatever the bytes are. Not thread-safe.
@safe
struct BlockCursor<Payload: EntryPayload> {
  private var base: UnsafeRawPointer
  private var entriesEnd = 0
  private var restartCount = 0

  /// Where the current entry begins, and where the next one does.
  private(set) var offset = 0
  private(set) var nextOffset = 0
  private(set) var payload = Payload()
  private var valueOffset = 0

  /// Whether the current key is that of the entry before, where the cursor came from that with
  /// ``next()``.
  private(set) var repeatsKey = false

  /// The current key: in the block, or in `scratch`.
  private var keyBase: UnsafeRawPointer
  private var keyCount = 0
  private var scratch: UnsafeMutableRawPointer
  private var scratchCapacity: Int

  /// A cursor on no block: each move says `.end`.
  init() {
    unsafe base = ByteView.empty.base
    scratchCapacity = 256
    unsafe scratch = .allocate(byteCount: scratchCapacity, alignment: 16)
    unsafe keyBase = UnsafeRawPointer(scratch)
  }

  /// Frees the cursor's memory. It must not be used after.
  func destroy() { unsafe scratch.deallocate() }

  /// Enters a block, whose owner the caller keeps until the cursor leaves it. Stands on no entry
  /// yet.
  @inline(__always)
  mutating func enter(_ block: borrowing Block) {
    unsafe base = block.view.base
    entriesEnd = block.entriesEnd
    restartCount = block.restartCount
    offset = 0
    nextOffset = entriesEnd
    keyCount = 0
  }

  @inline(__always) var key: ByteView { unsafe ByteView(keyBase, count: keyCount) }

  @inline(__always)
  var value: ByteView { unsafe ByteView(base + valueOffset, count: payload.valueLength) }

  // MARK: Moves

  @inline(__always)
  mutating func next() -> BlockStep {
    guard nextOffset < entriesEnd else { return .end }
    let start = nextOffset
    var at = start
    guard let header = unsafe decodeHeader(base, &at, entriesEnd) else { return .damaged }
    guard let payload = unsafe Payload.decode(base, &at, entriesEnd) else { return .damaged }
    let shared = header.shared
    let unshared = header.unshared
    let length = shared &+ unshared
    guard shared <= keyCount, length >= 1, length <= Limits.keyBytes,
      unshared &+ payload.valueLength <= entriesEnd &- at
    else { return .damaged }
    repeatsKey = unshared == 0 && length == keyCount
    if shared == 0 {
      let restarted = unsafe ByteView(base + at, count: length)
      repeatsKey = restarted == key
      unsafe keyBase = base + at
    } else if unshared != 0 || length != keyCount {
      unsafe assembleKey(shared, base + at, unshared)
    }
    keyCount = length
    offset = start
    valueOffset = at &+ unshared
    nextOffset = valueOffset &+ payload.valueLength
    self.payload = payload
    return .entry
  }

  /// Puts the current key's first `shared` bytes and a suffix together in `scratch`.
  @inline(__always)
  private mutating func assembleKey(_ shared: Int, _ suffix: UnsafeRawPointer, _ unshared: Int) {
    // Copies go in steps of eight, so room for one more step.
    if shared &+ unshared &+ 8 > scratchCapacity {
      growScratch(shared &+ unshared &+ 8)
    }
    if unsafe keyBase != UnsafeRawPointer(scratch) {
      unsafe copySteps(from: keyBase, to: scratch, shared)
      unsafe keyBase = UnsafeRawPointer(scratch)
    }
    unsafe copySteps(from: suffix, to: scratch + shared, unshared)
  }

  @inline(never)
  private mutating func growScratch(_ wanted: Int) {
    let capacity = max(wanted, scratchCapacity * 2)
    let larger = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 16)
    unsafe larger.copyMemory(from: scratch, byteCount: scratchCapacity)
    if unsafe keyBase == UnsafeRawPointer(scratch) { unsafe keyBase = UnsafeRawPointer(larger) }
    unsafe scratch.deallocate()
    unsafe scratch = larger
    scratchCapacity = capacity
  }

  mutating func seekToFirst() -> BlockStep {
    nextOffset = 0
    keyCount = 0
    return next()
  }

  mutating func seekToLast() -> BlockStep {
    guard entriesEnd > 0 else { return .end }
    return scan(before: entriesEnd)
  }

  /// To the entry before the current one: from the restart point before it.
  mutating func previous() -> BlockStep {
    guard offset > 0 else { return .end }
    return scan(before: offset)
  }

  /// To the last entry that begins before `end`, where one entry ends and another or nothing
  /// begins.
  private mutating func scan(before end: Int) -> BlockStep {
    var low = 0
    var high = restartCount &- 1
    while low < high {
      let middle = (low &+ high &+ 1) / 2
      if restart(middle) < end { low = middle } else { high = middle &- 1 }
    }
    var step = seekToRestart(low)
    while step == .entry, nextOffset < end { step = next() }
    if step != .entry { return .damaged }
    return nextOffset == end ? .entry : .damaged
  }

  /// To the first entry at or after (`key`, `order`).
  @inline(__always)
  mutating func seek(_ key: ByteView, order: UInt64) -> BlockStep {
    guard entriesEnd > 0 else { return .end }
    guard
      let low = unsafe Self.restart(
        before: key, order: order, base, entriesEnd: entriesEnd, restartCount: restartCount)
    else { return .damaged }
    var step = seekToRestart(low)
    while step == .entry {
      let relation = self.key.compare(key)
      if relation > 0 || relation == 0 && payload.order <= order { return .entry }
      step = next()
    }
    return step
  }

  @inline(__always)
  private func restart(_ index: Int) -> Int {
    let offset = entriesEnd &+ 4 &* index
    return unsafe Int(
      UInt32(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
  }

  @inline(__always)
  private mutating func seekToRestart(_ index: Int) -> BlockStep {
    let at = restart(index)
    guard at < entriesEnd else { return .damaged }
    nextOffset = at
    keyCount = 0
    return next()
  }

  // MARK: Lookups without a cursor

  /// What ``find(_:_:order:)`` found.
  struct Found {
    var step: BlockStep
    /// Whether the entry found has the very key.
    var isEqual = false
    /// Where the entry begins.
    var offset = 0
    var payload = Payload()
    var value = ByteView.empty
  }

  /// The first entry at or after (`key`, `order`), found without putting keys together.
  ///
  /// 1. The restart points are searched for the last entry that is less.
  /// 2. From there on entries are walked with m, the number of leading bytes that the entry before
  ///    (which is less than the target) has in common with the target. An entry that shares more
  ///    than m bytes with the one before it differs from the target where that one did, so it is
  ///    less too. One that shares fewer differs from it before m, so it is greater than the target.
  ///    Only one that shares just m is compared, from byte m on.
  @inline(__always)
  static func find(_ block: borrowing Block, _ key: ByteView, order: UInt64) -> Found {
    let base = unsafe block.view.base
    let end = block.entriesEnd
    guard end > 0 else { return Found(step: .end) }
    guard
      let low = unsafe restart(
        before: key, order: order, base, entriesEnd: end, restartCount: block.restartCount)
    else { return Found(step: .damaged) }
    var at = unsafe restart(low, base, end)
    guard at < end else { return Found(step: .damaged) }
    var matched = 0
    var previousLength = 0
    while at < end {
      let start = at
      guard let header = unsafe decodeHeader(base, &at, end),
        let payload = unsafe Payload.decode(base, &at, end)
      else { return Found(step: .damaged) }
      let shared = header.shared
      let unshared = header.unshared
      let length = shared &+ unshared
      guard shared <= previousLength, length >= 1, length <= Limits.keyBytes,
        unshared &+ payload.valueLength <= end &- at
      else { return Found(step: .damaged) }
      previousLength = length
      let valueAt = at &+ unshared
      // A key that shares nothing is a restart or differs in its first byte: compared as a whole.
      if shared == 0 { matched = 0 }
      if shared <= matched {
        var isGreater = shared < matched
        var isEqual = false
        if !isGreater {
          let rest = key.count &- matched
          let common = unsafe commonPrefixLength(base + at, key.base + matched, min(unshared, rest))
          matched &+= common
          if common < unshared {
            isGreater =
              unsafe common == rest
              || base.load(fromByteOffset: at &+ common, as: UInt8.self)
                > key.base.load(fromByteOffset: matched, as: UInt8.self)
          } else {
            isEqual = common == rest
          }
        }
        if isGreater || isEqual && payload.order <= order {
          return unsafe Found(
            step: .entry, isEqual: isEqual, offset: start, payload: payload,
            value: ByteView(base + valueAt, count: payload.valueLength))
        }
      }
      at = valueAt &+ payload.valueLength
    }
    return Found(step: .end)
  }

  @inline(__always)
  private static func restart(_ index: Int, _ base: UnsafeRawPointer, _ entriesEnd: Int) -> Int {
    unsafe Int(
      UInt32(
        littleEndian: base.loadUnaligned(
          fromByteOffset: entriesEnd &+ 4 &* index, as: UInt32.self)))
  }

  /// The last restart point whose entry is less than (`key`, `order`), or else the first; `nil` for
  /// damage.
  @inline(__always)
  private static func restart(
    before key: ByteView, order: UInt64, _ base: UnsafeRawPointer, entriesEnd: Int,
    restartCount: Int
  ) -> Int? {
    var low = 0
    var high = restartCount &- 1
    while low < high {
      let middle = (low &+ high &+ 1) &>> 1
      var at = unsafe restart(middle, base, entriesEnd)
      guard let header = unsafe decodeHeader(base, &at, entriesEnd), header.shared == 0,
        let payload = unsafe Payload.decode(base, &at, entriesEnd),
        header.unshared <= entriesEnd &- at
      else { return nil }
      let relation = unsafe ByteView(base + at, count: header.unshared).compare(key)
      if relation < 0 || relation == 0 && payload.order > order {
        low = middle
      } else {
        high = middle &- 1
      }
    }
    return low
  }
}

/// An entry's two key lengths, each below 2^17.
@inline(__always)
private func decodeHeader(
  _ base: UnsafeRawPointer, _ offset: inout Int, _ limit: Int
) -> (shared: Int, unshared: Int)? {
  guard offset < limit else { return nil }
  let word = unsafe UInt16(
    littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
  if word & 0x8080 == 0 {
    offset &+= 2
    return (Int(word & 0x7F), Int(word &>> 8))
  }
  guard let shared = unsafe decodeVarint(base, &offset, limit),
    let unshared = unsafe decodeVarint(base, &offset, limit),
    shared < 1 &<< 17, unshared < 1 &<< 17
  else { return nil }
  return (Int(truncatingIfNeeded: shared), Int(truncatingIfNeeded: unshared))
}

/// Leading bytes that two runs of `count` bytes have in common.
@inline(__always)
private func commonPrefixLength(_ a: UnsafeRawPointer, _ b: UnsafeRawPointer, _ count: Int) -> Int {
  var i = 0
  while i &+ 8 <= count {
    let x = unsafe a.loadUnaligned(fromByteOffset: i, as: UInt64.self)
    let y = unsafe b.loadUnaligned(fromByteOffset: i, as: UInt64.self)
    let difference = UInt64(littleEndian: x ^ y)
    if difference != 0 { return i &+ difference.trailingZeroBitCount &>> 3 }
    i &+= 8
  }
  while i < count {
    if unsafe a.load(fromByteOffset: i, as: UInt8.self) != b.load(fromByteOffset: i, as: UInt8.self)
    { return i }
    i &+= 1
  }
  return i
}

/// Copies `count` bytes in steps of eight, up to seven more than asked: both sides must have room.
@inline(__always)
private func copySteps(
  from source: UnsafeRawPointer, to destination: UnsafeMutableRawPointer, _ count: Int
) {
  if count > 64 {
    unsafe destination.copyMemory(from: source, byteCount: count)
    return
  }
  var i = 0
  while i < count {
    let word = unsafe source.loadUnaligned(fromByteOffset: i, as: UInt64.self)
    unsafe destination.storeBytes(of: word, toByteOffset: i, as: UInt64.self)
    i &+= 8
  }
}
