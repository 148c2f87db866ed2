import Foundation
import Roost
import RoostEnvironment
import RoostSimulation
import RoostStorage
import SystemPackage
import TestSupport
import Testing

@testable import RoostCluster

/// Databases of every format version so far stay readable for ever: each is checked in below
/// `Tests/Fixtures`, its stores' directories side by side, and never changes again. Beside it is what
/// its feeds tell: a line a key, with its record as FORMAT.md spells it.
// Budget: 2 s
@Suite struct DatabaseFixtureTests {
  static let fixtures = FilePath(repositoryRoot).appending("Tests").appending("Fixtures")
  static let stores = ["a", "b"]
  /// When the fixture was made, by its clock.
  static let made: UInt64 = 1_767_225_600_000_000_000

  /// The real file system, and the clock some seconds after the fixture was made.
  private let time = SimulatedTime(wallClockNanoseconds: made + 10_000_000_000)

  private var environment: Environment {
    var environment = Environment.posix()
    environment.time = time
    return environment
  }

  private static let byWord = Index("words", version: 3) { _, value in
    value.split(separator: UInt8(ascii: " ")).map { Array($0) }
  }

  /// Copies of the fixture's directories: other files, with other inodes.
  private func copy(_ name: String, into folder: TemporaryDirectory) throws -> [String] {
    try Self.stores.map { store in
      let target = folder.appending(store).string
      try FileManager.default.copyItem(
        atPath: Self.fixtures.appending(name).appending(store).string, toPath: target)
      return target
    }
  }

  private func expected(_ name: String) throws -> [String] {
    try String(contentsOfFile: Self.fixtures.appending(name + ".txt").string, encoding: .utf8)
      .split(separator: "\n").map(String.init)
  }

  /// What the feeds tell, sorted: expired values are still in it.
  private static func lines(_ core: DatabaseCore) throws -> [String] {
    var lines: [String] = []
    for entry in core.keyspaceEntries {
      let keyspace = try core.keyspace(entry.name, nil)
      var token: ChangeToken?
      while true {
        let page = try keyspace.changes(since: token, limit: ChangePageLimit(changes: 5))
        token = page.token
        for change in page.changes {
          guard let key = change.key, let record = change.record else { continue }
          let hex = record.encoding.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
          lines.append("\(entry.name) \(key) \(hex.joined())")
        }
        if page.isAtEnd { break }
      }
    }
    return lines.sorted()
  }

  @Test(arguments: ["database-v1"])
  func `an old database is read in full, and goes on`(name: String) async throws {
    let folder = try TemporaryDirectory()
    let paths = try copy(name, into: folder)
    var options = DatabaseOptions()
    options.creation = .mustExist
    var database = try await Database.open(at: paths, options, environment: environment)
    #expect(database.core.ring.partitionCount == 8 && database.core.ring.members.count == 2)
    #expect(database.keyspaceNames == ["notes", "settings"])
    let notes = try await database.keyspace("notes", .eventual, indexes: [Self.byWord])
    let settings = try await database.keyspace("settings", .eventual(.lastWriterWins))
    #expect(try Self.lines(database.core) == (try expected(name)))
    try await check(notes, settings)
    // It goes on: what was read is replaced, what was not stays beside.
    try await notes.put("siblings", "resolved", context: try await notes.get("siblings").context)
    try await notes.put("plain", "beside")
    try await notes.counter("counter").increment()
    try await database.close()
    database = try await Database.open(at: paths, options, environment: environment)
    let again = try await database.keyspace("notes", .eventual, indexes: [Self.byWord])
    #expect(try await again.get("siblings").text == "resolved")
    #expect(try await again.get("plain").values.count == 2)
    #expect(try await again.counter("counter").value() == 5)
    #expect(try await again.query("words", equals: "resolved").entries.map(\.keyText) == ["siblings"])
    try await database.close()
  }

