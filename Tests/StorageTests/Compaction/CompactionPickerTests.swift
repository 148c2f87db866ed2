import RoostSimulation
import TestSupport
import Testing

@testable import RoostStorage

/// What is compacted next, and what may be moved as it is.
// Budget: 1 s
@Suite struct CompactionPickerTests {
  let tables = TableCache(
    SimulatedFileSystem(), "/", limit: 16, blockCache: BlockCache(capacity: 0), epochs: EpochDomain(),
    onObsolete: {})
  let picker = CompactionPicker(TreeOptions(), memtableBytes: 1 << 20)

  enum Deletions: CaseIterable { case none, points, ranges }

  func file(
    _ number: UInt64, _ smallest: String, _ largest: String, bytes: Int64 = 1 << 20,
    _ deletions: Deletions = .none
  ) -> TableFile {
    var metadata = TableMetadata(
      number: number, identity: FileIdentity(low: 1, high: 1), summary: TableSummary())
    metadata.smallest = Array(smallest.utf8)
    metadata.largest = Array(largest.utf8)
    metadata.byteCount = bytes
    metadata.entryCount = 10
    metadata.deleteCount = deletions == .points ? 1 : 0
    metadata.rangeTombstoneCount = deletions == .ranges ? 1 : 0
    return TableFile(metadata, treeID: 1, tables)
  }

  func levels(_ files: [Int: [TableFile]]) -> [Level] {
    TreeState.noLevels.indices.map { Level(files[$0] ?? []) }
  }

  /// Level 0 of four files that overlap nothing, the oldest of them with deletions or without.
  func level0(_ deletions: Deletions) -> [TableFile] {
    [file(4, "g", "h"), file(3, "e", "f"), file(2, "c", "d"), file(1, "a", "b", deletions)]
  }

  /// A deletion that is moved to where nothing lies below it hides nothing and would stay for ever;
  /// a merge drops it.
  @Test(arguments: Deletions.allCases)
  func level0MovesNoDeletionsToTheBottom(_ deletions: Deletions) throws {
    let plan = try #require(picker.pick(levels([0: level0(deletions)])))
    #expect(plan.outputLevel == VersionEdit.deepestLevel)
    #expect(plan.isTrivialMove == (deletions == .none))
    #expect(plan.inputs[0].files.map(\.number) == (deletions == .none ? [1] : [4, 3, 2, 1]))
  }

  /// Where something lies below, the deletion is still needed, and moving it costs nothing.
  @Test(arguments: Deletions.allCases)
  func level0MovesDeletionsThatHideSomething(_ deletions: Deletions) throws {
    let large: Int64 = 300 << 20
    let plan = try #require(
      picker.pick(levels([0: level0(deletions), 6: [file(9, "a", "z", bytes: large)]])))
    #expect(plan.outputLevel == 5)
    #expect(plan.isTrivialMove)
    // Not where what lies below lies elsewhere.
    let beside = try #require(
      picker.pick(levels([0: level0(deletions), 6: [file(9, "x", "z", bytes: large)]])))
    #expect(beside.isTrivialMove == (deletions == .none))
  }

  @Test(arguments: Deletions.allCases)
  func deeperLevelsMoveNoDeletionsToTheBottom(_ deletions: Deletions) throws {
    let bottom = file(9, "x", "z", bytes: 300 << 20)
    let full = file(1, "a", "b", bytes: 200 << 20, deletions)
    let plan = try #require(picker.pick(levels([5: [full], 6: [bottom]])))
    #expect(plan.outputLevel == 6 && plan.inputs[0].files[0] === full)
    #expect(plan.isTrivialMove == (deletions == .none))
    // Further up there may be something below the next level.
    let small = file(1, "a", "b", bytes: 200 << 20, deletions)
    let higher = try #require(
      picker.pick(levels([4: [small], 6: [file(9, "a", "b", bytes: 290 << 20)]])))
    #expect(higher.outputLevel == 5)
    #expect(higher.isTrivialMove)
  }

  /// The same in a store: deletions of keys that nobody has are gone once all is compacted.
  @Test func deletionsOfNothingGoAway() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    for i in 0..<100 { try tree.delete(Tree.key("a", i)) }
    try tree.deleteRange(from: "b", to: "c")
    try tree.flush()
    for prefix in ["d", "e", "f"] {
      try tree.fill(20, prefix: prefix)
      try tree.flush()
    }
    world.workers.runAll()
    let levels = store.statistics.trees[0].levels
    #expect(levels.reduce(0) { $0 + $1.deletes + $1.rangeTombstones } == 0)
    #expect(levels.reduce(0) { $0 + $1.entries } == 60)
    #expect(store.statistics.compactions + store.statistics.tableMoves > 0)
  }
}
