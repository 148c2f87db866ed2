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
