import Foundation
import RoostCausality
import RoostEnvironment
import RoostSimulation
import RoostStorage
import TestSupport
import Testing

@testable import RoostCluster

/// A cluster stays readable for ever: three nodes' stores and the folder that was their directory are checked
/// in below `Tests/Fixtures`, side by side, and never change again. They have counters that remember
/// operations (records of version 2), what members say of the deletes that they have reaped, hints for a node
/// that was out of reach, and the cluster's own records. Beside them is what they hold: a line an entry.
// Budget: 5 s
@Suite struct ClusterFixtureTests {
  private static let fixtures = repositoryRoot + "/Tests/Fixtures/"
  private static let name = "database-v3"
  /// When the fixture was made, by its clock: within two minutes behind it.
  private static let made: UInt64 = 1_767_225_600_000_000_000
  private static let afterwards = made + 120_000_000_000
  /// Tried again within five minutes, they count once.
  private static let operations = (0..<3).map { number in
    OperationID(high: (made / 1_000_000) << 16, low: UInt64(number) + 1)
  }

  private static var isThere: Bool {
    FileManager.default.fileExists(atPath: fixtures + name + ".txt")
  }

  private func copy(into folder: TemporaryDirectory) throws -> String {
    let target = folder.appending(Self.name).string
    try FileManager.default.copyItem(atPath: Self.fixtures + Self.name, toPath: target)
    return target
  }

  // MARK: - Reading it

  @Test(.enabled(if: isThere))
  func `each tree of the stores, and the directory, hold what their names say`() throws {
    let folder = try TemporaryDirectory()
    let expected = try String(contentsOfFile: Self.fixtures + Self.name + ".txt", encoding: .utf8)
      .split(separator: "\n").map(String.init)
    #expect(try Self.lines(try copy(into: folder)) == expected)
    for word in [
      "keyspace/k", "changes/k", "keyspace/settings", "hints", "database", "directory database",
      "directory schema", "directory reaping/", " record 01", " record 02", "hint 02",
    ] {
      #expect(expected.contains { $0.contains(word) }, "there is nothing of `\(word)`")
    }
  }

