import Roost
import RoostSimulation
import RoostStorage
import Testing

/// A database that nobody holds any more is gone with its stores, closed or not, whatever waits for its
/// workers.
// Budget: 1 s
@Suite struct DroppedDatabaseTests {
  /// What a database was made of, held by nobody here.
  private struct Remains {
    weak var core: DatabaseCore?
    weak var shared: DatabaseShared?
    weak var keyspace: KeyspaceCore?
    weak var member: Member?
    weak var store: Store?
    weak var fileSystem: SimulatedFileSystem?

    /// The names of those that are still there.
    var left: [String] {
      let all: [(name: String, object: AnyObject?)] = [
        ("core", core), ("shared", shared), ("keyspace", keyspace), ("member", member), ("store", store),
        ("file system", fileSystem),
      ]
      return all.filter { $0.object != nil }.map(\.name)
    }
  }

  /// Writes until a store's workers, which nobody runs, have something to do that needs the clock.
  private func use(_ end: (SynchronousDatabase) throws -> Void) throws -> Remains {
    let database = try SynchronousDatabase(stores: 3, replicas: 2)
    let members = database.core.presentMembers
    func waiting() -> Int {
      members.reduce(0) { $0 + (($1.workers as? ManualWorkers)?.waitingCount(.urgent) ?? 0) }
    }
    try database.put("a", "1")
    let before = waiting()
    // Most of what the clock may issue without a word to the stores has passed.
    database.world.time.advance(byNanoseconds: 3_000_000_000)
    try database.put("b", "2")
    try #require(waiting() > before, "the clock's bound does not wait to be raised")
    let remains = Remains(
      core: database.core, shared: database.core.shared, keyspace: database.posts, member: members[0],
      store: members[0].store, fileSystem: database.world.fileSystem)
    #expect(remains.left.count == 6)
    try end(database)
    return remains
  }

  @Test func `dropped without a close`() throws {
    let remains = try use { _ in }
    #expect(remains.left == [])
  }

  @Test func `dropped after a close`() throws {
    let remains = try use { try $0.core.close() }
    #expect(remains.left == [])
  }

  /// As after each crash of a test: the next process opens what the last one left.
  @Test func `dropped, and opened again`() throws {
    var first: Remains?
    do {
      let world = SimulatedEnvironment(seed: 5)
      let database = try SynchronousDatabase(world, stores: 2)
      try database.put("k", "v")
      first = Remains(
        core: database.core, shared: database.core.shared, keyspace: database.posts,
        member: database.core.presentMembers[0], store: database.core.presentMembers[0].store,
        fileSystem: world.fileSystem)
      let next = try database.after(world.crashed(.keepAll, seed: 6))
      #expect(try next.values("k") == ["v"])
      try next.core.close()
    }
    #expect(first?.left == [])
  }
}
