import Roost
import RoostSimulation
import RoostStorage
import TestSupport
import Testing

/// Databases that know nothing of each other and exchange states by hand.
// Budget: 5 s
@Suite struct ExchangeTests {
  @Test func `the likes case: a like at each of two servers, and then both say 2`() async throws {
    let b = try await Databases.open(SimulatedEnvironment(seed: 1))
    let c = try await Databases.open(SimulatedEnvironment(seed: 2))
    let postsB = try await b.keyspace("posts", .eventual)
    let postsC = try await c.keyspace("posts", .eventual)
    try await postsB.counter("likes:42").increment()
    try await postsC.counter("likes:42").increment()
    #expect(try await postsB.counter("likes:42").value() == 1)
    #expect(try await postsC.counter("likes:42").value() == 1)
    let fromB = try await b.export(postsB)
    let fromC = try await c.export(postsC)
    #expect(try await c.join(fromB) == JoinSummary(states: 1, changed: 1))
    #expect(try await b.join(fromC, .synced) == JoinSummary(states: 1, changed: 1))
    #expect(try await postsB.counter("likes:42").value() == 2)
    #expect(try await postsC.counter("likes:42").value() == 2)
    // Again: nothing new.
    #expect(try await c.join(fromB) == JoinSummary(states: 1, changed: 0))
    #expect(try await postsC.counter("likes:42").value() == 2)
  }