  @Test(.enabled(if: isThere)) func `an old cluster hands over what it kept, and goes on`() throws {
    let folder = try TemporaryDirectory()
    let path = try copy(into: folder)
    let cluster = try FixtureCluster(at: path, seed: 2, wallClock: Self.afterwards)
    #expect(cluster.nodes.allSatisfy { $0.core.ring.partitionCount == 8 && $0.core.ring.replicas == 3 })
    // What the node was told that had been out of reach.
    #expect(try cluster.held("late0", at: 2) == nil)
    try cluster.beat(8)
    for number in 0..<6 { #expect(try cluster.held("late\(number)", at: 2) != nil) }
    #expect(cluster.nodes.allSatisfy { $0.hints.statistics.hints.isEmpty })
    #expect(try cluster.count("late", at: 2) == 4)
    // What was reaped is nowhere, what was deleted later is a tombstone.
    for index in 0..<3 {
      #expect(try cluster.held("reaped", at: index) == nil)
      #expect(try cluster.held("deleted", at: index)?.isTombstone == true)
      #expect(try cluster.texts("plain", at: index) == ["a plain value"])
      #expect(try cluster.texts("siblings", at: index) == ["one of two", "the other"])
      for number in 0..<24 {
        #expect(try cluster.texts("s\(number)", in: "settings", at: index) == ["\(number)"])
      }
    }
    let states = try #require(try cluster.record("tags", at: 1))
    #expect(states.state(as: ORSet.self).values == [Array("blue".utf8), Array("red".utf8)])
    #expect(try cluster.record("flag", at: 1)?.state(as: EnableWinsFlag.self).isEnabled == true)
    #expect(try cluster.record("register", at: 1)?.state(as: LWWRegister.self).isEmpty == false)
    // Operations are remembered: tried again they do not count.
    try count(cluster, at: 1)
    #expect(try cluster.count("counter", at: 0) == 7 && cluster.count("late", at: 1) == 4)
    // It goes on.
    let context = try cluster.perform(.get, "siblings", at: 0).context
    try cluster.put("siblings", "resolved", at: 0, context: context)
    try cluster.perform(.increment(1), "counter", at: 2)
    try cluster.close()
    let again = try FixtureCluster(at: path, seed: 3, wallClock: Self.afterwards + 60_000_000_000)
    #expect(try again.texts("siblings", at: 1) == ["resolved"])
    #expect(try again.count("counter", at: 1) == 8)
    try again.close()
  }

  private func count(_ cluster: FixtureCluster, at index: Int) throws {
    try cluster.perform(.countOnce(5, Self.operations[0], field: nil), "counter", at: index)
    try cluster.perform(.countOnce(2, Self.operations[1], field: Array("likes".utf8)), "map", at: index)
    try cluster.perform(.countOnce(4, Self.operations[2], field: nil), "late", at: index)
  }

  // MARK: - What it holds

  /// What the stores' trees hold, and the directory.
  ///
  /// - Parameter path: of a copy: opening a store writes its logs to tables.
  private static func lines(_ path: String) throws -> [String] {
    var lines: [String] = []
    let environment = FixtureCluster.environment(9, SimulatedTime(wallClockNanoseconds: afterwards))
    for name in FixtureCluster.stores {
      let store = try Store.open(at: path + "/" + name, environment: environment)
      #expect(try store.verify().problems.map(\.description) == [])
      for tree in store.treeNames {
        var cursor = try #require(store.existingTree(tree)).cursor()
        while try cursor.next() {
          lines.append("\(name) \(tree) " + (try text(tree, cursor.keyBytes, cursor.valueBytes)))
        }
      }
      try store.close()
    }
    let file = path + "/" + FixtureCluster.directory + "/DIRECTORY"
    let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: file)))
    let state = try DirectoryState(decoding: bytes, "the fixture's directory")
    #expect(state.encoded() == bytes)
    for record in state.records(prefix: "", at: afterwards / 1_000_000) {
      try check(record)
      lines.append("directory \(record.name) \(hex(record.value))")
    }
    return lines.sorted()
  }

  private static func text(_ tree: String, _ key: [UInt8], _ value: [UInt8]) throws -> String {
    switch tree.prefix(while: { $0 != "/" }) {
    case "keyspace":
      let stored = try unsafe StoredRecord(decoding: value.span.bytes)
      return "\(String(decoding: key.dropFirst(2), as: UTF8.self)) number \(stored.changeNumber) "
        + "record \(hex(ReplicaMessage.bytes(of: stored.record)))"
    case "changes":
      #expect(key.count == FeedKey.byteCount && !value.isEmpty)
      return "\(hex(key)) \(String(decoding: value, as: UTF8.self))"
    case "hints":
      let hint = try Hint(key, value)
      return "\(String(decoding: hint.userKey, as: UTF8.self)) for \(hint.target) of \(hint.keyspace) "
        + "since \(hint.since.rawValue) hint \(hex(ReplicaMessage.bytes(of: hint.state)))"
    case "database":
      let name = String(decoding: key, as: UTF8.self)
      switch name {
      case Member.SystemKey.identity: #expect(try IdentityRecord(decoding: value).isComplete)
      case Member.SystemKey.ring: #expect(try RingState(decoding: value).ring.members.count == 3)
      case Member.SystemKey.schema: #expect(try Schema(decoding: value).keyspaces.count == 2)
      case Member.SystemKey.clock: _ = try ClockRecord.decode(value)
      default: Issue.record("an unknown record `\(name)` of the system tree")
      }
      return "\(name) \(hex(value))"
    default: return "\(hex(key)) \(hex(value))"
    }
  }

  private static func check(_ record: DirectoryRecord) throws {
    switch record.name.prefix(while: { $0 != "/" }) {
    case ClusterRecordName.database:
      let database = try DatabaseRecord(decoding: record.value)
      #expect(database.cluster == "music" && database.ring.ring.members.count == 3)
    case ClusterRecordName.schema: #expect(try Schema(decoding: record.value).keyspaces.count == 2)
    case "reaping": #expect(try ReapingEvidence.decode(record.value) > .zero)
    default: Issue.record("an unknown record `\(record.name)` of the directory")
    }
  }

  private static func hex(_ bytes: [UInt8]) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }

  // MARK: - Making it

  /// Makes the fixture: `ROOST_MAKE_CLUSTER_FIXTURE=DIRECTORY`, which must not exist.
  @Test(.enabled(if: ProcessInfo.processInfo.environment["ROOST_MAKE_CLUSTER_FIXTURE"] != nil))
  func `make a cluster's fixture`() throws {
    let path = try #require(ProcessInfo.processInfo.environment["ROOST_MAKE_CLUSTER_FIXTURE"])
    try #require(!FileManager.default.fileExists(atPath: path), "\(path) is there already")
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    let cluster = try FixtureCluster(at: path, seed: 1, wallClock: Self.made) {
      $0.replicaTimeout = .milliseconds(500)
      $0.requestTimeout = .seconds(1)
      $0.repairTimeout = .seconds(1)
      $0.hintAge = .seconds(5)
      $0.tombstoneHorizon = .seconds(40)
    }
    try fill(cluster)
    let elapsed = cluster.time.wallClockNanoseconds - Self.made
    try #require(elapsed < 100_000_000_000, "it took \(elapsed) ns of its time")
    let kept = cluster.nodes.map { $0.hints.statistics.hints.values.reduce(0, +) }
    try #require(kept[0] + kept[1] >= 7, "hints: \(kept)")
    try cluster.close()
    let files = FileManager.default
    for store in FixtureCluster.stores { try files.removeItem(atPath: "\(path)/\(store)/\(FileNames.lock)") }
    try files.removeItem(atPath: "\(path)/\(FixtureCluster.directory)/LOCK")
    let folder = try TemporaryDirectory()
    let copy = folder.appending(Self.name).string
    try files.copyItem(atPath: path, toPath: copy)
    try (try Self.lines(copy).joined(separator: "\n") + "\n")
      .write(toFile: path + ".txt", atomically: true, encoding: .utf8)
  }

  private func fill(_ cluster: FixtureCluster) throws {
    try cluster.nodes[0].makeKeyspace(KeyspaceRequest(name: "k", kind: .keep))
    try cluster.nodes[1].makeKeyspace(KeyspaceRequest(name: "settings", kind: .lastWriterWins))
    try cluster.put("plain", "to be replaced", at: 0)
    try cluster.put("siblings", "one of two", at: 1)
    try cluster.put("reaped", "gone for good", at: 2)
    try cluster.perform(.delete, "reaped", at: 0)
    try cluster.perform(.add(Array("green".utf8)), "tags", at: 0)
    try cluster.perform(.add(Array("red".utf8)), "tags", at: 1)
    for number in 0..<24 { try cluster.put("s\(number)", "\(number)", in: "settings", at: number % 3) }
    try cluster.beat(60)
    for index in 0..<3 { try #require(try cluster.held("reaped", at: index) == nil, "it was not reaped") }
    // In tables; what follows is in the logs.
    for node in cluster.nodes { try node.local.store.compact() }
    let context = try cluster.perform(.get, "plain", at: 1).context
    try cluster.put("plain", "a plain value", at: 1, context: context)
    try cluster.put("siblings", "the other", at: 2)
    try cluster.put("deleted", "gone", at: 0)
    try cluster.perform(.delete, "deleted", at: 1)
    try cluster.perform(.remove(Array("green".utf8)), "tags", at: 2)
    try cluster.perform(.add(Array("blue".utf8)), "tags", at: 2)
    try cluster.perform(.change(StateChange(.enable)), "flag", at: 0)
    try cluster.perform(.change(StateChange(.assign(Array("assigned".utf8)))), "register", at: 1)
    try cluster.perform(.increment(2), "counter", at: 0)
    try cluster.perform(.countOnce(5, Self.operations[0], field: nil), "counter", at: 1)
    try cluster.perform(.countOnce(2, Self.operations[1], field: Array("likes".utf8)), "map", at: 2)
    cluster.cutOff(2)
    for number in 0..<6 { try cluster.put("late\(number)", "\(number)", at: number % 2) }
    try cluster.perform(.countOnce(4, Self.operations[2], field: nil), "late", at: 0)
  }
}
