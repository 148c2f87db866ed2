import Roost
import RoostSimulation
import Testing

/// The typed handles, on one store and on three with three replicas.
// Budget: 5 s
@Suite struct HandleTests {
  private func posts(_ stores: Int) async throws -> Keyspace {
    let database = try await Databases.open(stores: stores, replicas: stores)
    return try await database.keyspace("posts", .eventual)
  }

  @Test(arguments: [1, 3])
  func `counters count up and down`(stores: Int) async throws {
    let posts = try await posts(stores)
    #expect(try await posts.counter("likes").value() == 0)
    try await posts.counter("likes").increment()
    try await posts.counter("likes").increment(by: 5)
    try await posts.counter("likes").increment(by: -2)
    #expect(try await posts.counter("likes").value() == 4)
    try await posts.growOnlyCounter("views").increment(by: 7, .synced)
    try await posts.growOnlyCounter("views").increment()
    #expect(try await posts.growOnlyCounter("views").value() == 8)
    #expect(try await posts.get("views").kinds == [.gCounter])
  }

  @Test(arguments: [1, 3])
  func `sets hold what was inserted and not removed`(stores: Int) async throws {
    let posts = try await posts(stores)
    let tags = posts.set("tags:42")
    #expect(try await tags.elements() == [])
    try await tags.insert("swift")
    try await tags.insert("rust", "c", "swift", durability: .synced)
    try await tags.insert(contentsOf: [[0xFF], [1, 2]])
    #expect(try await tags.texts().suffix(3).dropLast() == ["rust", "swift"])
    #expect(
      try await tags.elements()
        == [[1, 2], Array("c".utf8), Array("rust".utf8), Array("swift".utf8), [0xFF]])
    #expect(try await tags.contains("c"))
    #expect(try await tags.contains([0xFF]))
    #expect(try await tags.remove("c", "absent", "rust") == 2)
    #expect(try await !tags.contains("c"))
    #expect(try await tags.count() == 3)
    try await tags.removeAll()
    #expect(try await tags.elements() == [])
    #expect(try await posts.get("tags:42").isEmpty)
  }

  @Test(arguments: [1, 3])
  func `flags and registers`(stores: Int) async throws {
    let posts = try await posts(stores)
    #expect(try await !posts.flag("pinned").isEnabled())
    try await posts.flag("pinned").enable()
    #expect(try await posts.flag("pinned").isEnabled())
    try await posts.flag("pinned").disable()
    #expect(try await !posts.flag("pinned").isEnabled())
    #expect(try await posts.register("name").value() == nil)
    try await posts.register("name").assign("Ada")
    try await posts.register("name").assign("Grace")
    #expect(try await posts.register("name").text() == "Grace")
    #expect(try await posts.register("name").value() == Array("Grace".utf8))
    try await posts.register("name").clear()
    #expect(try await posts.register("name").value() == nil)
  }

  @Test(arguments: [1, 3])
  func `a map's fields are counters, registers, flags and sets`(stores: Int) async throws {
    let posts = try await posts(stores)
    let user = posts.map("user:1")
    #expect(try await user.fields() == [])
    try await user.counter("visits").increment()
    try await user.counter("visits").increment()
    try await user.growOnlyCounter("logins").increment(by: 9)
    try await user.register("name").assign("Ada")
    try await user.set("tags").insert("swift", "c")
    try await user.flag("admin").enable()
    // A name of another kind is another field.
    try await user.counter("tags").increment(by: -3)
    #expect(try await user.counter("visits").value() == 2)
    #expect(try await user.register("name").text() == "Ada")
    #expect(try await user.set("tags").texts() == ["c", "swift"])
    #expect(try await user.flag("admin").isEnabled())
    let fields = try await user.fields()
    #expect(fields.map(\.text) == ["admin", "logins", "name", "tags", "tags", "visits"])
    #expect(
      fields.map(\.value) == [
        .flag(true), .growOnlyCounter(9), .register(Array("Ada".utf8)), .counter(-3),
        .set([Array("c".utf8), Array("swift".utf8)]), .counter(2),
      ])
    #expect(try await user.remove("tags", kind: .counter))
    #expect(try await user.fields().map(\.text) == ["admin", "logins", "name", "tags", "visits"])
    #expect(try await user.set("tags").count() == 2)
    #expect(try await user.remove("tags"))
    #expect(try await !user.remove("tags"))
    #expect(try await user.set("tags").elements() == [])
    // A field that is left empty is gone.
    try await user.flag("admin").disable()
    #expect(try await user.fields().map(\.text) == ["logins", "name", "visits"])
    // The key is the map's, not its fields'.
    #expect(try await posts.get("user:1").kinds == [.map])
  }

  /// A removal without a dot of its own could not be told, elsewhere, from never having known.
  @Test func `removals mint dots`() async throws {
    let posts = try await posts(1)
    func minted(_ key: String, _ change: () async throws -> Void) async throws -> Bool {
      let before = try #require(try await posts.get(key).record).context
      try await change()
      let after = try #require(try await posts.get(key).record).context
      return before != after
    }
    try await posts.set("s").insert("a", "b")
    #expect(try await minted("s") { try await posts.set("s").remove("a") })
    #expect(try await minted("s") { try await posts.set("s").removeAll() })
    try await posts.flag("f").enable()
    #expect(try await minted("f") { try await posts.flag("f").disable() })
    try await posts.register("r").assign("x")
    #expect(try await minted("r") { try await posts.register("r").clear() })
    try await posts.map("m").counter("c").increment()
    #expect(try await minted("m") { try await posts.map("m").remove("c") })
    try await posts.put("p", "x")
    #expect(try await minted("p") { try await posts.delete("p") })
  }

  @Test func `removing what is not there writes nothing`() async throws {
    let posts = try await posts(1)
    #expect(try await posts.set("s").remove("a") == 0)
    try await posts.set("s").removeAll()
    try await posts.set("s").insert(contentsOf: [String]())
    try await posts.flag("s").disable()
    try await posts.register("s").clear()
    #expect(try await !posts.map("s").remove("x"))
    try await posts.delete("s")
    #expect(try await posts.get("s").record == nil)
  }

  /// Each in a database of its own: what one has not seen of the other stays.
  @Test func `insertions win over removals that have not seen them`() async throws {
    let here = try await posts(1)
    try await here.set("s").insert("a")
    try await here.map("m").set("t").insert("a")
    let before = try #require(try await here.get("s").record)
    try await here.set("s").insert("a")
    // Another replica, which saw only the first insertion, removes it.
    var there = before
    try there.update(ORSet.self, dot: Dot(replica: ReplicaID(rawValue: 9), counter: 1)) { set, _ in
      set.removeAll()
    }
    let key = Array("s".utf8)
    _ = try key.withKeyBytes { bytes throws(DatabaseError) in try here.core.join(bytes, there) }
    #expect(try await here.set("s").texts() == ["a"])
  }
}
