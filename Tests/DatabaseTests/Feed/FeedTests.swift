import Roost
import RoostSimulation
import TestSupport
import Testing

/// The change feed, read page by page through the synchronous core.
// Budget: 5 s
@Suite struct FeedTests {
  @Test func `every key that changed is told once, with what it holds now`() throws {
    let database = try SynchronousDatabase(stores: 2)
    for number in 0..<50 { try database.put("k\(number)", "v\(number)") }
    for _ in 0..<3 { try database.increment("likes") }
    try database.put("k7", "later", try database.context("k7"))
    try database.delete("k8")
    let (changes, token) = try database.changes()
    #expect(Set(changes.compactMap(\.key)) == Set((0..<50).map { "k\($0)" } + ["likes"]))
    #expect(changes.count == 51)
    for change in changes {
      let key = try #require(change.key)
      #expect(change.record == (try database.record(key)))
    }
    #expect(changes.first { $0.key == "k8" }?.record?.isTombstone == true)
    #expect(changes.first { $0.key == "likes" }?.record?.states.map(\.kind) == [.counter])
    #expect(try database.changes(since: token).changes.isEmpty)
    try database.put("k9", "beside")
    let (later, _) = try database.changes(since: token)
    #expect(later.map(\.key) == ["k9"])
    #expect(later.first?.record?.siblings.count == 2)
  }

  /// What a write replaces goes from the feed by the write's own batch, whichever way the write takes, at
  /// once or with the next flush: else a feed grows with every write.
  @Test(arguments: [1, 2]) func `a key has one entry, however often and by whatever it is written`(
    replicas: Int
  ) throws {
    let database = try SynchronousDatabase(stores: replicas, replicas: replicas)
    let other = try SynchronousDatabase(SimulatedEnvironment(seed: 2))
    for round in 0..<4 {
      try database.put("replaced", "\(round)", try database.context("replaced"))
      try database.put("beside", "\(round)")
      try database.put("expires", "\(round)", timeToLive: .milliseconds(1))
      database.world.time.advance(byNanoseconds: 5_000_000)
      try database.put("deleted", "\(round)")
      try database.delete("deleted")
      try database.increment("counted")
      try "effect".withKeyBytes { key throws(DatabaseError) in
        try database.posts.increment(key, by: 1) { _, _ in }
      }
      try other.put("joined", "\(round)", try other.context("joined"))
      try other.send(to: database)
    }
    let keys: Set<String> = ["replaced", "beside", "expires", "deleted", "counted", "effect", "joined"]
    for member in database.core.presentMembers {
      let tree = try #require(member.store.existingTree(KeyspaceCore.changeTree("posts")))
      try tree.flush()
      var found: [String] = []
      var cursor = try tree.cursor()
      while try cursor.next() { found.append(String(decoding: cursor.valueBytes, as: UTF8.self)) }
      #expect(Set(found) == keys && found.count == keys.count, "\(found.sorted())")
    }
  }

  /// Entries that were replaced are in the feed until they are flushed: readers pass them over.
  @Test func `a key that was put ten thousand times is told once`() throws {
    let database = try SynchronousDatabase(partitions: 4, .eventual(.lastWriterWins))
    try database.put("quiet", "value")
    for number in 0..<10_000 { try database.put("hot", "\(number)") }
    let limit = ChangePageLimit(work: 1_000)
    let (changes, token) = try database.changes(limit: limit)
    #expect(changes.compactMap(\.key).sorted() == ["hot", "quiet"])
    #expect(changes.first { $0.key == "hot" }?.record == (try database.record("hot")))
    #expect(try database.changes(since: token, limit: limit).changes.isEmpty)
    try database.put("hot", "again")
    #expect(try database.changes(since: token, limit: limit).changes.map(\.key) == ["hot"])
    let member = try #require(database.core.presentMembers.first)
    let tree = try #require(member.store.existingTree(KeyspaceCore.changeTree("posts")))
    try tree.flush()
    try tree.compact()
    #expect(tree.store.statistics.trees.first { $0.name == tree.name }?.entries == 2)
    #expect(try database.changes().changes.compactMap(\.key).sorted() == ["hot", "quiet"])
  }

