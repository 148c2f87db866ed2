import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostStorage

/// Closing, and what a closed store answers.
// Budget: 1 s
@Suite struct CloseTests {
  @Test func makesEverythingDurable() throws {
    let world = SimulatedStore()
    let store = try world.open()
    try store.tree("t").fill(1000)
    try store.close()
    let again = try world.crashed().open()
    #expect(try again.tree("t").keys().count == 1000)
    #expect(again.statistics.recovery.tornTail == nil)
  }

  @Test func everyCallAfterwardsSaysSo() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    try tree.put("k", "v")
    let snapshot = store.snapshot()
    var cursor = try tree.cursor()
    try store.close()
    // Closing twice does nothing.
    try store.close()
    let calls: [(String, () throws -> Void)] = [
      ("put", { try tree.put("k", "w") }), ("delete", { try tree.delete("k") }),
      ("deleteRange", { try tree.deleteRange(from: "a", to: "z") }),
      ("empty range", { try tree.deleteRange(from: "a", to: "a") }), ("get", { _ = try tree.get("k") }),
      ("contains", { _ = try tree.contains("k") }), ("multiGet", { _ = try tree.multiGet(["k"]) }),
      ("withValue", { _ = try tree.withValue(forKey: "k") { _ in } }), ("cursor", { _ = try tree.cursor() }),
      ("tree flush", { try tree.flush() }), ("tree compact", { try tree.compact() }),
      ("tree", { _ = try store.tree("t") }), ("new tree", { _ = try store.tree("u") }),
      ("dropTree", { try store.dropTree("t") }),
      ("write", { try store.write { $0.put("k", "v", in: tree) } }),
      ("empty write", { try store.write { _ in } }), ("sync", { try store.sync() }),
      ("flush", { try store.flush() }),
      ("compact", { try store.compact() }),
    ]
    for (name, call) in calls {
      let error = storeError(call)
      #expect(error?.code == .closed, "\(name): \(String(describing: error))")
    }
    #expect(storeError { _ = try tree.get("k", at: snapshot) }?.code == .closed)
    #expect(storeError { _ = try cursor.next() }?.code == .closed)
    #expect(storeError { _ = try cursor.seek(to: "k") }?.code == .closed)
    // These only tell what is known.
    #expect(store.treeNames == ["t"])
    #expect(store.statistics.lastSequence == 1)
    #expect(try world.open().tree("t").text("k") == "v")
  }

  @Test func aFailedLastSyncIsToldAndTheStoreClosedAllTheSame() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    try tree.put("k", "v")
    world.fileSystem.inject(FaultRule([.sync], pathSuffix: ".log", .fail(.io)))
    #expect(storeError { try store.close() }?.code == .outcomeUnknown)
    #expect(storeError { try tree.put("k", "v") }?.code == .closed)
    try store.close()
    #expect(world.openError() == nil)
  }

  @Test func theLastReferenceLetsGoLikeAKill() throws {
    let world = SimulatedStore()
    do {
      let tree = try world.open().tree("t")
      try tree.put("k", "v")
      // A tree keeps its store.
      #expect(world.openError()?.code == .locked)
      #expect(try tree.text("k") == "v")
    }
    #expect(try world.open().tree("t").text("k") == "v")
  }

  @Test func closingLeavesNoFileOpen() throws {
    let world = SimulatedStore()
    do {
      let store = try world.open()
      let tree = try store.tree("t")
      try tree.fill(3000)
      world.workers.runAll()
      _ = try tree.keys()
      try store.close()
    }
    #expect(world.fileSystem.openFileCount == 0)
  }

  /// What background work retires while a reader is inside the epochs, nothing else may free before
  /// the store is closed.
  @Test func closingRemovesTheFilesThatAReaderHeldUp() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    try tree.fill(1000)
    try store.flush()
    world.workers.runAll()
    let token = store.shared.epochs.enter(0)
    try store.compact()
    world.workers.runAll()
    store.shared.epochs.exit(token)
    let tables = store.statistics.trees[0].levels.reduce(0) { $0 + $1.tables }
    // Else the reader held up nothing.
    #expect(world.names(".sst").count > tables)
    try store.close()
    #expect(world.names(".sst").count == tables)
  }
}
