import Roost
import RoostSimulation
import Testing

/// Sessions in one process: reads show what the session wrote and read, or fail.
// Budget: 2 s
@Suite struct SessionTests {
  /// Opens some of a database's two stores, each of which is a replica of every key.
  private func open(_ world: SimulatedEnvironment, _ stores: [Int] = [0, 1]) async throws -> Database {
    let directories = Databases.directories(2)
    let options = Databases.options(replicas: 2) { $0.allowsMissingStores = true }
    return try await Database.open(
      at: stores.map { directories[$0] }, options, environment: world.environment)
  }

  @Test func `what only a store has that is not open is missed`() async throws {
    let world = SimulatedEnvironment()
    var database = try await open(world)
    var posts = try await database.keyspace("posts", .eventual)
    try await posts.put("n", "old")
    try await database.close()

    database = try await open(world, [1])
    let session = try database.session()
    posts = try await database.keyspace("posts").within(session)
    try await posts.put("n", "new", context: try await posts.get("n").context)
    try await posts.counter("c").increment(by: 2)
    try await posts.set("s").insert("e")
    try await posts.map("m").counter("f").increment()
    let token = session.token
    try await database.close()

    database = try await open(world, [0])
    posts = try await database.keyspace("posts")
    #expect(try await posts.get("n").text == "old", "what is shown without a session")
    #expect(try await posts.counter("c").value() == 0)
    posts = posts.within(try database.session(resuming: token))
    let held = posts
    let error = await databaseError { _ = try await held.get("n") }
    #expect(error?.code == .behindSession && error?.message.contains("open stores") == true)
    let operations: [@Sendable () async throws -> Void] = [
      { _ = try await held.multiGet(["n"]) },
      { try await held.put("n", "newer") },
      { try await held.delete("n") },
      { _ = try await held.counter("c").value() },
      { try await held.counter("c").increment() },
      { try await held.set("s").remove("e") },
      { _ = try await held.map("m").counter("f").value() },
    ]
    for operation in operations { await #expect(code(operation) == .behindSession) }
    // Other keys are as always.
    try await posts.put("other", "v")
    #expect(try await posts.get("other").text == "v")
    try await database.close()

    database = try await open(world)
    posts = try await database.keyspace("posts").within(try database.session(resuming: token))
    #expect(try await posts.get("n").text == "new")
    #expect(try await posts.counter("c").value() == 2)
    #expect(try await posts.set("s").contains("e"))
    try await database.close()
  }

  @Test func `a session that has forgotten keys wants all stores`() async throws {
    let world = SimulatedEnvironment()
    var database = try await open(world)
    let session = try database.session(capacity: 1)
    var posts = try await database.keyspace("posts", .eventual).within(session)
    #expect(!session.hasForgotten)
    for key in ["a", "b"] { try await posts.put(key, "v") }
    #expect(session.hasForgotten)
    #expect(try await posts.get("a").text == "v")
    let token = session.token
    try await database.close()
    database = try await open(world, [0])
    posts = try await database.keyspace("posts").within(try database.session(resuming: token))
    let held = posts
    await #expect(code { _ = try await held.get("b") } == .unreachable)
    await #expect(code { try await held.put("b", "w") } == .unreachable)
    #expect(try await posts.get("a").text == "v", "it was used last")
    try await database.close()
  }

  @Test func `within a session everything works as without`() async throws {
    let database = try await Databases.open()
    let posts = try await database.keyspace("posts", .eventual).within(try database.session())
    let first = try await posts.put("k", "1")
    try await posts.put("k", "2", ifUnchangedSince: first)
    await #expect(code { try await posts.put("k", "3", ifUnchangedSince: first) } == .conditionFailed)
    #expect(try await posts.multiGet(["k", "none"]).map(\.text) == ["2", nil])
    try await posts.put("k", "beside")
    #expect(try await posts.get("k").values.count == 2)
    try await posts.delete("k", .synced)
    #expect(try await posts.get("k").isEmpty)
    try await posts.put("brief", "v", timeToLive: .seconds(1))
    let likes = posts.counter("likes")
    try await likes.increment(operation: database.newOperation())
    #expect(try await likes.value() == 1)
    // A transactional keyspace has no need of it.
    let accounts = try await database.keyspace("accounts", .transactional).within(try database.session())
    try await accounts.put("a", "1")
    #expect(try await accounts.get("a").text == "1")
    try await database.close()
  }

  @Test func `sessions of another database, and damaged ones, are refused`() async throws {
    let database = try await Databases.open()
    let other = try await Databases.open(SimulatedEnvironment(seed: 2))
    let session = try other.session()
    let posts = try await database.keyspace("posts", .eventual).within(session)
    await #expect(code { _ = try await posts.get("k") } == .foreignToken)
    await #expect(code { try await posts.put("k", "v") } == .foreignToken)
    #expect(try await database.keyspace("posts").get("k").isEmpty)
    await #expect(code { _ = try database.session(resuming: session.token) } == .foreignToken)
    await #expect(code { _ = try database.session(resuming: session.token + [0]) } == .damagedToken)
    await #expect(code { _ = try database.session(resuming: []) } == .damagedToken)
    await #expect(code { _ = try database.session(capacity: 0) } == .invalidOption)
    try await database.close()
    try await other.close()
  }
}
