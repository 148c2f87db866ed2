import Roost
import RoostSimulation
import SystemPackage
import TestSupport
import Testing

@testable import RoostCluster

/// Which directories make a database, and what is said where they do not.
// Budget: 5 s
@Suite struct OpeningTests {
  private let world = SimulatedEnvironment()
  private let directories = Databases.directories(3)

  private func open(
    _ directories: [String], in world: SimulatedEnvironment? = nil,
    _ change: (inout DatabaseOptions) -> Void = { _ in }
  ) async throws -> Database {
    try await Database.open(
      at: directories, Databases.options(partitions: 16, change),
      environment: (world ?? self.world).environment)
  }

  /// A database on three stores, closed, with 60 keys.
  private func fill(replicas: Int = 1) async throws {
    let database = try await open(directories) { $0.replicas = replicas }
    let posts = try await database.keyspace("posts", .eventual)
    for number in 0..<60 { try await posts.put("k\(number)", "v\(number)") }
    try await database.close()
  }

  private func checkAll(_ database: Database) async throws {
    let posts = try await database.keyspace("posts")
    for number in 0..<60 { #expect(try await posts.get("k\(number)").text == "v\(number)") }
  }

  @Test func `the order of the directories, and slashes at their ends, do not matter`() async throws {
    try await fill()
    let database = try await open(["/disk2/db/", "/disk0/db", "/disk1/db//"])
    try await checkAll(database)
    try await database.close()
  }

  // MARK: - Stores that are missing

  @Test func `a store that was left out is named, with what is out of reach`() async throws {
    try await fill()
    let whole = try await open(directories)
    let ring = whole.core.ringState.ring
    try await whole.close()
    let lost = ring.members.first { $0.id == whole.core.presentMembers[2].id }!
    let partitions = (0..<16).filter { ring.replicas(of: $0) == [lost.id] }
    let error = await databaseError { _ = try await open(["/disk0/db", "/disk1/db"]) }
    #expect(error?.code == .missingStore)
    let message = try #require(error?.message)
    #expect(message.contains("/disk2/db missing"))
    #expect(message.contains("\(partitions.count) of 16 partitions"))
    #expect(message.contains("(\(PartitionList.text(partitions)))"))
    // Given, but not there: a disk that is not mounted. Nothing is made in its place.
    try empty("/disk2/db")
    let unmounted = await databaseError { _ = try await open(directories) }
    #expect(unmounted?.message == message)
    #expect(try world.fileSystem.entries(of: "/disk2/db") == [])
  }

  @Test(arguments: [true, false])
  func `with stores missing, the others' keys are in reach`(named: Bool) async throws {
    try await fill()
    try empty("/disk2/db")
    let database = try await open(named ? directories : ["/disk1/db", "/disk0/db"]) {
      $0.allowsMissingStores = true
    }
    let posts = try await database.keyspace("posts")
    var unreachable = 0
    for number in 0..<60 {
      do {
        #expect(try await posts.get("k\(number)").text == "v\(number)")
        try await posts.put("k\(number)", "new", context: try await posts.get("k\(number)").context)
      } catch let error as DatabaseError {
        #expect(error.code == .unreachable)
        #expect(await code { try await posts.put("k\(number)", "new") } == .unreachable)
        #expect(await code { try await posts.delete("k\(number)") } == .unreachable)
        #expect(await code { try await posts.counter("k\(number)").increment() } == .unreachable)
        unreachable += 1
      }
    }
    #expect(unreachable > 5 && unreachable < 40)
    try await database.close()
  }

  @Test func `replicas stand in for a missing store, which catches up by reads`() async throws {
    try await fill(replicas: 2)
    let error = await databaseError { _ = try await open(["/disk0/db", "/disk2/db"]) }
    #expect(error?.code == .missingStore)
    #expect(error?.message.contains("No partition would be out of reach") == true)
    #expect(error?.message.contains("more have fewer replicas") == true)
    var database = try await open(["/disk0/db", "/disk2/db"]) { $0.allowsMissingStores = true }
    try await checkAll(database)
    var posts = try await database.keyspace("posts")
    for number in 0..<60 {
      try await posts.put("k\(number)", "new", context: try await posts.get("k\(number)").context)
    }
    try await database.close()
    database = try await open(directories)
    posts = try await database.keyspace("posts")
    for number in 0..<60 { #expect(try await posts.get("k\(number)").text == "new") }
    try await database.close()
    // The repaired replica alone has it too.
    database = try await open(["/disk1/db"]) { $0.allowsMissingStores = true }
    posts = try await database.keyspace("posts")
    for number in 0..<60 {
      do { #expect(try await posts.get("k\(number)").text == "new") } catch let error as DatabaseError {
        #expect(error.code == .unreachable)
      }
    }
  }

  /// The schema changed while a store was away.
  /// Two halves that each made keyspaces would have two schemas of one revision.
  @Test func `no keyspace is made while stores are missing`() async throws {
    try await fill(replicas: 2)
    var database = try await open(["/disk0/db", "/disk1/db"]) { $0.allowsMissingStores = true }
    #expect(await code { _ = try await database.keyspace("songs", .eventual) } == .missingStore)
    #expect(database.keyspaceNames == ["posts"])
    try await database.close()
    database = try await open(directories)
    #expect(database.keyspaceNames == ["posts"])
    _ = try await database.keyspace("songs", .eventual(.lastWriterWins))
    try await database.close()
    database = try await open(["/disk2/db"]) { $0.allowsMissingStores = true }
    #expect(database.keyspaceNames == ["posts", "songs"])
    #expect(await code { _ = try await database.keyspace("songs", .eventual) } == .wrongPolicy)
  }

  @Test func `a database may be given other places`() async throws {
    try await fill()
    let fileSystem = world.fileSystem
    try fileSystem.createDirectory("/moved")
    try fileSystem.rename("/disk1/db", to: "/moved/there")
    let places = ["/disk0/db", "/moved/there", "/disk2/db"]
    let database = try await open(places)
    try await checkAll(database)
    try await database.close()
    let error = await databaseError { _ = try await open(["/disk0/db", "/disk2/db"]) }
    #expect(error?.message.contains("/moved/there missing") == true)
  }

  // MARK: - Directories that do not belong

  @Test func `two copies of one store`() async throws {
    try await fill()
    try copy("/disk1/db", to: "/copy/db")
    let error = await databaseError { _ = try await open(directories + ["/copy/db"]) }
    #expect(error?.code == .foreignStore)
    #expect(error?.message == "/copy/db and /disk1/db are copies of one store")
    // Either by itself will do, as another incarnation.
    let database = try await open(["/disk0/db", "/copy/db", "/disk2/db"])
    try await checkAll(database)
    try await database.close()
  }

  @Test func `stores of two databases`() async throws {
    try await fill()
    _ = try await open(["/other/db"]).close()
    let error = await databaseError { _ = try await open(directories + ["/other/db"]) }
    #expect(error?.code == .foreignStore)
    #expect(error?.message.contains("/other/db belongs to the database") == true)
    let database = try await open(directories)
    try await checkAll(database)
    try await database.close()
    #expect(try await open(["/other/db"]).keyspaceNames == [])
  }

  @Test func `a plain store is no member`() async throws {
    let store = try Store.open(
      at: "/plain", Databases.options().store, environment: world.environment)
    try store.tree("users").put("u:1", "Ada")
    try store.close()
    for directories in [["/plain"], ["/disk9/db", "/plain"]] {
      let error = await databaseError { _ = try await open(directories) }
      #expect(error?.code == .foreignStore)
      #expect(error?.message.contains("`users`") == true)
    }
    try await fill()
    #expect(await code { _ = try await open(directories + ["/plain"]) } == .foreignStore)
    let again = try Store.open(
      at: "/plain", Databases.options().store, environment: world.environment)
    #expect(again.treeNames == ["users"])
    try again.close()
  }

  @Test func `a directory of something else`() async throws {
    try world.fileSystem.createDirectory("/home")
    try world.fileSystem.open("/home/letter.txt", .createNew).close()
    let error = await databaseError { _ = try await open(["/home"]) }
    #expect(error?.code == .storage)
    #expect(error?.cause?.code == .notAStore)
    #expect(try world.fileSystem.entries(of: "/home") == ["letter.txt"])
  }

  @Test func `one directory too many`() async throws {
    try await fill()
    try world.fileSystem.createDirectory("/extra")
    for extra in ["/extra", "/missing"] {
      let error = await databaseError { _ = try await open(directories + [extra]) }
      #expect(error?.code == .notAMember)
      #expect(error?.message.contains(extra) == true)
    }
    // Nothing was made there.
    #expect(try world.fileSystem.entries(of: "/extra") == [])
    #expect(try world.fileSystem.info(of: "/missing") == nil)
    try await checkAll(try await open(directories))
  }

  @Test func `what must exist, and what must not`() async throws {
    let missing = await databaseError { _ = try await open(directories) { $0.creation = .mustExist } }
    #expect(missing?.code == .storage)
    #expect(missing?.cause?.code == .notFound)
    #expect(try world.fileSystem.info(of: "/disk0/db") == nil)
    var database = try await open(directories) { $0.creation = .mustNotExist }
    try await database.close()
    for paths in [directories, ["/new0", "/disk1/db"]] {
      let error = await databaseError { _ = try await open(paths) { $0.creation = .mustNotExist } }
      #expect(error?.cause?.code == .alreadyExists)
      #expect(error?.message.contains("must be empty") == true)
    }
    #expect(try world.fileSystem.info(of: "/new0") == nil)
    database = try await open(directories) { $0.creation = .mustExist }
    try await database.close()
    // A store without a database in it.
    let store = try Store.open(
      at: "/bare", Databases.options().store, environment: world.environment)
    try store.close()
    #expect(await code { _ = try await open(["/bare"]) { $0.creation = .mustExist } } == .notAMember)
    try await open(["/bare"]).close()
  }

  @Test func `a database that is open already`() async throws {
    let database = try await open(directories)
    let error = await databaseError { _ = try await open(directories) }
    #expect(error?.cause?.code == .locked)
    #expect(error?.message.contains("/disk0/db") == true)
    try await database.close()
    try await open(directories).close()
  }

  private func empty(_ directory: FilePath) throws {
    for name in try world.fileSystem.entries(of: directory) {
      try world.fileSystem.remove(directory.appending(name))
    }
  }

  /// Copies a directory's files.
  private func copy(_ from: FilePath, to: FilePath) throws {
    let fileSystem = world.fileSystem
    try fileSystem.createDirectory(to)
    for name in try fileSystem.entries(of: from) {
      try fileSystem.writeWhole(
        to.appending(name), fileSystem.readWhole(from.appending(name)), synced: true)
    }
  }
}
