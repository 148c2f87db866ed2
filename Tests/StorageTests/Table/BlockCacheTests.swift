import Foundation
import TestSupport
import Testing

@testable import RoostStorage

/// The block cache keeps what is used, within its bytes, for many threads.
// Budget: 5 s
@Suite struct BlockCacheTests {
  static func block(_ count: Int, filledWith byte: UInt8 = 0) -> Block {
    let memory = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: 16)
    unsafe memory.initializeMemory(as: UInt8.self, repeating: byte, count: count)
    return unsafe Block(
      adopting: memory, count: count, kind: .properties, storedSize: UInt64(count))!
  }

  /// A data block without entries.
  static func data(_ count: Int) -> Block {
    let memory = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: 16)
    unsafe memory.initializeMemory(as: UInt8.self, repeating: 0, count: count)
    unsafe memory.storeBytes(of: 1, toByteOffset: count - 4, as: UInt8.self)
    return unsafe Block(adopting: memory, count: count, kind: .data, storedSize: UInt64(count))!
  }

  @Test func findsWhatItHoldsAndCounts() {
    let cache = BlockCache(capacity: 1 << 20)
    let block = Self.block(100)
    #expect(cache.lookup(1, 50) == nil)
    cache.insert(block, 1, 50)
    #expect(cache.lookup(1, 50) === block)
    #expect(cache.lookup(2, 50) == nil)
    #expect(cache.lookup(1, 51) == nil)
    #expect(cache.lookup(1, 50, counts: false) === block)
    cache.insert(Self.block(100), 1, 50)
    #expect(cache.lookup(1, 50) === block)
    #expect(
      cache.statistics
        == BlockCache.Statistics(
          hits: 2, misses: 3, evictions: 0, blockCount: 1, byteCount: block.charge))
  }

  /// What tables hold for good takes from what the cache has, up to half of it.
  @Test func whatTablesHoldCounts() {
    let cache = BlockCache(capacity: 100_000)
    for offset in 0..<80 { cache.insert(Self.data(1000), 1, UInt64(offset)) }
    #expect(cache.statistics.byteCount == 80 * 1128)
    var held: [Block] = []
    for _ in 0..<100 {
      let block = Self.data(2000)
      guard cache.hold(block, 1) else { break }
      held.append(block)
      let statistics = cache.statistics
      #expect(statistics.byteCount + statistics.heldByteCount <= 100_000)
    }
    #expect(held.count == 50_000 / 2128 && cache.statistics.heldByteCount == held.count * 2128)
    for block in held { cache.letGo(block, 1) }
    #expect(cache.statistics.heldByteCount == 0)
    for offset in 100..<180 { cache.insert(Self.data(1000), 1, UInt64(offset)) }
    #expect(cache.statistics.byteCount == 88 * 1128, "all of the capacity is the cache's again")
  }

  @Test func neverHoldsMoreThanItsCapacity() {
    var random = TableRandom(10)
    for capacity in [0, 1000, 100_000, 20 << 20] {
      let cache = BlockCache(capacity: capacity)
      for i in 0..<20_000 {
        cache.insert(
          Self.block(1 + random.below(4000)), UInt64(i % 3), UInt64(random.below(30_000)))
        if i % 500 == 0 { #expect(cache.statistics.byteCount <= capacity, replay) }
      }
      let statistics = cache.statistics
      #expect(statistics.byteCount <= capacity, replay)
      #expect((statistics.blockCount == 0) == (capacity == 0), replay)
      #expect((statistics.evictions > 0) == (capacity > 0), replay)
    }
  }

  @Test func chargesAreThoseOfItsBlocks() {
    // Shadowed by a map: what lookups find must add up to what the cache says it holds.
    var random = TableRandom(11)
    let cache = BlockCache(capacity: 300_000)
    for _ in 0..<5000 {
      cache.insert(Self.block(1 + random.below(3000)), 1, UInt64(random.below(2000)))
    }
    var bytes = 0
    var blocks = 0
    for offset in 0..<2000 {
      if let block = cache.lookup(1, UInt64(offset), counts: false) {
        bytes += block.charge
        blocks += 1
      }
    }
    #expect(bytes == cache.statistics.byteCount, replay)
    #expect(blocks == cache.statistics.blockCount, replay)
  }

  @Test func blocksThatAreUsedOutliveAScan() {
    let cache = BlockCache(capacity: 500_000)
    for offset in 0..<100 { cache.insert(Self.data(1000), 1, UInt64(offset)) }
    for _ in 0..<3 { for offset in 0..<100 { _ = cache.lookup(1, UInt64(offset)) } }
    for offset in 0..<300 { cache.insert(Self.data(1000), 2, UInt64(offset)) }
    #expect((0..<100).count { cache.lookup(1, UInt64($0)) != nil } == 100)
    for offset in 300..<800 { cache.insert(Self.data(1000), 2, UInt64(offset)) }
    // The newest block is always there.
    #expect(cache.lookup(2, 799) != nil)
    #expect((0..<100).count { cache.lookup(1, UInt64($0)) != nil } > 50)
  }

  @Test func anEvictedBlockStaysWithItsReader() {
    let cache = BlockCache(capacity: 10_000)
    cache.insert(Self.block(1000, filledWith: 77), 1, 0)
    let held = cache.lookup(1, 0)
    weak let released = cache.lookup(1, 0)
    for offset in 1..<1000 { cache.insert(Self.block(1000), 1, UInt64(offset)) }
    #expect(cache.lookup(1, 0) == nil)
    #expect(held?.view.array == [UInt8](repeating: 77, count: 1000))
    #expect(released != nil)
  }

  @Test func freesItsBlocks() {
    weak var block: Block?
    do {
      let cache = BlockCache(capacity: 10_000)
      let strong = Self.block(100)
      block = strong
      cache.insert(strong, 1, 1)
    }
    #expect(block == nil)
    do {
      let cache = BlockCache(capacity: 0)
      let strong = Self.block(100)
      block = strong
      cache.insert(strong, 1, 1)
      #expect(cache.lookup(1, 1) == nil)
    }
    #expect(block == nil)
  }

  @Test func manyThreads() {
    let cache = BlockCache(capacity: 200_000)
    let wrong = Guarded(0)
    DispatchQueue.concurrentPerform(iterations: 4) { thread in
      var random = TableRandom(20 + UInt64(thread))
      var bad = 0
      for _ in 0..<20_000 {
        let offset = random.below(600)
        let size = 300 + offset
        if let block = cache.lookup(1, UInt64(offset)) {
          if block.count != size || block.view[size - 1] != UInt8(offset % 251) { bad += 1 }
        } else {
          cache.insert(Self.block(size, filledWith: UInt8(offset % 251)), 1, UInt64(offset))
        }
      }
      wrong.withLock { $0 += bad }
    }
    #expect(wrong.withLock { $0 } == 0)
    #expect(cache.statistics.byteCount <= 200_000)
    #expect(cache.statistics.evictions > 0)
    let statistics = cache.statistics
    #expect(statistics.hits + statistics.misses == 80_000)
  }
}
