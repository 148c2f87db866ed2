import CPrefetch
import RoostCausality
import RoostEnvironment
import RoostStorage
import Synchronization

// What a put would find under the keys that were put lately, kept in memory: then it need not look.
//
//   table of a stripe   bucket * 2^n, the first 4 in level 0, the others up to 8, 16, ... in the levels after
//   level               its buckets of all stripes, one stripe after the other: memory in large pages
//   bucket, 128 bytes   used u8 | entry * | unused                    the oldest entry first
//   entry               key length u8 | stored key | change number u64
//
// An entry says: under the key is one value that never expires, put by the incarnation `replica` of this
// store while it was the only one in the record's context; its change has that number. That is all that a
// put needs which replaces whatever is there: which incarnation must make the new dot (its next one is above
// all that it ever made), and which entry of the feed goes.
//
// 1. A put that builds no record adds its key's entry after it was written.
// 2. Whoever changes a record takes its key's entry away first, and so does a put that failed: nobody knows
//    then what is there.
// 3. Where a partition's records are deleted as a range, everything is forgotten.
// 4. A new entry in a full bucket takes the place of the oldest ones. A table that loses one for each four
//    of its buckets, within four times as many puts as it has buckets, doubles while there is memory: each
//    bucket is parted in two, and none is copied.
// 5. Levels stay where they are until the keyspace goes. So who has no lock yet may have the processor load
//    the place of a key: at worst it is another's by then.
//
// Keys are compared whole: hashes that programs can make equal may not decide what a put replaces.

/// The keys of one keyspace in one store that were put lately, with their change numbers.
///
/// A stripe's table is guarded by the stripe's lock (``KeyLocks``), which whoever changes a key holds.
@safe
final class RecentPuts: @unchecked Sendable {
  struct Found {
    let changeNumber: UInt64
    let replica: ReplicaID
  }

  private struct Table {
    /// Who made all of the entries.
    var replica = ReplicaID(rawValue: 0)
    /// Entries that were added, and those that gave way, since they were last counted anew.
    var noted = 0
    var lost = 0
  }

  static let bucketBytes = 128
  /// What stands beside the key in an entry.
  static let overheadBytes = 9
  /// The longest stored key that fits a bucket.
  static let longestKey = bucketBytes - 1 - overheadBytes
  static let firstBuckets = 4
  static let firstLevelBytes = KeyLocks.count * firstBuckets * bucketBytes
  private static let levelLimit = 24

  private let tables: UnsafeMutablePointer<Table>
  /// How many buckets each table has: 0, or ``firstBuckets`` times a power of two. Apart from the tables,
  /// since who has no lock reads it too.
  private let bucketCounts: UnsafeMutablePointer<Atomic<Int>>
  private let memory: MemoryAllowance
  /// Where each level begins. A stripe reads those that it has: it was told of them under `growing`.
  private let levels: UnsafeMutablePointer<Atomic<UInt>>
  private let growing = Lock()
  /// How many levels there are. Guarded by `growing`.
  private var levelCount = 0

  /// - Parameter memory: what all keyspaces of a database may take together.
  init(_ memory: MemoryAllowance) {
    self.memory = memory
    unsafe tables = .allocate(capacity: KeyLocks.count)
    unsafe tables.initialize(repeating: Table(), count: KeyLocks.count)
    unsafe bucketCounts = .allocate(capacity: KeyLocks.count)
    for stripe in 0..<KeyLocks.count { unsafe (bucketCounts + stripe).initialize(to: Atomic(0)) }
    unsafe levels = .allocate(capacity: Self.levelLimit)
    for level in 0..<Self.levelLimit { unsafe (levels + level).initialize(to: Atomic(0)) }
  }

  deinit {
    for level in 0..<levelCount { unsafe base(level)?.deallocate() }
    memory.giveBack(Self.byteCount(ofLevels: levelCount))
    unsafe levels.deallocate()
    unsafe tables.deallocate()
    unsafe bucketCounts.deallocate()
  }

