import RoostEnvironment
import RoostSimulation
import SystemPackage
import TestSupport
import Testing

@testable import RoostStorage

/// Rule 17: a dropped tree's id is never used again, its open cursors finish, everything else on it
/// throws.
// Budget: 2 s
@Suite struct Rule17DroppedTreeTests {
  @Test func idsAreNeverReused() throws {
    let world = SimulatedStore()
    var store = try world.open()
    var seen: Set<UInt64> = []
    for _ in 0..<3 {
      for name in ["a", "b"] {
        let id = try store.tree(name).core.id
        #expect(seen.insert(id).inserted)
        try store.dropTree(name)
      }
      try store.close()
      store = try world.open()
    }
    #expect(store.treeNames == [])
  }

  /// The records of the dropped tree are still in the log, and must not come back in its successor
  /// of the same name.
  @Test func aNewTreeOfTheNameHasNothingOfTheOld() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let old = try store.tree("t")
    let other = try store.tree("other")
    try old.put("logged", "1")
    try old.fill(30)
    try old.flush()
    try old.put("logged later", "2")
    try other.put("stays", "3")
    try store.dropTree("t")
    let new = try store.tree("t")
    #expect(try new.keys() == [])
    try new.put("new", "4")
    try store.sync()
    for again in [world.killed(), world.crashed()] {
      let reopened = try again.open()
      #expect(try reopened.tree("t").keys() == ["new"])
      #expect(try reopened.tree("other").keys() == ["stays"])
    }
  }

  @Test func openCursorsFinish() throws {
    let world = SimulatedStore()
    let store = try world.open(.small { $0.openFileLimit = 16 })
    let tree = try store.tree("t")
    try tree.fill(1000)
    try tree.flush()
    try tree.fill(1000, prefix: "m")
    var moved = try tree.cursor()
    #expect(try moved.next())
    var fresh = try tree.cursor()
    try store.dropTree("t")
    world.workers.runAll()
    let other = try store.tree("other")
    try other.fill(3000)
    try store.compact()
    world.workers.runAll()
    var count = 1
    while try moved.next() { count += 1 }
    #expect(count == 2000)
    while try moved.previous() { count -= 1 }
    #expect(count == 0)
    while try fresh.next() { count += 1 }
    #expect(count == 2000)
    #expect(try fresh.seek(to: "k000500"))
    #expect(fresh.keyText == "k000500")
    // When the last of them goes, so do the files.
    #expect(world.names(".sst").count > store.statistics.trees[0].levels.reduce(0) { $0 + $1.tables })
    _ = consume moved
    _ = consume fresh
    store.shared.epochs.reclaim()
    world.workers.runAll()
    #expect(world.names(".sst").count == store.statistics.trees[0].levels.reduce(0) { $0 + $1.tables })
  }

  @Test func allElseThrows() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    try tree.put("k", "v")
    let snapshot = store.snapshot()
    try store.dropTree("t")
    let calls: [(String, () throws -> Void)] = [
      ("put", { try tree.put("k", "w") }), ("delete", { try tree.delete("k") }),
      ("deleteRange", { try tree.deleteRange(from: "a", to: "z") }), ("get", { _ = try tree.get("k") }),
      ("contains", { _ = try tree.contains("k") }), ("multiGet", { _ = try tree.multiGet(["k"]) }),
      ("withValue", { _ = try tree.withValue(forKey: "k") { _ in } }), ("cursor", { _ = try tree.cursor() }),
      ("prefix", { _ = try tree.cursor(prefix: "k") }),
      ("range", { _ = try tree.cursor(from: "a", to: "b") }),
      ("flush", { try tree.flush() }), ("compact", { try tree.compact() }),
    ]
    for (name, call) in calls {
      let error = storeError(call)
      #expect(error?.code == .treeDropped, "\(name): \(String(describing: error))")
    }
    #expect(storeError { _ = try tree.get("k", at: snapshot) }?.code == .treeDropped)
    #expect(store.existingTree("t") == nil)
    #expect(store.treeNames == [])
    #expect(storeError { try store.dropTree("t") }?.code == .invalidArgument)
  }

  @Test func aBatchWithADroppedTreeIsRefusedWhole() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let kept = try store.tree("kept")
    let gone = try store.tree("gone")
    var batch = WriteBatch()
    batch.put("a", "1", in: kept)
    batch.put("b", "2", in: gone)
    batch.put("c", "3", in: kept)
    try store.dropTree("gone")
    let before = store.statistics.lastSequence
    #expect(storeError { try store.commit(batch, .synced) }?.code == .treeDropped)
    #expect(try kept.keys() == [])
    #expect(store.statistics.lastSequence == before)
    #expect(try world.killed().open().tree("kept").keys() == [])
  }

  @Test func aDroppedTreesTablesGo() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    try tree.fill(100)
    try tree.flush()
    #expect(world.names(".sst").count == 1)
    try store.dropTree("t")
    world.workers.runAll()
    try store.close()
    #expect(world.names(".sst") == [])
  }
}
