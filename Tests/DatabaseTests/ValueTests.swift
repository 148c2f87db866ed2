import Roost
import RoostSimulation
import Testing

/// Plain values: sibling policies, contexts, conditions, deletes, lifetimes and durability.
// Budget: 5 s
@Suite struct ValueTests {
  private let world = SimulatedEnvironment()

  private func open(
    _ policy: KeyspacePolicy = .eventual, stores: Int = 1
  ) async throws -> Keyspace {
    try await Databases.open(world, stores: stores, replicas: stores).keyspace("posts", policy)
  }

  private func texts(_ read: Read) -> [String] {
    read.values.map { String(decoding: $0, as: UTF8.self) }.sorted()
  }

  // MARK: - Siblings

  @Test(arguments: [1, 3])
  func `writes that saw nothing of each other are siblings`(stores: Int) async throws {
    let posts = try await open(stores: stores)
    for number in 1...5 { try await posts.put("k", "v\(number)") }
    let read = try await posts.get("k")
    #expect(texts(read) == ["v1", "v2", "v3", "v4", "v5"])
    #expect(read.value == nil && read.text == nil)
    #expect(Set(read.siblings.map(\.dot)).count == 5)
    try await posts.put("k", "all", context: read.context)
    #expect(texts(try await posts.get("k")) == ["all"])
  }

  /// Sibling explosion: a client's own context, handed back, replaces its own last value and no more.
  @Test(arguments: [1, 3])
  func `two clients that hand back their own contexts leave two values`(stores: Int) async throws {
    let posts = try await open(stores: stores)
    var contexts: [CausalContext?] = [nil, nil]
    for write in 0..<100 {
      let client = write % 2
      contexts[client] = try await posts.put("k", "c\(client):\(write)", context: contexts[client])
      #expect(try await posts.get("k").values.count <= 2)
    }
    #expect(texts(try await posts.get("k")) == ["c0:98", "c1:99"])
    // Neither may use a condition: each knows of the other's write by no read.
    for context in contexts {
      #expect(await code { try await posts.put("k", "x", ifUnchangedSince: context!) } == .conditionFailed)
    }
  }

  @Test(arguments: [1, 3])
  func `the last writer wins, also while the clock goes back`(stores: Int) async throws {
    let posts = try await open(.eventual(.lastWriterWins), stores: stores)
    var last = Timestamp.zero
    let start = world.time.wallClockNanoseconds
    for write in 0..<20 {
      world.time.setWallClock(nanoseconds: start &- UInt64(write) * 3_600_000_000_000)
      try await posts.put("k", "v\(write)")
      let read = try await posts.get("k")
      #expect(texts(read) == ["v\(write)"])
      #expect(read.siblings[0].timestamp > last)
      last = read.siblings[0].timestamp
    }
    // A write that had not seen it, from elsewhere: the later one is shown, both are kept.
    var there = Record()
    try there.put(
      Array("elsewhere".utf8), replacing: VersionVector(),
      dot: Dot(replica: ReplicaID(rawValue: 7), counter: 1),
      timestamp: Timestamp(rawValue: last.rawValue - 1))
    _ = try "k".withKeyBytes { key throws(DatabaseError) in try posts.core.join(key, there) }
    let read = try await posts.get("k")
    #expect(texts(read) == ["v19"])
    #expect(read.record?.siblings.count == 2)
    #expect(read.text == "v19")
    // A write without a context replaces both.
    try await posts.put("k", "last")
    #expect(try await posts.get("k").record?.siblings.count == 1)
  }

  @Test func `a resolver runs on reads, and nothing of it is stored`() async throws {
    let policy = KeyspacePolicy.eventual(
      .resolve { values in
        let longest = values.max { ($0.count, $0.first ?? 0) < ($1.count, $1.first ?? 0) }!
        return longest.isEmpty ? nil : longest
      })
    let posts = try await open(policy)
    try await posts.put("k", "a")
    try await posts.put("k", "ccc")
    try await posts.put("k", "bb")
    let before = try #require(try await posts.get("k").record)
    for _ in 0..<3 {
      let read = try await posts.get("k")
      #expect(read.text == "ccc")
      #expect(read.record == before)
    }
    #expect(before.siblings.count == 3)
    #expect(try await posts.multiGet(["k"]).map(\.text) == ["ccc"])
    // What was resolved can be written back, once, by whoever means to.
    let read = try await posts.get("k")
    try await posts.put("k", read.value!, context: read.context)
    #expect(try await posts.get("k").record?.siblings.count == 1)
    // It may say that there is nothing.
    try await posts.put("none", "")
    try await posts.put("none", "")
    #expect(try await posts.get("none").values == [])
    #expect(try await !posts.get("none").isEmpty)
    // Opened without the function, siblings show as they are.
    try await posts.put("k", "x")
    try await posts.database.close()
    let plain = try await Databases.open(world).keyspace("posts")
    #expect(texts(try await plain.get("k")) == ["ccc", "x"])
  }

  // MARK: - Conditions

  @Test(arguments: [1, 3])
  func `a conditional write happens if nothing was written since`(stores: Int) async throws {
    let posts = try await open(stores: stores)
    let never = try await posts.get("k").context
    #expect(never.isEmpty)
    try await posts.put("k", "1", ifUnchangedSince: never)
    #expect(await code { try await posts.put("k", "2", ifUnchangedSince: never) } == .conditionFailed)
    let one = try await posts.get("k").context
    let two = try await posts.put("k", "2", ifUnchangedSince: one)
    #expect(await code { try await posts.delete("k", ifUnchangedSince: one) } == .conditionFailed)
    #expect(try await posts.get("k").text == "2")
    // What a put returns will do: it was alone.
    let three = try await posts.put("k", "3", ifUnchangedSince: two)
    try await posts.delete("k", ifUnchangedSince: three)
    #expect(try await posts.get("k").isEmpty)
    // A delete is a change too.
    #expect(await code { try await posts.put("k", "4", ifUnchangedSince: three) } == .conditionFailed)
    try await posts.put("k", "4", ifUnchangedSince: try await posts.get("k").context)
    #expect(try await posts.get("k").text == "4")
  }

