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
}