  /// Of a stored key.
  @inline(__always)
  static func hash(_ key: RawSpan) -> UInt64 {
    hash(ofKey: key.extracting(droppingFirst: StoredKey.prefixBytes))
  }

  /// Of a user's key, and of the whole: keys with one tag share a stripe, and should not share a bucket.
  @inline(__always)
  static func hash(ofKey key: RawSpan) -> UInt64 { Checksum.xxh64(key) }

  // MARK: - Without a lock

  /// Has the processor load what ``find(_:_:_:)`` will look at.
  @inline(__always)
  func prefetch(_ stripe: Int, _ hash: UInt64) {
    precondition(UInt(bitPattern: stripe) < UInt(bitPattern: KeyLocks.count))
    let count = bucketCount(stripe)
    if count == 0 { return }
    guard let bucket = unsafe bucket(stripe, at: Int(truncatingIfNeeded: hash &>> 32) & (count &- 1)) else {
      return
    }
    unsafe roost_prefetch(bucket)
    unsafe roost_prefetch(bucket + Self.bucketBytes / 2)
  }

  // MARK: - With the stripe's lock held

  /// What is under a stored key, where that is known. O(1).
  ///
  /// - Parameter hash: ``hash(_:)`` of the key, as in the calls after this.
  @inline(__always)
  func find(_ stripe: Int, _ key: RawSpan, _ hash: UInt64) -> Found? {
    precondition(UInt(bitPattern: stripe) < UInt(bitPattern: KeyLocks.count))
    guard bucketCount(stripe) > 0, key.byteCount <= Self.longestKey else { return nil }
    let bucket = unsafe bucket(stripe, hash)
    guard let offset = unsafe Self.offset(of: key, in: bucket) else { return nil }
    let number = unsafe bucket.loadUnaligned(
      fromByteOffset: offset &+ 1 &+ key.byteCount, as: UInt64.self)
    return unsafe Found(changeNumber: number, replica: tables[stripe].replica)
  }

  /// Notes what a put has just written. O(1), but where the table grows.
  func note(
    _ stripe: Int, _ key: RawSpan, _ hash: UInt64, _ changeNumber: UInt64, by replica: ReplicaID
  ) {
    precondition(UInt(bitPattern: stripe) < UInt(bitPattern: KeyLocks.count))
    guard key.byteCount <= Self.longestKey else { return }
    if unsafe tables[stripe].replica != replica {
      // Another incarnation: what the old one put is not to be replaced by its next dot.
      clear(stripe)
      unsafe tables[stripe].replica = replica
    }
    if bucketCount(stripe) == 0, !grow(stripe) { return }
    let bucket = unsafe bucket(stripe, hash)
    if let offset = unsafe Self.offset(of: key, in: bucket) { unsafe Self.remove(offset, from: bucket) }
    let lost = unsafe Self.append(key, changeNumber, to: bucket)
    unsafe tables[stripe].noted &+= 1
    unsafe tables[stripe].lost &+= lost
    let isCrowded = unsafe tables[stripe].lost &* 4 > bucketCount(stripe)
    if unsafe isCrowded || tables[stripe].noted > 4 &* bucketCount(stripe) {
      // Where there is no memory it is asked for again after as many.
      if isCrowded { _ = grow(stripe) }
      unsafe tables[stripe].noted = 0
      unsafe tables[stripe].lost = 0
    }
  }

  /// Forgets a stored key. O(1).
  @inline(__always)
  func forget(_ stripe: Int, _ key: RawSpan, _ hash: UInt64) {
    precondition(UInt(bitPattern: stripe) < UInt(bitPattern: KeyLocks.count))
    guard bucketCount(stripe) > 0, key.byteCount <= Self.longestKey else { return }
    let bucket = unsafe bucket(stripe, hash)
    if let offset = unsafe Self.offset(of: key, in: bucket) { unsafe Self.remove(offset, from: bucket) }
  }

  /// Forgets all keys of a stripe, which then has no table. The memory stays the keyspace's.
  func forgetAll(_ stripe: Int) {
    precondition(UInt(bitPattern: stripe) < UInt(bitPattern: KeyLocks.count))
    setBucketCount(0, stripe)
    unsafe tables[stripe].noted = 0
    unsafe tables[stripe].lost = 0
  }