  @Test func `pages are bounded, complete in the end, and go on after a token`() throws {
    let a = try SynchronousDatabase(SimulatedEnvironment(seed: 1), stores: 2)
    for number in 0..<300 { try a.put("k\(number)", String(repeating: "v", count: 100)) }
    var pages: [ExportPage] = []
    repeat {
      pages.append(try a.posts.export(since: pages.last?.token, byteLimit: 4_000))
      #expect(pages.last!.bytes.count < 8_000)
    } while !pages.last!.isComplete
    #expect(pages.count > 5)
    #expect(pages.map(\.count).reduce(0, +) == 300)
    try a.put("later", "v")
    let next = try a.posts.export(since: pages.last!.token, byteLimit: 4_000)
    #expect(next.count == 1 && next.isComplete)
    // In another order, some twice.
    let b = try SynchronousDatabase(SimulatedEnvironment(seed: 2))
    for page in pages.reversed() + pages + [next] { _ = try b.core.join(ExportPage(bytes: page.bytes)) }
    for number in 0..<300 { #expect(try b.record("k\(number)") == (try a.record("k\(number)"))) }
  }

  @Test func `an export ends beside writers who are faster, and holds what was written before it`() throws {
    let a = try SynchronousDatabase(SimulatedEnvironment(seed: 1), stores: 2)
    let value = String(repeating: "v", count: 100)
    for number in 0..<100 { try a.put("k\(number)", value) }
    var exported: Set<String> = []
    var token: ChangeToken?
    var pages = 0
    var written = 0
    while true {
      let page = try ExportPage(bytes: try a.posts.export(since: token, byteLimit: 1_000).bytes)
      pages += 1
      token = page.token
      for state in page.states { exported.insert(String(decoding: state.key, as: UTF8.self)) }
      if page.isComplete { break }
      try #require(pages < 200, "the writer is never caught up with")
      // More than a page, to every partition.
      for _ in 0..<40 {
        try a.put("new\(written)", value)
        written += 1
      }
    }
    #expect(pages > 5)
    #expect(exported == Set((0..<100).map { "k\($0)" }))
    // What was written meanwhile comes with the next export, which ends where it began, too.
    #expect(token?.bound == nil)
    var next = try a.posts.export(since: token, byteLimit: 1 << 20)
    try a.put("beside", value)
    var keys = next.states.map { String(decoding: $0.key, as: UTF8.self) }
    while !next.isComplete {
      next = try a.posts.export(since: next.token, byteLimit: 1 << 20)
      keys += next.states.map { String(decoding: $0.key, as: UTF8.self) }
    }
    #expect(keys.count == written && Set(keys) == Set((0..<written).map { "new\($0)" }))
  }

  @Test func `an export goes on after a restart, and begins anew from a future that was lost`() throws {
    let world = SimulatedEnvironment(seed: 1)
    var a = try SynchronousDatabase(world)
    for number in 0..<100 { try a.put("k\(number)", "v") }
    try a.core.close()
    let older = world.fileSystem.processKillClone()
    a = try SynchronousDatabase(world)
    for number in 0..<100 { try a.put("l\(number)", "v") }
    let page = try a.posts.export(since: nil, byteLimit: 500)
    #expect(page.token.bound != nil)
    var keys = page.states.map(\.key)
    a = try a.reopened()
    try a.put("later", "v")
    var token = page.token
    while true {
      let page = try a.posts.export(since: token, byteLimit: 500)
      keys += page.states.map(\.key)
      token = page.token
      if page.isComplete { break }
    }
    #expect(keys.count == 200 && Set(keys).count == 200 && !keys.contains(Array("later".utf8)))
    // The older copy has not come as far as the bound: it has one of its own.
    let restored = try a.after(SimulatedEnvironment(seed: 9, fileSystem: older, time: world.time))
    try restored.put("after", "v")
    let told = try restored.posts.export(since: page.token, byteLimit: 1 << 20)
    #expect(told.isComplete && told.states.contains { $0.key == Array("after".utf8) })
  }

  @Test func `deletes travel, and what was written beside them stays`() throws {
    let a = try SynchronousDatabase(SimulatedEnvironment(seed: 1))
    let b = try SynchronousDatabase(SimulatedEnvironment(seed: 2))
    try a.put("gone", "v")
    try a.put("raced", "old")
    try a.exchange(with: b)
    try a.delete("gone")
    try a.delete("raced")
    try b.put("raced", "new", try b.context("raced"))
    try b.exchange(with: a)
    for database in [a, b] {
      #expect(try database.values("gone") == [])
      #expect(try database.values("raced") == ["new"])
    }
  }

  @Test func `a keyspace that is not there or has another policy is refused`() throws {
    let a = try SynchronousDatabase(SimulatedEnvironment(seed: 1))
    try a.put("k", "v")
    let page = try a.posts.export(since: nil, byteLimit: 1 << 20)
    let b = try SynchronousDatabase(SimulatedEnvironment(seed: 2), .eventual(.lastWriterWins))
    #expect(thrownCode { _ = try b.core.join(page) } == .wrongPolicy)
    #expect(try b.values("k") == [])
    let others = try a.core.keyspace("others", .eventual)
    _ = try "k".withKeyBytes { try others.put($0, [1], context: nil) }
    let other = try others.export(since: nil, byteLimit: 1 << 20)
    #expect(thrownCode { _ = try b.core.join(other) } == .unknownKeyspace)
  }

  @Test func `an export of a keyspace of another database is refused`() async throws {
    let a = try await Databases.open(SimulatedEnvironment(seed: 1))
    let b = try await Databases.open(SimulatedEnvironment(seed: 2))
    let posts = try await a.keyspace("posts", .eventual)
    #expect(await code { _ = try await b.export(posts) } == .invalidArgument)
    let theirs = try await b.keyspace("posts", .eventual)
    let token = try await a.export(posts).token
    #expect(await code { _ = try await b.export(theirs, since: token) } == .foreignContext)
  }

  @Test func `any damage to an export is found`() throws {
    let a = try SynchronousDatabase(SimulatedEnvironment(seed: 1))
    try a.put("k", "v")
    try a.increment("likes")
    let bytes = try a.posts.export(since: nil, byteLimit: 1 << 20).bytes
    for index in bytes.indices {
      var damaged = bytes
      damaged[index] ^= 0x04
      #expect(thrownCode { _ = try ExportPage(bytes: damaged) } == .damagedToken)
      #expect(thrownCode { _ = try ExportPage(bytes: Array(bytes.prefix(index))) } == .damagedToken)
    }
    // Damage under a good seal: an error, or a page that is spelled just so.
    let payload = try SealedToken.open(.export, bytes)
    try withSeeds("any damage to an export", count: TestSize.of(quick: 2_000, full: 50_000)) { _, random in
      var changed = payload
      for _ in 0...random.below(2) {
        changed[random.below(changed.count)] = UInt8(truncatingIfNeeded: random.next())
      }
      do {
        let page = try ExportPage(bytes: SealedToken.seal(.export, changed))
        try #require(try SealedToken.open(.export, page.bytes) == changed)
      } catch let error as DatabaseError {
        try #require(error.code == .damagedToken || error.code == .newerFormat)
      }
    }
  }

  @Test func `a state from too far in the future is refused, and nothing of the page is joined`() throws {
    let ahead = SimulatedTime(wallClockNanoseconds: 1_735_689_600_000_000_000 + 10_000_000_000)
    let a = try SynchronousDatabase(SimulatedEnvironment(seed: 1, time: ahead))
    let b = try SynchronousDatabase(SimulatedEnvironment(seed: 2))
    for number in 0..<20 { try a.put("k\(number)", "v") }
    let page = try a.posts.export(since: nil, byteLimit: 1 << 20)
    #expect(thrownCode { _ = try b.core.join(page) } == .clockOutOfBound)
    for number in 0..<20 { #expect(try b.record("k\(number)") == nil) }
    b.world.time.advance(byNanoseconds: 5_600_000_000)
    #expect(try b.core.join(page).changed == 20)
    // What is written after is later than what was joined, although this clock is behind.
    try b.put("k1", "w", try b.context("k1"))
    let joined = try #require(try a.record("k1")?.siblings.elements.first)
    let written = try #require(try b.record("k1")?.siblings.elements.first)
    #expect(written.timestamp > joined.timestamp)
  }

  @Test func `a join survives a power loss where it was asked to`() throws {
    let a = try SynchronousDatabase(SimulatedEnvironment(seed: 1))
    try a.put("k", "v")
    let b = try SynchronousDatabase(SimulatedEnvironment(seed: 2))
    _ = try b.core.join(try a.posts.export(since: nil, byteLimit: 1 << 20))
    for member in b.core.presentMembers { try member.store.sync() }
    let after = try b.after(b.world.crashed(.dropAll, seed: 1))
    #expect(try after.values("k") == ["v"])
  }
}
