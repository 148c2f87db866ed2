import Roost
import RoostSimulation
import TestSupport
import Testing

/// Following a keyspace's changes through the public sequence.
// Budget: 3 s
@Suite struct FollowingTests {
  @Test func `without following the sequence ends where the changes do`() async throws {
    let database = try await Databases.open()
    let posts = try await database.keyspace("posts", .eventual)
    for number in 0..<600 { try await posts.put("k\(number)", "v\(number)") }
    try await posts.delete("k5")
    try await posts.set("tags").insert("swift")
    var reads: [String: Read] = [:]
    var token: ChangeToken?
    for try await change in posts.changes(following: false) {
      reads[try #require(change.keyText)] = change.read
      #expect(change.isDeleted == (change.keyText == "k5"))
      token = change.token
    }
    #expect(reads.count == 601)
    #expect(reads["k7"]?.text == "v7")
    #expect(reads["tags"]?.kinds == [.set])
    // The read's context is good for a write.
    try await posts.put("k7", "next", context: try #require(reads["k7"]).context)
    #expect(try await posts.get("k7").values.count == 1)
    var later: [String?] = []
    for try await change in posts.changes(since: token, following: false) {
      later.append(change.keyText)
    }
    #expect(later == ["k7"])
  }

  @Test func `a value that expired meanwhile is told as deleted`() async throws {
    let world = SimulatedEnvironment()
    let database = try await Databases.open(world)
    let posts = try await database.keyspace("posts", .eventual)
    try await posts.put("k", "v", timeToLive: .seconds(1))
    world.time.advance(byNanoseconds: 2_000_000_000)
    var iterator = posts.changes(following: false).makeAsyncIterator()
    let change = try #require(try await iterator.next())
    #expect(change.isDeleted && change.read?.values == [])
    #expect(try await iterator.next() == nil)
  }

  /// What is on its way in one keyspace holds up the readers of all, so they hear when it is done.
  @Test func `a follower of one keyspace is woken by writes to another`() throws {
    let database = try SynchronousDatabase()
    let other = try database.core.keyspace("other", .eventual)
    let woken = Guarded(0)
    for (follows, writes) in [(database.posts, other), (other, database.posts)] {
      follows.signal.beginFollowing()
      _ = follows.signal.wait(after: follows.signal.generation) { woken.withLock { $0 += 1 } }
      _ = try "k".withKeyBytes { key throws(DatabaseError) in
        try writes.put(key, [1], context: nil)
      }
      follows.signal.endFollowing()
    }
    #expect(woken.withLock { $0 } == 2)
  }

  @Test func `a follower is woken by changes, by a join too, and ends with the database`() async throws {
    let folder = try TemporaryDirectory()
    let database = try await Database.open(at: folder.path.string + "/a", Databases.options())
    let posts = try await database.keyspace("posts", .eventual)
    let other = try await Databases.open(
      SimulatedEnvironment(time: SimulatedTime(wallClockNanoseconds: 1_000_000_000)))
    let theirs = try await other.keyspace("posts", .eventual)
    try await theirs.put("joined", "v")
    let page = try await other.export(theirs)
    try await posts.put("first", "v")
    let (told, telling) = AsyncStream.makeStream(of: String.self)
    let follower = Task {
      for try await change in posts.changes() { telling.yield(change.keyText ?? "") }
      telling.finish()
      return true
    }
    var iterator = told.makeAsyncIterator()
    #expect(await iterator.next() == "first")
    for number in 0..<50 {
      try await posts.put("k\(number)", "v")
      #expect(await iterator.next() == "k\(number)")
    }
    try await database.join(page)
    #expect(await iterator.next() == "joined")
    try await database.close()
    #expect(await iterator.next() == nil)
    #expect(try await follower.value)
  }

  @Test func `a follower ends when its task is cancelled, before it waits and while`() async throws {
    let folder = try TemporaryDirectory()
    let database = try await Database.open(at: folder.path.string + "/a", Databases.options())
    let posts = try await database.keyspace("posts", .eventual)
    try await posts.put("k", "v")
    for round in 0..<50 {
      let (told, telling) = AsyncStream.makeStream(of: Void.self)
      let follower = Task {
        for try await _ in posts.changes() { telling.yield() }
        return true
      }
      if round % 2 == 0 {
        var iterator = told.makeAsyncIterator()
        await iterator.next()
      }
      follower.cancel()
      #expect(try await follower.value)
    }
    try await database.close()
  }

  @Test func `errors of the token come with the first change`() async throws {
    let database = try await Databases.open()
    let posts = try await database.keyspace("posts", .eventual)
    let others = try await database.keyspace("others", .eventual)
    try await others.put("k", "v")
    let token = try await database.export(others).token
    #expect(
      await code { for try await _ in posts.changes(since: token, following: false) {} }
        == .foreignContext)
    try await database.close()
    #expect(await code { for try await _ in posts.changes(following: false) {} } == .closed)
    // Who follows has the end, not an error.
    for try await _ in posts.changes() { Issue.record("nothing can be told") }
  }
}