  // MARK: - Deletes

  @Test(arguments: [1, 3])
  func `a delete takes what it saw`(stores: Int) async throws {
    let posts = try await open(stores: stores)
    try await posts.put("k", "seen")
    let context = try await posts.get("k").context
    try await posts.put("k", "unseen")
    let after = try await posts.delete("k", context: context)
    #expect(texts(try await posts.get("k")) == ["unseen"])
    try await posts.put("k", "later", context: after)
    #expect(texts(try await posts.get("k")) == ["later", "unseen"])
    // Without a context: all that is there.
    try await posts.delete("k")
    let read = try await posts.get("k")
    #expect(read.isEmpty && read.values.isEmpty)
    // What was deleted with an old context again stays deleted.
    try await posts.delete("k", context: context)
    #expect(try await posts.get("k").isEmpty)
    try await posts.put("k", "again", context: read.context)
    #expect(texts(try await posts.get("k")) == ["again"])
  }

  /// A record that had not seen the delete cannot bring the value back.
  @Test func `a deleted value does not come back with an old state`() async throws {
    let posts = try await open()
    try await posts.put("k", "v")
    let old = try #require(try await posts.get("k").record)
    try await posts.delete("k")
    let isChanged = try "k".withKeyBytes { key throws(DatabaseError) in try posts.core.join(key, old) }
    #expect(!isChanged)
    #expect(try await posts.get("k").isEmpty)
  }

  // MARK: - Lifetimes

  @Test(arguments: [1, 3])
  func `a value with a time to live ends when its time has come`(stores: Int) async throws {
    var posts = try await open(stores: stores)
    try await posts.put("k", "short", timeToLive: .milliseconds(1_500))
    try await posts.put("k", "long", timeToLive: .seconds(60))
    try await posts.put("k", "for ever")
    world.time.advance(byNanoseconds: 1_499_000_000)
    #expect(texts(try await posts.get("k")) == ["for ever", "long", "short"])
    world.time.advance(byNanoseconds: 1_000_000)
    let read = try await posts.get("k")
    #expect(texts(read) == ["for ever", "long"])
    #expect(read.siblings.map(\.expiry).sorted().first == 0)
    try await posts.database.close()
    posts = try await open(stores: stores)
    world.time.advance(byNanoseconds: 60_000_000_000)
    #expect(texts(try await posts.get("k")) == ["for ever"])
    // An expired value leaves its context: an old state that has it cannot bring it back.
    try await posts.put("t", "gone", timeToLive: .milliseconds(1))
    let alive = try #require(try await posts.get("t").record)
    world.time.advance(byNanoseconds: 1_000_000)
    #expect(try await posts.get("t").isEmpty)
    try await posts.put("t", "new", context: try await posts.get("t").context)
    _ = try "t".withKeyBytes { key throws(DatabaseError) in try posts.core.join(key, alive) }
    #expect(texts(try await posts.get("t")) == ["new"])
  }

  // MARK: - Durability

  /// What was acknowledged as synced survives the machine, what was applied the process.
  @Test(arguments: [1, 3])
  func `writes survive what they were asked to survive`(stores: Int) async throws {
    let posts = try await open(stores: stores)
    func key(_ number: Int) -> String { "k\(number)" }
    for number in 0..<40 { try await posts.put(key(number), "v", .synced) }
    try await posts.counter("c").increment(.synced)
    try await posts.set("s").insert("x", durability: .synced)
    try await posts.delete(key(0), .synced)
    let syncs = world.fileSystem.counts.fileSyncs
    for number in 40..<80 { try await posts.put(key(number), "v", .applied) }
    #expect(world.fileSystem.counts.fileSyncs == syncs)

    func survivors(_ fileSystem: SimulatedFileSystem) async throws -> Set<Int> {
      let after = SimulatedEnvironment(seed: 9, fileSystem: fileSystem, time: world.time)
      let database = try await Databases.open(after, stores: stores, replicas: stores)
      let posts = try await database.keyspace("posts")
      #expect(try await posts.counter("c").value() == 1)
      #expect(try await posts.set("s").texts() == ["x"])
      var found: Set<Int> = []
      for number in 0..<80 where try await posts.get(key(number)).text == "v" { found.insert(number) }
      try await database.close()
      return found
    }
    #expect(try await survivors(world.fileSystem.processKillClone()) == Set(1..<80))
    #expect(try await survivors(world.fileSystem.crashClone(.dropAll)) == Set(1..<40))
    for seed in 0..<UInt64(10) {
      let found = try await survivors(world.fileSystem.crashClone(.random, seed: seed))
      #expect(found.isSuperset(of: 1..<40) && !found.contains(0))
    }
  }

  @Test func `the default durability is the database's`() async throws {
    let options = Databases.options { $0.durability = .synced }
    let database = try await Database.open(
      at: "/disk0/db", options, environment: world.environment)
    let posts = try await database.keyspace("posts", .eventual)
    try await posts.put("k", "v")
    try await posts.flag("f").enable()
    let clone = SimulatedEnvironment(seed: 5, fileSystem: world.fileSystem.crashClone(.dropAll))
    let after = try await Databases.open(clone).keyspace("posts")
    #expect(try await after.get("k").text == "v")
    #expect(try await after.flag("f").isEnabled())
  }
}