  /// Bytes that all tables take.
  var byteCount: Int { growing.withLock { Self.byteCount(ofLevels: levelCount) } }

  // MARK: - Tables

  @inline(__always)
  private func bucket(_ stripe: Int, _ hash: UInt64) -> UnsafeMutableRawPointer {
    let mask = bucketCount(stripe) &- 1
    return unsafe bucket(stripe, at: Int(truncatingIfNeeded: hash &>> 32) & mask)!
  }

  @inline(__always)
  private func bucketCount(_ stripe: Int) -> Int {
    unsafe bucketCounts[stripe].load(ordering: .relaxed)
  }

  private func setBucketCount(_ count: Int, _ stripe: Int) {
    unsafe bucketCounts[stripe].store(count, ordering: .relaxed)
  }

  @inline(__always)
  private func base(_ level: Int) -> UnsafeMutableRawPointer? {
    unsafe UnsafeMutableRawPointer(bitPattern: levels[level].load(ordering: .relaxed))
  }

  /// `nil` where the level is not there, for who has no lock.
  @inline(__always)
  private func bucket(_ stripe: Int, at index: Int) -> UnsafeMutableRawPointer? {
    // 1 for the buckets of level 0, 2 for those of level 1, and so on.
    let log = Int.bitWidth &- 1 &- (index | 3).leadingZeroBitCount
    let first = (1 &<< log) & ~3
    let count = max(1 &<< log, Self.firstBuckets)
    guard let base = unsafe base(log &- 1) else { return nil }
    return unsafe base + (stripe &* count &+ index &- first) &* Self.bucketBytes
  }

  private func clear(_ stripe: Int) {
    for index in 0..<bucketCount(stripe) {
      unsafe Self.setUsed(0, of: bucket(stripe, at: index)!)
    }
  }

  private static func byteCount(ofLevels count: Int) -> Int {
    count == 0 ? 0 : firstLevelBytes << (count - 1)
  }

  /// Doubles a table, or makes it.
  ///
  /// - Returns: `false` where there is no memory for it.
  @inline(never)
  private func grow(_ stripe: Int) -> Bool {
    let oldCount = bucketCount(stripe)
    let level = oldCount == 0 ? 0 : oldCount.trailingZeroBitCount - 1
    guard hasLevel(level) else { return false }
    let newCount = oldCount == 0 ? Self.firstBuckets : 2 * oldCount
    for index in oldCount..<newCount { unsafe Self.setUsed(0, of: bucket(stripe, at: index)!) }
    setBucketCount(newCount, stripe)
    for index in 0..<oldCount {
      unsafe Self.part(
        bucket(stripe, at: index)!, into: bucket(stripe, at: index + oldCount)!,
        by: UInt64(oldCount) << 32)
    }
    return true
  }

