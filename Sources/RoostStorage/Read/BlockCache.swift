import RoostEnvironment
import Synchronization

/// Uncompressed blocks of all tables, kept for reading, up to a number of bytes.
///
/// - Blocks are named by (table cache id, offset). Ids are never used twice, so blocks of deleted
///   tables need no removal: nobody asks for them and they age out.
/// - A block is retained under its shard's lock before a lookup returns it, so eviction cannot free
///   it under a reader (rule 9).
/// - The bytes of all blocks held by the cache and by tables for good (``hold(_:_:)``), as they charge
///   themselves, never exceed the capacity. Blocks that readers still hold after their eviction are the
///   readers'.
/// - Eviction is CLOCK with a small count of hits for each block: a scan's blocks, read once, go
///   before those that were hit, and index and filter blocks begin with a head start.
///
/// Thread-safe.
@safe
final class BlockCache: @unchecked Sendable {
  private let shards: UnsafeMutablePointer<CacheShard>
  /// Each shard's lock, beside it: taking a lock must touch nothing that its holder may change.
  private let locks: UnsafeMutablePointer<Unmanaged<Lock>>
  private let shardCapacity: Int
  private let shardMask: Int
  private let ids = Atomic<UInt64>(0)
  let capacity: Int

  /// - Parameter capacity: bytes; 0 caches nothing.
  init(capacity: Int) {
    self.capacity = max(capacity, 0)
    // A shard should hold many blocks, else a few large ones that fall together evict each other.
    var count = 16
    while count > 1, capacity / count < 512 << 10 { count /= 2 }
    shardMask = count - 1
    shardCapacity = self.capacity / count
    unsafe shards = .allocate(capacity: count)
    unsafe locks = .allocate(capacity: count)
    for i in 0..<count {
      unsafe (shards + i).initialize(to: CacheShard(capacity: shardCapacity))
      unsafe (locks + i).initialize(to: Unmanaged.passRetained(Lock()))
    }
  }

  deinit {
    for i in 0...shardMask {
      unsafe shards[i].destroy()
      unsafe locks[i].release()
    }
    unsafe shards.deallocate()
    unsafe locks.deallocate()
  }

  /// An id for a table that is opened.
  func makeID() -> UInt64 { ids.add(1, ordering: .relaxed).newValue }

  @inline(__always)
  private static func hash(_ id: UInt64, _ offset: UInt64) -> UInt64 {
    let mixed = (offset ^ id &* 0x9E37_79B9_7F4A_7C15) &* 0xBF58_476D_1CE4_E5B9
    return (mixed ^ mixed &>> 32) &* 0x94D0_49BB_1331_11EB
  }

  @inline(__always)
  private func index(_ hash: UInt64) -> Int {
    Int(truncatingIfNeeded: hash &>> 60) & shardMask
  }

  @inline(__always)
  private func lock(_ index: Int) { unsafe locks[index]._withUnsafeGuaranteedRef { $0.lock() } }

  @inline(__always)
  private func unlock(_ index: Int) { unsafe locks[index]._withUnsafeGuaranteedRef { $0.unlock() } }

  /// The block, if it is here.
  ///
  /// - Parameter counts: whether this is a use that should keep the block here longer.
  /// - Complexity: O(1).
  @inline(__always)
  func lookup(_ id: UInt64, _ offset: UInt64, counts: Bool = true) -> Block? {
    let hash = Self.hash(id, offset)
    let index = index(hash)
    lock(index)
    let block = unsafe shards[index].find(hash, id, offset, counts: counts)
    unsafe _ = block?.retain()
    unlock(index)
    return unsafe block?.takeRetainedValue()
  }

  /// Keeps a block, unless one of that name is here already or it is too large for the cache.
  func insert(_ block: Block, _ id: UInt64, _ offset: UInt64) {
    let hash = Self.hash(id, offset)
    let index = index(hash)
    let charge = block.charge
    guard charge <= shardCapacity else { return }
    // One eviction at a time, so that blocks are freed outside the lock.
    while true {
      lock(index)
      let evicted = unsafe shards[index].evict(toFit: charge)
      if unsafe evicted == nil {
        if unsafe shards[index].add(hash, id, offset, Unmanaged.passUnretained(block), charge) {
          unsafe _ = Unmanaged.passUnretained(block).retain()
        }
        unlock(index)
        return
      }
      unlock(index)
      unsafe evicted?.release()
    }
  }

  /// Whether a table may hold a block as long as it is open: tables may hold half of the capacity. Its
  /// bytes are then taken from what the cache has for others, until ``letGo(_:_:)``.
  func hold(_ block: Block, _ id: UInt64) -> Bool {
    let index = index(Self.hash(id, block.storedSize))
    lock(index)
    let isHeld = unsafe shards[index].reserve(block.charge)
    unlock(index)
    guard isHeld else { return false }
    while true {
      lock(index)
      let evicted = unsafe shards[index].evict(toFit: 0)
      unlock(index)
      guard let evicted = unsafe evicted else { return true }
      unsafe evicted.release()
    }
  }

  /// Gives the bytes of a block back that a table was let hold.
  func letGo(_ block: Block, _ id: UInt64) {
    let index = index(Self.hash(id, block.storedSize))
    lock(index)
    unsafe shards[index].giveBack(block.charge)
    unlock(index)
  }

  struct Statistics: Sendable, Equatable {
    var hits: UInt64 = 0
    var misses: UInt64 = 0
    var evictions: UInt64 = 0
    var blockCount = 0
    var byteCount = 0
    /// Bytes of blocks that tables hold for good.
    var heldByteCount = 0
  }

