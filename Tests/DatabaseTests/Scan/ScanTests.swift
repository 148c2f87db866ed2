import Roost
import RoostSimulation
import RoostStorage
import TestSupport
import Testing

@testable import RoostCluster

/// Scans of a keyspace: what they show, how they end and go on, and what they refuse.
// Budget: 3 s
@Suite struct ScanTests {
  @Test func `keys come in order over partitions and stores, both ways`() async throws {
    let database = try await Databases.open(stores: 3, partitions: 16)
    let posts = try await database.keyspace("posts", .eventual)
    let names = (0..<300).map { "k\($0)" }
    for name in names { try await posts.put(name, "value of " + name) }
    var seen: [String] = []
    for try await entry in posts.scan() {
      seen.append(entry.keyText)
      #expect(entry.text == "value of " + entry.keyText)
    }
    #expect(seen == names.sorted())
    var reversed: [String] = []
    for try await entry in posts.scan(.all, .descending) { reversed.append(entry.keyText) }
    #expect(reversed == names.sorted().reversed())
    try await database.close()
  }

  @Test func `ranges, prefixes and tags show just the keys that they say`() throws {
    let database = try SynchronousDatabase(stores: 2)
    let names = [
      "a", "ab", "abc", "b", "b{1}", "b{1}x", "b{2}", "c{1}", "c{}", "c{{1}", "d}{1}", "{1}{2}", "e{1",
    ]
    for name in names { try database.put(name, "v") }
    #expect(try database.keys(.prefix("ab")) == ["ab", "abc"])
    #expect(try database.keys(.range(from: "ab", to: "b{1}")) == ["ab", "abc", "b"])
    #expect(try database.keys(.from("d")) == ["d}{1}", "e{1", "{1}{2}"])
    #expect(try database.keys(.to("ab")) == ["a"])
    #expect(try database.keys(.range(from: "b", to: "a")) == [])
    #expect(try database.keys(.tag("1")) == ["b{1}", "b{1}x", "c{1}", "d}{1}", "{1}{2}"])
    #expect(try database.keys(.tag("1"), .descending) == ["{1}{2}", "d}{1}", "c{1}", "b{1}x", "b{1}"])
    #expect(try database.keys(.prefix("b").tagged("1")) == ["b{1}", "b{1}x"])
    #expect(try database.keys(.prefix("b{1}").tagged("2")) == [])
    #expect(try database.keys(.prefix("b{1}")) == ["b{1}", "b{1}x"])
    #expect(try database.keys(.tag("{1")) == ["c{{1}"])
    #expect(thrownCode { _ = try database.keys(.tag("")) } == .invalidArgument)
    #expect(thrownCode { _ = try database.keys(.tag("1}")) } == .invalidArgument)
  }

  @Test func `a tag reads one partition only`() throws {
    let database = try SynchronousDatabase(stores: 1, partitions: 8)
    for number in 0..<100 {
      try database.put("{t}\(number)", "v")
      try database.put("k\(number)", "v")
    }
    // Another partition's damage is not met.
    let other = try #require((0..<8).first { $0 != database.partition("{t}") })
    let part = try #require(database.posts.parts[0])
    let records = part.records
    try records.put(StoredKey.make(other, [0]), [1, 2, 3])
    #expect(try database.keys(.tag("t")).count == 100)
    #expect(try database.keys(.prefix("{t}")).count == 100)
    #expect(thrownCode { _ = try database.keys() } == .corruption)
  }

  @Test func `deleted and expired keys are passed over, siblings and states are shown`() async throws {
    let world = SimulatedEnvironment()
    let database = try await Databases.open(world, stores: 2)
    let posts = try await database.keyspace("posts", .eventual)
    try await posts.put("a", "one")
    try await posts.put("a", "two")
    try await posts.put("b", "gone")
    try await posts.delete("b")
    try await posts.put("c", "short-lived", timeToLive: .seconds(1))
    try await posts.put("d", "long-lived", timeToLive: .seconds(1_000))
    try await posts.counter("e").increment(by: 2)
    world.time.advance(byNanoseconds: 2_000_000_000)
    var entries: [ScanEntry] = []
    for try await entry in posts.scan() { entries.append(entry) }
    #expect(entries.map(\.keyText) == ["a", "d", "e"])
    #expect(entries[0].values.map { String(decoding: $0, as: UTF8.self) }.sorted() == ["one", "two"])
    let lengths = entries.map { entry -> Int? in
      guard let value = entry.valueBytes else { return nil }
      return value.byteCount
    }
    #expect(lengths == [nil, 10, nil])
    #expect(entries[0].value == nil)
    #expect(entries[1].text == "long-lived")
    #expect(entries[2].kinds == [.counter] && entries[2].values.isEmpty)
    for entry in entries {
      let read = try await posts.get(entry.key)
      #expect(entry.context == read.context && entry.read.record == read.record)
      #expect(entry.read.siblings == read.siblings)
    }
    // The context is good for a write.
    try await posts.put("a", "both", context: entries[0].context)
    #expect(try await posts.get("a").text == "both")
    try await database.close()
  }

