import RoostEnvironment
import RoostSimulation
import SystemPackage
import TestSupport
import Testing

@testable import RoostStorage

/// Rule 7: a table is told by its 128 random bits, not by its number. (Checksums over every byte of
/// a table: TableDamageTests; of the marker: OpenTests.)
// Budget: 1 s
@Suite struct Rule07IdentityTests {
  /// Two stores that did the same have files of the same names, numbers, trees and sizes, with
  /// other identities.
  @Test func anotherStoresTableOfTheSameNumberAndSizeIsRefused() throws {
    var worlds: [SimulatedStore] = []
    for seed: UInt64 in [1, 2] {
      let world = SimulatedStore(seed: seed)
      let store = try world.open()
      let tree = try store.tree("t", { var o = TreeOptions(); o.compression = .none; return o }())
      try tree.put("k", "value \(seed)")
      try tree.flush()
      try store.close()
      worlds.append(world)
    }
    let name = try #require(worlds[0].names(".sst").first)
    #expect(worlds[1].names(".sst") == [name])
    let foreign = try worlds[1].bytes(name)
    #expect(try foreign.count == worlds[0].bytes(name).count)
    try worlds[0].write(name, foreign)
    let store = try worlds[0].open()
    let tree = try store.tree("t")
    let error = storeError { _ = try tree.text("k") }
    #expect(error?.code == .corruption)
    #expect(error?.file == worlds[0].path(name).string)
    #expect(error?.message.contains("identity") == true)
  }

  @Test func anotherStoresManifestAndLogAreRefused() throws {
    for suffix in [".manifest", ".log"] {
      var worlds: [SimulatedStore] = []
      for seed: UInt64 in [1, 2] {
        let world = SimulatedStore(seed: seed)
        try world.open().tree("t").put("k", "value \(seed)", .synced)
        worlds.append(world.killed())
      }
      let name = try #require(worlds[0].names(suffix).first)
      try worlds[0].write(name, worlds[1].bytes(name))
      let error = worlds[0].openError()
      #expect(error?.code == .corruption)
      #expect(error?.file == worlds[0].path(name).string)
    }
  }

  /// What the database above knows a store's directory by: another store or a copy in its place is
  /// seen before it is opened.
  @Test func theMarkersFileTellsOneOpeningFromAnother() throws {
    let world = SimulatedStore()
    func info() throws -> FileInfo? {
      try Store.markerInfo(in: SimulatedStore.path, world.fileSystem)
    }
    #expect(try info() == nil)
    let store = try world.open()
    let first = try #require(try info())
    try store.tree("t").put("k", "v", .synced)
    try store.close()
    #expect(try info() == first)
    #expect(try Store.markerInfo(in: SimulatedStore.path, world.crashed().fileSystem) == first)
    try world.open().close()
    let second = try #require(try info())
    #expect(second != first)
    // A copy of the same bytes.
    try world.write(FileNames.marker, world.bytes(FileNames.marker))
    #expect(try info() != second)
    world.fileSystem.inject(FaultRule([.info], pathSuffix: FileNames.marker, .fail(.io)))
    #expect(storeError { _ = try info() }?.code == .io)
  }
}
