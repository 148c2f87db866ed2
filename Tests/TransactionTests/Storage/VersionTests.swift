import RoostCausality
import RoostStorage
import TestSupport
import Testing

@testable import RoostCluster

/// Versions of keys in a store: reads at a time, deletions, limits, damage.
// Budget: 5 s
@Suite struct VersionTests {
  @Test func `a key is read as of any time`() throws {
    let world = try VersionWorld()
    try world.put("a", "1", at: 10)
    try world.put("a", "2", at: 20)
    try world.put("a", nil, at: 30)
    try world.put("a", "4", at: 40)
    let seen = try [5, 10, 15, 20, 29, 30, 39, 40, 99].map { try world.read("a", at: $0) }
    #expect(seen == [nil, "1", "1", "2", "2", nil, nil, "4", "4"])
    #expect(try world.read("a") == "4")
    #expect(try world.part.latest(0, Array("a".utf8))?.timestamp.rawValue == 40)
    #expect(try world.read("b", at: 99) == nil)
  }

  @Test func `keys with zeros keep their order and their histories apart`() throws {
    let world = try VersionWorld()
    let keys: [[UInt8]] = [[0], [0, 0], [0, 0xFF], [0, 1], [1], [1, 0], [1, 0, 0], [1, 1], [0xFF]]
    for (number, key) in keys.enumerated() {
      try world.commit([VersionedWrite(0, key, [UInt8(number)])], at: 10)
      try world.commit([VersionedWrite(0, key, [UInt8(number) + 100])], at: 20)
    }
    for (number, key) in keys.enumerated() {
      #expect(try world.part.read(0, key, at: Timestamp(rawValue: 15))?.value == [UInt8(number)])
      let stored = VersionKey.history(7, key, 10)
      let split = try #require(VersionKey.splitHistory(stored))
      #expect(split.partition == 7 && split.key == key && split.timestamp == 10)
    }
    let sorted = keys.sorted { $0.lexicographicallyPrecedes($1) }
    let histories = sorted.map { VersionKey.history(0, $0, 10) }
    #expect(histories == histories.sorted { $0.lexicographicallyPrecedes($1) })
    let page = try world.part.scan(0, from: [], to: nil, at: Timestamp(rawValue: 15), limit: 100)
    #expect(page.entries.map(\.key) == sorted && page.isComplete)
  }

  @Test func `a commit at or below a key's version is refused, and writes nothing`() throws {
    let world = try VersionWorld()
    try world.put("a", "1", at: 10)
    for time in [9, 10] as [UInt64] {
      let error = thrown { try world.put("a", "2", at: time) }
      #expect(error?.code == .corruption)
      #expect(error?.message.contains("current/accounts") == true)
      #expect(error?.message.contains("/disk/db") == true)
    }
    try world.put("a", nil, at: 20)
    #expect(thrown { try world.put("a", "3", at: 20) }?.code == .corruption)
    #expect(try world.read("a", at: 15) == "1")
    #expect(try world.read("a") == nil)
  }

  @Test func `what deletes an absent key writes nothing`() throws {
    let world = try VersionWorld()
    try world.put("a", nil, at: 10)
    #expect(try world.entryCount(world.part.current) == 0)
    try world.put("a", "1", at: 20)
    try world.put("a", nil, at: 30)
    try world.put("a", nil, at: 40)
    #expect(try world.entryCount(world.part.history) == 1)
    #expect(try world.read("a", at: 25) == "1")
  }

