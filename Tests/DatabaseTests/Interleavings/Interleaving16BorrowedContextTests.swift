import Roost
import RoostSimulation
import TestSupport
import Testing

/// The context of one key, used on another, would erase there what nobody saw. Contexts are bound to
/// database, keyspace and key; one that names writes which this incarnation has not made is refused.
// Budget: 1 s
@Suite struct Interleaving16BorrowedContextTests {
  @Test func `a context of another key, keyspace or database is refused, and erases nothing`() async throws {
    let database = try await Databases.open(SimulatedEnvironment(seed: 1))
    let posts = try await database.keyspace("posts", .eventual)
    let others = try await database.keyspace("others", .eventual)
    let elsewhere = try await Databases.open(SimulatedEnvironment(seed: 2))
    let theirs = try await elsewhere.keyspace("posts", .eventual)
    for keyspace in [posts, others, theirs] { try await keyspace.put("k2", "unseen") }
    for _ in 0..<5 { try await posts.put("k1", "v") }
    let borrowed = try await posts.get("k1").context
    for keyspace in [posts, others, theirs] {
      #expect(await code { try await keyspace.put("k2", "w", context: borrowed) } == .foreignContext)
      #expect(await code { try await keyspace.delete("k2", context: borrowed) } == .foreignContext)
      #expect(
        await code { try await keyspace.put("k2", "w", ifUnchangedSince: borrowed) }
          == .foreignContext)
      #expect(try await keyspace.get("k2").text == "unseen")
    }
    // The same key elsewhere: its dots mean nothing there.
    #expect(await code { try await others.put("k1", "w", context: borrowed) } == .foreignContext)
    #expect(await code { try await theirs.put("k1", "w", context: borrowed) } == .foreignContext)
    try await posts.put("k1", "w", context: borrowed)
    #expect(try await posts.get("k1").text == "w")
  }

  @Test func `a context that names writes not made here is refused`() throws {
    let world = SimulatedEnvironment()
    var database = try SynchronousDatabase(world)
    try database.put("k", "old")
    try database.core.close()
    let image = world.fileSystem.processKillClone()
    database = try SynchronousDatabase(world)
    try database.put("k", "lost")
    let context = try database.context("k")
    // The disk goes back, inode and all: to the store nothing has happened.
    let restored = try SynchronousDatabase(
      SimulatedEnvironment(seed: 3, fileSystem: image, time: world.time))
    #expect(restored.core.presentMembers[0].replica == database.core.presentMembers[0].replica)
    #expect(thrownCode { try restored.put("k", "new", context) } == .foreignContext)
    #expect(thrownCode { try restored.delete("k", context) } == .foreignContext)
    #expect(try restored.values("k") == ["old"])
  }
}
