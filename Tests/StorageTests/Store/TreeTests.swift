import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostStorage

/// A tree's own calls, from memory and from tables.
// Budget: 2 s
@Suite struct TreeTests {
  /// Runs a check on what is in memory, in a level-0 table, in the bottom level, and after a kill.
  static func everywhere(
    _ fill: (Store, Tree) throws -> Void, _ check: (Store, Tree) throws -> Void
  ) throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    try fill(store, tree)
    try check(store, tree)
    let again = try world.killed().open()
    try check(again, again.tree("t"))
    try tree.flush()
    try check(store, tree)
    try tree.compact()
    try check(store, tree)
    try store.close()
    let reopened = try world.open()
    try check(reopened, reopened.tree("t"))
  }

  @Test func putGetDelete() throws {
    try Self.everywhere { _, tree in
      try tree.put("a", "1")
      try tree.put("b", "2")
      try tree.put("a", "3")
      try tree.delete("b")
      try tree.delete("never there")
      try tree.put("c", "4", .synced)
    } _: { (_, tree) throws in
      #expect(try tree.text("a") == "3")
      #expect(try tree.text("b") == nil)
      #expect(try tree.text("c") == "4")
      #expect(try tree.contains("a"))
      #expect(try !tree.contains("b"))
      #expect(try tree.keys() == ["a", "c"])
    }
  }

  @Test func rangesAreDeletedUpToTheirEnd() throws {
    try Self.everywhere { _, tree in
      for key in ["a", "b", "c", "d", "e"] { try tree.put(key, "v") }
      try tree.deleteRange(from: "b", to: "d")
      try tree.put("c", "again")
      // Empty and reversed ranges.
      try tree.deleteRange(from: "a", to: "a")
      try tree.deleteRange(from: "e", to: "a")
    } _: { (_, tree) throws in
      #expect(try tree.keys() == ["a", "c", "d", "e"])
      #expect(try tree.text("b") == nil)
      #expect(try tree.text("c") == "again")
    }
  }

  @Test func deletedKeysDoNotComeBackFromDeeperLevels() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    try tree.put("k", "old")
    try tree.put("r", "old")
    try tree.compact()
    try tree.delete("k")
    try tree.deleteRange(from: "q", to: "s")
    for _ in 0..<2 {
      #expect(try tree.keys() == [])
      #expect(try tree.text("k") == nil)
      #expect(try tree.text("r") == nil)
      try tree.flush()
    }
    try tree.compact()
    #expect(try tree.keys() == [])
    // Nothing is left of them.
    let statistics = store.statistics.trees[0]
    #expect(statistics.entries == 0 && statistics.byteCount == 0)
    #expect(try world.killed().open().tree("t").keys() == [])
  }

  @Test func withValueBorrows() throws {
    try Self.everywhere { _, tree in
      try tree.put("k", "value")
    } _: { (store, tree) throws in
      #expect(try tree.withValue(forKey: "k") { $0.byteCount } == 5)
      #expect(try tree.withValue(forKey: "x") { $0.byteCount } == nil)
      #expect(try tree.withValue(forKey: "k", at: store.snapshot()) { $0.byteCount } == 5)
      struct Own: Error {}
      #expect(throws: Own.self) { try tree.withValue(forKey: "k") { _ in throw Own() } }
    }
  }

  @Test func multiGetKeepsTheOrderOfTheKeys() throws {
    try Self.everywhere { _, tree in
      for i in 0..<20 { try tree.put("k\(i)", "v\(i)") }
    } _: { (store, tree) throws in
      let values = try tree.multiGet(["k7", "none", "k3", "k7"])
      #expect(values.map { $0.map { String(decoding: $0, as: UTF8.self) } } == ["v7", nil, "v3", "v7"])
      #expect(try tree.multiGet([String]()).isEmpty)
      #expect(try tree.multiGet(["k1"], at: store.snapshot()) == [Array("v1".utf8)])
    }
  }

  @Test func treesAreApart() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let a = try store.tree("a")
    let b = try store.tree("b")
    try a.put("k", "of a")
    try b.put("k", "of b")
    try a.delete("k")
    #expect(try a.text("k") == nil)
    #expect(try b.text("k") == "of b")
    #expect(a.name == "a" && a.store === store)
    #expect(try store.tree("a").core === a.core)
  }

  @Test func aTreeKeepsItsOptions() throws {
    let world = SimulatedStore()
    var options = TreeOptions()
    options.blockBytes = 1000
    options.restartInterval = 5
    options.filterBitsPerKey = 0
    options.compression = .none
    options.tableBytes = 20_000
    options.cutPrefixLength = 3
    let store = try world.open()
    #expect(try store.tree("t", options).options == options)
    // Those of the first time count.
    #expect(try store.tree("t").options == options)
    try store.close()
    for _ in 0..<2 {
      let again = try world.open()
      #expect(try again.tree("t", TreeOptions()).options == options)
      #expect(try again.tree("other").options == TreeOptions())
      try again.close()
    }
  }

  @Test func theDefaultDurabilityIsTheStores() throws {
    for durability in [Durability.applied, .synced] {
      let world = SimulatedStore()
      let store = try world.open(.small { $0.durability = durability })
      let tree = try store.tree("t")
      try tree.put("a", "1")
      try tree.put("b", "2", durability == .synced ? .applied : .synced)
      try store.write { $0.put("c", "3", in: tree) }
      let survived = try world.crashed().open().tree("t").keys()
      #expect(survived == (durability == .synced ? ["a", "b", "c"] : ["a", "b"]))
      #expect(try world.killed().open().tree("t").keys() == ["a", "b", "c"])
    }
  }

  @Test func compactionOfARangeLeavesTheRest() throws {
    let world = SimulatedStore()
    let store = try world.open(.small { $0.memtableBytes = 1 << 20 })
    var options = TreeOptions()
    options.tableBytes = 16 << 10
    let tree = try store.tree("t", options)
    try tree.fill(2000)
    try tree.compact()
    let before = Set(tree.core.current.levels[6].files.map(\.number))
    #expect(before.count > 5)
    try tree.put("k000000", "new")
    try tree.compact(from: Array("k0000".utf8), to: Array("k000001".utf8))
    let after = Set(tree.core.current.levels[6].files.map(\.number))
    #expect(before.intersection(after).count >= before.count - 2)
    #expect(!before.subtracting(after).isEmpty)
    #expect(try tree.keys().count == 2000)
    #expect(try tree.text("k000000") == "new")
    world.workers.runAll()
  }
}
