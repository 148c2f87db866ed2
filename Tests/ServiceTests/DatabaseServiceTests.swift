import Logging
import Roost
import RoostService
import ServiceLifecycle
import TestSupport
import Testing

/// Databases in groups of services.
// Budget: 5 s
@Suite(.ownThreads, .timeLimit(.minutes(30))) struct DatabaseServiceTests {
  private let folder: TemporaryDirectory
  private let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

  init() throws { folder = try TemporaryDirectory() }

  private func node() async throws -> Database {
    var options = DatabaseOptions()
    options.partitionCount = 4
    return try await Database.join(
      cluster: "music", at: "\(folder.path)/node", listen: "127.0.0.1:0",
      directory: .file("\(folder.path)/directory"), tls: .plainOnLoopback, options
    ) {
      $0.foundingNodes = 1
      $0.requestTimeout = .seconds(240)
    }
  }

  private func code(_ body: () async throws -> Void) async -> DatabaseError.Code? {
    do {
      try await body()
      return nil
    } catch { return (error as? DatabaseError)?.code }
  }

  /// Says that the services of its group run.
  private struct Starter: Service {
    let started: AsyncStream<Void>.Continuation

    func run() async throws {
      started.yield()
      try await gracefulShutdown()
    }
  }

  @Test func `a node leaves when its group shuts down, and comes back`() async throws {
    let database = try await node()
    let posts = try await database.keyspace("posts", .eventual)
    let (starts, started) = AsyncStream.makeStream(of: Void.self)
    let group = ServiceGroup(
      services: [DatabaseService(database, drainTimeout: .seconds(240)), Starter(started: started)],
      logger: logger)
    let running = Task { try await group.run() }
    for await _ in starts { break }
    try await posts.put("k", "v")
    await group.triggerGracefulShutdown()
    try await running.value
    #expect(await code { _ = try await posts.get("k") } == .closed)
    let again = try await node()
    #expect(try await again.keyspace("posts").get("k").text == "v")
    try await again.close()
  }

  @Test func `a database of one process stays open until then`() async throws {
    let database = try await Database.open(at: "\(folder.path)/store")
    let posts = try await database.keyspace("posts", .eventual)
    let running = Task { try await DatabaseService(database).run() }
    try await posts.put("k", "v")
    running.cancel()
    try await running.value
    #expect(await code { _ = try await posts.get("k") } == .closed)
  }

  @Test func `one that is closed elsewhere has ended, and a timeout is checked`() async throws {
    let database = try await Database.open(at: "\(folder.path)/store")
    for timeout in [Duration.seconds(-1), .seconds(3_601)] {
      let service = DatabaseService(database, drainTimeout: timeout)
      #expect(await code { try await service.run() } == .invalidArgument)
    }
    let running = Task { try await DatabaseService(database).run() }
    try await database.close()
    try await running.value
  }
}