  @Test func `a value has expired at the moment of its expiry, and not before`() throws {
    let database = try SynchronousDatabase()
    try database.put("alone", "v", timeToLive: .milliseconds(100))
    try database.put("beside", "for a while", timeToLive: .milliseconds(100))
    try database.put("beside", "for good")
    func shown() throws -> [Int] { try database.scan().rest().map(\.values.count) }
    database.world.time.advance(byNanoseconds: 99_999_999)
    #expect(try shown() == [1, 2])
    #expect(try database.values("alone") == ["v"] && database.values("beside").count == 2)
    database.world.time.advance(byNanoseconds: 1)
    #expect(try shown() == [1])
    #expect(try database.values("alone") == [] && database.values("beside") == ["for good"])
  }

  @Test func `policies decide what siblings are shown as`() throws {
    let world = SimulatedEnvironment()
    let longest: KeyspacePolicy = .eventual(
      .resolve { values in
        let longest = values.max { $0.count < $1.count }!
        return longest.count > 8 ? nil : longest
      })
    let database = try SynchronousDatabase(world, stores: 1, longest)
    for value in ["x", "xyz"] { try database.put("a", value) }
    for value in ["x", "far too long"] { try database.put("b", value) }
    let shown = try database.scan().rest()
    #expect(shown == [Shown(key: Array("a".utf8), values: [Array("xyz".utf8)], kinds: [])])
  }

  @Test func `pages end at their limit and go on by tokens, also after a restart`() async throws {
    let world = SimulatedEnvironment()
    var database = try await Databases.open(world, stores: 2)
    var posts = try await database.keyspace("posts", .eventual)
    let names = (0..<50).map { "k\($0)" }.sorted()
    for name in names { try await posts.put(name, "v") }
    var seen: [String] = []
    var token: ScanToken?
    repeat {
      let page = try await posts.scanPage(limit: 7, after: token)
      #expect(page.count <= 7)
      seen += page.map(\.keyText)
      token = try page.token.map { try ScanToken(text: $0.text) }
      if token != nil { #expect(page.count == 7) }
      try await database.close()
      database = try await Databases.open(world, stores: 2)
      posts = try await database.keyspace("posts")
    } while token != nil
    #expect(seen == names)
    // A sequence goes on where a page ended.
    let page = try await posts.scanPage(limit: 10)
    var rest: [String] = []
    for try await entry in posts.scan(after: page.token) { rest.append(entry.keyText) }
    #expect(rest == Array(names[10...]))
    #expect(await code { _ = try await posts.scanPage(limit: 0) } == .invalidArgument)
    try await database.close()
    #expect(await code { _ = try await posts.scanPage(limit: 1) } == .closed)
  }

  @Test func `a page passes over so many keys and no more, and ends at so many bytes`() throws {
    let database = try SynchronousDatabase(stores: 1)
    for number in 100..<200 {
      try database.put("k\(number)", "v")
      if number < 190 { try database.delete("k\(number)") }
    }
    var limits = KeyspaceScan.Limits()
    limits.passedOver = 20
    var scan = try database.scan(.all, .ascending, after: nil, limits)
    var pages: [Int] = []
    while !scan.isAtEnd, pages.count < 100 {
      pages.append(try scan.shownPage(limit: 100).count)
      // What was passed over is not passed over again.
      if let token = scan.token { scan = try database.scan(.all, .ascending, after: token, limits) }
    }
    #expect(pages == [0, 0, 0, 0, 10])
    limits.passedOver = 1_000
    limits.pageBytes = 60
    scan = try database.scan(.from("k190"), .ascending, after: nil, limits)
    let first = try scan.shownPage(limit: 100)
    #expect(first.count >= 1 && first.count < 10)
    #expect(try first.count + scan.rest().count == 10)
  }

  @Test func `damaged and foreign tokens are refused`() async throws {
    let database = try await Databases.open(stores: 1)
    let posts = try await database.keyspace("posts", .eventual)
    let others = try await database.keyspace("others", .eventual)
    for name in ["a", "b", "c"] { try await posts.put(name, "v") }
    let token = try #require(try await posts.scanPage(.from("a"), limit: 1).token)
    #expect(try ScanToken(bytes: token.bytes) == token)
    for index in token.bytes.indices {
      var bytes = token.bytes
      bytes[index] ^= 4
      #expect(thrownCode { _ = try ScanToken(bytes: bytes) } == .damagedToken)
      #expect(thrownCode { _ = try ScanToken(bytes: Array(token.bytes[..<index])) } == .damagedToken)
    }
    #expect(thrownCode { _ = try ScanToken(text: "§") } == .damagedToken)
    // Sealed, but with no key, or another token's.
    let empty = SealedToken.seal(.scan, Array(repeating: 0, count: 17))
    #expect(thrownCode { _ = try ScanToken(bytes: empty) } == .damagedToken)
    let context = try await posts.get("a").context.bytes
    #expect(thrownCode { _ = try ScanToken(bytes: context) } == .damagedToken)

    let elsewhere = try await Databases.open(SimulatedEnvironment(seed: 2), stores: 1)
    let theirs = try await elsewhere.keyspace("posts", .eventual)
    for keyspace in [others, theirs] {
      let code = await code { _ = try await keyspace.scanPage(.from("a"), limit: 1, after: token) }
      #expect(code == .foreignToken)
    }
    let ranges: [ScanRange] = [
      .all, .from("b"), .range(from: "a", to: "c"), .prefix("a"), .from("a").tagged("t"),
    ]
    for range in ranges {
      let code = await code { _ = try await posts.scanPage(range, limit: 1, after: token) }
      #expect(code == .foreignToken)
    }
    // From the same scan but for its prefix.
    let prefixed = try #require(try await posts.scanPage(.prefix(""), limit: 1).token)
    #expect(
      await code { _ = try await posts.scanPage(.prefix("b"), limit: 1, after: prefixed) }
        == .foreignToken)
    let reversed = await code {
      _ = try await posts.scanPage(.from("a"), .descending, limit: 1, after: token)
    }
    #expect(reversed == .foreignToken)
    #expect(try await posts.scanPage(.from("a"), limit: 9, after: token).map(\.keyText) == ["b", "c"])
    try await database.close()
    try await elsewhere.close()
  }

