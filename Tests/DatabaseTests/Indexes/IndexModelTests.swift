import Roost
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// Random writes, siblings, deletes, expiry, declarations, kills and restarts: whenever an index is
/// ready, it finds exactly what reading every key finds.
// Budget: 30 s
@Suite struct IndexModelTests {
  private static let keys = (0..<40).map { "k\($0)" }

  private func words(_ random: inout SplitMix64) -> String {
    (0..<random.below(4)).map { _ in ["a", "ab", "b", "\u{0}", "a\u{0}", "zz"][random.below(6)] }
      .joined(separator: ",")
  }

  @Test(arguments: [false, true])
  func `an index finds what reading every key finds`(lastWriterWins: Bool) throws {
    let policy: KeyspacePolicy = lastWriterWins ? .eventual(.lastWriterWins) : .eventual
    try withSeeds("an index finds what reading every key finds", count: TestSize.of(quick: 12, full: 150)) {
      seed, random in
      let stores = 1 + random.below(3)
      let replicas = 1 + random.below(stores)
      var version: UInt64 = 1
      var declared: UInt64? = random.below(2) == 0 ? 1 : nil
      var environment = SimulatedEnvironment(seed: seed)
      var checks = 0
      func opened(_ random: inout SplitMix64) throws -> IndexWorld {
        if random.below(4) == 0 { version += 1 }
        declared = random.below(4) == 0 ? nil : version
        return try IndexWorld(
          environment, stores: stores, replicas: replicas, policy, version: declared, sliceRecords: 4)
      }
      var world = try IndexWorld(
        environment, stores: stores, replicas: replicas, policy, version: declared, sliceRecords: 4)
      for step in 0..<200 {
        let key = Self.keys[random.below(Self.keys.count)]
        switch random.below(20) {
        case 0..<6: try world.put(key, words(&random), try world.context(key))
        case 6..<9: try world.put(key, words(&random))
        case 9: try world.put(key, words(&random), timeToLive: .milliseconds(1 + random.below(2_000)))
        case 10, 11: try world.delete(key)
        case 12: environment.time.advance(byNanoseconds: UInt64(random.below(800)) * 1_000_000)
        case 13, 14: world.work(random.below(6))
        case 15:
          if random.below(3) == 0 {
            version += random.below(2) == 0 ? 1 : 0
            declared = version
            try world.declare(version)
          }
        case 16:
          guard random.below(3) == 0 else { continue }
          if random.below(2) == 0 { try world.core.close() } else {
            // Killed, or without power: writes that nobody synced may be gone, entries and all.
            let files =
              random.below(2) == 0
              ? environment.fileSystem.processKillClone()
              : environment.fileSystem.crashClone(.random, seed: seed &+ UInt64(step))
            environment = SimulatedEnvironment(
              seed: seed &+ UInt64(step), fileSystem: files, time: environment.time)
          }
          world = try opened(&random)
        default:
          guard let declared else { continue }
          if random.below(2) == 0 { world.work() }
          guard try world.notes.indexProgress("words").isReady else { continue }
          let expected = try world.expected(Self.keys, version: declared)
          let found = try world.query(limit: 1 + random.below(30))
          try #require(found == expected, "seed \(seed), step \(step)")
          checks += 1
        }
      }
      if declared == nil { try world.declare(version) }
      world.work()
      try #require(try world.query() == world.expected(Self.keys, version: version))
      #expect(world.indexTrees.count == 1)
    }
  }
}
