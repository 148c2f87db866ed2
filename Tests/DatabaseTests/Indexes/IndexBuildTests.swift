import Roost
import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// Indexes that are built in the background: of data that is there, again for another extractor, after
/// writes that passed them by; through kills; while partitions move.
// Budget: 20 s
@Suite struct IndexBuildTests {
  private static let keys = (0..<300).map { "n\($0)" }

  private func fill(_ world: IndexWorld) throws {
    for (number, key) in Self.keys.enumerated() { try world.put(key, "w\(number % 7),x") }
  }

  private func notReady(_ world: IndexWorld) -> String? {
    do {
      _ = try world.query()
      return nil
    } catch let error as DatabaseError where error.code == .indexNotReady {
      return error.message
    } catch {
      Issue.record("\(error)")
      return nil
    }
  }

  @Test(arguments: [1, 2])
  func `an index of data that is there is built in the background`(replicas: Int) throws {
    let world = try IndexWorld(stores: 3, replicas: replicas, version: nil, sliceRecords: 16)
    try fill(world)
    try world.declare(1)
    let message = try #require(notReady(world))
    #expect(message.contains("0% built"))
    var last = 0.0
    var steps = 0
    while try !world.notes.indexProgress("words").isReady {
      let progress = try world.notes.indexProgress("words")
      #expect(progress.fraction >= last && progress.fraction < 1)
      last = progress.fraction
      // Writes go on: behind the walk, before it, and new ones.
      try world.put(Self.keys[steps % 300], "y", try world.context(Self.keys[steps % 300]))
      try world.put("new\(steps)", "z")
      try world.delete(Self.keys[(steps * 7 + 100) % 300])
      world.work(1)
      steps += 1
    }
    #expect(steps > 10 && last > 0.3)
    #expect(notReady(world) == nil)
    let all = Self.keys + (0..<steps).map { "new\($0)" }
    let expected = try world.expected(all)
    #expect(try world.query(limit: 37) == expected)
    #expect(try world.entryCount() == expected.count * replicas)
  }

  @Test func `another version is built anew, and the old tree goes`() throws {
    let world = try IndexWorld(stores: 2)
    try fill(world)
    let old = world.indexTrees
    #expect(old.count == 1)
    try world.declare(2)
    #expect(notReady(world) != nil)
    world.work()
    #expect(try world.query() == world.expected(Self.keys, version: 2))
    #expect(world.indexTrees.count == 1 && world.indexTrees != old)
    // The same version again is the same index.
    let trees = world.indexTrees
    try world.declare(2)
    #expect(notReady(world) == nil && world.indexTrees == trees)
    try world.core.close()
    let again = try IndexWorld(world.world, stores: 2, version: 2)
    #expect(notReady(again) == nil && again.indexTrees == trees)
    #expect(try again.query() == again.expected(Self.keys, version: 2))
    try again.core.close()
    // And an earlier one is another one.
    let back = try IndexWorld(world.world, stores: 2, version: 1)
    #expect(notReady(back) != nil)
    back.work()
    #expect(try back.query() == back.expected(Self.keys))
    #expect(!back.indexTrees.contains(trees.first!))
  }

  /// As the command line does: it knows the keyspace, and no extractor.
  @Test func `a program that declares nothing makes an index stale by writing, not by reading`() throws {
    let first = try IndexWorld(stores: 2)
    try fill(first)
    try first.core.close()
    let reader = try IndexWorld(first.world, stores: 2, version: nil)
    for key in Self.keys { #expect(try reader.record(key) != nil) }
    #expect(thrownCode { _ = try reader.query() } == .unknownIndex)
    try reader.core.close()
    let second = try IndexWorld(first.world, stores: 2)
    #expect(notReady(second) == nil)
    try second.core.close()
    let writer = try IndexWorld(first.world, stores: 2, version: nil)
    // Durable before the write is: whatever is left of it, the mark is.
    try writer.put("n1", "passed by")
    for policy in [CrashPolicy.dropAll, .keepAll] {
      let crashed = SimulatedEnvironment(seed: 6, fileSystem: writer.world.fileSystem.crashClone(policy))
      let third = try IndexWorld(crashed, stores: 2)
      #expect(notReady(third) != nil)
      third.work()
      #expect(try third.query() == third.expected(Self.keys))
    }
    // It may still declare: then the index is built while it goes on.
    try writer.declare(1)
    #expect(notReady(writer) != nil)
    try writer.put("n2", "kept")
    writer.work()
    #expect(try writer.query() == writer.expected(Self.keys))
    #expect(try writer.query(.equals(Array("kept".utf8))) == ["kept/n2"])
  }

  @Test func `two indexes, of which one is declared`() throws {
    let first = try IndexWorld()
    try first.declare(1, "other")
    try fill(first)
    let expected = try first.query(.all, "other")
    #expect(try first.query() == expected)
    try first.core.close()
    let second = try IndexWorld(first.world)
    try second.put("n1", "changed", try second.context("n1"))
    #expect(notReady(second) == nil)
    try second.declare(1, "other")
    #expect(thrownCode { _ = try second.query(.all, "other") } == .indexNotReady)
    second.work()
    #expect(try second.query(.all, "other") == second.query())
    #expect(try second.query() == second.expected(Self.keys))
  }

  @Test func `a build goes on after a kill where it was`() throws {
    var world = try IndexWorld(stores: 2, version: nil, sliceRecords: 8)
    try fill(world)
    try world.declare(1)
    var fraction = 0.0
    var kills = 0
    while true {
      world.work(5)
      let progress = try world.notes.indexProgress("words")
      if progress.isReady { break }
      #expect(progress.fraction >= fraction)
      fraction = progress.fraction
      kills += 1
      let files =
        kills % 2 == 0
        ? world.world.fileSystem.processKillClone()
        : world.world.fileSystem.crashClone(.keepAll)
      let after = SimulatedEnvironment(
        seed: UInt64(kills) + 10, fileSystem: files, time: world.world.time)
      world = try IndexWorld(after, stores: 2, sliceRecords: 8)
      let resumed = try world.notes.indexProgress("words")
      #expect(resumed.fraction == fraction)
      try world.put(Self.keys[kills], "again", try world.context(Self.keys[kills]))
    }
    #expect(kills > 3)
    #expect(try world.query() == world.expected(Self.keys))
  }

  @Test func `a damaged record fails the build, and says so`() throws {
    let world = try IndexWorld(version: nil)
    try fill(world)
    let partition = "n5".withKeyBytes { Placement.partition(ofHash: Placement.hash($0), count: 8) }
    let tree = try #require(
      world.core.presentMembers[0].store.existingTree(KeyspaceCore.recordTree("notes")))
    let storedKey = StoredKey.make(partition, Array("n5".utf8))
    let good = try #require(try tree.get(storedKey))
    try tree.put(storedKey, [1, 2, 3])
    try world.declare(1)
    world.work()
    let message = try #require(notReady(world))
    #expect(message.contains("failed") && message.contains("`n5`"))
    // It is tried again, and succeeds once it can.
    world.work()
    #expect(notReady(world)?.contains("`n5`") == true)
    try tree.put(storedKey, good)
    world.work()
    #expect(try world.query() == world.expected(Self.keys))
  }

