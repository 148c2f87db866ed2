import Roost
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
}
