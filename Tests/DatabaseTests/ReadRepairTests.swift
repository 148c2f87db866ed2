import RoostSimulation
import TestSupport
import Testing

@testable import Roost
@testable import RoostCluster

/// Reads that find replicas which differ have them repaired on other threads.
// Budget: 2 s
@Suite struct ReadRepairTests {
  private let directories = Databases.directories(2)

  /// Two replicas of which the first lacks the keys.
  private func lagging(
    _ keys: [String], in world: SimulatedEnvironment = SimulatedEnvironment()
  ) throws -> SynchronousDatabase {
    var database = try SynchronousDatabase(world, stores: 2, replicas: 2)
    try database.core.close()
    database = try SynchronousDatabase(world, at: [directories[1]]) { $0.allowsMissingStores = true }
    for key in keys { try database.put(key, "v") }
    try database.core.close()
    // Calls fail where a test says so; what is mapped never does.
    return try SynchronousDatabase(world, stores: 2, replicas: 2) { $0.store.logAccess = .calls }
  }

  private func isWhole(_ database: SynchronousDatabase, _ key: String) throws -> Bool {
    try database.record(key, inStore: directories[0]) == database.record(key, inStore: directories[1])
  }

  private func failures(_ database: SynchronousDatabase) -> Int {
    database.core.shared.failedRepairs.load(ordering: .relaxed)
  }

  @Test func `a read returns before the repair, which the member's workers do`() throws {
    let database = try lagging(["k", "l"])
    #expect(try database.values("k") == ["v"])
    #expect(try !isWhole(database, "k"))
    // Simulated workers run when they are asked to.
    for member in database.core.presentMembers { while member.workers.runOneHere() {} }
    #expect(try isWhole(database, "k"))
    #expect(try !isWhole(database, "l"))
  }

  @Test func `a read does not wait for a writer of its key`() throws {
    let database = try lagging(["k"])
    var found: [String] = []
    try "k".withKeyBytes { key throws(DatabaseError) in
      // Under the key's lock: a read that took it would wait for ever.
      try database.posts.update(key) { _, _ throws(DatabaseError) in
        found = (try? database.values("k")) ?? []
        return (false, ())
      }
    }
    #expect(found == ["v"])
    database.core.finishReadRepairs()
    #expect(try isWhole(database, "k"))
  }

  @Test func `only so many keys wait, each once, and the others are found again`() throws {
    let keys = (0..<(ReadRepairs.limit + 40)).map { "k\($0)" }
    let database = try lagging(keys)
    for key in keys { #expect(try database.values(key) == ["v"]) }
    #expect(failures(database) == 40)
    // Those that wait are not added again.
    for key in keys.prefix(10) { _ = try database.values(key) }
    #expect(failures(database) == 40)
    database.core.finishReadRepairs()
    #expect(try keys.count { try isWhole(database, $0) } == ReadRepairs.limit)
    for key in keys { _ = try database.values(key) }
    database.core.finishReadRepairs()
    #expect(try keys.allSatisfy { try isWhole(database, $0) })
    #expect(failures(database) == 40)
  }

  @Test func `what was read before it was repaired is repaired with what is there then`() throws {
    let database = try lagging(["k"])
    _ = try database.values("k")
    try database.put("k", "later", try database.context("k"))
    try database.delete("k")
    database.core.finishReadRepairs()
    #expect(try database.values("k") == [] && isWhole(database, "k"))
  }

  @Test func `a repair that fails is counted, and the next read tries again`() throws {
    let world = SimulatedEnvironment()
    let database = try lagging(["k"], in: world)
    _ = try database.values("k")
    world.fileSystem.onOperation { operation throws(FileSystemError) in
      guard operation.path.string.hasPrefix("/disk0/"), operation.changesDisk else { return }
      throw FileSystemError(
        .io, operation: "\(operation.kind)", path: operation.path.string, message: "the disk is gone")
    }
    database.core.finishReadRepairs()
    #expect(failures(database) == 1)
    #expect(try database.values("k") == ["v"])
    database.core.finishReadRepairs()
    #expect(failures(database) == 2)
  }

  @Test func `closing finishes what waits`() throws {
    let world = SimulatedEnvironment()
    let keys = (0..<20).map { "k\($0)" }
    var database = try lagging(keys, in: world)
    for key in keys { _ = try database.values(key) }
    try database.core.close()
    database = try SynchronousDatabase(world, stores: 2, replicas: 2)
    #expect(try keys.allSatisfy { try isWhole(database, $0) })
  }

  @Test func `real workers repair beside reads and writes`() throws {
    let folder = try TemporaryDirectory()
    let paths = Databases.directories(2).map { folder.path.string + $0 }
    var options = Databases.options(replicas: 2)
    var core = try DatabaseOpening.open(paths, options, .posix())
    _ = try core.keyspace("posts", .eventual)
    try core.close()
    options.allowsMissingStores = true
    core = try DatabaseOpening.open([paths[1]], options, .posix())
    var keyspace = try core.keyspace("posts", .eventual)
    for number in 0..<300 { try keyspace.put(text: "k\(number)", "v") }
    try core.close()
    core = try DatabaseOpening.open(paths, options, .posix())
    keyspace = try core.keyspace("posts", .eventual)
    for _ in 0..<2 {
      for number in 0..<300 {
        #expect(try keyspace.values(text: "k\(number)").count == 1)
        if number % 7 == 0 { try keyspace.put(text: "k\(number)", "w") }
      }
      core.finishReadRepairs()
    }
    for number in 0..<300 {
      let stored = StoredKey.make(
        "k\(number)".withKeyBytes { Placement.partition(ofHash: Placement.hash($0), count: 8) },
        Array("k\(number)".utf8))
      let records = try core.presentMembers.map { member in
        try member.store.existingTree(KeyspaceCore.recordTree("posts"))?.withValue(forKey: stored) {
          try StoredRecord(decoding: $0).record
        }
      }
      #expect(records[0] != nil && records[0] == records[1], "k\(number)")
    }
    try core.close()
  }
}
