import Roost
import RoostCausality
import RoostEnvironment
import RoostStorage
import TestSupport
import Testing

@testable import RoostCluster

/// What is remembered of a key is what was noted last, or nothing; in bounded memory.
// Budget: 2 s.
@Suite struct RecentPutsTests {
  private static func key(_ random: inout SplitMix64, _ count: Int) -> [UInt8] {
    // Some share a length and their first bytes; some are too long to be kept.
    let number = random.below(count)
    let length = [2, 9, 18, 18, 18, 40, RecentPuts.longestKey, RecentPuts.longestKey + 1][number % 8]
    var bytes = [UInt8](repeating: 7, count: length)
    bytes[length - 1] = UInt8(truncatingIfNeeded: number)
    bytes[length - 2] = UInt8(truncatingIfNeeded: number >> 8)
    return bytes
  }

  private static func find(_ puts: RecentPuts, _ stripe: Int, _ key: [UInt8]) -> RecentPuts.Found? {
    key.withKeyBytes { puts.find(stripe, $0, RecentPuts.hash($0)) }
  }

  private static func note(
    _ puts: RecentPuts, _ stripe: Int, _ key: [UInt8], _ number: UInt64, _ replica: UInt64 = 1
  ) {
    key.withKeyBytes {
      puts.note(stripe, $0, RecentPuts.hash($0), number, by: ReplicaID(rawValue: replica))
    }
  }

  private static func forget(_ puts: RecentPuts, _ stripe: Int, _ key: [UInt8]) {
    key.withKeyBytes { puts.forget(stripe, $0, RecentPuts.hash($0)) }
  }

  @Test func `nothing but what was noted last is found`() throws {
    try withSeeds("RecentPutsTests", count: TestSize.of(quick: 10, full: 200)) { seed, random in
      let first = RecentPuts.firstLevelBytes
      let limit = [0, first, 4 * first + 1, 64 * first][random.below(4)]
      let memory = MemoryAllowance(limit)
      let keyCount = [4, 60, 2_000][random.below(3)]
      var hits = 0
      do {
        let puts = RecentPuts(memory)
        var model: [[UInt8]: UInt64] = [:]
        var replica: UInt64 = 1
        for step in 0..<3_000 {
          let key = Self.key(&random, keyCount)
          let stripe = Int(key[key.count - 1]) % 3
          if let found = Self.find(puts, stripe, key) {
            hits += 1
            #expect(found.changeNumber == model[key], "seed \(seed), step \(step)")
            #expect(found.replica.rawValue == replica, "seed \(seed), step \(step)")
          }
          switch random.below(100) {
          case 0:
            // A new incarnation: all stripes are told by its first note in each.
            replica += 1
            for stripe in 0..<3 {
              Self.note(puts, stripe, [UInt8(stripe)], 1, replica)
              Self.forget(puts, stripe, [UInt8(stripe)])
            }
            model = [:]
          case 1:
            puts.forgetAll(stripe)
            model = model.filter { Int($0.key[$0.key.count - 1]) % 3 != stripe }
          case 2...20:
            Self.forget(puts, stripe, key)
            model[key] = nil
          default:
            Self.note(puts, stripe, key, UInt64(step), replica)
            model[key] = UInt64(step)
          }
          #expect(memory.remaining >= 0)
        }
        #expect(puts.byteCount + memory.remaining == limit)
        if limit == 0 { #expect(hits == 0) }
        if limit == 64 * first, keyCount <= 60 { #expect(hits > 300, "seed \(seed)") }
      }
      #expect(memory.remaining == limit, "seed \(seed)")
    }
  }

  @Test func `what was noted last stays longest`() throws {
    let puts = RecentPuts(MemoryAllowance(RecentPuts.firstLevelBytes))
    func key(_ number: Int) -> [UInt8] { [0, 0] + Array("key \(number)".utf8) }
    for number in 0..<500 {
      Self.note(puts, 0, key(number), UInt64(number))
      #expect(Self.find(puts, 0, key(number))?.changeNumber == UInt64(number))
    }
    let kept = (0..<500).filter { Self.find(puts, 0, key($0)) != nil }
    #expect(kept.count >= 4 * RecentPuts.firstBuckets && kept[0] > 300)
    #expect(puts.byteCount == RecentPuts.firstLevelBytes)
  }

  @Test func `a table that has the memory to grow keeps most of what is noted`() throws {
    let memory = MemoryAllowance(64 << 20)
    let puts = RecentPuts(memory)
    func key(_ number: Int) -> [UInt8] { [0, 0] + Array("a key \(1_000_000 + number)".utf8) }
    for number in 0..<20_000 { Self.note(puts, number % 256, key(number), UInt64(number)) }
    let kept = (0..<20_000).count { number in
      let found = Self.find(puts, number % 256, key(number))
      #expect(found == nil || found?.changeNumber == UInt64(number))
      return found != nil
    }
    #expect(kept > 16_000)
    #expect(puts.byteCount >= 20_000 * 20 && memory.remaining > 0)
  }

  /// A put of a remembered key replaces what is there: its value and its entry in the feed; whatever was
  /// written in between in another way.
  @Test func `a remembered put replaces what is there`() throws {
    let database = try SynchronousDatabase(partitions: 4, .eventual(.lastWriterWins))
    let part = try #require(database.posts.parts[0])
    func entries(_ tree: Tree) throws -> Int {
      var cursor = try tree.cursor()
      var count = 0
      while try cursor.next() { count += 1 }
      return count
    }
    for round in 0..<4 {
      for number in 0..<50 { try database.put("key \(number)", "round \(round)") }
      if round == 1 { for number in 0..<25 { try database.delete("key \(number)") } }
      if round == 2 { try part.member.takeNewIncarnation() }
    }
    #expect(try entries(part.records) == 50)
    // The flush deletes the entries that were replaced.
    try part.changes.flush()
    #expect(try entries(part.changes) == 50)
    let taken = database.core.shared.recentPutMemory
    #expect(taken.remaining < taken.byteCount)
    try database.core.close()
  }
}
