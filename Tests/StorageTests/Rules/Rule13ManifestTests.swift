import RoostEnvironment
import RoostSimulation
import SystemPackage
import TestSupport
import Testing

@testable import RoostStorage

/// Rule 13: after a failed sync of the manifest nobody knows what it says, so nothing goes that
/// either answer needs.
// Budget: 3 s
@Suite struct Rule13ManifestTests {
  /// A store with tables to merge.
  static func filled() throws -> (SimulatedStore, Store, Tree) {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    for round in 0..<3 {
      try tree.fill(20, seed: UInt64(round))
      try tree.flush()
    }
    #expect(world.names(".sst").count == 3)
    return (world, store, tree)
  }

  /// Whatever the disk kept, and whoever looks: all is there.
  static func check(_ world: SimulatedStore, _ keys: Int) throws {
    for policy in CrashPolicy.allCases {
      for seed: UInt64 in 1...5 {
        #expect(try world.crashed(policy, seed: seed).open().tree("t").keys().count == keys)
      }
    }
    #expect(try world.killed().open().tree("t").keys().count == keys)
  }

  @Test func afterAFailedCompactionEditOldAndNewFilesStay() throws {
    let (world, store, tree) = try Self.filled()
    let before = Set(world.names)
    world.fileSystem.inject(FaultRule([.sync], pathSuffix: ".manifest", .fail(.io)))
    #expect(storeError { try tree.compact() } != nil)
    let after = Set(world.names)
    #expect(before.isSubset(of: after))
    #expect(world.names(".sst").count == 4)
    #expect(storeError { try tree.put("x", "y") }?.code == .readOnly)
    #expect(try tree.keys().count == 20)
    try store.close()
    #expect(before.isSubset(of: world.names))
    #expect(world.names(".sst").count == 4)
    try Self.check(world, 20)
  }

  @Test func afterAFailedFlushEditTheLogAndTheTableStay() throws {
    let (world, store, tree) = try Self.filled()
    try tree.put("k", "v", .synced)
    let before = Set(world.names)
    world.fileSystem.inject(FaultRule([.sync], pathSuffix: ".manifest", .fail(.io)))
    #expect(storeError { try tree.flush() } != nil)
    #expect(before.isSubset(of: world.names))
    #expect(world.names(".sst").count == 4)
    try? store.close()
    #expect(before.isSubset(of: world.names))
    try Self.check(world, 21)
  }

