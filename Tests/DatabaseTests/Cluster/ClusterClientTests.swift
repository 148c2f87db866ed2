import Roost
import TestSupport
import Testing

/// Programs that are no nodes, at a node over TCP on loopback, by the public calls.
// Budget: 5 s
@Suite(.ownThreads, .timeLimit(.minutes(30))) struct ClusterClientTests {
  /// Runs `body` with a client of a cluster of one node that has a keyspace of either kind.
  private func withClient(_ body: (ClusterClient, Database) async throws -> Void) async throws {
    let folder = try TemporaryDirectory()
    let options = Patience.options(partitions: 4)
    let node = try await Database.join(
      cluster: "music", at: "\(folder.path)/node", listen: "127.0.0.1:0",
      directory: .file("\(folder.path)/directory"), tls: .plainOnLoopback, options, network: Patience.network
    ) {
      Patience.set(&$0)
      $0.foundingNodes = 1
    }
    _ = try await node.keyspace("posts", .eventual)
    _ = try await node.keyspace("sessions", .eventual(.lastWriterWins))
    let client = try ClusterClient(
      to: try #require(node.address), cluster: "music", tls: .plainOnLoopback, timeout: Patience.limit)
    let result: Result<Void, any Error>
    do { result = .success(try await body(client, node)) } catch { result = .failure(error) }
    await client.close()
    try await node.close()
    try result.get()
  }

  @Test func `it reads what it and the node have written`() async throws {
    try await withClient { client, node in
      #expect(try await client.get("k", in: "posts").isEmpty)
      let written = try await client.put("k", "v1", in: "posts", .synced)
      #expect(try await node.keyspace("posts").get("k").text == "v1")
      // Its context replaces the value at the node, and the node's at the client.
      try await node.keyspace("posts").put("k", "v2", context: written)
      let read = try await client.get("k", in: "posts")
      #expect(read.text == "v2")
      try await client.put("k", "v3", in: "posts", context: read.context)
      #expect(try await client.get("k", in: "posts", quorum: 1).text == "v3")
      try await client.delete("k", in: "posts")
      #expect(try await node.keyspace("posts").get("k").isEmpty)
    }
  }

  @Test func `siblings are shown as the keyspace's policy has them`() async throws {
    try await withClient { client, node in
      for keyspace in ["posts", "sessions"] {
        for value in ["a", "b"] { try await client.put("k", value, in: keyspace) }
        let here = try await node.keyspace(keyspace).get("k")
        #expect(try await client.get("k", in: keyspace).values == here.values)
      }
      #expect(try await client.get("k", in: "posts").values.count == 2)
      #expect(try await client.get("k", in: "sessions").text == "b")
    }
  }

  @Test func `a session goes on at the node, and its token at another client`() async throws {
    try await withClient { client, node in
      let session = try client.session()
      try await client.put("k", "v1", in: "sessions", session: session)
      #expect(try await client.get("k", in: "sessions", session: session).text == "v1")
      let here = try node.session(resuming: session.token)
      let sessions = try await node.keyspace("sessions").within(here)
      #expect(try await sessions.get("k").text == "v1")
      try await sessions.put("k", "v2")
      let posts = try await node.keyspace("posts").within(here)
      try await posts.counter("c").increment(by: 3)
      try await posts.set("s").insert("e")
      try await posts.set("s").remove("e")
      #expect(try await posts.counter("c").value() == 3)
      let resumed = try client.session(resuming: here.token)
      #expect(try await client.get("k", in: "sessions", session: resumed).text == "v2")
      try await client.delete("k", in: "sessions", session: resumed)
      #expect(try await client.get("k", in: "sessions", session: resumed).isEmpty)
      #expect(try await client.get("s", in: "posts", session: resumed).isEmpty)
      await #expect(code { _ = try client.session(resuming: [1]) } == .damagedToken)
      // One that saw another database.
      let elsewhere = try await Databases.open()
      let stranger = try elsewhere.session()
      await #expect(
        code { _ = try await client.get("k", in: "sessions", session: stranger) } == .foreignToken)
      try await elsewhere.close()
    }
  }

  private func entry(_ key: String, _ value: String) -> (key: [UInt8], value: [UInt8]) {
    (key: Array(key.utf8), value: Array(value.utf8))
  }

  @Test func `many keys at a time replace what was there, and are read in order`() async throws {
    try await withClient { client, node in
      let posts = try await node.keyspace("posts")
      for value in ["one", "and another"] { try await posts.put("k7", value) }
      var entries = (0..<100).map { entry("k\($0)", "v\($0)") }
      entries.append(entry("k3", "last"))
      try await client.multiPut(entries, in: "posts", quorum: 1, .synced)
      let reads = try await client.multiGet((0...100).map { "k\($0)" }, in: "posts")
      #expect(reads.count == 101 && reads[100].isEmpty)
      for number in 0..<100 {
        #expect(reads[number].text == (number == 3 ? "last" : "v\(number)"), "k\(number)")
      }
      try await client.multiPut([], in: "none")
      #expect(try await client.multiGet([String](), in: "none").isEmpty)
      await #expect(code { try await client.multiPut(entries, in: "none") } == .unknownKeyspace)
      await #expect(code { _ = try await client.multiGet(["a", "b"], in: "none") } == .unknownKeyspace)
      await #expect(code { try await client.multiPut(entries, in: "posts", quorum: 17) } == .invalidArgument)
      // What stands before the first is written.
      let bad = [entry("a", "1"), entry("", "2"), entry("c", "3")]
      await #expect(code { try await client.multiPut(bad, in: "posts") } == .invalidArgument)
      #expect(try await client.get("a", in: "posts").text == "1")
    }
  }

  /// All of it at once is more than waits for a connection: the client would refuse it.
  @Test func `large values are sent few at a time`() async throws {
    try await withClient { _, node in
      var network = NetworkOptions()
      network.queuedBytes = 9 << 20
      let client = try ClusterClient(
        to: try #require(node.address), cluster: "music", tls: .plainOnLoopback, timeout: .seconds(60),
        network: network)
      let large = [UInt8](repeating: 7, count: 3 << 20)
      let entries = (0..<12).map { (key: Array("large\($0)".utf8), value: large) }
      let result: Result<[Read], any Error>
      do {
        try await client.multiPut(entries, in: "posts")
        result = .success(try await client.multiGet(entries.map(\.key), in: "posts"))
      } catch { result = .failure(error) }
      await client.close()
      #expect(try result.get().allSatisfy { $0.value == large })
    }
  }

  @Test func `what is wrong is said`() async throws {
    try await withClient { client, node in
      await #expect(code { _ = try await client.get("k", in: "none") } == .unknownKeyspace)
      await #expect(code { _ = try await client.get("", in: "posts") } == .invalidArgument)
      for quorum in [0, -1, 17] {
        await #expect(code { _ = try await client.get("k", in: "posts", quorum: quorum) } == .invalidArgument)
      }
      await #expect(code { try await client.put("k", "v", in: "posts", quorum: 3) } == .invalidArgument)
      let context = try await client.get("other", in: "posts").context
      await #expect(code { try await client.put("k", "v", in: "posts", context: context) } == .foreignContext)
      let stranger = try ClusterClient(
        to: try #require(node.address), cluster: "books", tls: .plainOnLoopback, timeout: Patience.limit)
      await #expect(code { _ = try await stranger.get("k", in: "posts") } == .unreachable)
      await stranger.close()
      await #expect(code { _ = try await stranger.get("k", in: "posts") } == .closed)
    }
    #expect(throws: TransportError.self) {
      try ClusterClient(to: "nowhere", cluster: "music", tls: .plainOnLoopback)
    }
  }
}
