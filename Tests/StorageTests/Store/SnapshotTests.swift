import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostStorage

/// Snapshots: one moment of all trees, for as long as they are held.
// Budget: 2 s
@Suite struct SnapshotTests {
  @Test func showsAllTreesAsTheyWere() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let a = try store.tree("a")
    let b = try store.tree("b")
    try a.put("k", "1")
    try b.put("k", "1")
    let snapshot = store.snapshot()
    #expect(snapshot.sequence == 2)
    try store.write { batch in
      batch.put("k", "2", in: a)
      batch.delete("k", in: b)
      batch.put("new", "2", in: b)
    }
    let one = Array("1".utf8)
    for _ in 0..<3 {
      #expect(try a.get("k", at: snapshot) == one)
      #expect(try b.get("k", at: snapshot) == one)
      #expect(try b.get("new", at: snapshot) == nil)
      #expect(try b.multiGet(["k", "new"], at: snapshot) == [one, nil])
      #expect(try a.withValue(forKey: "k", at: snapshot) { $0.byteCount } == 1)
      var cursor = try b.cursor(at: snapshot)
      #expect(try cursor.next() && cursor.keyText == "k")
      #expect(try !cursor.next())
      #expect(try b.keys() == ["new"])
      try store.compact()
      try a.deleteRange(from: "a", to: "z")
    }
  }

  @Test func aSnapshotOfAnotherStoreIsRefused() throws {
    let mine = try SimulatedStore().open()
    let other = try SimulatedStore().open()
    let tree = try mine.tree("t")
    try tree.put("k", "v")
    let foreign = other.snapshot()
    #expect(storeError { _ = try tree.get("k", at: foreign) }?.code == .invalidArgument)
    #expect(storeError { _ = try tree.multiGet(["k"], at: foreign) }?.code == .invalidArgument)
    #expect(
      storeError { _ = try tree.withValue(forKey: "k", at: foreign) { _ in } }?.code
        == .invalidArgument)
    #expect(storeError { _ = try tree.cursor(at: foreign) }?.code == .invalidArgument)
    #expect(storeError { _ = try tree.cursor(prefix: "k", at: foreign) }?.code == .invalidArgument)
    #expect(storeError { _ = try tree.cursor(from: "a", to: "b", at: foreign) }?.code == .invalidArgument)
  }

  @Test func aReleasedSnapshotKeepsNothing() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    do {
      try tree.put("k", "1")
      let snapshot = store.snapshot()
      try tree.put("k", "2")
      try tree.compact()
      #expect(store.statistics.trees[0].entries == 2)
      world.simulated.time.advance(byNanoseconds: 500)
      #expect(store.statistics.snapshots == [.init(sequence: snapshot.sequence, ageNanoseconds: 500)])
    }
    #expect(store.statistics.snapshots == [])
    try tree.put("k", "3")
    try tree.compact()
    #expect(store.statistics.trees[0].entries == 1)
    #expect(try tree.text("k") == "3")
  }

  @Test func eachOfManySnapshotsSeesItsOwn() throws {
    let store = try SimulatedStore().open()
    let tree = try store.tree("t")
    struct Held: ~Copyable {
      let snapshot: Snapshot
    }
    final class Box {
      let held: Snapshot
      init(_ snapshot: consuming Snapshot) { held = snapshot }
    }
    var boxes: [Box] = []
    for i in 0..<20 {
      if i % 5 == 4 { try tree.delete("k") } else { try tree.put("k", "\(i)") }
      boxes.append(Box(store.snapshot()))
      if i % 7 == 0 { try tree.flush() }
    }
    for _ in 0..<2 {
      for (i, box) in boxes.enumerated() {
        #expect(try tree.get("k", at: box.held) == (i % 5 == 4 ? nil : Array("\(i)".utf8)))
      }
      try tree.compact()
    }
  }
}
