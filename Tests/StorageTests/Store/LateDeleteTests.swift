import RoostEnvironment
import RoostSimulation
import SystemPackage
import TestSupport
import Testing

@testable import RoostStorage

/// Late deletes: until the memtable is flushed an entry may be found, then it is gone; and nothing else is
/// touched. Crashes and damaged disks meet them in `CrashTests` and `StoreFaultTests`, other deletions in
/// `ModelTests`.
// Budget: 4 s
@Suite struct LateDeleteTests {
  private func deleteLate(_ key: String, _ tree: Tree) throws {
    var batch = WriteBatch()
    batch.deleteLate(key, in: tree)
    try tree.store.commit(batch, .applied)
  }

  @Test func `an entry is read until the flush, and not after it`() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    try tree.put("a", "1")
    try tree.put("b", "2")
    let before = store.snapshot()
    try deleteLate("a", tree)
    let after = store.snapshot()
    #expect(try tree.text("a") == "1" && tree.keys() == ["a", "b"])
    try tree.flush()
    #expect(try tree.text("a") == nil && tree.keys() == ["b"])
    #expect(try !tree.contains("a"))
    // A snapshot from before it keeps the entry; one from after it changes its mind.
    #expect(try tree.get("a", at: before) == Array("1".utf8))
    #expect(try tree.get("a", at: after) == nil)
    try tree.compact()
    #expect(try tree.get("a", at: before) == Array("1".utf8))
    #expect(try tree.get("a", at: after) == nil)
    #expect(before.sequence < after.sequence)
    try store.close()
  }

  /// The target in the memtable, in the one before, in a table; deleted twice; never there.
  @Test(arguments: [0, 1, 2]) func `the entry goes wherever it is`(flushes: Int) throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    try tree.put("a", "1")
    try tree.put("b", "2")
    for _ in 0..<flushes { try tree.flush() }
    try deleteLate("a", tree)
    if flushes == 2 { try deleteLate("a", tree) }
    try deleteLate("never", tree)
    try tree.flush()
    #expect(try tree.keys() == ["b"])
    try tree.compact()
    #expect(try tree.keys() == ["b"])
    let statistics = store.statistics.trees[0]
    #expect(statistics.entries == 1 && statistics.levels.allSatisfy { $0.deletes == 0 })
    try store.close()
  }

  @Test func `a value and its late delete in one memtable leave the deletion alone`() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    for number in 0..<100 {
      try tree.put(Tree.key("k", number), "v")
      if number > 0 { try deleteLate(Tree.key("k", number - 1), tree) }
    }
    #expect(try tree.keys().count == 100)
    #expect(store.statistics.trees[0].memtableEntries == 199)
    try tree.flush()
    let level = store.statistics.trees[0].levels[0]
    #expect(level.entries == 100 && level.deletes == 99)
    #expect(try tree.keys() == [Tree.key("k", 99)])
    try store.close()
  }

  /// What was put under the key after it stays: in the same batch, in the same memtable, in the next.
  @Test func `a later put is not touched, and an older one never comes back`() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    for key in ["same", "next", "later"] { try tree.put(key, "old") }
    try tree.flush()
    try store.write { batch in
      batch.deleteLate("same", in: tree)
      batch.put("same", "new", in: tree)
    }
    try deleteLate("next", tree)
    try deleteLate("later", tree)
    try tree.put("next", "new")
    #expect(try tree.text("same") == "new" && tree.text("next") == "new" && tree.text("later") == "old")
    try tree.flush()
    try tree.put("later", "new")
    for _ in 0..<2 {
      for key in ["same", "next", "later"] { #expect(try tree.text(key) == "new") }
      try tree.compact()
    }
    try tree.delete("next")
    try deleteLate("next", tree)
    #expect(try tree.keys() == ["later", "same"])
    try tree.flush()
    #expect(try tree.keys() == ["later", "same"])
    try store.close()
  }

  /// It is flushed, its log is dropped, and opening finds it as any other write.
  @Test func `a memtable may hold nothing but late deletes`() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    for number in 0..<20 { try tree.put(Tree.key("k", number), "v") }
    try tree.flush()
    let flushes = store.statistics.flushes
    for number in 0..<10 { try deleteLate(Tree.key("k", 9 - number), tree) }
    #expect(tree.core.hasActiveEntries && tree.core.pinnedLog != .max)
    #expect(try tree.keys().count == 20)
    let killed = try world.killed().open().tree("t")
    #expect(try killed.keys() == (10..<20).map { Tree.key("k", $0) })
    try tree.flush()
    #expect(store.statistics.flushes == flushes + 1 && !tree.core.hasActiveEntries)
    #expect(tree.core.pinnedLog == .max)
    #expect(try tree.keys() == (10..<20).map { Tree.key("k", $0) })
    try store.close()
  }

  @Test func `a reopened store holds what the log says`() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    try tree.put("a", "1")
    try tree.flush()
    try tree.put("b", "2")
    try deleteLate("a", tree)
    try deleteLate("b", tree)
    try tree.put("b", "3")
    try store.sync()
    try tree.put("c", "4")
    try deleteLate("b", tree)
    // The last write may be gone, and all before it is there.
    let lost = try world.crashed(.dropAll).open().tree("t")
    #expect(try [["b"], ["b", "c"], ["c"]].contains(lost.keys()))
    #expect(try world.killed().open().tree("t").keys() == ["c"])
    try store.close()
    let again = try world.open()
    #expect(try again.tree("t").keys() == ["c"])
    #expect(again.statistics.recovery.tornTail == nil)
    try again.close()
  }

  /// A damaged record of late deletes that was synced is damage, as any other.
  @Test func `a damaged log is refused`() throws {
    let world = SimulatedStore()
    let store = try world.open(.small { $0.logAccess = .calls })
    let tree = try store.tree("t")
    try tree.put("entry", "1", .synced)
    var batch = WriteBatch()
    batch.deleteLate("entry", in: tree)
    try store.commit(batch, .synced)
    try tree.put("after", "2", .synced)
    let killed = world.killed()
    let log = FileNames.log(try #require(store.log.oldestNumber))
    var bytes = try killed.bytes(log)
    let needle = [3, UInt8(tree.core.id), 5] + Array("entry".utf8)
    let place = try #require(bytes.indices.first { bytes[$0...].starts(with: needle) })
    bytes[place] = 0
    try killed.write(log, bytes)
    #expect(killed.openError(.small { $0.logAccess = .calls })?.code == .corruption)
    try store.close()
  }

  /// Rule 14: they fill a memtable by themselves, are charged, and the charge ends.
  @Test func `late deletes are charged`() throws {
    let world = SimulatedStore()
    let store = try world.open(.small { $0.memtableBytes = 256 << 10 })
    let tree = try store.tree("t")
    let empty = store.shared.memory.memtableBytes
    var most = 0
    for number in 0..<20_000 {
      try deleteLate(Tree.key("k", number), tree)
      if number % 64 == 0 {
        let statistics = store.statistics.trees[0]
        // The list, and what it takes to sort it.
        #expect(statistics.memtableBytes >= statistics.memtableEntries * (32 + LateDeleteCursor.bytesEach))
        most = max(most, store.shared.memory.memtableBytes)
      }
    }
    #expect(store.statistics.flushes > 2 && most > 256 << 10 && most < 2 << 20)
    try tree.flush()
    #expect(store.shared.memory.memtableBytes == empty)
    try store.close()
  }

  /// Keys of every kind, with and without a directory of prefixes.
  @Test(arguments: [0, 1, 2]) func `a flush sees entries and late deletes in order`(_ prefixLength: Int) {
    var random = SeededRandom()
    let memtable = Memtable(prefixLength: prefixLength)
    var model = MemtableModel()
    for sequence in 1...3_000 {
      let shared = [UInt8](repeating: 0, count: random.below(3) * 7)
      let key = shared + (0...random.below(12)).map { _ in UInt8(random.below(3)) }
      let isLate = random.below(2) == 0
      let tag = EntryTag(sequence: UInt64(sequence), isLate ? .delete : .put)
      if isLate {
        key.withByteView { memtable.insertLateDelete($0, sequence: UInt64(sequence)) }
      } else {
        memtable.insert(key, tag, key)
      }
      model.insert(.init(key: key, tag: tag.word, value: isLate ? [] : key))
    }
    #expect(memtable.operationCount == 3_000 && memtable.lateDeleteCount > 1_000)
    #expect(memtable.smallestSequence == 1 && memtable.largestSequence == 3_000)
    // A flush that failed is tried again.
    for _ in 0..<2 {
      let cursor = memtable.makeFlushCursor()
      var found: [MemtableModel.Entry] = []
      do {
        try cursor.seekToFirst()
        while let entry = cursor.entry {
          found.append(entry)
          try cursor.next()
        }
      } catch { Issue.record(error) }
      #expect(found == model.entries, random.replay)
    }
    // Readers see the entries alone.
    let cursor = memtable.makeCursor()
    cursor.seekToFirst()
    var count = 0
    while cursor.isValid {
      #expect(!cursor.tag.isDelete)
      count += 1
      cursor.next()
    }
    #expect(count == memtable.entryCount)
  }

  @Test func `an empty memtable is one without late deletes too`() {
    let memtable = Memtable()
    #expect(memtable.isEmpty)
    [1].withByteView { memtable.insertLateDelete($0, sequence: 4) }
    #expect(!memtable.isEmpty && memtable.entryCount == 0 && memtable.lateDeleteCount == 1)
    #expect(memtable.smallestSequence == 4 && memtable.largestSequence == 4)
    if case .absent = ([1] as [UInt8]).withByteView({ memtable.get($0, at: 9) }) {
    } else {
      Issue.record()
    }
  }

  /// What is covered by the filter hides what is not: a lookup must not pass the deletion by.
  @Test func `a late delete under a filter hides what the filter does not cover`() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    for number in 0..<50 { try tree.put(Tree.key("k", number), "old") }
    try tree.flush()
    try tree.keepKeyFilter()
    for number in 0..<25 { try deleteLate(Tree.key("k", number), tree) }
    try tree.flush()
    for number in 0..<50 { #expect(try tree.contains(Tree.key("k", number)) == (number >= 25)) }
    try tree.compact()
    for number in 0..<50 { #expect(try tree.contains(Tree.key("k", number)) == (number >= 25)) }
    try store.close()
  }

  @Test func `bad keys are refused, and other stores' trees`() throws {
    let store = try SimulatedStore().open()
    let tree = try store.tree("t")
    for key in ["", String(repeating: "k", count: 65_536)] {
      #expect(storeError { try deleteLate(key, tree) }?.code == .invalidArgument)
    }
    let other = try SimulatedStore().open()
    var batch = WriteBatch()
    batch.deleteLate("k", in: tree)
    #expect(storeError { try other.commit(batch, .applied) }?.code == .invalidArgument)
    #expect(store.statistics.lastSequence == 0 && other.statistics.lastSequence == 0)
    try store.close()
    try other.close()
  }
}
