import Roost
import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

/// Several replicas among the stores of one process.
// Budget: 2 s
@Suite struct ReplicaTests {
  private func keys(_ count: Int = 20) -> [String] { (0..<count).map { "k\($0)" } }

  @Test(arguments: [2, 3]) func `a write is in all replicas`(replicas: Int) throws {
    let database = try SynchronousDatabase(stores: 3, replicas: replicas)
    for key in keys() {
      try database.put(key, "v")
      try database.increment("likes" + key)
    }
    for key in keys() + keys().map({ "likes" + $0 }) {
      let records = try Databases.directories(3).compactMap { try database.record(key, inStore: $0) }
      #expect(records.count == replicas && Set(records).count == 1)
    }
  }

  @Test(arguments: [2, 3])
  func `a store that was missing converges when its keys are read`(replicas: Int) throws {
    let world = SimulatedEnvironment()
    let directories = Databases.directories(3)
    var database = try SynchronousDatabase(world, stores: 3, replicas: replicas)
    for key in keys() { try database.put(key, "old") }
    try database.core.close()
    #expect(
      thrownCode { _ = try SynchronousDatabase(world, at: Array(directories.dropFirst())) }
        == .missingStore)
    database = try SynchronousDatabase(world, at: Array(directories.dropFirst())) {
      $0.allowsMissingStores = true
    }
    for key in keys(10) { try database.put(key, "new", try database.context(key)) }
    for key in keys().suffix(5) { try database.delete(key) }
    try database.core.close()
    database = try SynchronousDatabase(world, stores: 3, replicas: replicas)
    for (number, key) in keys().enumerated() {
      #expect(try database.values(key) == (number < 10 ? ["new"] : number < 15 ? ["old"] : []))
      database.core.finishReadRepairs()
      let records = try directories.compactMap { try database.record(key, inStore: $0) }
      #expect(records.count == replicas && Set(records).count == 1, "\(key)")
    }
  }

  @Test func `a store that was alone and others that were without it keep all their writes`() throws {
    let world = SimulatedEnvironment()
    let directories = Databases.directories(3)
    var database = try SynchronousDatabase(world, stores: 3, replicas: 3)
    try database.core.close()
    for (name, present) in [("two", Array(directories.prefix(2))), ("one", [directories[2]])] {
      database = try SynchronousDatabase(world, at: present) { $0.allowsMissingStores = true }
      for key in keys() {
        try database.put(key, name)
        try database.increment("likes" + key)
      }
      try database.core.close()
    }
    database = try SynchronousDatabase(world, stores: 3, replicas: 3)
    for key in keys() {
      #expect(try database.values(key) == ["one", "two"])
      #expect(try database.count("likes" + key) == 2)
    }
  }

  /// The first replica lacks the key, the second has it: a read shows it, and a delete deletes it.
  @Test func `a delete without context deletes what any replica has`() throws {
    let database = try SynchronousDatabase(stores: 2, replicas: 2)
    for key in keys() {
      let first = try #require(key.withKeyBytes { database.posts.member(for: $0) })
      let second = try #require(database.core.presentMembers.first { $0 !== first })
      try database.put(key, "v")
      let tree = try #require(first.store.existingTree(KeyspaceCore.recordTree("posts")))
      try tree.delete(StoredKey.make(database.partition(key), Array(key.utf8)))
      #expect(try database.record(key, inStore: second.path) != nil)
      try database.delete(key)
      for store in [first, second] {
        #expect(try database.record(key, inStore: store.path)?.isTombstone == true, "\(key)")
      }
      #expect(try database.values(key) == [])
    }
  }

  /// What a write with a context may be: of a client, or the effect of a transaction.
  enum ContextWrite: CaseIterable { case put, delete, putOfEffect, deleteOfEffect }

  private func write(
    _ kind: ContextWrite, _ key: String, _ context: CausalContext, to database: SynchronousDatabase
  ) throws {
    let posts = database.posts
    try key.withKeyBytes { bytes throws(DatabaseError) in
      switch kind {
      case .put: _ = try posts.put(bytes, Array("mine, again".utf8), context: context)
      case .delete: _ = try posts.delete(bytes, context: context)
      case .putOfEffect:
        try posts.put(bytes, Array("mine, again".utf8), context: context, marking: { _, _ in })
      case .deleteOfEffect: try posts.delete(bytes, context: context, marking: { _, _ in })
      }
    }
  }

  /// The context of a write beside siblings names that write alone. The first replica was away and has never
  /// seen it: it must hear of it before it replaces it, else it comes back from the others.
  @Test(arguments: ContextWrite.allCases)
  func `a write that its writer replaces stays gone where the first replica missed it`(
    kind: ContextWrite
  ) throws {
    let world = SimulatedEnvironment()
    let directories = Databases.directories(2)
    var database = try SynchronousDatabase(world, stores: 2, replicas: 2)
    try database.core.close()
    database = try SynchronousDatabase(world, at: [directories[1]]) { $0.allowsMissingStores = true }
    var contexts: [String: CausalContext] = [:]
    for key in keys() {
      try database.put(key, "another's")
      contexts[key] = try database.put(key, "mine")
      #expect(contexts[key]?.dot != nil)
    }
    try database.core.close()

    // Only the store that was away: it cannot tell, and must not write.
    database = try SynchronousDatabase(world, at: [directories[0]]) { $0.allowsMissingStores = true }
    for (key, context) in contexts {
      #expect(thrownCode { try write(kind, key, context, to: database) } == .unreachable)
      #expect(try database.values(key) == [])
    }
    try database.core.close()

    database = try SynchronousDatabase(world, stores: 2, replicas: 2)
    let lagging = keys().filter { key in
      key.withKeyBytes { database.posts.member(for: $0)?.path } == directories[0]
    }
    #expect(!lagging.isEmpty)
    for key in keys() {
      try write(kind, key, try #require(contexts[key]), to: database)
      let left = kind == .put || kind == .putOfEffect ? ["another's", "mine, again"] : ["another's"]
      #expect(try database.values(key) == left, "\(key)")
      let records = try directories.compactMap { try database.record(key, inStore: $0) }
      #expect(records.count == 2 && Set(records).count == 1, "\(key)")
    }
  }

  /// What a read shows can be removed, also where the first replica missed it.
  @Test func `an element is removed that the first replica has not seen`() async throws {
    let world = SimulatedEnvironment()
    let directories = Databases.directories(2)
    var database = try await Databases.open(world, stores: 2, replicas: 2)
    _ = try await database.keyspace("posts", .eventual)
    try await database.close()
    var options = Databases.options(replicas: 2)
    options.allowsMissingStores = true
    database = try await Database.open(at: [directories[1]], options, environment: world.environment)
    var posts = try await database.keyspace("posts", .eventual)
    for key in keys() {
      try await posts.set(key).insert("swift")
      try await posts.map("map" + key).set("tags").insert("swift")
    }
    try await database.close()
    database = try await Databases.open(world, stores: 2, replicas: 2)
    posts = try await database.keyspace("posts", .eventual)
    for key in keys() {
      #expect(try await posts.set(key).remove("swift") == 1, "\(key)")
      #expect(try await posts.map("map" + key).remove("tags"), "\(key)")
    }
    for key in keys() {
      #expect(try await posts.set(key).count() == 0, "\(key)")
      #expect(try await posts.map("map" + key).fields().isEmpty, "\(key)")
    }
    try await database.close()
  }

  /// As a client's write: a joined state that some replica lacks may appear, or not.
  @Test func `a join that fails at a replica leaves the outcome open`() throws {
    let world = SimulatedEnvironment()
    let database = try SynchronousDatabase(world, stores: 2, replicas: 2) { $0.store.logAccess = .calls }
    let other = try SynchronousDatabase(SimulatedEnvironment(seed: 2))
    let directories = Databases.directories(2)
    let coordinated = keys(50).filter { key in
      key.withKeyBytes { database.posts.member(for: $0)?.path } == directories[0]
    }
    let key = try #require(coordinated.first)
    try other.put(key, "theirs")
    world.fileSystem.onOperation { operation throws(FileSystemError) in
      guard operation.path.string.hasPrefix("/disk1/"), operation.changesDisk else { return }
      throw FileSystemError(.io, operation: "\(operation.kind)", path: operation.path.string)
    }
    #expect(thrownCode { try other.send(to: database) } == .indeterminate)
    world.fileSystem.onOperation(nil)
    try? database.core.close()
    let again = try SynchronousDatabase(world, stores: 2, replicas: 2)
    try other.send(to: again)
    for directory in directories {
      #expect(try again.record(key, inStore: directory)?.siblings.elements.count == 1)
    }
  }

  @Test func `a replica that fails leaves the outcome open, and the others converge`() throws {
    let world = SimulatedEnvironment()
    let directories = Databases.directories(2)
    func open() throws -> SynchronousDatabase {
      try SynchronousDatabase(world, stores: 2, replicas: 2) { $0.store.logAccess = .calls }
    }
    var database = try open()
    for key in keys() { try database.put(key, "old") }
    // The second disk fails from now on.
    world.fileSystem.onOperation { operation throws(FileSystemError) in
      guard operation.path.string.hasPrefix("/disk1/"), operation.changesDisk else { return }
      throw FileSystemError(
        .io, operation: "\(operation.kind)", path: operation.path.string, message: "the disk is gone")
    }
    var indeterminate: [String] = []
    for key in keys() {
      let coordinator = key.withKeyBytes { database.posts.member(for: $0)?.path }
      let failure = thrownCode { try database.put(key, "new", try database.context(key)) }
      if coordinator == directories[0] {
        #expect(failure == .indeterminate)
        indeterminate.append(key)
        // It is at the first replica: it may appear, and here it does.
        #expect(try database.values(key) == ["new"])
      } else {
        // Nothing was written anywhere; of the first nobody can tell, its log having failed in the middle.
        #expect(failure == .storage || failure == .indeterminate)
        #expect(try database.values(key) == ["old"])
      }
    }
    #expect(!indeterminate.isEmpty && indeterminate.count < keys().count)
    world.fileSystem.onOperation(nil)
    try? database.core.close()
    database = try open()
    for key in keys() {
      #expect(try database.values(key) == [indeterminate.contains(key) ? "new" : "old"])
      database.core.finishReadRepairs()
      let records = try directories.map { try database.record(key, inStore: $0) }
      #expect(records[0] == records[1], "\(key)")
    }
  }
}
