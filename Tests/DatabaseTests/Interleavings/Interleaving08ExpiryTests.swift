import Roost
import RoostSimulation
import RoostStorage
import TestSupport
import Testing

/// A value without an expiry is replaced by one with it while a replica is away. When the latter has
/// expired, the former must not come back: what expires leaves its context.
// Budget: 1 s
@Suite struct Interleaving08ExpiryTests {
  private let directories = Databases.directories(3)

  /// The third store holds v0, which it wrote; the others replaced it by v1, which has expired.
  private func afterExpiry(
    _ meanwhile: (SynchronousDatabase) throws -> Void = { _ in }
  ) throws -> SynchronousDatabase {
    let world = SimulatedEnvironment()
    var database = try SynchronousDatabase(world, stores: 3, replicas: 3)
    try database.core.close()
    database = try SynchronousDatabase(world, at: [directories[2]]) { $0.allowsMissingStores = true }
    try database.put("k", "v0")
    try database.core.close()
    database = try SynchronousDatabase(world, stores: 3, replicas: 3)
    #expect(try database.values("k") == ["v0"])
    try database.core.close()
    database = try SynchronousDatabase(world, at: Array(directories.prefix(2))) {
      $0.allowsMissingStores = true
    }
    try database.put("k", "v1", try database.context("k"), timeToLive: .seconds(1))
    #expect(try database.values("k") == ["v1"])
    world.time.advance(byNanoseconds: 1_000_000_000)
    #expect(try database.values("k") == [])
    try meanwhile(database)
    for member in database.core.presentMembers {
      try member.store.existingTree(KeyspaceCore.recordTree("posts"))?.compact()
    }
    try database.core.close()
    return try SynchronousDatabase(world, stores: 3, replicas: 3)
  }

  @Test func `what an expired value replaced does not come back`() throws {
    let database = try afterExpiry()
    #expect(try database.values("k") == [])
    #expect(try database.record("k", inStore: directories[2])?.siblings.elements.count == 1)
    #expect(try database.record("k")?.isTombstone == true)
    database.world.time.advance(byNanoseconds: 1_000_000_000)
    #expect(try database.values("k") == [])
  }

  @Test func `also where the expired value was written over and deleted`() throws {
    let database = try afterExpiry { database in
      try database.put("k", "w")
      #expect(try database.values("k") == ["w"])
      try database.delete("k")
    }
    #expect(try database.values("k") == [])
  }

  /// One store, so that no replica keeps the context in its place; whatever is written over the value.
  @Test(arguments: [0, 1, 2]) func `a write over an expired value keeps what that had replaced`(
    kind: Int
  ) throws {
    let time = SimulatedTime()
    let database = try SynchronousDatabase(SimulatedEnvironment(seed: 1, time: time))
    let other = try SynchronousDatabase(SimulatedEnvironment(seed: 2, time: time))
    try other.put("k", "v0")
    try other.send(to: database)
    try database.put("k", "v1", try database.context("k"), timeToLive: .seconds(1))
    time.advance(byNanoseconds: 2_000_000_000)
    switch kind {
    case 0: try database.put("k", "w")
    case 1: try database.delete("k")
    default: try database.put("k", "w", timeToLive: .seconds(100))
    }
    try database.exchange(with: other)
    for database in [database, other] { #expect(try database.values("k") == (kind == 1 ? [] : ["w"])) }
  }

  @Test func `a read of what has expired gives a context that says so`() throws {
    let database = try SynchronousDatabase()
    let context = try database.put("k", "v", timeToLive: .seconds(1))
    database.world.time.advance(byNanoseconds: 2_000_000_000)
    #expect(try database.values("k") == [])
    let read = try database.context("k")
    #expect(read == context)
    // So the key can be written on the condition that nobody else did.
    _ = try "k".withKeyBytes { key throws(DatabaseError) in
      try database.posts.put(key, [1], context: read, isConditional: true)
    }
  }

  @Test func `databases where it expired at another moment agree`() throws {
    let time = SimulatedTime()
    let a = try SynchronousDatabase(SimulatedEnvironment(seed: 1, time: time))
    let b = try SynchronousDatabase(SimulatedEnvironment(seed: 2, time: time))
    try a.put("k", "v", timeToLive: .seconds(1))
    try a.send(to: b)
    time.advance(byNanoseconds: 2_000_000_000)
    // Here it is dropped from the store, there it is still in it.
    try a.put("k", "beside")
    #expect(try b.values("k") == [])
    try b.exchange(with: a)
    for database in [a, b] { #expect(try database.values("k") == ["beside"]) }
    #expect(try a.record("k") == (try b.record("k")))
  }
}
