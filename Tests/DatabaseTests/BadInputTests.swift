import Roost
import RoostSimulation
import Testing

/// What is wrong with a call is said by a code and in words, and changes nothing.
// Budget: 5 s
@Suite struct BadInputTests {
  private let world = SimulatedEnvironment()

  private func posts(stores: Int = 1) async throws -> Keyspace {
    try await Databases.open(world, stores: stores, replicas: stores).keyspace("posts", .eventual)
  }

  // MARK: - Keyspaces

  @Test func `an unknown keyspace`() async throws {
    let database = try await Databases.open(world)
    let none = await databaseError { _ = try await database.keyspace("songs") }
    #expect(none?.code == .unknownKeyspace)
    #expect(none?.message == "there is no keyspace `songs`: the database has none")
    _ = try await database.keyspace("posts", .eventual)
    let other = await databaseError { _ = try await database.keyspace("songs") }
    #expect(other?.message == "there is no keyspace `songs`: the database has `posts`")
    #expect(database.keyspaceNames == ["posts"])
  }

  @Test func `another policy than the keyspace was created with`() async throws {
    var database = try await Databases.open(world)
    let policies: [KeyspacePolicy] = [
      .eventual, .eventual(.lastWriterWins), .eventual(.resolve(with: { $0.first })),
    ]
    for (created, policy) in policies.enumerated() {
      _ = try await database.keyspace("k\(created)", policy)
    }
    // While it is open, and after opening again.
    for _ in 0..<2 {
      for created in policies.indices {
        for asked in policies.indices {
          if asked == created {
            _ = try await database.keyspace("k\(created)", policies[asked])
          } else {
            let error = await databaseError {
              _ = try await database.keyspace("k\(created)", policies[asked])
            }
            #expect(error?.code == .wrongPolicy)
            #expect(error?.message.contains("`k\(created)`") == true)
          }
        }
      }
      try await database.close()
      database = try await Databases.open(world)
    }
  }

