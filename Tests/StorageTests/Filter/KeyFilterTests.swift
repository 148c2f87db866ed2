import RoostEnvironment
import Synchronization
import TestSupport
import Testing

@testable import RoostStorage

/// A filter never denies a key that was added: beside others that add and ask, while it grows, and when
/// there is no memory left.
// Budget: 2 s.
@Suite struct KeyFilterTests {
  private static func hash(_ number: Int) -> UInt64 {
    [UInt8]("key \(number)".utf8).withByteView { BloomFilter.hash($0) }
  }

  @Test func `keys that were added are never denied, and most others are`() throws {
    let memory = MemoryAllowance(1 << 20)
    let filter = try #require(KeyFilter(generation: 1, memory))
    #expect(filter.byteCount == KeyFilter.firstBytes)
    let count = 200_000
    var isRight = true
    for number in 0..<count {
      filter.add(Self.hash(number))
      // A few others, as it grows.
      if number % 1_000 == 0 {
        for old in stride(from: 0, through: number, by: 997) {
          isRight = isRight && filter.mayContain(Self.hash(old))
        }
      }
    }
    #expect(!filter.isGivenUp)
    #expect(filter.byteCount > KeyFilter.firstBytes)
    #expect(filter.byteCount + memory.remaining == 1 << 20)
    var denied = 0
    for number in 0..<count {
      isRight = isRight && filter.mayContain(Self.hash(number))
      if !filter.mayContain(Self.hash(-1 - number)) { denied += 1 }
    }
    #expect(isRight)
    #expect(denied > count / 100 * 95, "\(denied) of \(count)")
  }

  @Test func `an empty filter denies every key`() throws {
    let filter = try #require(KeyFilter(generation: 1, MemoryAllowance(1 << 20)))
    for number in 0..<1_000 { #expect(!filter.mayContain(Self.hash(number))) }
  }

  @Test func `without memory there is none, and one that is full is given up`() throws {
    #expect(KeyFilter(generation: 1, MemoryAllowance(0)) == nil)
    #expect(KeyFilter(generation: 1, MemoryAllowance(63)) == nil)
    let memory = MemoryAllowance(4 << 10)
    do {
      let filter = try #require(KeyFilter(generation: 1, memory))
      var number = 0
      while !filter.isGivenUp {
        filter.add(Self.hash(number))
        #expect(filter.mayContain(Self.hash(number)))
        #expect(memory.remaining >= 0)
        number += 1
        try #require(number < 10_000)
      }
      // What it knew it does not say any more.
      for other in -100..<100 { #expect(filter.mayContain(Self.hash(other))) }
      filter.add(Self.hash(-1))
      #expect(filter.isGivenUp)
      #expect(filter.byteCount + memory.remaining == 4 << 10)
    }
    #expect(memory.remaining == 4 << 10)
  }

  /// Two add, each telling how far it is after a key was added; the others ask for what they were told.
  @Test(arguments: [4 << 20, 32 << 10]) func `whoever was told of a key finds it`(_ bytes: Int) throws {
    let memory = MemoryAllowance(bytes)
    let filter = try #require(KeyFilter(generation: 1, memory))
    let count = TestSize.of(quick: 40_000, full: 400_000)
    final class Told: Sendable {
      let first = Atomic<Int>(0)
      let second = Atomic<Int>(0)
    }
    let told = Told()
    let faults = Faults()
    runThreads(4) { thread in
      if thread < 2 {
        for number in 1...count {
          filter.add(Self.hash(thread == 0 ? number : -number))
          if thread == 0 {
            told.first.store(number, ordering: .releasing)
          } else {
            told.second.store(number, ordering: .releasing)
          }
        }
        return
      }
      var random = SplitMix64(seed: UInt64(thread))
      while true {
        let first = told.first.load(ordering: .acquiring)
        let second = told.second.load(ordering: .acquiring)
        if first > 0 {
          faults.check(filter.mayContain(Self.hash(first)))
          faults.check(filter.mayContain(Self.hash(1 + random.below(first))))
        }
        if second > 0 {
          faults.check(filter.mayContain(Self.hash(-second)))
          faults.check(filter.mayContain(Self.hash(-1 - random.below(second))))
        }
        if first == count && second == count { return }
      }
    }
    #expect(faults.total == 0, "first at line \(faults.firstLine)")
    #expect(filter.isGivenUp == (bytes < 1 << 20))
    #expect(filter.byteCount + memory.remaining == bytes)
  }
}