  @Test func `a page is bounded and a busy partition leaves room for the others`() throws {
    let database = try SynchronousDatabase()
    for number in 0..<500 { try database.put("{busy}\(number)", "v") }
    let busy = database.partition("{busy}")
    let quiet = (0..<200).map { "quiet\($0)" }.first { database.partition($0) != busy }
    try database.put(try #require(quiet), "v")
    let limit = ChangePageLimit(changes: 64)
    var page = try database.posts.changes(since: nil, limit: limit)
    #expect(page.changes.count <= 64)
    #expect(page.changes.contains { $0.key == quiet })
    #expect(!page.isAtEnd)
    var keys = page.changes.compactMap(\.key)
    while !page.isAtEnd {
      page = try database.posts.changes(since: page.token, limit: limit)
      #expect(page.changes.count <= 64)
      keys += page.changes.compactMap(\.key)
    }
    #expect(keys.count == 501 && Set(keys).count == 501)
    let small = try database.posts.changes(
      since: nil, limit: ChangePageLimit(changes: 100, bytes: 200))
    #expect(small.changes.count < 10 && !small.changes.isEmpty)
  }

  @Test func `partitions have their turns also where each page is read with the last token`() throws {
    let database = try SynchronousDatabase()
    for number in 0..<200 { try database.put("k\(number)", "v") }
    var token: ChangeToken?
    var partitions: [Int] = []
    for _ in 0..<8 {
      let page = try database.posts.changes(since: token, limit: ChangePageLimit(changes: 1))
      let change = try #require(page.changes.first)
      partitions.append(database.partition(try #require(change.key)))
      token = change.token
    }
    #expect(Set(partitions) == Set(0..<8))
  }

  @Test func `a page does not pass a change that is on its way`() throws {
    let database = try SynchronousDatabase(stores: 2, partitions: 64)
    let start = try database.changes().token
    var inside: [String?] = []
    var token = start
    try "slow".withKeyBytes { key throws(DatabaseError) in
      try database.posts.update(key) { record, stamp throws(DatabaseError) in
        // The number is taken, the record is not written. Others write and are done.
        for number in 0..<40 where !sharesStripe("slow", "fast\(number)") {
          try "fast\(number)".withKeyBytes { other throws(DatabaseError) in
            _ = try database.posts.put(other, [1], context: nil)
          }
        }
        let page = try database.posts.changes(since: start)
        inside = page.changes.map(\.key)
        token = page.token
        try causally { () throws(CausalityError) in
          try record.put([2], replacing: VersionVector(), dot: stamp.dot, timestamp: stamp.timestamp)
        }
        return (true, ())
      }
    }
    #expect(inside.isEmpty)
    let after = try database.changes(since: token).changes.compactMap(\.key)
    #expect(after.contains("slow"))
    #expect(after.contains { $0.hasPrefix("fast") })
  }

  private func sharesStripe(_ a: String, _ b: String) -> Bool {
    a.withKeyBytes(Placement.hash) & 0xFF == b.withKeyBytes(Placement.hash) & 0xFF
  }

  @Test func `tokens are good after a restart, a kill and a power loss`() throws {
    var database = try SynchronousDatabase(stores: 2)
    for number in 0..<30 { try database.put("a\(number)", "v") }
    var token = try database.changes().token
    try database.put("clean", "v")
    database = try database.reopened()
    var (changes, next) = try database.changes(since: token)
    #expect(changes.map(\.key) == ["clean"])
    token = next
    try database.put("killed", "v")
    let killed = SimulatedEnvironment(
      seed: 7, fileSystem: database.world.fileSystem.processKillClone(), time: database.world.time)
    database = try database.after(killed)
    (changes, next) = try database.changes(since: token)
    #expect(changes.map(\.key) == ["killed"])
    // Applied writes are told, then lost. What comes later must not fall behind the token: the
    // clock stands still here, and only what the stores know of it keeps it from going back.
    for number in 0..<30 { try database.put("lost\(number)", "v") }
    (changes, token) = try database.changes(since: next)
    #expect(changes.count == 30)
    database = try database.after(database.world.crashed(.dropAll, seed: 3))
    #expect(try database.values("lost3").isEmpty)
    for number in 0..<30 { try database.put("later\(number)", "v") }
    (changes, _) = try database.changes(since: token)
    #expect(Set(changes.compactMap(\.key)).isSuperset(of: (0..<30).map { "later\($0)" }))
    #expect(!changes.contains { $0.resyncedPartition != nil })
  }

  @Test func `a token from a future that the stores have lost begins anew`() throws {
    let world = SimulatedEnvironment()
    var database = try SynchronousDatabase(world)
    for number in 0..<10 { try database.put("a\(number)", "v") }
    try database.core.close()
    let older = world.fileSystem.processKillClone()
    database = try SynchronousDatabase(world)
    for number in 0..<10 { try database.put("b\(number)", "v") }
    let token = try database.changes().token
    // The older copy is restored, and the clock goes back with it.
    let restored = try database.after(
      SimulatedEnvironment(seed: 9, fileSystem: older, time: world.time))
    try restored.put("c", "v")
    let (changes, next) = try restored.changes(since: token)
    #expect(Set(changes.compactMap(\.resyncedPartition)) == Set(0..<8))
    #expect(Set(changes.compactMap(\.key)) == Set((0..<10).map { "a\($0)" } + ["c"]))
    #expect(try restored.changes(since: next).changes.isEmpty)
  }

  @Test func `another replica tells a partition anew, and goes on when both are back`() throws {
    let world = SimulatedEnvironment()
    var database = try SynchronousDatabase(world, stores: 2, replicas: 2)
    for number in 0..<40 { try database.put("k\(number)", "v") }
    let both = try database.changes().token
    try database.core.close()
    let second = Databases.directories(2)[1]
    database = try SynchronousDatabase(world, at: [second]) { $0.allowsMissingStores = true }
    try database.put("k0", "alone")
    let (changes, alone) = try database.changes(since: both)
    let resynced = changes.compactMap(\.resyncedPartition)
    // The partitions that the missing store served.
    #expect(!resynced.isEmpty && resynced.count < 8 && Set(resynced).count == resynced.count)
    let expected = (0..<40).map { "k\($0)" }.filter { resynced.contains(database.partition($0)) }
    #expect(Set(changes.compactMap(\.key)) == Set(expected + ["k0"]))
    // A partition's word comes before its keys.
    var begun = Set<Int>()
    for change in changes {
      if let partition = change.resyncedPartition { begun.insert(partition) }
      if let key = change.key, key != "k0" { #expect(begun.contains(database.partition(key))) }
    }
    try database.core.close()
    database = try SynchronousDatabase(world, stores: 2, replicas: 2)
    try database.put("later", "v")
    #expect(try database.changes(since: alone).changes.map(\.key) == ["later"])
  }

  @Test func `partitions out of reach are an error, not silence`() throws {
    let world = SimulatedEnvironment()
    var database = try SynchronousDatabase(world, stores: 2)
    try database.core.close()
    database = try SynchronousDatabase(world, at: [Databases.directories(2)[1]]) {
      $0.allowsMissingStores = true
    }
    #expect(thrownCode { _ = try database.changes() } == .unreachable)
    try database.core.close()
    #expect(thrownCode { _ = try database.changes() } == .closed)
  }

  @Test func `whoever applies the changes has what the database has`() throws {
    try withSeeds("whoever applies", count: TestSize.of(quick: 4, full: 100)) { seed, random in
      var database = try SynchronousDatabase(
        SimulatedEnvironment(seed: seed), stores: 1 + random.below(3), partitions: 16)
      var seen: [String: Record] = [:]
      var token: ChangeToken?
      for _ in 0..<300 {
        let key = "k\(random.below(25))"
        switch random.below(20) {
        case 0..<8: try database.put(key, "v\(random.below(100))")
        case 8..<11: try database.put(key, "v", try database.context(key))
        case 11..<13: try database.delete(key)
        case 13..<15: try database.increment("likes\(random.below(4))")
        case 15: database = try database.reopened()
        case 16:
          let killed = SimulatedEnvironment(
            seed: random.next(), fileSystem: database.world.fileSystem.processKillClone(),
            time: database.world.time)
          database = try database.after(killed)
        case 17: database.world.time.advance(byNanoseconds: UInt64(random.below(5_000_000)))
        default:
          let limit = ChangePageLimit(changes: 1 + random.below(20))
          let page = try database.posts.changes(since: token, limit: limit)
          token = page.token
          var told = page.changes[...]
          // Sometimes the reader stops in the middle of a page.
          if random.below(3) == 0, !told.isEmpty {
            told = told.prefix(1 + random.below(told.count))
            token = told.last!.token
          }
          for change in told { try apply(change, to: &seen) }
          if random.below(2) == 0 { token = try ChangeToken(bytes: token!.bytes) }
        }
      }
      for change in try database.changes(since: token).changes { try apply(change, to: &seen) }
      let keys = (0..<25).map { "k\($0)" } + (0..<4).map { "likes\($0)" }
      for key in keys { try #require(seen[key] == (try database.record(key)), "\(key)") }
    }
  }

  private func apply(_ change: FeedChange, to seen: inout [String: Record]) throws {
    guard let key = change.key, let record = change.record else { return }
    if let before = seen[key] {
      // Nobody is told an older state after a newer one.
      let order = record.compare(to: before)
      try #require(order == .after || order == .equal)
    }
    seen[key] = record
  }
}
