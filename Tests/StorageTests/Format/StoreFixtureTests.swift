import Foundation
import RoostEnvironment
import RoostSimulation
import SystemPackage
import Testing
import TestSupport

@testable import RoostStorage

/// Stores of every format version so far stay readable for ever: each is checked in below
/// `Tests/Fixtures`, with what is in it beside it, and never changes again.
// Budget: 2 s
@Suite struct StoreFixtureTests {
  static let fixtures = FilePath(repositoryRoot).appending("Tests").appending("Fixtures")

  @Test(arguments: ["store-v1"])
  func `an old store is read in full`(name: String) throws {
    let directory = try TemporaryDirectory()
    let path = directory.appending(name)
    try FileManager.default.copyItem(atPath: Self.fixtures.appending(name).string, toPath: path.string)
    let expected = try String(
      contentsOfFile: Self.fixtures.appending(name + ".jsonl").string, encoding: .utf8
    ).split(separator: "\n")
    if PythonReader.isAvailable {
      let outcome = try PythonReader.read(path)
      #expect(outcome.complaint == "" && outcome.lines == expected)
    }
    var options = StoreOptions()
    options.creation = .mustExist
    let store = try Store.open(at: path.string, options)
    #expect(try store.allLines() == expected)
    // The log's records and the tables' range tombstones had a part in that.
    #expect(store.statistics.recovery.operations > 0 && store.statistics.recovery.tornTail == nil)
    #expect(try store.verify().problems.map(\.description) == [])
    try store.compact()
    #expect(try store.allLines() == expected)
    try store.close()
    let again = try Store.open(at: path.string, options)
    #expect(try again.allLines() == expected)
    try again.close()
  }

  /// What the fixture is there to hold, so that nobody replaces it with less.
  @Test func `the fixture has all kinds of things in it`() throws {
    let path = Self.fixtures.appending("store-v1")
    let files = Environment.posix().fileSystem
    let marker = try Marker.read(in: path, files)
    let contents = try Manifest.read(marker, in: path, files)
    #expect(contents.trees.count == 2 && contents.nextTreeID == 4 && contents.logs.count == 2)
    let tables = contents.trees.values.flatMap { tree in
      tree.levels.enumerated().flatMap { level, tables in tables.map { (level, $0) } }
    }
    #expect(tables.contains { $0.0 == 0 } && tables.contains { $0.0 > 0 })
    #expect(tables.contains { $0.1.rangeTombstoneCount > 0 } && tables.contains { $0.1.deleteCount > 0 })
    #expect(Set(contents.trees.values.map(\.flushedThrough)).count == 2)
  }

  /// Makes the fixture, for the next format version: `ROOST_MAKE_FIXTURE=DIRECTORY`, which must not
  /// exist.
  @Test(.enabled(if: ProcessInfo.processInfo.environment["ROOST_MAKE_FIXTURE"] != nil))
  func `make a fixture`() throws {
    let path = try #require(ProcessInfo.processInfo.environment["ROOST_MAKE_FIXTURE"])
    var environment = Environment.posix()
    environment.randomness = SeededRandomness(seed: 1)
    environment.makeWorkers = { ManualWorkers() }
    var options = StoreOptions()
    options.creation = .mustNotExist
    options.logSegmentBytes = 16 << 10
    options.logAccess = .calls
    let store = try Store.open(at: path, options, environment: environment)
    try fill(store)
    let lines = try store.allLines()
    try store.close()
    try FileManager.default.removeItem(atPath: path + "/" + FileNames.lock)
    try (lines.joined(separator: "\n") + "\n")
      .write(toFile: path + ".jsonl", atomically: true, encoding: .utf8)
  }

  private func fill(_ store: Store) throws {
    func number(_ i: Int) -> String { String(repeating: "0", count: 4 - String(i).count) + String(i) }
    var small = TreeOptions()
    small.blockBytes = 256
    small.tableBytes = 16 << 10
    var raw = TreeOptions()
    raw.blockBytes = 256
    raw.compression = .none
    raw.filterBitsPerKey = 0
    raw.restartInterval = 2
    let people = try store.tree("people", small)
    let bytes = try store.tree("bytes", raw)
    let dropped = try store.tree("dropped")
    var random = SplitMix64(seed: 1)

    // A sorted run at the bottom, and a table above it with other versions, deletions and a range
    // tombstone.
    for i in 0..<60 { try people.put("p:" + number(i), "person \(i), person \(i), person \(i)") }
    for i in 0..<12 { try bytes.put([0xFF, UInt8(i), 0], random.bytes(i * 3)) }
    try dropped.put("gone", "with its tree")
    try store.compact()
    for i in stride(from: 0, to: 60, by: 7) { try people.put("p:" + number(i), "changed \(i)") }
    for i in stride(from: 0, to: 60, by: 11) { try people.delete("p:" + number(i)) }
    try people.deleteRange(from: "p:0020", to: "p:0030")
    try people.put("p:0025", "after the range was deleted")
    try store.dropTree("dropped")
    try people.flush()

    // Left in two logs. The large values are gone again by the end.
    try bytes.put([1], [UInt8](repeating: 0x78, count: 9000))
    try bytes.put([1], [UInt8](repeating: 0x79, count: 9000))
    try store.write(.synced) { batch in
      batch.put("p:0060", "in the log only", in: people)
      batch.deleteRange(from: "p:0040", to: "p:0045", in: people)
      batch.put("p:0042", "after the second range", in: people)
      batch.delete("p:0001", in: people)
      batch.delete([1], in: bytes)
      batch.put([0], [UInt8](), in: bytes)
    }
    try bytes.put([0xFF, 0xFF], "the last record")
  }
}