  @Test func `sizes are checked`() throws {
    let world = try VersionWorld()
    let longest = [UInt8](repeating: 0, count: VersionKey.longestKey)
    try world.commit([VersionedWrite(1, longest, [1])], at: 10)
    try world.commit([VersionedWrite(1, longest, [2])], at: 20)
    #expect(try world.part.read(1, longest, at: Timestamp(rawValue: 10))?.value == [1])
    for key in [[], longest + [0]] {
      #expect(thrown { try world.commit([VersionedWrite(1, key, [1])], at: 30) }?.code == .invalidArgument)
      #expect(thrown { _ = try world.part.latest(1, key) }?.code == .invalidArgument)
    }
    let bound = longest + [0, 0]
    #expect(
      thrown { _ = try world.part.scan(1, from: bound, to: nil, at: nil, limit: 1) }?.code
        == .invalidArgument)
    #expect(thrown { _ = try world.part.scan(1, from: [], to: nil, at: nil, limit: 0) } != nil)
  }

  @Test func `collection drops what nobody sees and no more`() throws {
    let world = try VersionWorld()
    try world.put("a", "1", at: 10)
    try world.put("a", "2", at: 20)
    try world.put("a", nil, at: 30)
    try world.put("b", "1", at: 10)
    #expect(try world.collect(15).removed == 0)
    #expect(try world.read("a", at: 15) == "1")
    #expect(try world.collect(20).removed == 1)
    #expect(try world.read("a", at: 20) == "2")
    #expect(thrown { _ = try world.read("a", at: 19) }?.code == .snapshotTooOld)
    let early = thrown { _ = try world.part.scan(0, from: [], to: nil, at: .zero, limit: 1) }
    #expect(early?.code == .snapshotTooOld)
    // The deletion goes with the version that it superseded.
    let last = try world.collect(30)
    #expect(last.removed == 2 && last.isRoundDone)
    #expect(try world.entryCount(world.part.history) == 0)
    #expect(try world.entryCount(world.part.current) == 1)
    #expect(try world.read("b", at: 30) == "1")
    // The floor never goes back.
    _ = try world.collect(1)
    #expect(thrown { _ = try world.read("b", at: 29) }?.code == .snapshotTooOld)
  }

  /// A deletion has been collected and the version that it superseded has not yet, because a chunk is
  /// bounded or a crash came between: the key is absent, also beneath a version that came later.
  @Test func `what was deleted does not come back beneath a new version`() throws {
    let world = try VersionWorld()
    try world.put("a", "1", at: 10)
    try world.put("a", nil, at: 20)
    try world.part.current.delete(VersionKey.current(0, Array("a".utf8)))
    #expect(try world.read("a", at: 25) == nil)
    try world.put("a", "2", at: 30)
    #expect(try world.read("a", at: 25) == nil)
    #expect(try world.read("a", at: 15) == "1")
  }

  @Test func `collection is bounded and goes on where it was`() throws {
    let world = try VersionWorld()
    for number in 0..<20 {
      try world.put("k\(number)", "1", at: 10)
      try world.put("k\(number)", nil, at: 20)
    }
    var removed = 0
    var calls = 0
    while true {
      let progress = try world.collect(20, limit: 3)
      #expect(progress.lookedAt <= 3)
      removed += progress.removed
      calls += 1
      if progress.isRoundDone { break }
    }
    #expect(calls == 7 && removed == 40)
    #expect(try world.entryCount(world.part.current) == 0)
  }

  @Test func `holds keep what they see, and not for ever`() {
    let holds = SnapshotHolds(retentionMilliseconds: 1_000, longestMilliseconds: 500)
    let old = Timestamp(milliseconds: 7_000)
    let id = holds.hold(old, atMonotonicMilliseconds: 100)
    #expect(holds.horizon(physicalMilliseconds: 10_000, atMonotonicMilliseconds: 200) == old)
    holds.release(id)
    let free = Timestamp(milliseconds: 9_000)
    #expect(holds.horizon(physicalMilliseconds: 10_000, atMonotonicMilliseconds: 200) == free)
    _ = holds.hold(old, atMonotonicMilliseconds: 200)
    // It never goes back, and a hold that is too old is forgotten.
    #expect(holds.horizon(physicalMilliseconds: 10_500, atMonotonicMilliseconds: 300) == free)
    #expect(
      holds.horizon(physicalMilliseconds: 11_000, atMonotonicMilliseconds: 701)
        == Timestamp(milliseconds: 10_000))
    #expect(holds.count == 0)
  }

  @Test func `every byte of a version may be damaged`() throws {
    let world = try VersionWorld()
    try world.put("a", "1", at: 10)
    try world.put("a", "2", at: 20)
    let key = Array("a".utf8)
    for (tree, storedKey) in [
      (world.part.current, VersionKey.current(0, key)),
      (world.part.history, VersionKey.history(0, key, 10)),
    ] {
      let good = try #require(try tree.get(storedKey))
      var refused = 0
      for index in good.indices {
        for value in [0, 1, 2, 0x7F, 0x80, 0xFF, good[index] ^ 1] as [UInt8] where value != good[index] {
          var damaged = good
          damaged[index] = value
          try tree.put(storedKey, damaged)
          let error = thrown {
            _ = try world.read("a")
            _ = try world.read("a", at: 15)
            _ = try world.part.scan(0, from: [], to: nil, at: Timestamp(rawValue: 15), limit: 9)
          }
          guard let error else { continue }
          refused += 1
          #expect(error.code == .corruption || error.code == .newerFormat)
          #expect(error.message.contains(tree.name) && error.message.contains("/disk/db"))
        }
      }
      #expect(refused > 10)
      for count in 0..<StoredVersion.headerBytes {
        try tree.put(storedKey, Array(good.prefix(count)))
        #expect(thrown { _ = try world.read("a", at: 15) }?.code == .corruption)
      }
      try tree.put(storedKey, good)
    }
    #expect(try world.read("a", at: 15) == "1")
  }

  @Test func `keys of the history that are none are told`() {
    let good = VersionKey.history(3, [1, 0, 2], 77)
    for index in good.indices {
      for value in UInt8.min ... .max {
        var damaged = good
        damaged[index] = value
        // Whatever it is, splitting it and putting it together again gives the same.
        if let split = VersionKey.splitHistory(damaged) {
          #expect(VersionKey.history(split.partition, split.key, split.timestamp) == damaged)
        }
      }
    }
    for count in 0..<good.count { #expect(VersionKey.splitHistory(Array(good.prefix(count))) == nil) }
  }
}
