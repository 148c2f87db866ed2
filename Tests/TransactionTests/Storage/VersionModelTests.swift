import RoostCausality
import RoostEnvironment
import RoostSimulation
import RoostStorage
import TestSupport
import Testing

@testable import RoostCluster

/// Random commits at rising times, reads and scans at random ones, collections and restarts, against a
/// dictionary of all versions.
// Budget: 20 s
@Suite struct VersionModelTests {
  private struct Model {
    /// By partition and key: versions by rising time.
    var versions: [[UInt8]: [(time: UInt64, value: [UInt8]?)]] = [:]

    func value(_ storedKey: [UInt8], at time: UInt64) -> [UInt8]? {
      versions[storedKey]?.last { $0.time <= time }?.value
    }
  }

  private static func key(_ random: inout SplitMix64) -> [UInt8] {
    let alphabet: [UInt8] = [0, 1, 0x61, 0xFF]
    return (0...random.below(3)).map { _ in alphabet[random.below(alphabet.count)] }
  }

  @Test func `versions are those of a dictionary`() throws {
    let count = TestSize.of(quick: 8, full: 80)
    try withSeeds("versions are those of a dictionary", count: count) { seed, random in
      var world = try VersionWorld(SimulatedEnvironment(seed: seed))
      var model = Model()
      var now: UInt64 = 100
      var horizon: UInt64 = 0
      for _ in 0..<400 {
        switch random.below(20) {
        case 0:
          horizon = max(horizon, now - min(now, UInt64(random.below(60))))
          _ = try world.collect(horizon, limit: 1 + random.below(20))
        case 1: try world.store.flush()
        case 2 where random.below(4) == 0: try world.store.compact()
        case 3 where random.below(4) == 0:
          try world.store.close()
          world = try VersionWorld(world.world, floor: Timestamp(rawValue: horizon))
        case 4..<12:
          now += 1 + UInt64(random.below(5))
          var writes: [[UInt8]: VersionedWrite] = [:]
          for _ in 0...random.below(3) {
            let partition = random.below(2)
            let key = Self.key(&random)
            let value = random.below(3) == 0 ? nil : random.bytes(random.below(40))
            writes[VersionKey.current(partition, key)] = VersionedWrite(partition, key, value)
          }
          try world.commit(Array(writes.values), at: now)
          for (storedKey, write) in writes {
            model.versions[storedKey, default: []].append((now, write.value))
          }
        case 12..<16: try check(world, model, Self.key(&random), horizon, now, &random)
        default: try checkScan(world, model, horizon, now, &random)
        }
      }
      // All that could be collected goes, and what is left is what can still be read.
      // The first round may have begun in the middle.
      for _ in 0..<2 { while try !world.collect(now, limit: 50).isRoundDone {} }
      #expect(try world.entryCount(world.part.history) == 0, "seed \(seed)")
      let alive = model.versions.values.filter { $0.last!.value != nil }.count
      #expect(try world.entryCount(world.part.current) == alive, "seed \(seed)")
      try checkScan(world, model, now, now, &random)
    }
  }

  private func check(
    _ world: VersionWorld, _ model: Model, _ key: [UInt8], _ horizon: UInt64, _ now: UInt64,
    _ random: inout SplitMix64
  ) throws {
    let partition = random.below(2)
    let storedKey = VersionKey.current(partition, key)
    try #require(try world.part.latest(partition, key)?.value == model.value(storedKey, at: now))
    let time = horizon + UInt64(random.below(Int(now - horizon) + 5))
    let found = try world.part.read(partition, key, at: Timestamp(rawValue: time))
    try #require(found?.value == model.value(storedKey, at: time), "at \(time) of \(horizon)…\(now)")
    if let found {
      let expected = model.versions[storedKey]?.last { $0.time <= time }?.time
      try #require(found.timestamp.rawValue == expected)
    }
  }

  private func checkScan(
    _ world: VersionWorld, _ model: Model, _ horizon: UInt64, _ now: UInt64, _ random: inout SplitMix64
  ) throws {
    let partition = random.below(2)
    let lower = random.below(2) == 0 ? [] : Self.key(&random)
    let upper = random.below(2) == 0 ? nil : Self.key(&random)
    let time = random.below(3) == 0 ? nil : horizon + UInt64(random.below(Int(now - horizon) + 5))
    var expected: [[UInt8]] = []
    for storedKey in model.versions.keys.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
      let key = Array(storedKey.dropFirst(2))
      guard Int(storedKey[1]) == partition, !key.lexicographicallyPrecedes(lower),
        upper.map({ key.lexicographicallyPrecedes($0) }) ?? true,
        let value = model.value(storedKey, at: time ?? now)
      else { continue }
      expected.append(key + value)
    }
    var found: [[UInt8]] = []
    var next: [UInt8]? = lower
    let limit = 1 + random.below(5)
    while let from = next {
      let page = try world.part.scan(
        partition, from: from, to: upper, at: time.map { Timestamp(rawValue: $0) }, limit: limit)
      try #require(page.entries.count <= limit)
      found += page.entries.map { $0.key + $0.value }
      next = page.next
    }
    try #require(found == expected, "at \(String(describing: time))")
  }
}