  /// Counters since the cache was made, and what it holds now.
  var statistics: Statistics {
    var sum = Statistics()
    for i in 0...shardMask {
      let shard = unsafe shards + i
      lock(i)
      unsafe sum.hits += shard.pointee.hits
      unsafe sum.misses += shard.pointee.misses
      unsafe sum.evictions += shard.pointee.evictions
      unsafe sum.blockCount += shard.pointee.count
      unsafe sum.byteCount += shard.pointee.used
      unsafe sum.heldByteCount += shard.pointee.reserved
      unlock(i)
    }
    return sum
  }
}

/// A part of the cache with a lock of its own: an open-addressing table with linear probing, over
/// whose slots the hand of the clock goes round. Its lock must be held.
@safe
private struct CacheShard {
  @safe struct Slot {
    var id: UInt64
    var offset: UInt64
    var block: Unmanaged<Block>?
    var charge: UInt32
    /// Hits since the hand last took one off; at most `maxVisits`.
    var visits: UInt32
  }

  static let maxVisits: UInt32 = 3

  private var slots: UnsafeMutablePointer<Slot>
  private var mask: Int
  private var hand = 0
  private let whole: Int
  private(set) var reserved = 0
  private(set) var used = 0
  private(set) var count = 0
  private(set) var hits: UInt64 = 0
  private(set) var misses: UInt64 = 0
  private(set) var evictions: UInt64 = 0
  /// Keeps shards from sharing cache lines.
  private var padding: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0, 0)

  init(capacity: Int) {
    whole = capacity
    mask = 63
    unsafe slots = Self.makeSlots(mask + 1)
  }

  static func makeSlots(_ count: Int) -> UnsafeMutablePointer<Slot> {
    let slots = UnsafeMutablePointer<Slot>.allocate(capacity: count)
    unsafe slots.initialize(
      repeating: Slot(id: 0, offset: 0, block: nil, charge: 0, visits: 0), count: count)
    return unsafe slots
  }

  func destroy() {
    for i in 0...mask { unsafe slots[i].block?.release() }
    unsafe slots.deallocate()
  }


  @inline(__always)
  private func home(_ hash: UInt64) -> Int { Int(truncatingIfNeeded: hash) & mask }

  @inline(__always)
  mutating func find(
    _ hash: UInt64, _ id: UInt64, _ offset: UInt64, counts: Bool
  ) -> Unmanaged<Block>? {
    var index = home(hash)
    while let block = unsafe slots[index].block {
      if unsafe slots[index].offset == offset && slots[index].id == id {
        if counts {
          hits &+= 1
          if unsafe slots[index].visits < Self.maxVisits { unsafe slots[index].visits &+= 1 }
        }
        return unsafe block
      }
      index = (index &+ 1) & mask
    }
    if counts { misses &+= 1 }
    return nil
  }

  /// What is left for the cache's own blocks.
  private var capacity: Int { whole &- reserved }

  mutating func reserve(_ charge: Int) -> Bool {
    if reserved + charge > whole / 2 { return false }
    reserved += charge
    return true
  }

  mutating func giveBack(_ charge: Int) { reserved -= charge }

  /// Takes one block out if that is needed to make room for `charge` more bytes, and hands it over.
  mutating func evict(toFit charge: Int) -> Unmanaged<Block>? {
    guard used + charge > capacity, count > 0 else { return nil }
    while true {
      if let block = unsafe slots[hand].block {
        if unsafe slots[hand].visits == 0 {
          remove(hand)
          evictions &+= 1
          return unsafe block
        }
        unsafe slots[hand].visits &-= 1
      }
      hand = (hand &+ 1) & mask
    }
  }

  /// Empties a slot and moves those behind it up, so that no probe meets a hole before its end.
  private mutating func remove(_ index: Int) {
    unsafe used -= Int(slots[index].charge)
    count -= 1
    var hole = index
    var next = index
    while true {
      next = (next &+ 1) & mask
      guard unsafe slots[next].block != nil else { break }
      let home = unsafe self.home(BlockCache.slotHash(slots[next].id, slots[next].offset))
      // It may move if its home is not after the hole, going round.
      if (next &- home) & mask >= (next &- hole) & mask {
        unsafe slots[hole] = slots[next]
        hole = next
      }
    }
    unsafe slots[hole].block = nil
  }

  /// Adds a block for which there is room; `false` where its name is taken. Does not retain it.
  mutating func add(
    _ hash: UInt64, _ id: UInt64, _ offset: UInt64, _ block: Unmanaged<Block>, _ charge: Int
  ) -> Bool {
    if (count &+ 1) &* 4 > (mask &+ 1) &* 3 { grow() }
    var index = home(hash)
    while unsafe slots[index].block != nil {
      if unsafe slots[index].offset == offset && slots[index].id == id { return false }
      index = (index &+ 1) & mask
    }
    let isData = unsafe block._withUnsafeGuaranteedRef { $0.kind == .data }
    unsafe slots[index] = Slot(
      id: id, offset: offset, block: block, charge: UInt32(charge), visits: isData ? 0 : 2)
    used += charge
    count += 1
    return true
  }

  private mutating func grow() {
    let old = unsafe slots
    let oldCount = mask + 1
    mask = oldCount * 2 - 1
    unsafe slots = Self.makeSlots(mask + 1)
    for i in 0..<oldCount where unsafe old[i].block != nil {
      var index = unsafe home(BlockCache.slotHash(old[i].id, old[i].offset))
      while unsafe slots[index].block != nil { index = (index &+ 1) & mask }
      unsafe slots[index] = old[i]
    }
    unsafe old.deallocate()
    hand = 0
  }
}

extension BlockCache {
  fileprivate static func slotHash(_ id: UInt64, _ offset: UInt64) -> UInt64 { hash(id, offset) }
}
