import RoostCausality
import RoostStorage

// What a put would find under the keys that were put lately, kept in memory: then it need not look.
//
//   table of a stripe   bucket * 2^n
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
// 4. A new entry in a full bucket takes the place of the oldest ones. A table in which as many were lost as
//    it has buckets doubles, while there is memory.
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

  @safe
  private struct Table {
    var base: UnsafeMutableRawPointer?
    var bucketCount = 0
    /// Who made all of the entries.
    var replica = ReplicaID(rawValue: 0)
    /// Entries that gave way since the table last grew.
    var lost = 0
  }

  static let bucketBytes = 128
  /// What stands beside the key in an entry.
  static let overheadBytes = 9
  /// The longest stored key that fits a bucket.
  static let longestKey = bucketBytes - 1 - overheadBytes
  static let firstBuckets = 4

  private let tables: UnsafeMutablePointer<Table>
  private let memory: MemoryAllowance

  /// - Parameter memory: what all keyspaces of a database may take together.
  init(_ memory: MemoryAllowance) {
    self.memory = memory
    unsafe tables = .allocate(capacity: KeyLocks.count)
    unsafe tables.initialize(repeating: Table(), count: KeyLocks.count)
  }

  deinit {
    for stripe in 0..<KeyLocks.count { release(stripe) }
    unsafe tables.deallocate()
  }

  /// Of the whole stored key: keys with one tag share a stripe, and should not share a bucket.
  @inline(__always)
  static func hash(_ key: RawSpan) -> UInt64 { Checksum.xxh64(key) }

  // MARK: - With the stripe's lock held

  /// What is under a stored key, where that is known. O(1).
  ///
  /// - Parameter hash: ``hash(_:)`` of the key, as in the calls after this.
  @inline(__always)
  func find(_ stripe: Int, _ key: RawSpan, _ hash: UInt64) -> Found? {
    precondition(UInt(bitPattern: stripe) < UInt(bitPattern: KeyLocks.count))
    guard unsafe tables[stripe].base != nil, key.byteCount <= Self.longestKey else { return nil }
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
    if unsafe tables[stripe].base == nil, !grow(stripe) { return }
    let bucket = unsafe bucket(stripe, hash)
    if let offset = unsafe Self.offset(of: key, in: bucket) { unsafe Self.remove(offset, from: bucket) }
    let lost = unsafe Self.append(key, changeNumber, to: bucket)
    if lost == 0 { return }
    unsafe tables[stripe].lost &+= lost
    if unsafe tables[stripe].lost > tables[stripe].bucketCount {
      // Where there is no memory it is asked for again after as many.
      _ = grow(stripe)
      unsafe tables[stripe].lost = 0
    }
  }

  /// Forgets a stored key. O(1).
  @inline(__always)
  func forget(_ stripe: Int, _ key: RawSpan, _ hash: UInt64) {
    precondition(UInt(bitPattern: stripe) < UInt(bitPattern: KeyLocks.count))
    guard unsafe tables[stripe].base != nil, key.byteCount <= Self.longestKey else { return }
    let bucket = unsafe bucket(stripe, hash)
    if let offset = unsafe Self.offset(of: key, in: bucket) { unsafe Self.remove(offset, from: bucket) }
  }

  /// Forgets all keys of a stripe, and gives their memory back.
  func forgetAll(_ stripe: Int) {
    precondition(UInt(bitPattern: stripe) < UInt(bitPattern: KeyLocks.count))
    release(stripe)
  }

  /// Bytes that a stripe's table takes.
  func byteCount(_ stripe: Int) -> Int { unsafe tables[stripe].bucketCount * Self.bucketBytes }

  // MARK: - Tables

  @inline(__always)
  private func bucket(_ stripe: Int, _ hash: UInt64) -> UnsafeMutableRawPointer {
    let mask = unsafe tables[stripe].bucketCount &- 1
    return unsafe tables[stripe].base!
      + (Int(truncatingIfNeeded: hash &>> 32) & mask) &* Self.bucketBytes
  }

  private func clear(_ stripe: Int) {
    guard let base = unsafe tables[stripe].base else { return }
    let count = unsafe tables[stripe].bucketCount
    for index in 0..<count { unsafe Self.setUsed(0, of: base + index * Self.bucketBytes) }
  }

  private func release(_ stripe: Int) {
    guard let base = unsafe tables[stripe].base else { return }
    unsafe memory.giveBack(tables[stripe].bucketCount * Self.bucketBytes)
    unsafe base.deallocate()
    unsafe tables[stripe].base = nil
    unsafe tables[stripe].bucketCount = 0
    unsafe tables[stripe].lost = 0
  }

  /// Doubles a table, or makes it.
  ///
  /// - Returns: `false` where there is no memory for it.
  @inline(never)
  private func grow(_ stripe: Int) -> Bool {
    let oldCount = unsafe tables[stripe].bucketCount
    let newCount = oldCount == 0 ? Self.firstBuckets : 2 * oldCount
    guard memory.take((newCount - oldCount) * Self.bucketBytes) else { return false }
    let bytes = newCount * Self.bucketBytes
    let made = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: Self.bucketBytes)
    unsafe made.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
    let old = unsafe tables[stripe].base
    unsafe tables[stripe].base = made
    unsafe tables[stripe].bucketCount = newCount
    guard let old = unsafe old else { return true }
    for index in 0..<oldCount {
      let bucket = unsafe old + index * Self.bucketBytes
      var offset = 1
      let end = unsafe 1 + Self.used(bucket)
      while offset < end {
        let count = unsafe Self.keyCount(bucket, offset)
        let key = unsafe RawSpan(_unsafeStart: UnsafeRawPointer(bucket + offset + 1), byteCount: count)
        let number = unsafe bucket.loadUnaligned(
          fromByteOffset: offset + 1 + count, as: UInt64.self)
        unsafe _ = Self.append(key, number, to: self.bucket(stripe, Self.hash(key)))
        offset += Self.overheadBytes + count
      }
    }
    unsafe old.deallocate()
    return true
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
