import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostStorage

/// Batches: all or nothing, and refused before anything is logged.
// Budget: 2 s
@Suite struct BatchTests {
  @Test func operationsTakeEffectInTheirOrder() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let a = try store.tree("a")
    let b = try store.tree("b")
    try a.put("gone", "1")
    let result = try store.write { batch in
      batch.put("k", "1", in: a)
      batch.put("k", "2", in: a)
      batch.put("k", "3", in: b)
      batch.delete("gone", in: a)
      batch.put("r1", "x", in: b)
      batch.deleteRange(from: "r", to: "s", in: b)
      batch.put("r2", "y", in: b)
      return batch.count
    }
    #expect(result == 7)
    for store in [store, try world.killed().open()] {
      #expect(try store.tree("a").keys() == ["k"])
      #expect(try store.tree("a").text("k") == "2")
      #expect(try store.tree("b").keys() == ["k", "r2"])
    }
    #expect(store.statistics.lastSequence == 8)
  }

  @Test func anEmptyRangeIsNoOperation() throws {
    let store = try SimulatedStore().open()
    let tree = try store.tree("t")
    var batch = WriteBatch()
    batch.deleteRange(from: "b", to: "b", in: tree)
    batch.deleteRange(from: "b", to: "a", in: tree)
    #expect(batch.count == 0)
    try store.commit(batch)
    #expect(store.statistics.lastSequence == 0)
  }

  @Test func anEmptyBatchWritesNothingButSyncsWhereAsked() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    try tree.put("k", "v")
    try store.write(.applied) { _ in }
    #expect(try world.crashed().open().tree("t").keys() == [])
    try store.write(.synced) { _ in }
    #expect(try world.crashed().open().tree("t").keys() == ["k"])
  }

  @Test func aBatchMayBeCommittedAgainAndEmptied() throws {
    let store = try SimulatedStore().open()
    let tree = try store.tree("t")
    var batch = WriteBatch()
    batch.put("k", "1", in: tree)
    #expect(batch.count == 1 && batch.byteCount > 12)
    try store.commit(batch)
    try tree.delete("k")
    try store.commit(batch, .synced)
    #expect(try tree.text("k") == "1")
    batch.removeAll()
    #expect(batch.count == 0)
    batch.put("l", "2", in: tree)
    try store.commit(batch)
    #expect(try tree.keys() == ["k", "l"])
  }

  @Test func theFirstBadOperationIsThrownAndNothingIsLogged() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    world.fileSystem.recordsTrace = true
    var batch = WriteBatch()
    batch.put("good", "1", in: tree)
    batch.put(String(repeating: "k", count: 65_536), "2", in: tree)
    batch.put("", "3", in: tree)
    batch.put("good too", "4", in: tree)
    let error = storeError { try store.commit(batch, .synced) }
    #expect(error?.code == .invalidArgument)
    #expect(error?.message.contains("65536") == true)
    #expect(world.fileSystem.trace == [])
    #expect(try tree.keys() == [])
    #expect(store.statistics.lastSequence == 0)
    // Emptied it is good again.
    batch.removeAll()
    batch.put("good", "1", in: tree)
    try store.commit(batch)
    #expect(try tree.keys() == ["good"])
  }

  @Test func whatTheBodyThrowsIsThrownAndNothingIsWritten() throws {
    struct Own: Error {}
    let store = try SimulatedStore().open()
    let tree = try store.tree("t")
    #expect(throws: Own.self) {
      try store.write { batch in
        batch.put("k", "v", in: tree)
        throw Own()
      }
    }
    #expect(try tree.keys() == [])
    #expect(store.statistics.lastSequence == 0)
  }

  @Test func anotherStoresTreeIsRefused() throws {
    let mine = try SimulatedStore().open()
    let other = try SimulatedStore().open()
    let tree = try mine.tree("t")
    let foreign = try other.tree("t")
    let calls: [() throws -> Void] = [
      { try mine.write { $0.put("k", "v", in: foreign) } },
      {
        try mine.write {
          $0.put("k", "v", in: tree)
          $0.delete("k", in: foreign)
        }
      },
      {
        var batch = WriteBatch()
        batch.put("k", "v", in: foreign)
        batch.put("k", "v", in: tree)
        try other.commit(batch)
      },
      {
        var batch = WriteBatch()
        batch.deleteRange(from: "a", to: "b", in: foreign)
        batch.put("k", "v", in: foreign)
        try mine.commit(batch)
      },
    ]
    for call in calls { #expect(storeError(call)?.code == .invalidArgument) }
    #expect(try tree.keys() == [])
    #expect(try foreign.keys() == [])
  }

  /// A batch that fills several logs' worth is one record in a log of its own.
  @Test func aBatchLargerThanALogIsWhole() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let trees = [try store.tree("a"), try store.tree("b")]
    let value = SplitMix64.bytes(1000, seed: 1)
    try store.write(.synced) { batch in
      for i in 0..<500 { batch.put(Tree.key("k", i), value, in: trees[i % 2]) }
    }
    try trees[0].put("after", "x", .synced)
    for world in [world.crashed(), world.killed()] {
      let again = try world.open()
      #expect(try again.tree("a").keys().count == 251)
      #expect(try again.tree("b").keys().count == 250)
    }
  }
}
