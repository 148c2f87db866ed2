import Foundation
import RoostEnvironment
import RoostSimulation
import SystemPackage
import Testing
import TestSupport

@testable import RoostStorage

/// A program in another language, written from FORMAT.md, reads the same from a store's files as
/// the engine does.
// Budget: 20 s
@Suite(.enabled(if: PythonReader.isAvailable, "needs python3"))
struct SecondImplementationTests {
  @Test(arguments: [StoreOptions.LogAccess.mapped, .calls])
  func `both read the same`(access: StoreOptions.LogAccess) throws {
    try withSeeds("SecondImplementationTests", count: 1) { seed, random in
      let directory = try TemporaryDirectory()
      let store = try Store.open(at: directory.path.string, options(access), environment: quiet())
      var work = Work(store)
      try work.setUp()
      // Tables of all levels, some of them with old versions and range tombstones; one tree lags
      // behind.
      for round in 0..<4 {
        let snapshot = store.snapshot()
        for _ in 0..<600 { try work.step(&random) }
        try work.trees[round % 3].flush()
        if round == 1 { try store.compact() }
        for _ in 0..<300 { try work.step(&random) }
        try store.flush()
        _ = snapshot.sequence
      }
      try store.dropTree("dropped")
      for _ in 0..<400 { try work.step(&random) }
      try work.trees[1].flush()
      for _ in 0..<200 { try work.step(&random) }

      let statistics = store.statistics
      #expect(statistics.trees.contains { $0.levels.contains { $0.level > 0 && $0.tables > 1 } })
      #expect(statistics.trees.contains { $0.levels.contains { $0.rangeTombstones > 0 } })
      #expect(statistics.trees.allSatisfy { $0.memtableEntries > 0 } && statistics.logSegments > 1)
      try store.close()
      let outcome = try PythonReader.read(directory.path)
      // What it holds to those who open it: in memtables, late deletes were not to be seen.
      let again = try Store.open(at: directory.path.string, options(access), environment: quiet())
      let expected = try again.allLines()
      try again.close()
      #expect(expected.count > 500)
      #expect(outcome.complaint == "")
      #expect(outcome.lines == expected, "seed \(seed)")
    }
  }

  /// A record that was never synced and is damaged ends the log, for both; one that was synced
  /// stops both.
  @Test func `both judge damage alike`() throws {
    let parent = try TemporaryDirectory()
    let original = parent.appending("original")
    let store = try Store.open(at: original.string, options(.calls), environment: quiet())
    let tree = try store.tree("users")
    try tree.put("synced", "1", .synced)
    try tree.put("kept", "2")
    try tree.put("torn", "3")
    let log = FileNames.log(try #require(store.log.oldestNumber))
    for (needle, survives) in [("torn", true), ("synced", false)] {
      let copy = parent.appending("copy-" + needle)
      try FileManager.default.copyItem(atPath: original.string, toPath: copy.string)
      var bytes = try Data(contentsOf: URL(fileURLWithPath: copy.appending(log).string))
      let place = try #require(bytes.firstRange(of: Data(needle.utf8)))
      bytes[place.lowerBound] ^= 1
      try bytes.write(to: URL(fileURLWithPath: copy.appending(log).string))
      let outcome = try PythonReader.read(copy)
      if survives {
        #expect(outcome.status == 0 && outcome.complaint == "")
        let reopened = try Store.open(at: copy.string, options(.calls), environment: quiet())
        #expect(outcome.lines == (try reopened.allLines()) && outcome.lines.count == 2)
        #expect(reopened.statistics.recovery.tornTail != nil)
        try reopened.close()
      } else {
        #expect(outcome.status == 1 && outcome.complaint.contains("synced bytes are gone"))
        let error = #expect(throws: StoreError.self) {
          _ = try Store.open(at: copy.string, options(.calls), environment: quiet())
        }
        #expect(error?.code == .corruption)
      }
    }
    try store.close()
  }

  // MARK: -

  /// The real file system; background work runs where someone waits for it.
  private func quiet() -> Environment {
    var environment = Environment.posix()
    environment.makeWorkers = { ManualWorkers() }
    return environment
  }

  private func options(_ access: StoreOptions.LogAccess) -> StoreOptions {
    var options = StoreOptions()
    options.memtableBytes = 1 << 20
    options.logSegmentBytes = 64 << 10
    options.logAccess = access
    return options
  }

  private struct Work {
    let store: Store
    var trees: [Tree] = []

    init(_ store: Store) { self.store = store }

    mutating func setUp() throws {
      var plain = TreeOptions()
      plain.blockBytes = 256
      plain.compression = .none
      plain.filterBitsPerKey = 0
      plain.restartInterval = 3
      var small = TreeOptions()
      small.blockBytes = 256
      small.tableBytes = 16 << 10
      trees = [try store.tree("default"), try store.tree("plain", plain), try store.tree("small", small)]
      trees.append(try store.tree("dropped"))
      try trees[3].put("gone", "with its tree")
      trees.removeLast()
    }

    func key(_ random: inout SplitMix64) -> [UInt8] {
      let number = random.below(1500)
      return Array("key/\(number % 40)/\(number)".utf8) + (number % 9 == 0 ? [0, 0xFF] : [])
    }

    func step(_ random: inout SplitMix64) throws {
      let durability: Durability = random.below(50) == 0 ? .synced : .applied
      try store.write(durability) { batch in
        for _ in 0...random.below(3) {
          let tree = trees[random.below(3)]
          switch random.below(40) {
          case 0:
            let start = key(&random)
            batch.deleteRange(from: start, to: start + [0x30 + UInt8(random.below(10))], in: tree)
          case 1..<8: batch.delete(key(&random), in: tree)
          case 8..<12: batch.deleteLate(key(&random), in: tree)
          default:
            // Half of it compresses well, half does not.
            let value = random.bytes(random.below(40)) + [UInt8](repeating: 7, count: random.below(60))
            batch.put(key(&random), value, in: tree)
          }
        }
      }
    }
  }
}
