import Roost
import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// Secondary indexes: what is found, in which order, and what is said where nothing can be.
// Budget: 10 s
@Suite struct IndexTests {
  // MARK: - Through the public calls

  @Test(arguments: [1, 3])
  func `keys are found under the terms of their values`(stores: Int) async throws {
    let database = try await Databases.open(stores: stores, replicas: stores)
    let notes = try await database.keyspace("notes", .eventual, indexes: [IndexWorld.words()])
    try await notes.put("n:1", "swift,c")
    try await notes.put("n:2", "swift")
    try await notes.put("n:3", "rust,swiftly", .synced)
    try await notes.put("n:4", "")
    try await notes.counter("n:5").increment()
    func keys(_ page: IndexPage) -> [String] { page.entries.map { $0.termText + "/" + $0.keyText } }
    #expect(keys(try await notes.query("words", equals: "swift")) == ["swift/n:1", "swift/n:2"])
    #expect(
      keys(try await notes.query("words", prefix: "swift"))
        == ["swift/n:1", "swift/n:2", "swiftly/n:3"])
    #expect(keys(try await notes.query("words", from: "c", to: "swift")) == ["c/n:1", "rust/n:3"])
    #expect(keys(try await notes.query("words", .range(from: Array("rust".utf8), to: nil))).count == 4)
    #expect(
      keys(try await notes.query("words"))
        == ["c/n:1", "rust/n:3", "swift/n:1", "swift/n:2", "swiftly/n:3"])
    #expect(keys(try await notes.query("words", equals: "java")) == [])
    #expect(keys(try await notes.query("words", from: "t", to: "a")) == [])
    // The hit has what a get gives: its context replaces what was found.
    let hit = try await notes.query("words", equals: "c").entries[0]
    #expect(hit.read.text == "swift,c")
    try await notes.put("n:1", "c", context: hit.read.context)
    #expect(keys(try await notes.query("words", equals: "swift")) == ["swift/n:2"])
    // A sibling adds its terms.
    try await notes.put("n:1", "swift")
    #expect(keys(try await notes.query("words", equals: "c")) == ["c/n:1"])
    #expect(keys(try await notes.query("words", equals: "swift")) == ["swift/n:1", "swift/n:2"])
    try await notes.delete("n:1")
    #expect(keys(try await notes.query("words")) == ["rust/n:3", "swift/n:2", "swiftly/n:3"])
    #expect(try await notes.indexProgress("words").isReady)
    try await database.close()
    #expect(await code { _ = try await notes.query("words", equals: "c") } == .closed)
    #expect(await code { _ = try await notes.indexProgress("words") } == .closed)
  }

  /// With an index the record goes with more in its batch; what it replaces in the feed goes all the same.
  @Test func `a key that is written again has one entry in the feed`() throws {
    let world = try IndexWorld()
    for round in 0..<5 {
      for key in ["a", "b", "c"] { try world.put(key, "word,\(round)") }
    }
    try world.delete("b")
    let store = try #require(world.core.presentMembers.first).store
    let tree = try #require(store.existingTree(KeyspaceCore.changeTree("notes")))
    var keys: [String] = []
    var cursor = try tree.cursor()
    while try cursor.next() { keys.append(String(decoding: cursor.valueBytes, as: UTF8.self)) }
    #expect(keys.sorted() == ["a", "b", "c"])
  }

  @Test func `pages go on where they ended, also after a restart`() async throws {
    let world = SimulatedEnvironment()
    var database = try await Databases.open(world, stores: 2)
    var notes = try await database.keyspace("notes", .eventual, indexes: [IndexWorld.words()])
    for number in 100..<150 { try await notes.put("n:\(number)", "a,b") }
    var found: [String] = []
    var token: IndexToken?
    repeat {
      let page = try await notes.query("words", limit: 7, after: token)
      found += page.entries.map { $0.termText + $0.keyText }
      token = try page.token.map { try IndexToken(text: $0.text) }
      if found.count == 21 {
        try await database.close()
        database = try await Databases.open(world, stores: 2)
        notes = try await database.keyspace("notes", .eventual, indexes: [IndexWorld.words()])
      }
    } while token != nil
    #expect(found == ["a", "b"].flatMap { term in (100..<150).map { "\(term)n:\($0)" } })
  }

  // MARK: - What counts

  @Test func `where the last writer wins, the winner's terms count`() throws {
    let world = try IndexWorld(SimulatedEnvironment(), stores: 1, replicas: 1, .eventual(.lastWriterWins))
    try world.put("k", "old")
    var there = Record()
    try there.put(
      Array("late,lost".utf8), replacing: VersionVector(),
      dot: Dot(replica: ReplicaID(rawValue: 3), counter: 1), timestamp: Timestamp(rawValue: 1))
    _ = try "k".withKeyBytes { key throws(DatabaseError) in try world.notes.join(key, there) }
    #expect(try world.record("k")?.siblings.count == 2)
    #expect(try world.query() == ["old/k"])
    try world.put("k", "new")
    #expect(try world.query() == ["new/k"])
    #expect(try world.entryCount() == 1)
  }

  /// The loser's entries are there for the day on which the winner expires.
  @Test func `where the winner expires, the next one's terms count`() throws {
    let world = try IndexWorld(SimulatedEnvironment(), stores: 1, replicas: 1, .eventual(.lastWriterWins))
    try world.put("k", "brief", timeToLive: .seconds(1))
    var there = Record()
    try there.put(
      Array("lasting".utf8), replacing: VersionVector(),
      dot: Dot(replica: ReplicaID(rawValue: 3), counter: 1), timestamp: Timestamp(rawValue: 1))
    _ = try "k".withKeyBytes { key throws(DatabaseError) in try world.notes.join(key, there) }
    #expect(try world.query() == ["brief/k"])
    world.world.time.advance(byNanoseconds: 1_000_000_000)
    #expect(try world.query() == ["lasting/k"])
  }

  /// Nothing removes an expired value's entries until its key is written again: hits are checked.
  @Test func `an expired value is not found`() throws {
    let world = try IndexWorld()
    try world.put("k", "brief", timeToLive: .seconds(1))
    try world.put("k", "lasting")
    #expect(try world.query() == ["brief/k", "lasting/k"])
    world.world.time.advance(byNanoseconds: 1_000_000_000)
    #expect(try world.query() == ["lasting/k"])
    #expect(try world.entryCount() == 2)
    try world.put("k", "more")
    #expect(try world.entryCount() == 2)
    #expect(try world.query() == ["lasting/k", "more/k"])
  }

  /// Interleaving of replicas: the one that was away has the old entries, and is asked too.
  @Test func `a replica that lags adds nothing wrong`() throws {
    let fileSystem = SimulatedFileSystem()
    let first = try IndexWorld(SimulatedEnvironment(fileSystem: fileSystem), stores: 2, replicas: 2)
    for number in 0..<20 { try first.put("n\(number)", "old") }
    try first.core.close()
    var options = Databases.options(partitions: 8, replicas: 2)
    options.allowsMissingStores = true
    let alone = try DatabaseOpening.open(["/disk0/db"], options, first.world.environment)
    let notes = try alone.keyspace("notes", nil, indexes: [IndexWorld.words()])
    for number in 0..<20 {
      let key = "n\(number)"
      try key.withKeyBytes { bytes throws(DatabaseError) in
        let context = notes.context(bytes, try notes.record(bytes))
        _ = try notes.put(bytes, Array("new".utf8), context: context)
      }
    }
    try alone.close()
    let both = try IndexWorld(first.world, stores: 2, replicas: 2)
    #expect(try both.query(.equals(Array("old".utf8))) == [])
    #expect(try both.query(.equals(Array("new".utf8))).count == 20)
    #expect(try both.query() == both.expected((0..<20).map { "n\($0)" }))
  }

  // MARK: - Bad input

  @Test func `what is no index, no page and no token`() throws {
    let world = try IndexWorld()
    func refused(_ code: DatabaseError.Code, _ word: String, _ body: () throws -> Void) {
      do {
        try body()
        Issue.record("nothing was thrown for \(word)")
      } catch let error as DatabaseError {
        #expect(error.code == code, "\(error)")
        #expect(error.message.contains(word), "\(error)")
      } catch { Issue.record("\(error)") }
    }
    refused(.unknownIndex, "only `words`") { _ = try world.query(.all, "other") }
    refused(.unknownIndex, "`other`") { _ = try world.notes.indexProgress("other") }
    for limit in [0, -1, 10_001] { refused(.invalidArgument, "page") { _ = try world.query(limit: limit) } }
    for name in ["", "a/b", "ä", String(repeating: "n", count: 65)] {
      refused(.invalidArgument, "index's name") { try world.declare(1, name) }
    }
    refused(.invalidArgument, "version") { try world.declare(1 << 62) }
    refused(.invalidArgument, "twice") {
      _ = try world.core.keyspace("notes", nil, indexes: [IndexWorld.words(), IndexWorld.words(2)])
    }
    for number in 0..<4 { try world.put("n\(number)", "a,b") }
    let token = try #require(try world.notes.query("words", .all, limit: 1).token)
    refused(.foreignContext, "another query's") {
      _ = try world.notes.query("words", .prefix([]), limit: 1, after: token)
    }
    let other = try world.core.keyspace("others", .eventual, indexes: [IndexWorld.words()])
    refused(.foreignContext, "another query's") { _ = try other.query("words", .all, limit: 1, after: token) }
    for index in token.bytes.indices {
      var damaged = token.bytes
      damaged[index] ^= 0x10
      refused(.damagedToken, "token") { _ = try IndexToken(bytes: damaged) }
    }
    refused(.damagedToken, "base64") { _ = try IndexToken(text: "!") }
    refused(.damagedToken, "token") {
      _ = try IndexToken(bytes: IndexToken(keyspace: 1, bounds: 2, suffix: [0, 7]).bytes)
    }
  }

  @Test func `a term that is too long is refused, and nothing is written`() throws {
    let world = try IndexWorld()
    let key = String(repeating: "k", count: 60_000)
    try world.put(key, String(repeating: "t", count: 5_531))
    #expect(try world.query().count == 1)
    #expect(thrownCode { try world.put(key, String(repeating: "t", count: 5_532)) } == .invalidArgument)
    #expect(try world.record(key)?.siblings.count == 1)
    // What comes from elsewhere must be taken: its value is there and is not found by that term.
    var there = Record()
    try there.put(
      Array((String(repeating: "u", count: 6_000) + ",short").utf8), replacing: VersionVector(),
      dot: Dot(replica: ReplicaID(rawValue: 3), counter: 1), timestamp: Timestamp(rawValue: 1))
    _ = try key.withKeyBytes { key throws(DatabaseError) in try world.notes.join(key, there) }
    #expect(try world.record(key)?.siblings.count == 2)
    #expect(try world.query(.equals(Array("short".utf8))).count == 1)
  }

  // MARK: - Entries

  @Test func `entries sort by term, then key, and split again`() throws {
    let count = TestSize.of(quick: 20, full: 200)
    try withSeeds("entries sort by term, then key, and split again", count: count) { _, random in
      func bytes() -> [UInt8] {
        (0..<random.below(5)).map { _ in [0, 0, 1, 0x61, 0xFE, 0xFF][random.below(6)] }
      }
      var pairs = (0..<60).map { _ in (term: bytes(), key: bytes() + [7]) }
      for (term, key) in pairs {
        let split = try #require(IndexKey.split(IndexKey.suffix(term, key)))
        #expect(split.term == term && split.key == key)
      }
      let byEntry = pairs.sorted {
        IndexKey.suffix($0.term, $0.key).lexicographicallyPrecedes(IndexKey.suffix($1.term, $1.key))
      }
      pairs.sort {
        $0.term == $1.term
          ? $0.key.lexicographicallyPrecedes($1.key) : $0.term.lexicographicallyPrecedes($1.term)
      }
      #expect(byEntry.map(\.term) == pairs.map(\.term) && byEntry.map(\.key) == pairs.map(\.key))
      // A query's bounds hold just the terms that it is for.
      let (a, b) = (bytes(), bytes())
      let ranges: [(TermRange, ([UInt8]) -> Bool)] = [
        (.all, { _ in true }), (.equals(a), { $0 == a }), (.prefix(a), { $0.starts(with: a) }),
        (
          .range(from: a, to: b),
          { !$0.lexicographicallyPrecedes(a) && $0.lexicographicallyPrecedes(b) }
        ),
        (.range(from: nil, to: b), { $0.lexicographicallyPrecedes(b) }),
        (.range(from: a, to: nil), { !$0.lexicographicallyPrecedes(a) }),
      ]
      for (range, holds) in ranges {
        let (lower, upper) = range.bounds
        for (term, key) in pairs {
          let suffix = IndexKey.suffix(term, key)
          let isWithin =
            !suffix.lexicographicallyPrecedes(lower)
            && upper.map { suffix.lexicographicallyPrecedes($0) } ?? true
          #expect(isWithin == holds(term), "\(range) \(term)")
        }
      }
    }
  }
}
