import Roost
import RoostCausality
import RoostSimulation
import TestSupport
import Testing

/// Plain values and counters of an eventual keyspace, through the public calls.
// Budget: 2 s
@Suite struct KeyspaceTests {
  @Test func `what was put is read, also after closing and opening again`() async throws {
    let folder = try TemporaryDirectory()
    let directories = [folder.path.string + "/a", folder.path.string + "/b"]
    var database = try await Database.open(at: directories)
    var posts = try await database.keyspace("posts", .eventual)
    for number in 0..<100 {
      try await posts.put("k\(number)", "v\(number)", number % 10 == 0 ? .synced : nil)
    }
    try await posts.counter("likes").increment(by: 3)
    try await database.close()
    database = try await Database.open(at: directories)
    posts = try await database.keyspace("posts")
    for number in 0..<100 { #expect(try await posts.get("k\(number)").text == "v\(number)") }
    #expect(try await posts.counter("likes").value() == 3)
    try await database.close()
  }

  @Test func `a write with the context of a read replaces it, one without stands beside`() async throws {
    let folder = try TemporaryDirectory()
    let database = try await Database.open(at: folder.path.string + "/a")
    let posts = try await database.keyspace("posts", .eventual)
    try await posts.put("bio", "one")
    try await posts.put("bio", "two")
    let read = try await posts.get("bio")
    #expect(read.values.map { String(decoding: $0, as: UTF8.self) }.sorted() == ["one", "two"])
    try await posts.put("bio", "merged", context: read.context)
    #expect(try await posts.get("bio").text == "merged")
    try await posts.delete("bio")
    #expect(try await posts.get("bio").isEmpty)
    try await database.close()
  }

  @Test func `a keyspace that was opened without its function resolves once it has it`() async throws {
    let folder = try TemporaryDirectory()
    let longest = KeyspacePolicy.eventual(.resolve { $0.max { $0.count < $1.count } })
    var database = try await Database.open(at: folder.path.string + "/a")
    var posts = try await database.keyspace("posts", longest)
    try await posts.put("bio", "one")
    try await posts.put("bio", "three")
    #expect(try await posts.get("bio").text == "three")
    try await database.close()
    database = try await Database.open(at: folder.path.string + "/a")
    let plain = try await database.keyspace("posts")
    #expect(try await plain.get("bio").values.count == 2)
    posts = try await database.keyspace("posts", longest)
    #expect(try await posts.get("bio").text == "three")
    try await database.close()
  }

  @Test func `a repair brings replicas up to what was written without them`() async throws {
    let folder = try TemporaryDirectory()
    let directories = ["a", "b"].map { folder.path.string + "/" + $0 }
    var options = DatabaseOptions()
    options.replicas = 2
    var database = try await Database.open(at: directories, options)
    try await database.keyspace("posts", .eventual).put("k", "old")
    try await database.close()
    options.allowsMissingStores = true
    database = try await Database.open(at: [directories[0]], options)
    var posts = try await database.keyspace("posts")
    for number in 0..<2_000 { try await posts.put("k\(number)", "v") }
    try await database.close()
    database = try await Database.open(at: directories, options)
    #expect(try await database.repair().keys > 2_000)
    try await database.close()
    // Now the other has them too.
    database = try await Database.open(at: [directories[1]], options)
    posts = try await database.keyspace("posts")
    for number in 0..<2_000 { #expect(try await posts.get("k\(number)").text == "v") }
    try await database.close()
  }
}