  private func check(_ notes: Keyspace, _ settings: Keyspace) async throws {
    #expect(try await notes.get("plain").text == "a plain value")
    let siblings = try await notes.get("siblings").values.map { String(decoding: $0, as: UTF8.self) }
    #expect(siblings.sorted() == ["one of two", "the other"])
    #expect(try await notes.get("deleted").isEmpty)
    #expect(try await notes.get("deleted").record?.isTombstone == true)
    #expect(try await notes.get("large").value?.count == 3_000)
    #expect(try await notes.counter("counter").value() == 4)
    #expect(try await notes.growOnlyCounter("grow").value() == 7)
    #expect(try await notes.set("set").texts() == ["blue", "red"])
    #expect(try await notes.flag("flag").isEnabled())
    #expect(try await notes.register("register").text() == "assigned")
    let map = notes.map("map")
    #expect(try await map.fields().map(\.text) == ["likes", "tags"])
    #expect(try await map.counter("likes").value() == 2)
    #expect(try await map.set("tags").texts() == ["swift"])
    #expect(try await settings.get("color").text == "green")
    for number in 0..<24 { #expect(try await settings.get("s\(number)").text == "\(number)") }
    // The index was built when it was closed.
    #expect(try await notes.indexProgress("words").isReady)
    let found = try await notes.query("words", equals: "value").entries.map(\.keyText)
    #expect(found == ["lease", "plain"])
    #expect(try await notes.query("words", equals: "two").entries.map(\.keyText) == ["siblings"])
    let keys = try await notes.scanPage(limit: 100).map(\.keyText)
    #expect(
      keys == [
        "counter", "flag", "grow", "large", "lease", "map", "plain", "register", "set", "siblings",
      ])
    #expect(try await notes.get("lease").text == "value for a while")
    time.advance(byNanoseconds: 1_000_000_000_000)
    #expect(try await notes.get("lease").isEmpty)
  }

  @Test(arguments: ["database-v1"])
  func `a copy goes on as another incarnation, each time it is copied`(name: String) throws {
    var incarnations: [ReplicaID] = []
    for _ in 0..<2 {
      let folder = try TemporaryDirectory()
      let core = try DatabaseOpening.open(
        try copy(name, into: folder), DatabaseOptions(), environment)
      incarnations += core.presentMembers.map(\.replica)
      try core.close()
    }
    let folder = try TemporaryDirectory()
    for path in try copy(name, into: folder) {
      let store = try Store.open(at: path, environment: environment)
      let system = try #require(store.existingTree(Member.systemTree))
      let bytes = try #require(try system.get(Member.SystemKey.identity))
      let identity = try IdentityRecord(decoding: bytes)
      #expect(identity.closed != nil && identity.isComplete)
      incarnations.append(identity.replica)
      try store.close()
    }
    #expect(Set(incarnations).count == 6)
  }

  @Test(arguments: ["database-v1"])
  func `each tree of an old store holds what its name says`(name: String) throws {
    let folder = try TemporaryDirectory()
    var counts: [String: Int] = [:]
    var clocks: [Timestamp] = []
    for path in try copy(name, into: folder) {
      let inspected = try #require(try StoreInspection.trees(in: path, environment.fileSystem))
      let store = try Store.open(at: path, environment: environment)
      #expect(inspected.values.sorted() == store.treeNames.sorted())
      #expect(try store.verify().problems.map(\.description) == [])
      for name in store.treeNames {
        var cursor = try #require(store.existingTree(name)).cursor()
        while try cursor.next() {
          try decode(name, cursor.keyBytes, cursor.valueBytes, &clocks)
          counts[String(name.prefix { $0 != "/" }), default: 0] += 1
        }
      }
      try store.close()
    }
    // One feed entry a record, the same in both; what the system tree holds, in each store.
    let records = try expected(name).count
    #expect(counts["keyspace"] == records && counts["changes"] == records)
    #expect(counts["database"] == 8 && clocks.count == 2)
    #expect(counts["index"] ?? 0 > 10)
  }