  @Test func afterAFailedDropTheTablesStay() throws {
    let (world, store, tree) = try Self.filled()
    world.fileSystem.inject(FaultRule([.sync], pathSuffix: ".manifest", .fail(.io)))
    #expect(storeError { try store.dropTree("t") } != nil)
    #expect(world.names(".sst").count == 3)
    #expect(try tree.keys().count == 20)
    // The process that comes next may find the tree dropped or not, but whole.
    let again = try world.killed().open()
    if let tree = again.existingTree("t") { #expect(try tree.keys().count == 20) }
  }

  /// The next edit goes to a new manifest. The old one, and all files of either answer, stay until
  /// the marker names it durably.
  @Test func theNextEditAfterAFailureGoesToANewManifest() throws {
    let (world, store, tree) = try Self.filled()
    world.fileSystem.inject(FaultRule([.write], pathSuffix: ".manifest", .fail(.noSpace)))
    #expect(storeError { try tree.compact() }?.code == .diskFull)
    let files = Set(world.names)
    let old = world.names(".manifest")
    #expect(old.count == 1 && world.names(".sst").count == 4)
    let removedEarly = Guarded<[String]>([])
    let isSwapped = Guarded(false)
    world.fileSystem.onOperation { operation throws(FileSystemError) in
      if operation.kind == .rename { isSwapped.withLock { $0 = true } }
      if operation.kind == .remove, !isSwapped.withLock({ $0 }),
        files.contains(operation.path.lastComponent!.string)
      {
        removedEarly.withLock { $0.append(operation.path.string) }
      }
    }
    try tree.put("k", "v")
    try tree.flush()
    world.fileSystem.onOperation(nil)
    #expect(isSwapped.withLock { $0 })
    #expect(removedEarly.withLock { $0 } == [])
    #expect(world.names(".manifest") != old)
    #expect(world.names(".manifest").count == 1)
    #expect(store.statistics.failure == nil)
    try Self.check(world, 21)
  }

  /// The disk was full, but the edit's record is there for all that a reader can tell: padding is
  /// not checked. So are fewer of its bytes. Whoever opens the store then finds every file it
  /// names.
  @Test func whateverAFullDiskLeftOfAnEditItsFilesStay() throws {
    var inForce = 0
    for bytes in 0..<400 {
      let (world, _, tree) = try Self.filled()
      try tree.put("k", "v")
      world.fileSystem.inject(
        FaultRule([.write], pathSuffix: ".manifest", .shortWrite(bytes, .noSpace)))
      guard storeError({ try tree.flush() }) != nil else { break }
      let again = try world.killed().open()
      try #require(try again.tree("t").keys().count == 21, "after \(bytes) bytes")
      if again.statistics.recovery.operations == 0 { inForce += 1 }
      // The retry goes to a new manifest; then the table in doubt is gone.
      try tree.flush()
      #expect(world.names(".sst").count == 4)
    }
    #expect(inForce > 0)
  }

  /// The same of an edit that names the next log: whether the edit is in force or not, the store
  /// opens, and writes go on once there is room.
  @Test(arguments: [StoreOptions.LogAccess.mapped, .calls])
  func whateverAFullDiskLeftOfAnEditItsLogStays(_ access: StoreOptions.LogAccess) throws {
    var failed = 0
    for bytes in 0..<400 {
      let world = SimulatedStore()
      let store = try world.open(
        .small {
          $0.logSegmentBytes = 16 << 10
          $0.logAccess = access
        })
      let tree = try store.tree("t")
      world.fileSystem.inject(
        FaultRule([.write], pathSuffix: ".manifest", .shortWrite(bytes, .noSpace)))
      var written = 0
      var error: StoreError?
      while error == nil, written < 200 {
        error = storeError { try tree.put(Tree.key("k", written), String(repeating: "v", count: 200)) }
        if error == nil { written += 1 }
      }
      guard let error else { break }
      failed += 1
      #expect(error.code == .diskFull)
      let again = try world.killed().open()
      try #require(try again.tree("t").keys().count == written, "after \(bytes) bytes")
      // The next try goes to a new manifest, and what is not in force gives its space back.
      try tree.put("more", String(repeating: "v", count: 200), .synced)
      #expect(store.statistics.failure == nil)
      #expect(world.names(".log").count == 2 && world.names(".manifest").count == 1)
      #expect(try world.crashed().open().tree("t").keys().count == written + 1)
    }
    #expect(failed > 20)
  }

  /// A record that is on disk and synced counts, though the mark behind it found no room; such a
  /// manifest takes no more records, so the next edit goes to a new one.
  @Test(arguments: [FileSystemError.Code.noSpace, .io])
  func aMarkWithoutRoomIsFollowedByANewManifest(_ code: FileSystemError.Code) throws {
    let (world, store, _) = try Self.filled()
    let before = store.statistics.manifestNumber
    world.fileSystem.inject(FaultRule([.write], pathSuffix: ".manifest", occurrence: 2, .fail(code)))
    _ = try store.tree("a")
    #expect(world.fileSystem.counts.faults == 1)
    #expect(store.statistics.manifestNumber == before)
    #expect(try world.crashed().open().treeNames == ["a", "t"])
    _ = try store.tree("b")
    #expect(store.statistics.manifestNumber > before)
    #expect(store.statistics.failure == nil)
    #expect(world.names(".manifest").count == 1)
    #expect(try world.crashed().open().treeNames == ["a", "b", "t"])
  }

  /// Where even the swap of the marker fails after its rename, the disk may name either manifest.
  @Test func afterAFailedSwapOfTheMarkerNeitherManifestIsAppendedTo() throws {
    let (world, store, tree) = try Self.filled()
    world.fileSystem.inject(FaultRule([.write], pathSuffix: ".manifest", .fail(.noSpace)))
    #expect(storeError { try tree.compact() }?.code == .diskFull)
    // The new manifest is written and the marker renamed; then the sync of the directory finds no
    // space.
    let armed = Guarded(true)
    let renamed = Guarded(false)
    world.fileSystem.onOperation { operation throws(FileSystemError) in
      if operation.kind == .rename { renamed.withLock { $0 = true } }
      if operation.kind == .syncDirectory, renamed.withLock({ $0 }), armed.withLock({ $0 }) {
        armed.withLock { $0 = false }
        throw FileSystemError(.noSpace, operation: "fsync", path: operation.path.string)
      }
    }
    #expect(storeError { _ = try store.tree("other") }?.code == .outcomeUnknown)
    world.fileSystem.onOperation(nil)
    #expect(world.names(".manifest").count == 2)
    #expect(world.names(".sst").count == 4)
    // What were acknowledged now would be in only one of them.
    #expect(storeError { try tree.put("k", "v") }?.code == .readOnly)
    #expect(storeError { try tree.flush() }?.code == .readOnly)
    try? store.close()
    #expect(world.names(".manifest").count == 2)
    try Self.check(world, 20)
  }

  @Test func newNumbersExceedAnyOnDisk() throws {
    let (world, store, _) = try Self.filled()
    try store.close()
    // Leftovers of a process whose edits never got into the manifest.
    try world.write("000900.sst", [1, 2, 3])
    try world.write("000901.log", [1, 2, 3])
    try world.write("000907.manifest", [1, 2, 3])
    world.fileSystem.recordsTrace = true
    let again = try world.open()
    try again.tree("t").put("k", "v")
    try again.flush()
    for name in world.names {
      if let number = FileNames.parse(name)?.number, name.hasSuffix(".sst") {
        #expect(number < 900 || number > 907, "\(name)")
      } else if let number = FileNames.parse(name)?.number {
        #expect(number > 907, "\(name)")
      }
    }
    let created = world.fileSystem.trace.filter { $0.kind == .open }.compactMap {
      FileNames.parse($0.path.lastComponent!.string)
    }
    #expect(created.contains { $0.number > 907 })
    #expect(!world.names.contains("000900.sst"))
    #expect(!world.names.contains("000901.log"))
    #expect(!world.names.contains("000907.manifest"))
  }

  @Test func aManifestThatHasGrownIsWrittenAnew() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let first = store.statistics.manifestNumber
    var rounds = 0
    let name = String(repeating: "n", count: 250)
    while store.statistics.manifestNumber == first, rounds < 6000 {
      _ = try store.tree(name)
      try store.dropTree(name)
      rounds += 1
    }
    #expect(store.statistics.manifestNumber > first)
    #expect(world.names(".manifest").count == 1)
    _ = try store.tree("kept")
    #expect(try world.crashed().open().treeNames == ["kept"])
  }
}