  /// Whether a level is there; the one after the last is made, where there is memory for it.
  private func hasLevel(_ level: Int) -> Bool {
    growing.withLock {
      if level < levelCount { return true }
      guard level < Self.levelLimit else { return false }
      let byteCount = Self.byteCount(ofLevels: level + 1) - Self.byteCount(ofLevels: level)
      guard memory.take(byteCount) else { return false }
      let memory =
        unsafe byteCount % LargePages.byteCount == 0
        ? LargePages.allocate(byteCount: byteCount)
        : UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: Self.bucketBytes)
      unsafe levels[level].store(UInt(bitPattern: memory), ordering: .relaxed)
      levelCount = level + 1
      return true
    }
  }

  /// Moves the entries whose hashes have a bit set into an empty bucket, in their order.
  private static func part(
    _ bucket: UnsafeMutableRawPointer, into other: UnsafeMutableRawPointer, by bit: UInt64
  ) {
    let end = unsafe 1 + used(bucket)
    var (offset, kept, moved) = (1, 1, 1)
    while offset < end {
      let count = unsafe keyCount(bucket, offset)
      let size = overheadBytes + count
      let key = unsafe RawSpan(_unsafeStart: UnsafeRawPointer(bucket + offset + 1), byteCount: count)
      if Self.hash(key) & bit != 0 {
        unsafe (other + moved).copyMemory(from: bucket + offset, byteCount: size)
        moved += size
      } else {
        if kept != offset { unsafe (bucket + kept).copyMemory(from: bucket + offset, byteCount: size) }
        kept += size
      }
      offset += size
    }
    unsafe setUsed(kept - 1, of: bucket)
    unsafe setUsed(moved - 1, of: other)
  }

  // MARK: - Buckets

  @inline(__always)
  private static func used(_ bucket: UnsafeMutableRawPointer) -> Int {
    unsafe Int(bucket.load(as: UInt8.self))
  }

  @inline(__always)
  private static func setUsed(_ count: Int, of bucket: UnsafeMutableRawPointer) {
    unsafe bucket.storeBytes(of: UInt8(truncatingIfNeeded: count), as: UInt8.self)
  }

  @inline(__always)
  private static func keyCount(_ bucket: UnsafeMutableRawPointer, _ offset: Int) -> Int {
    unsafe Int(bucket.load(fromByteOffset: offset, as: UInt8.self))
  }

  /// Where a key's entry begins.
  @inline(__always)
  private static func offset(of key: RawSpan, in bucket: UnsafeMutableRawPointer) -> Int? {
    let end = unsafe 1 &+ used(bucket)
    var offset = 1
    while offset < end {
      let count = unsafe keyCount(bucket, offset)
      if count == key.byteCount, unsafe isEqual(key, bucket + offset + 1) { return offset }
      offset &+= overheadBytes &+ count
    }
    return nil
  }

  @inline(__always)
  private static func isEqual(_ key: RawSpan, _ other: UnsafeMutableRawPointer) -> Bool {
    unsafe key.withUnsafeBytes { bytes in
      var at = 0
      while at &+ 8 <= bytes.count {
        let mine = unsafe bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self)
        let theirs = unsafe other.loadUnaligned(fromByteOffset: at, as: UInt64.self)
        if mine != theirs { return false }
        at &+= 8
      }
      while at < bytes.count {
        if unsafe bytes[at] != other.load(fromByteOffset: at, as: UInt8.self) { return false }
        at &+= 1
      }
      return true
    }
  }

  private static func remove(_ offset: Int, from bucket: UnsafeMutableRawPointer) {
    let count = unsafe overheadBytes + keyCount(bucket, offset)
    let used = unsafe used(bucket)
    let rest = 1 + used - offset - count
    unsafe (bucket + offset).copyMemory(from: bucket + offset + count, byteCount: rest)
    unsafe setUsed(used - count, of: bucket)
  }

  /// - Returns: how many entries gave way.
  private static func append(
    _ key: RawSpan, _ changeNumber: UInt64, to bucket: UnsafeMutableRawPointer
  ) -> Int {
    let count = key.byteCount
    var lost = 0
    while unsafe 1 + used(bucket) + overheadBytes + count > bucketBytes {
      unsafe remove(1, from: bucket)
      lost += 1
    }
    let used = unsafe used(bucket)
    let entry = unsafe bucket + 1 + used
    unsafe entry.storeBytes(of: UInt8(truncatingIfNeeded: count), as: UInt8.self)
    unsafe key.withUnsafeBytes { bytes in
      if let base = bytes.baseAddress { unsafe (entry + 1).copyMemory(from: base, byteCount: count) }
    }
    unsafe entry.storeBytes(of: changeNumber, toByteOffset: 1 + count, as: UInt64.self)
    unsafe setUsed(used + overheadBytes + count, of: bucket)
    return lost
  }
}

extension KeyspaceCore {
  /// Forgets what was put lately in a store: some of its records were deleted past the writes of keys.
  func forgetRecentPuts(in store: Store) {
    for slot in 0..<parts.capacity {
      guard let part = parts[slot], part.member.store === store else { continue }
      for stripe in shared.locks.stripes {
        stripe.lock.withLock { part.recentPuts.forgetAll(stripe.number) }
      }
    }
  }
}