  @Test func `a damaged record is an error that names its key, behind the keys before it`() throws {
    let database = try SynchronousDatabase(stores: 1)
    for name in ["a", "b", "c"] { try database.put(name, "v") }
    let part = try #require(database.posts.parts[0])
    let records = part.records
    let key = StoredKey.make(database.partition("b"), Array("b".utf8))
    var value = try #require(try records.get(key))
    value[value.count - 1] = 9
    try records.put(key, value)
    let scan = try database.scan()
    #expect(try scan.shownPage(limit: 10).map(\.key) == [Array("a".utf8)])
    do {
      _ = try scan.shownPage(limit: 10)
      Issue.record("nothing was thrown")
    } catch {
      #expect(error.code == .corruption)
      #expect(error.message.contains("`b`"))
    }
    #expect(thrownCode { _ = try database.record("b") } == .corruption)
    for short in 0...8 {
      try records.put(key, Array(value[..<short]))
      #expect(thrownCode { _ = try database.scan(.from("b")).rest() } == .corruption)
      #expect(thrownCode { _ = try database.record("b") } == .corruption)
    }
  }

  @Test func `entries that are kept stay what they are while the scan goes on`() async throws {
    let database = try await Databases.open(stores: 2, partitions: 16)
    let posts = try await database.keyspace("posts", .eventual)
    let names = (1_000..<3_000).map { "k\($0)" }
    for name in names { try await posts.put(name, "value of " + name) }
    var kept: [ScanEntry] = []
    var seen = 0
    for try await entry in posts.scan() {
      // Of some pages all, of some one, of some none.
      if seen / 300 % 3 == 0 || seen % 977 == 0 { kept.append(entry) }
      seen += 1
    }
    #expect(seen == names.count)
    let expected = names.enumerated().filter { $0.offset / 300 % 3 == 0 || $0.offset % 977 == 0 }
    #expect(kept.map(\.keyText) == expected.map(\.element))
    #expect(kept.allSatisfy { $0.text == "value of " + $0.keyText && $0.read.text == $0.text })
    try await database.close()
  }