  private func decode(
    _ tree: String, _ key: [UInt8], _ value: [UInt8], _ clocks: inout [Timestamp]
  ) throws {
    switch tree.prefix(while: { $0 != "/" }) {
    case "keyspace":
      let stored = try unsafe StoredRecord(decoding: value.span.bytes)
      #expect(stored.changeNumber >> 16 >= Self.made / 1_000_000)
    case "changes": #expect(key.count == FeedKey.byteCount && !value.isEmpty)
    case "index":
      if key == BuildRecord.key {
        #expect(try BuildRecord(decoding: value).isDone)
      } else {
        #expect(value.isEmpty && IndexKey.split(Array(key.dropFirst(2))) != nil)
      }
    default:
      #expect(tree == Member.systemTree)
      switch String(decoding: key, as: UTF8.self) {
      case Member.SystemKey.identity: _ = try IdentityRecord(decoding: value)
      case Member.SystemKey.ring: #expect(try RingState(decoding: value).ring.partitionCount == 8)
      case Member.SystemKey.schema: #expect(try Schema(decoding: value).keyspaces.count == 2)
      case Member.SystemKey.clock: clocks.append(try ClockRecord.decode(value))
      default: Issue.record("an unknown record of the system tree")
      }
    }
  }

  /// Makes the fixture, for the next format version: `ROOST_MAKE_DATABASE_FIXTURE=DIRECTORY`, which
  /// must not exist.
  @Test(.enabled(if: ProcessInfo.processInfo.environment["ROOST_MAKE_DATABASE_FIXTURE"] != nil))
  func `make a database fixture`() async throws {
    let path = try #require(ProcessInfo.processInfo.environment["ROOST_MAKE_DATABASE_FIXTURE"])
    var environment = Environment.posix()
    environment.randomness = SeededRandomness(seed: 1)
    environment.makeWorkers = { ManualWorkers() }
    let time = SimulatedTime(wallClockNanoseconds: Self.made)
    environment.time = time
    var options = DatabaseOptions()
    options.creation = .mustNotExist
    options.partitionCount = 8
    options.store.logSegmentBytes = 16 << 10
    options.store.logAccess = .calls
    let paths = Self.stores.map { path + "/" + $0 }
    let database = try await Database.open(at: paths, options, environment: environment)
    try await fill(database)
    let lines = try Self.lines(database.core)
    try await database.close()
    for path in paths { try FileManager.default.removeItem(atPath: path + "/" + FileNames.lock) }
    try (lines.joined(separator: "\n") + "\n")
      .write(toFile: path + ".txt", atomically: true, encoding: .utf8)
  }

  private func fill(_ database: Database) async throws {
    let notes = try await database.keyspace("notes", .eventual, indexes: [Self.byWord])
    let settings = try await database.keyspace("settings", .eventual(.lastWriterWins))
    try await notes.put("plain", "to be replaced")
    try await notes.put("siblings", "one of two")
    try await notes.put("deleted", "gone")
    try await notes.counter("counter").increment(by: 6)
    try await notes.set("set").insert("red")
    try await notes.set("set").insert("green")
    for number in 0..<24 { try await settings.put("s\(number)", "\(number)") }
    // In tables; what follows is in the logs.
    for member in database.core.presentMembers { try member.store.compact() }
    try await notes.put("plain", "a plain value", context: try await notes.get("plain").context)
    try await notes.put("siblings", "the other")
    try await notes.delete("deleted")
    try await notes.put("lease", "value for a while", timeToLive: .seconds(900))
    try await notes.put("large", String(repeating: "large ", count: 500))
    try await notes.counter("counter").increment(by: -2)
    try await notes.growOnlyCounter("grow").increment(by: 7)
    try await notes.set("set").insert("blue")
    try await notes.set("set").remove("green")
    try await notes.flag("flag").enable()
    try await notes.register("register").assign("assigned")
    try await notes.map("map").counter("likes").increment(by: 2)
    try await notes.map("map").set("tags").insert("swift")
    try await settings.put("color", "red")
    try await settings.put("color", "green")
  }
}
