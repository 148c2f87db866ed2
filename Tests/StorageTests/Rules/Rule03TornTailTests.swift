import RoostEnvironment
import RoostSimulation
import SystemPackage
import TestSupport
import Testing

@testable import RoostStorage

/// Rule 3: damage before the highest mark is corruption, after it a torn tail that is reported.
/// (The log's own part: LogReplayTests.)
// Budget: 2 s
@Suite struct Rule03TornTailTests {
  /// Where the last record of the newest log that has any begins.
  static func lastRecord(_ world: SimulatedStore) throws -> (name: String, offset: Int) {
    var last: (String, Int)?
    for name in world.names(".log") {
      let reader = try LogReader(world.fileSystem, world.path(name))
      while case .frame(let frame) = try reader.next() {
        if frame.kind == .record { last = (name, frame.offset) }
      }
    }
    return try #require(last)
  }

  static func damage(_ world: SimulatedStore, _ name: String, _ offset: Int) throws {
    var bytes = try world.bytes(name)
    bytes[offset] ^= 1
    try world.write(name, bytes)
  }

  @Test func theEndOfAnUnsyncedLogMayTear() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    try tree.put("a", "synced", .synced)
    try tree.put("b", "applied")
    let killed = world.killed()
    let (name, offset) = try Self.lastRecord(killed)
    try Self.damage(killed, name, offset + 20)
    let again = try killed.open()
    #expect(try again.tree("t").keys() == ["a"])
    let torn = try #require(again.statistics.recovery.tornTail)
    #expect(torn.file == killed.path(name).string)
    #expect(torn.offset == offset)
    #expect(torn.byteCount > 16)
    #expect(again.statistics.recovery.records == 1)
  }

  @Test func whatAMarkCoversMayNot() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    try tree.put("a", "1")
    try tree.put("b", "2", .synced)
    let killed = world.killed()
    let (name, offset) = try Self.lastRecord(killed)
    try Self.damage(killed, name, offset + 20)
    let error = killed.openError()
    #expect(error?.code == .corruption)
    #expect(error?.file == killed.path(name).string)
    #expect(error?.offset == Int64(offset))
  }

  @Test func closingMarksAllOfTheLog() throws {
    let world = SimulatedStore()
    let store = try world.open()
    try store.tree("t").put("a", "applied")
    try store.close()
    // Whatever the power loss, and though the write itself asked for no sync.
    let crashed = world.crashed()
    let (name, offset) = try Self.lastRecord(crashed)
    try Self.damage(crashed, name, offset + 20)
    #expect(crashed.openError()?.code == .corruption)
  }

  @Test func aLogIsNamedBeforeAnythingInItIsAcknowledged() throws {
    let world = SimulatedStore()
    let store = try world.open(.small { $0.logSegmentBytes = 16 << 10 })
    let tree = try store.tree("t")
    for i in 0..<60 {
      try tree.put(Tree.key("k", i), String(repeating: "v", count: 900), .synced)
      let crashed = world.crashed(.dropAll)
      let marker = try Marker.read(in: FilePath(SimulatedStore.path), crashed.fileSystem)
      let contents = try Manifest.read(marker, in: FilePath(SimulatedStore.path), crashed.fileSystem)
      let named = Set(contents.logs.map { FileNames.log($0.number) })
      let (name, _) = try Self.lastRecord(crashed)
      try #require(named.contains(name))
    }
    #expect(store.statistics.logSegments > 2)
  }

  @Test func aLogThatIsMissingOrShortIsNoTornTail() throws {
    let world = SimulatedStore()
    let store = try world.open(.small { $0.memtableBytes = 4 << 20 })
    try store.tree("t").fill(1500)
    #expect(store.statistics.logSegments > 2)
    for name in world.names(".log").prefix(store.statistics.logSegments) {
      let missing = world.killed()
      try missing.fileSystem.remove(missing.path(name))
      let error = missing.openError()
      #expect(error?.code == .missingFile)
      #expect(error?.file == missing.path(name).string)
      let short = world.killed()
      try short.write(name, Array(try short.bytes(name).dropLast(8)))
      #expect(short.openError()?.code == .corruption)
    }
  }
}
