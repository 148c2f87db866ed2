import RoostEnvironment
import RoostSimulation
import SystemPackage
import TestSupport
import Testing

@testable import RoostStorage

/// Rules 5 and 6 as far as the store chooses: when logs are mapped, and that they are used again.
/// (Zeroing, salts and the bytes written a sync: LogSegmentTests and LogOnDiskTests.)
// Budget: 2 s
@Suite struct Rule05And06LogSegmentsTests {
  static func maps(_ access: StoreOptions.LogAccess, inPlace: Bool) throws -> Int {
    let world = SimulatedStore()
    world.fileSystem.setOverwritesInPlace(inPlace)
    world.fileSystem.recordsTrace = true
    let store = try world.open(.small { $0.logAccess = access })
    try store.tree("t").fill(1500)
    #expect(try world.crashed(.keepAll).open().tree("t").keys().count == 1500)
    return world.fileSystem.trace.count { $0.kind == .map }
  }

  @Test func callsNeverMap() throws {
    #expect(try Self.maps(.calls, inPlace: true) == 0)
  }

  @Test func logsAreMappedOnlyWhereWritesOverwrite() throws {
    #expect(try Self.maps(.mapped, inPlace: true) > 1)
    #expect(try Self.maps(.mapped, inPlace: false) == 0)
  }

  @Test(arguments: [StoreOptions.LogAccess.mapped, .calls])
  func logsAreUsedAgainAndEachAcknowledgementHolds(_ access: StoreOptions.LogAccess) throws {
    let world = SimulatedStore()
    world.fileSystem.recordsTrace = true
    let store = try world.open(
      .small {
        $0.logAccess = access
        $0.logSegmentBytes = 16 << 10
        $0.logLimitBytes = 64 << 10
      })
    let tree = try store.tree("t")
    var random = SplitMix64(seed: 3)
    for i in 0..<600 {
      try tree.put(Tree.key("k", i), random.bytes(500), i % 10 == 9 ? .synced : .applied)
      world.workers.runAll()
      if i % 50 == 49 {
        let again = try world.crashed(.dropAll).open()
        try #require(again.statistics.recovery.tornTail == nil)
        try #require(try again.tree("t").keys().count == i + 1)
      }
    }
    let renames = world.fileSystem.trace.filter {
      $0.kind == .rename && $0.path.string.hasSuffix(".log")
    }
    #expect(renames.count > 3)
  }
}