  @Test func `a read that fails loses and doubles no key`() throws {
    for order in [ScanOrder.ascending, .descending] {
      let world = SimulatedEnvironment()
      // Without a cache each scan reads all its blocks.
      var database = try SynchronousDatabase(world, stores: 1) { $0.store.blockCacheBytes = 0 }
      let names = (1_000..<1_400).map { "k\($0)" }
      let text = String(repeating: "v", count: 200)
      for name in names { try database.put(name, text) }
      for member in database.core.presentMembers { try member.store.flush() }
      database = try database.reopened { $0.store.blockCacheBytes = 0 }
      var failures = 0
      for occurrence in 1...60 {
        let scan = try database.scan(.all, order)
        world.fileSystem.inject(
          FaultRule([.read], pathSuffix: ".sst", occurrence: occurrence, .fail(.io)))
        var shown: [String] = []
        var attempts = 0
        while !scan.isAtEnd, attempts < 1_000 {
          attempts += 1
          do {
            shown += try scan.shownPage(limit: 50).map { String(decoding: $0.key, as: UTF8.self) }
          } catch { failures += 1 }
        }
        world.fileSystem.clearFaults()
        #expect(shown == (order == .ascending ? names : names.reversed()))
      }
      #expect(failures > 0)
      try database.core.close()
    }
  }

  @Test func `replicas that differ are joined, as a get joins them`() throws {
    for missing in 0..<2 {
      let database = try SynchronousDatabase(stores: 2, partitions: 4, replicas: 2)
      try database.put("a", "first")
      try database.put("b", "same")
      // One replica misses a write.
      let partition = database.partition("a")
      let key = StoredKey.make(partition, Array("a".utf8))
      let slot = database.core.shared.routes.owner(partition, missing)
      let part = try #require(database.posts.parts[slot])
      let records = part.records
      let before = try #require(try records.get(key))
      try database.put("a", "later")
      try records.put(key, before)
      let shown = try database.scan().rest()
      #expect(shown.map(\.key) == [Array("a".utf8), Array("b".utf8)])
      #expect(shown.map(\.values.count) == [2, 1])
      // A scan writes nothing.
      #expect(try records.get(key) == before)
    }
  }

  @Test func `a scan goes on over moved partitions without losing or doubling a key`() throws {
    for order in [ScanOrder.ascending, .descending] {
      let database = try SynchronousDatabase(stores: 3, partitions: 8)
      let names = (0..<200).map { "k\($0)" }.sorted()
      for name in names { try database.put(name, "v") }
      let scan = try database.scan(.all, order)
      var shown: [String] = []
      var round = 0
      while !scan.isAtEnd {
        shown += try scan.shownPage(limit: 10).map { String(decoding: $0.key, as: UTF8.self) }
        try database.move(round % 8, to: round % 3)
        round += 1
      }
      #expect(shown == (order == .ascending ? names : names.reversed()))
    }
  }

  @Test func `cursors are not held for long`() throws {
    let database = try SynchronousDatabase(stores: 1)
    for number in 100..<200 { try database.put("k\(number)", "old") }
    var limits = KeyspaceScan.Limits()
    limits.heldEntries = 50
    let scan = try database.scan(.all, .ascending, after: nil, limits)
    var shown = try scan.shownPage(limit: 50)
    for number in 100..<200 {
      try database.put("k\(number)", "new", try database.context("k\(number)"))
    }
    shown += try scan.rest()
    let values = shown.map { String(decoding: $0.values[0], as: UTF8.self) }
    #expect(values == (0..<100).map { $0 < 50 ? "old" : "new" })
  }

  @Test func `with a store missing only what needs it is out of reach`() async throws {
    let world = SimulatedEnvironment()
    var database = try await Databases.open(world, stores: 2)
    var posts = try await database.keyspace("posts", .eventual)
    for number in 0..<40 { try await posts.put("{\(number)}", "v") }
    try await database.close()
    var options = Databases.options()
    options.allowsMissingStores = true
    database = try await Database.open(
      at: [Databases.directories(2)[0]], options, environment: world.environment)
    posts = try await database.keyspace("posts")
    #expect(await code { _ = try await posts.scanPage(limit: 1) } == .unreachable)
    var counts = [0, 0]
    for number in 0..<40 {
      do {
        counts[0] += try await posts.scanPage(.tag("\(number)"), limit: 1).count
      } catch let error as DatabaseError where error.code == .unreachable {
        counts[1] += 1
      }
    }
    #expect(counts[0] > 0 && counts[1] > 0 && counts[0] + counts[1] == 40)
    try await database.close()
  }
}