  @Test func `entries move with their partitions`() throws {
    let world = try IndexWorld(stores: 1)
    try fill(world)
    let expected = try world.query()
    _ = try world.core.addStore("/disk1/db", weight: 100, zone: "")
    var queries = 0
    while world.core.rebalance.movesLeft > 0 {
      #expect(try world.query() == expected)
      try world.put("n\(queries % 300)", "x", try world.context("n\(queries % 300)"))
      try world.put("n\(queries % 300)", "w\(queries % 300 % 7),x", try world.context("n\(queries % 300)"))
      world.work(1)
      queries += 1
    }
    world.work()
    try world.core.waitUntilBalanced(.seconds(60))
    #expect(queries > 3)
    #expect(try world.query() == expected)
    // None was left behind.
    #expect(try world.entryCount() == expected.count)
    try world.core.close()
    let after = try IndexWorld(world.world, stores: 2)
    #expect(notReady(after) == nil)
    #expect(try after.query() == expected)
  }

  /// A crash wherever declaring an index, building it and dropping the one before it are cut off, to
  /// the very last step: whoever declares it then has all of it, and nothing of the other.
  @Test(arguments: [nil, 1] as [UInt64?])
  func `a crash at the end of building leaves an index that is whole or goes on`(
    before: UInt64?
  ) throws {
    let world = try IndexWorld(stores: 2, version: before, sliceRecords: 64)
    try fill(world)
    for member in world.core.presentMembers { try member.store.sync() }
    let expected = try world.expected(Self.keys, version: 2)
    var states: [SimulatedFileSystem] = []
    let files = world.world.fileSystem
    func keep() {
      states += [CrashPolicy.dropAll, .keepAll, .random].enumerated().map { position, policy in
        files.crashClone(policy, seed: UInt64(states.count + position))
      }
      states.append(files.processKillClone())
    }
    let crasher = Crasher(files, keep)
    try world.declare(2)
    while try !world.notes.indexProgress("words").isReady {
      world.work(1)
      keep()
    }
    #expect(try world.query() == expected)
    // The last step was the last record's: also once it is durable.
    for member in world.core.presentMembers { try member.store.sync() }
    keep()
    crasher.end()
    #expect(states.count > 40)
    var ready = 0
    for state in states {
      let after = try IndexWorld(
        SimulatedEnvironment(seed: 3, fileSystem: state), stores: 2, version: 2, sliceRecords: 64)
      if try after.notes.indexProgress("words").isReady { ready += 1 }
      after.work()
      #expect(try after.query() == expected)
      #expect(try after.entryCount() == expected.count)
      #expect(after.indexTrees.count == 1)
    }
    #expect(ready >= 4 && ready < states.count)
  }
}

/// Calls something before each file operation that changes the disk.
private final class Crasher: @unchecked Sendable {
  private let fileSystem: SimulatedFileSystem
  private let body: () -> Void

  init(_ fileSystem: SimulatedFileSystem, _ body: @escaping () -> Void) {
    self.fileSystem = fileSystem
    self.body = body
    fileSystem.onOperation { [self] operation throws(FileSystemError) in
      if operation.changesDisk { self.body() }
    }
  }

  func end() { fileSystem.onOperation(nil) }
}
