import Roost
import TestSupport
import Testing

/// Programs that are no nodes, at a node over TCP on loopback, by the public calls.
// Budget: 5 s
@Suite(.timeLimit(.minutes(2))) struct ClusterClientTests {
  /// Runs `body` with a client of a cluster of one node that has a keyspace of either kind.
  private func withClient(_ body: (ClusterClient, Database) async throws -> Void) async throws {
    let folder = try TemporaryDirectory()
    var options = DatabaseOptions()
    options.partitionCount = 4
    let node = try await Database.join(
      cluster: "music", at: "\(folder.path)/node", listen: "127.0.0.1:0",
      directory: .file("\(folder.path)/directory"), tls: .plainOnLoopback, options
    ) { $0.foundingNodes = 1 }
    _ = try await node.keyspace("posts", .eventual)
    _ = try await node.keyspace("sessions", .eventual(.lastWriterWins))
    let client = try ClusterClient(
      to: try #require(node.address), cluster: "music", tls: .plainOnLoopback, timeout: .seconds(60))
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
        to: try #require(node.address), cluster: "books", tls: .plainOnLoopback, timeout: .seconds(60))
      await #expect(code { _ = try await stranger.get("k", in: "posts") } == .unreachable)
      await stranger.close()
      await #expect(code { _ = try await stranger.get("k", in: "posts") } == .closed)
    }
    #expect(throws: TransportError.self) {
      try ClusterClient(to: "nowhere", cluster: "music", tls: .plainOnLoopback)
    }
  }
}
