import Roost
import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

/// After closing every call says so, and none waits: also those that were under way.
// Budget: 20 s
@Suite struct ClosedTests {
  @Test(arguments: [1, 3])
  func `every call on a closed database throws`(stores: Int) async throws {
    let database = try await Databases.open(stores: stores, replicas: stores)
    let posts = try await database.keyspace("posts", .eventual)
    try await posts.put("k", "v")
    let context = try await posts.get("k").context
    try await database.close()
    try await database.close()
    let calls: [(String, () async throws -> Void)] = [
      ("keyspace", { _ = try await database.keyspace("posts", .eventual) }),
      ("keyspace of that name", { _ = try await database.keyspace("posts") }),
      ("new keyspace", { _ = try await database.keyspace("other", .eventual) }),
      ("get", { _ = try await posts.get("k") }),
      ("get as", { _ = try await posts.get("k", as: Int.self) }),
      ("multiGet", { _ = try await posts.multiGet(["k", "l"]) }),
      ("put", { try await posts.put("k", "v") }),
      ("put synced", { try await posts.put("k", "v", .synced) }),
      ("put value", { try await posts.put("k", value: 1) }),
      ("conditional put", { try await posts.put("k", "v", ifUnchangedSince: context) }),
      ("delete", { try await posts.delete("k") }),
      ("conditional delete", { try await posts.delete("k", ifUnchangedSince: context) }),
      ("counter", { _ = try await posts.counter("k").value() }),
      ("increment", { try await posts.counter("c").increment(.synced) }),
      ("grow-only counter", { try await posts.growOnlyCounter("g").increment() }),
      ("set", { try await posts.set("s").insert("x") }),
      ("elements", { _ = try await posts.set("s").elements() }),
      ("remove", { try await posts.set("s").remove("x") }),
      ("flag", { try await posts.flag("f").enable() }),
      ("isEnabled", { _ = try await posts.flag("f").isEnabled() }),
      ("register", { try await posts.register("r").assign("x") }),
      ("register value", { _ = try await posts.register("r").value() }),
      ("map", { try await posts.map("m").counter("x").increment() }),
      ("fields", { _ = try await posts.map("m").fields() }),
      ("remove field", { try await posts.map("m").remove("x") }),
    ]
    for (name, call) in calls { #expect(await code(call) == .closed, "\(name)") }
  }

  /// On real threads: calls of every sort run while the database is closed. Each returns, with a
  /// result or `.closed`; what was acknowledged is there afterwards.
  @Test(arguments: [1, 3])
  func `closing while calls are under way`(stores: Int) async throws {
    for round in 0..<TestSize.of(quick: 4, full: 20) {
      let folder = try TemporaryDirectory()
      let directories = (0..<stores).map { folder.path.string + "/\($0)" }
      let options = Databases.options(replicas: stores)
      let database = try await Database.open(at: directories, options)
      let posts = try await database.keyspace("posts", .eventual)
      let acknowledged = try await withThrowingTaskGroup(of: [String].self) { group in
        for task in 0..<8 {
          group.addTask {
            var keys: [String] = []
            do {
              for number in 0... {
                let key = "\(task)/\(number)"
                try await posts.put(key, "v", task % 2 == 0 ? .synced : .applied)
                keys.append(key)
                _ = try await posts.get(key)
                _ = try await database.keyspace("posts")
                try await posts.counter("c\(task % 3)").increment()
              }
            } catch let error as DatabaseError {
              // `.indeterminate`: it was applied, and closing came before its sync.
              #expect([.closed, .indeterminate].contains(error.code), "\(error)")
            }
            return keys
          }
        }
        group.addTask {
          for _ in 0..<(round * 40) { await Task.yield() }
          // Twice at once: the second waits for nothing.
          async let second: Void = database.close()
          try await database.close()
          try await second
          return []
        }
        return try await group.reduce(into: [String]()) { $0 += $1 }
      }
      let after = try await Database.open(at: directories, options)
      let found = try await after.keyspace("posts")
      for key in acknowledged { #expect(try await found.get(key).text == "v", "\(key)") }
      try await after.close()
    }
  }

  /// On real threads: what reads and repairs whole keyspaces ends, too, when the database is closed.
  @Test func `closing while repairs, queries, scans, exports and followers are under way`() async throws {
    for round in 0..<TestSize.of(quick: 3, full: 15) {
      let folder = try TemporaryDirectory()
      let directories = (0..<2).map { folder.path.string + "/\($0)" }
      let database = try await Database.open(at: directories, Databases.options(replicas: 2))
      let index = Index("first") { _, value in value.isEmpty ? [] : [[value[0]]] }
      let posts = try await database.keyspace("posts", .eventual, indexes: [index])
      for number in 0..<300 { try await posts.put("k\(number)", "v\(number)") }
      let page = try await database.export(posts)
      let hasFollowed = SharedFlag()
      let calls: [@Sendable () async throws -> Void] = [
        { try await database.repair() },
        { _ = try await posts.query("first", equals: "v") },
        { for try await _ in posts.scan() {} },
        { _ = try await posts.scanPage(limit: 50) },
        { _ = try await database.export(posts) },
        { _ = try await database.join(page) },
        { for try await _ in posts.changes(following: false) {} },
      ]
      try await withThrowingTaskGroup(of: Void.self) { group in
        for call in calls {
          group.addTask {
            do { while true { try await call() } } catch let error as DatabaseError {
              // `.indeterminate`: a join was applied, and closing came before its sync.
              #expect([.closed, .indeterminate].contains(error.code), "\(error)")
            }
          }
        }
        group.addTask {
          // Ends without an error.
          for try await _ in posts.changes() { hasFollowed.set() }
        }
        while !hasFollowed.isSet { await Task.yield() }
        for _ in 0..<(round * 400) { await Task.yield() }
        try await database.close()
        try await group.waitForAll()
      }
    }
  }

  /// What takes long runs neither on the thread where syncs wait nor, where it has no end in sight, on
  /// any of a store's.
  @Test func `syncs wait neither for queries nor for a repair`() async throws {
    let world = SimulatedEnvironment()
    let lanes = Lanes()
    var environment = world.environment
    let make = environment.makeWorkers
    environment.makeWorkers = { RecordedWorkers(make(), lanes) }
    let database = try await Database.open(
      at: Databases.directories(2), Databases.options(replicas: 2), environment: environment)
    let index = Index("first") { _, value in value.isEmpty ? [] : [[value[0]]] }
    let posts = try await database.keyspace("posts", .eventual, indexes: [index])
    let page = try await database.export(posts)
    let stores = database.core.presentMembers.compactMap { $0.workers as? RecordedWorkers }
    #expect(stores.count == 2)
    func used(_ body: () async throws -> Void) async throws -> Set<WorkLane> {
      lanes.forget()
      try await body()
      return lanes.used(by: stores)
    }
    #expect(try await used { try await database.repair() } == [])
    #expect(try await used { _ = try await posts.query("first", equals: "v") } == [.background])
    #expect(try await used { _ = try await database.join(page) } == [.background])
    #expect(try await used { for try await _ in posts.changes(following: false) {} } == [.background])
    #expect(try await used { try await posts.put("k", "v", .synced) }.contains(.urgent))
    try await database.close()
  }
}

/// Which lanes of which workers got jobs.
private final class Lanes: Sendable {
  private let jobs = Guarded<[(ObjectIdentifier, WorkLane)]>([])

  func note(_ workers: RecordedWorkers, _ lane: WorkLane) {
    jobs.withLock { $0.append((ObjectIdentifier(workers), lane)) }
  }
  func forget() { jobs.withLock { $0 = [] } }
  func used(by workers: [RecordedWorkers]) -> Set<WorkLane> {
    let ids = workers.map { ObjectIdentifier($0) }
    return jobs.withLock { jobs in Set(jobs.filter { ids.contains($0.0) }.map(\.1)) }
  }
}

private final class RecordedWorkers: Workers {
  private let workers: any Workers
  private let lanes: Lanes

  init(_ workers: any Workers, _ lanes: Lanes) {
    self.workers = workers
    self.lanes = lanes
  }

  func submit(_ lane: WorkLane, _ job: @escaping @Sendable () -> Void) {
    lanes.note(self, lane)
    workers.submit(lane, job)
  }
  func runOneHere() -> Bool { workers.runOneHere() }
  func shutdown() { workers.shutdown() }
}