  @Test func `quorums without a cluster`() async throws {
    let database = try await Databases.open(world)
    for policy in [KeyspacePolicy.eventual(readQuorum: 1), .eventual(writeQuorum: 1)] {
      let error = await databaseError { _ = try await database.keyspace("posts", policy) }
      #expect(error?.code == .invalidOption && error?.message.contains("`posts`") == true)
    }
    #expect(database.keyspaceNames == [])
    let posts = try await database.keyspace("posts", .eventual)
    #expect(posts.policy.readQuorum == nil && posts.policy.writeQuorum == nil)
    // It has majorities, and not these.
    await #expect(
      code { _ = try await database.keyspace("posts", .eventual(readQuorum: 1)) } == .wrongPolicy)
    await #expect(code { _ = try await posts.get("k", quorum: 1) } == .invalidArgument)
    await #expect(code { try await posts.put("k", "v", quorum: 1) } == .invalidArgument)
    await #expect(code { try await posts.delete("k", quorum: 1) } == .invalidArgument)
    try await posts.put("k", "v", quorum: nil)
    #expect(try await posts.get("k", quorum: nil).text == "v")
    try await database.close()
  }

  @Test func `more replicas than the database has`() async throws {
    let error = await databaseError { _ = try await Databases.open(world, stores: 2, replicas: 3) }
    #expect(error?.code == .tooManyReplicas)
    let database = try await Databases.open(world, stores: 2, replicas: 2)
    let keyspace = await databaseError {
      _ = try await database.keyspace("posts", .eventual(replicas: 3))
    }
    #expect(keyspace?.code == .tooManyReplicas)
    #expect(keyspace?.message.contains("2 stores") == true)
    #expect(database.keyspaceNames == [])
    _ = try await database.keyspace("posts", .eventual(replicas: 2))
    #expect(await code { _ = try await database.keyspace("posts", .eventual(replicas: 1)) } == .wrongPolicy)
    for count in [0, -1] {
      let error = await databaseError {
        _ = try await database.keyspace("few", .eventual(replicas: count))
      }
      #expect(error?.code == .invalidArgument)
      #expect(error?.message.contains("1 to 2") == true)
    }
    #expect(database.keyspaceNames == ["posts"])
  }

  @Test(arguments: [
    "", "a b", "a/b", "ä", "a\0", String(repeating: "n", count: 65), "keyspace/x", "`",
  ])
  func `a keyspace's name that is none`(name: String) async throws {
    let database = try await Databases.open(world)
    #expect(await code { _ = try await database.keyspace(name, .eventual) } == .invalidArgument)
    #expect(await code { _ = try await database.keyspace(name) } == .invalidArgument)
    #expect(database.keyspaceNames == [])
    _ = try await database.keyspace(String(repeating: "n", count: 64), .eventual)
    _ = try await database.keyspace("A-z_0.9", .eventual)
  }

  // MARK: - Options

  @Test func `options out of bounds`() async throws {
    typealias Change = (inout DatabaseOptions) -> Void
    let changes: [(String, Change)] = [
      ("partitionCount", { $0.partitionCount = 0 }), ("partitionCount", { $0.partitionCount = 32_769 }),
      ("replicas", { $0.replicas = 0 }), ("replicas", { $0.replicas = 17 }),
      ("weight", { $0.members = ["/disk0/db": .init(weight: 0)] }),
      ("weight", { $0.members = ["/disk0/db/": .init(weight: 1_001)] }),
      ("/elsewhere", { $0.members = ["/elsewhere": .init()] }),
      ("transferBytesPerSecond", { $0.transferBytesPerSecond = 0 }),
      ("maximumClockOffset", { $0.maximumClockOffset = .seconds(-1) }),
      ("maximumClockOffset", { $0.maximumClockOffset = .seconds(90_000) }),
      ("memtableBytes", { $0.store.memtableBytes = 1 }),
    ]
    for (name, change) in changes {
      let error = await databaseError {
        _ = try await Database.open(
          at: Databases.directories(1), Databases.options(change), environment: world.environment)
      }
      #expect(error?.code == .invalidOption)
      #expect(error?.message.contains(name) == true, "\(error?.message ?? "")")
    }
    // Nothing was made.
    #expect(try world.fileSystem.info(of: "/disk0/db") == nil)
  }

  @Test func `directories that are none`() async throws {
    let environment = world.environment
    for directories in [[], [""], ["/a", "/a"], ["/a", "/a/"], (0..<200).map { "/d\($0)" }] {
      let error = await databaseError {
        _ = try await Database.open(at: directories, environment: environment)
      }
      #expect(error?.code == .invalidArgument)
    }
  }

  // MARK: - Keys, lifetimes

  @Test func `keys that are none`() async throws {
    let posts = try await posts()
    let longest = [UInt8](repeating: 7, count: 65_533)
    for key in [[], longest + [7]] {
      let calls: [() async throws -> Void] = [
        { _ = try await posts.get(key) }, { _ = try await posts.multiGet([[1], key]) },
        { try await posts.put(key, "x") }, { try await posts.delete(key) },
        { try await posts.put(key, value: 1) }, { _ = try await posts.get(key, as: Int.self) },
        { try await posts.counter(key).increment() }, { _ = try await posts.counter(key).value() },
        { try await posts.set(key).insert("x") }, { _ = try await posts.map(key).fields() },
      ]
      for call in calls {
        let error = await databaseError(call)
        #expect(error?.code == .invalidArgument)
        #expect(error?.message.contains("key") == true)
      }
    }
    try await posts.put(longest, "x")
    #expect(try await posts.get(longest).text == "x")
    try await posts.put([0], "y", .synced)
    #expect(try await posts.get([0]).text == "y")
  }

  @Test func `lifetimes that are none`() async throws {
    let posts = try await posts()
    for lifetime in [
      Duration.zero, .microseconds(999), .seconds(-1), .seconds(1 << 39), .seconds(Int64.max),
      .seconds(Int64.min),
    ] {
      #expect(await code { try await posts.put("k", "v", timeToLive: lifetime) } == .invalidArgument)
    }
    #expect(try await posts.get("k").isEmpty)
    try await posts.put("k", "v", timeToLive: .seconds(1 << 38))
    #expect(try await posts.get("k").text == "v")
  }

  // MARK: - Contexts

  @Test func `the context of another key, keyspace or database`() async throws {
    let database = try await Databases.open(world)
    let posts = try await database.keyspace("posts", .eventual)
    let songs = try await database.keyspace("songs", .eventual)
    let elsewhere = try await Databases.open(SimulatedEnvironment(seed: 2)).keyspace("posts", .eventual)
    for keyspace in [posts, songs, elsewhere] {
      try await keyspace.put("a", "1")
      try await keyspace.put("b", "1")
    }
    let foreign = [
      try await posts.get("b").context, try await songs.get("a").context,
      try await elsewhere.get("a").context, try await songs.get("never").context,
    ]
    for context in foreign {
      #expect(await code { try await posts.put("a", "2", context: context) } == .foreignContext)
      #expect(await code { try await posts.put("a", "2", ifUnchangedSince: context) } == .foreignContext)
      #expect(await code { try await posts.delete("a", context: context) } == .foreignContext)
      #expect(await code { try await posts.delete("a", ifUnchangedSince: context) } == .foreignContext)
    }
    #expect(try await posts.get("a").text == "1")
  }

  /// One from a state that this store had, lost and does not remember.
  @Test func `a context that knows more than its store`() async throws {
    let posts = try await posts()
    try await posts.put("a", "1")
    let context = try await posts.get("a").context
    let replica = try #require(context.vector.entries.first).replica
    let unmade = Dot(replica: replica, counter: 1_000_000)
    var ahead = CausalContext(binding: context.binding, vector: VersionVector([unmade]))
    #expect(await code { try await posts.put("a", "2", context: ahead) } == .foreignContext)
    #expect(await code { try await posts.delete("a", context: ahead) } == .foreignContext)
    ahead = CausalContext(binding: context.binding, vector: context.vector, dot: unmade)
    #expect(await code { try await posts.put("a", "2", context: ahead) } == .foreignContext)
    #expect(try await posts.get("a").text == "1")
  }

  // MARK: - Kinds

  @Test func `a key used as another kind`() async throws {
    let posts = try await posts()
    typealias Use = (
      name: String, write: @Sendable (Keyspace, String) async throws -> Void,
      read: @Sendable (Keyspace, String) async throws -> Void
    )
    let uses: [Use] = [
      ("plain value", { try await $0.put($1, "x") }, { _ = try await $0.get($1) }),
      (
        "grow-only counter", { try await $0.growOnlyCounter($1).increment() },
        { _ = try await $0.growOnlyCounter($1).value() }
      ),
      (
        "counter", { try await $0.counter($1).increment() }, { _ = try await $0.counter($1).value() }
      ),
      (
        "register", { try await $0.register($1).assign("x") },
        { _ = try await $0.register($1).value() }
      ),
      ("flag", { try await $0.flag($1).enable() }, { _ = try await $0.flag($1).isEnabled() }),
      ("set", { try await $0.set($1).insert("x") }, { _ = try await $0.set($1).elements() }),
      (
        "map", { try await $0.map($1).counter("x").increment() },
        { _ = try await $0.map($1).fields() }
      ),
    ]
    for held in uses {
      try await held.write(posts, held.name)
      let before = try #require(try await posts.get(held.name).record)
      for used in uses {
        if used.name == held.name {
          try await used.read(posts, held.name)
          continue
        }
        let error = await databaseError { try await used.write(posts, held.name) }
        #expect(error?.code == .wrongKind, "\(used.name) on \(held.name)")
        #expect(error?.message.contains(held.name) == true, "\(error?.message ?? "")")
        // Reading the record as it is is no use of it as plain values.
        if used.name != "plain value" {
          #expect(await code { try await used.read(posts, held.name) } == .wrongKind)
        }
      }
      #expect(try await posts.get(held.name).record == before)
      // With what was read it can be replaced, and deleted it can become anything.
      try await posts.put(held.name, "x", context: try await posts.get(held.name).context)
      #expect(try await posts.get(held.name).text == "x")
      for used in uses {
        try await posts.delete(held.name)
        try await used.write(posts, held.name)
      }
    }
  }

  /// Also where the last writer wins, a plain value does not wipe out a counter by accident.
  @Test func `a plain value on a typed key where the last writer wins`() async throws {
    let database = try await Databases.open(world)
    let latest = try await database.keyspace("latest", .eventual(.lastWriterWins))
    try await latest.counter("c").increment()
    #expect(await code { try await latest.put("c", "x") } == .wrongKind)
    #expect(try await latest.counter("c").value() == 1)
  }

  // MARK: - Counters

  @Test func `counters that would overflow`() async throws {
    let posts = try await posts()
    try await posts.counter("c").increment(by: .max)
    #expect(await code { try await posts.counter("c").increment() } == .counterOverflow)
    #expect(try await posts.counter("c").value() == .max)
    try await posts.counter("d").increment(by: .min)
    #expect(await code { try await posts.counter("d").increment(by: -1) } == .counterOverflow)
    #expect(try await posts.counter("d").value() == .min)
    try await posts.growOnlyCounter("g").increment(by: .max)
    #expect(await code { try await posts.growOnlyCounter("g").increment() } == .counterOverflow)
    #expect(try await posts.growOnlyCounter("g").value() == .max)
    try await posts.map("m").counter("c").increment(by: .max)
    #expect(await code { try await posts.map("m").counter("c").increment() } == .counterOverflow)
  }

  /// Each of two databases counted as far as it goes: the join keeps both, the read says so.
  @Test func `a join that overflows is an error of the read`() async throws {
    let posts = try await posts()
    try await posts.counter("c").increment(by: .max)
    var there = Record()
    try there.update(PNCounter.self, dot: Dot(replica: ReplicaID(rawValue: 5), counter: 1)) { counter, dot in
      try counter.increment(by: 1, dot: dot)
    }
    try join(posts, "c", there)
    #expect(await code { _ = try await posts.counter("c").value() } == .counterOverflow)
    try await posts.counter("c").increment(by: -1)
    #expect(try await posts.counter("c").value() == .max)

    try await posts.map("m").growOnlyCounter("views").increment(by: .max)
    var map = Record()
    try map.update(ORMap.self, dot: Dot(replica: ReplicaID(rawValue: 5), counter: 1)) { map, dot in
      try map.update(Array("views".utf8), as: GCounter.self) { try $0.increment(by: 1, dot: dot) }
    }
    try join(posts, "m", map)
    let error = await databaseError { _ = try await posts.map("m").fields() }
    #expect(error?.code == .counterOverflow)
    #expect(error?.message.contains("`views`") == true)
  }

  private func join(_ keyspace: Keyspace, _ key: String, _ state: Record) throws {
    _ = try key.withKeyBytes { key throws(DatabaseError) in try keyspace.core.join(key, state) }
  }

  // MARK: - Damage

  /// Whatever byte of a stored record is changed, reads and writes either fail and name the key, or
  /// the bytes are a record; nothing traps.
  @Test(arguments: [1, 2])
  func `a damaged record`(stores: Int) async throws {
    let posts = try await posts(stores: stores)
    try await posts.put("bio:7", "one")
    try await posts.put("bio:7", "two")
    try await posts.map("user:1").set("tags").insert("swift", "c")
    try await posts.map("user:1").counter("visits").increment()
    var corruptions = 0
    for key in ["bio:7", "user:1"] {
      let bytes = Array(key.utf8)
      let hash = key.withKeyBytes { Placement.hash($0) }
      let storedKey = StoredKey.make(Placement.partition(ofHash: hash, count: 8), bytes)
      let trees = try posts.database.core.presentMembers.map { member in
        try #require(member.store.existingTree(KeyspaceCore.recordTree("posts")))
      }
      let good = try trees.map { try #require(try $0.get(storedKey)) }
      func call() async {
        do {
          _ = try await posts.get(key)
          _ = try await posts.map(key).fields()
          try await posts.put(key, "x", context: try await posts.get(key).context)
        } catch let error as DatabaseError {
          guard error.code != .wrongKind, error.code != .foreignContext else { return }
          #expect([.corruption, .newerFormat, .indeterminate].contains(error.code))
          #expect(error.message.contains("`\(key)`"))
          if error.code == .corruption { corruptions += 1 }
        } catch { Issue.record("\(error)") }
      }
      for index in good[0].indices {
        for value in [good[0][index] ^ 0x80, good[0][index] &+ 1, 0xFF] {
          var damaged = good[0]
          damaged[index] = value
          try trees[0].put(storedKey, damaged)
          await call()
          for (tree, bytes) in zip(trees, good) { try tree.put(storedKey, bytes) }
        }
      }
      for count in good[0].indices {
        try trees[0].put(storedKey, Array(good[0].prefix(count)))
        await call()
        for (tree, bytes) in zip(trees, good) { try tree.put(storedKey, bytes) }
      }
    }
    #expect(corruptions > 100)
  }
}
