import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostStorage

/// A store that nobody holds any more is gone, with its memtables, its open tables and the world that it was
/// opened in, whether it was closed or not, and whatever was under way.
// Budget: 1 s
@Suite struct DroppedStoreTests {
  /// What a store was made of, held by nobody here.
  private struct Remains {
    weak var store: Store?
    weak var tree: TreeCore?
    weak var state: TreeState?
    weak var memtable: Memtable?
    weak var reader: TableReader?
    weak var cache: BlockCache?
    weak var epochs: EpochDomain?
    weak var fileSystem: SimulatedFileSystem?

    /// The names of those that are still there.
    var left: [String] {
      let all: [(name: String, object: AnyObject?)] = [
        ("store", store), ("tree", tree), ("state", state), ("memtable", memtable), ("reader", reader),
        ("cache", cache), ("epochs", epochs), ("file system", fileSystem),
      ]
      return all.filter { $0.object != nil }.map(\.name)
    }
  }

  /// Opens a store in a world of its own, and has it use all that it is made of, up to a memtable that waits
  /// for its flush: then what readers saw before is retired, and nobody has come yet to free it.
  private func use(_ end: (Store, SimulatedStore) throws -> Void) throws -> Remains {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    try tree.keepKeyFilter()
    try tree.fill(300)
    try store.flush()
    #expect(try tree.get(Tree.key("k", 7)) != nil)
    let core = tree.core
    func current() -> TreeState { store.stateLock.withLock { core.current } }
    let file = try #require(current().levels[0].files.first)
    let memtable = core.current.active.memtable
    var puts = 0
    while current().immutables.isEmpty, puts < 5_000 {
      try tree.put(Tree.key("l", puts), [UInt8](repeating: 7, count: 100))
      puts += 1
    }
    try #require(world.workers.waitingCount(.urgent) > 0, "no flush waits")
    try #require(store.shared.epochs.retiredCount > 0, "nothing is retired")
    let remains = Remains(
      store: store, tree: core, state: current(), memtable: memtable,
      reader: try store.tables.reader(of: file), cache: store.blockCache, epochs: store.shared.epochs,
      fileSystem: world.fileSystem)
    #expect(remains.left.count == 8)
    try end(store, world)
    return remains
  }

  @Test func `dropped without a close`() throws {
    let remains = try use { _, _ in }
    #expect(remains.left == [])
  }

  @Test func `dropped after a close`() throws {
    let remains = try use { store, _ in try store.close() }
    #expect(remains.left == [])
  }

  @Test func `dropped after the power was lost`() throws {
    let remains = try use { store, world in
      world.fileSystem.powerOff()
      #expect(storeError { try store.close() } != nil)
    }
    #expect(remains.left == [])
  }

  @Test func `dropped after a compaction`() throws {
    let remains = try use { store, world in
      world.workers.runAll()
      try store.compact()
      #expect(store.statistics.trees.first?.levels.count { $0.tables > 0 } == 1)
    }
    #expect(remains.left == [])
  }

  /// What a cursor holds outlives the store's other holders, and goes with it.
  @Test func `a cursor keeps its store, and no longer than itself`() throws {
    weak var kept: Store?
    var keys = 0
    do {
      var cursor: Cursor
      do {
        let store = try SimulatedStore().open()
        let tree = try store.tree("t")
        try tree.fill(50)
        cursor = try tree.cursor()
        kept = store
      }
      #expect(kept != nil)
      while try cursor.next() { keys += 1 }
    }
    #expect(keys == 50)
    #expect(kept == nil)
  }
}
