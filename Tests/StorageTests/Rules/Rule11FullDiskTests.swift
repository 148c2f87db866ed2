import RoostEnvironment
import RoostSimulation
import SystemPackage
import TestSupport
import Testing

@testable import RoostStorage

/// Rule 11 as far as it is built: a full disk is a state that a store leaves again when there is
/// room.
// Budget: 2 s
@Suite struct Rule11FullDiskTests {
  @Test(arguments: [StoreOptions.LogAccess.mapped, .calls])
  func aFullDiskIsLeftAgain(_ access: StoreOptions.LogAccess) throws {
    let world = SimulatedStore()
    let store = try world.open(.small { $0.logAccess = access })
    let tree = try store.tree("t")
    var random = SplitMix64(seed: 5)
    world.fileSystem.capacity = 1 << 20
    var written = 0
    var error: StoreError?
    while error == nil, written < 5000 {
      let value = random.bytes(400)
      error = storeError { try tree.put(Tree.key("k", written), value) }
      if error == nil { written += 1 }
    }
    #expect(error?.code == .diskFull)
    #expect(written > 100)
    // Nothing is lost, and nothing half-written shows.
    #expect(try tree.keys().count == written)
    #expect(storeError { try tree.put("more", String(repeating: "v", count: 1000)) }?.code != .readOnly)
    world.fileSystem.capacity = nil
    // What waited may have to fail once more before it is tried again.
    _ = storeError { try store.flush() }
    try store.flush()
    try tree.put("more", "x", .synced)
    #expect(store.statistics.failure == nil)
    #expect(try tree.text("more") == "x")
    let again = try world.crashed().open()
    #expect(try again.tree("t").keys().count >= written + 1)
  }

  @Test func aFullDiskWhileFlushingLosesNothingAndIsTriedAgain() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    try tree.put("k", "v")
    world.fileSystem.inject(FaultRule([.write], pathSuffix: ".sst", .fail(.noSpace)))
    #expect(storeError { try tree.flush() }?.code == .diskFull)
    #expect(try tree.text("k") == "v")
    #expect(world.names(".sst") == [])
    try tree.flush()
    #expect(world.names(".sst").count == 1)
    #expect(store.statistics.failure == nil)
    #expect(try tree.text("k") == "v")
  }

  /// One tree's flush fails while another's succeeds. The first is tried again: nobody else would
  /// see to it.
  @Test func whatFailedIsTriedAgainOnceSomethingSucceeds() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let a = try store.tree("a")
    let b = try store.tree("b")
    func fillUp(_ tree: Tree, _ index: Int) throws {
      var i = 0
      while store.statistics.trees[index].immutableMemtables == 0 {
        try tree.put(Tree.key("k", i), String(repeating: "v", count: 1000))
        i += 1
      }
    }
    try fillUp(a, 0)
    try fillUp(b, 1)
    world.fileSystem.inject(FaultRule([.write], pathSuffix: ".sst", .fail(.noSpace)))
    world.workers.runAll()
    #expect(store.statistics.flushes == 2)
    #expect(store.statistics.failure == nil)
    #expect(store.statistics.trees.allSatisfy { $0.immutableMemtables == 0 })
  }

  @Test func tooManyOpenFilesPassToo() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    try tree.put("k", "v")
    world.fileSystem.inject(FaultRule([.open], pathSuffix: ".sst", .fail(.tooManyFiles)))
    #expect(storeError { try tree.flush() }?.code == .tooManyFiles)
    try tree.flush()
    #expect(store.statistics.failure == nil)
    try tree.put("l", "v")
  }

  /// After a failure that does not pass, background work is not begun again and again.
  @Test func aFailedStoreRestsInPeace() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    for round in 0..<5 {
      try tree.fill(10, seed: UInt64(round))
      world.fileSystem.inject(FaultRule([.read], pathSuffix: ".sst", repeats: true, .fail(.io)))
      _ = storeError { try tree.flush() }
    }
    while store.statistics.failure == nil, world.workers.runOneHere() {}
    #expect(store.statistics.failure?.code == .io)
    var ran = 0
    while world.workers.runOneHere(), ran < 100 { ran += 1 }
    #expect(ran < 100)
  }

  /// What a failed try wrote and nobody names gives its space back, or each try would take more.
  @Test func aManifestThatCannotBePutInForceIsRemoved() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    try tree.put("k", "v")
    world.fileSystem.inject(FaultRule([.write], pathSuffix: ".manifest", .fail(.noSpace)))
    #expect(storeError { try tree.flush() }?.code == .diskFull)
    let files = world.names
    // From here on each edit goes to a new manifest; the marker finds no room.
    world.fileSystem.inject(
      FaultRule([.write], pathSuffix: "CURRENT.new", repeats: true, .fail(.noSpace)))
    for _ in 0..<5 {
      #expect(storeError { try tree.flush() }?.code == .diskFull)
      #expect(world.names(".manifest").count == 1)
      #expect(Set(world.names).subtracting(["CURRENT.new"]).isSubset(of: files))
    }
    #expect(try world.crashed().open().tree("t").text("k") == "v")
    world.fileSystem.clearFaults()
    try tree.flush()
    #expect(store.statistics.failure == nil)
    #expect(try world.crashed().open().tree("t").text("k") == "v")
  }

  /// The same of log segments that were to be named by a manifest that found no room.
  @Test func aSegmentThatCannotBeNamedIsRemoved() throws {
    let world = SimulatedStore()
    let store = try world.open(.small { $0.logSegmentBytes = 16 << 10 })
    let tree = try store.tree("t")
    let value = String(repeating: "v", count: 200)
    world.fileSystem.inject(
      FaultRule([.write], pathSuffix: ".manifest", repeats: true, .fail(.noSpace)))
    while storeError({ try tree.put("k", value) }) == nil {}
    let most = world.names(".log").count
    for _ in 0..<10 { #expect(storeError { try tree.put("k", value) }?.code == .diskFull) }
    // One that an appended edit may have named, and not one more a try.
    #expect(world.names(".log").count <= max(most, 2))
    world.fileSystem.clearFaults()
    try tree.put("last", value, .synced)
    #expect(world.names(".log").count == 2)
    #expect(try world.crashed().open().tree("t").text("last") == value)
  }

  @Test func aFullDiskInTheManifestIsLeftByANewManifest() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    try tree.put("k", "v")
    let before = store.statistics.manifestNumber
    world.fileSystem.inject(FaultRule([.write], pathSuffix: ".manifest", .fail(.noSpace)))
    #expect(storeError { try tree.flush() }?.code == .diskFull)
    try tree.flush()
    #expect(store.statistics.manifestNumber > before)
    try tree.put("after", "x", .synced)
    let again = try world.crashed().open()
    #expect(try again.tree("t").keys() == ["after", "k"])
  }
}
