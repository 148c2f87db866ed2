import Foundation
import Roost
import TestSupport
import Testing

/// Nodes in processes of their own that join a cluster, leave it and replace each other, while other
/// processes write to it.
// Budget: 60 s
@Suite(.serialized, .ownThreads, .timeLimit(.minutes(60))) struct ClusterMembersCommandTests {
  let roost: Roost

  init() throws { roost = try Roost() }

  private func expect(
    _ outcome: Roost.Outcome, _ status: Int32, _ words: String..., location: SourceLocation = #_sourceLocation
  ) {
    #expect(outcome.status == status && !outcome.isSignal, "\(outcome.errors)", sourceLocation: location)
    let said = outcome.text + outcome.errors
    for word in words { #expect(said.contains(word), "\(said)", sourceLocation: location) }
  }

  /// What was there before: `old:0`, `old:1` and so on, each with itself as its value.
  private static let old = (0..<TestSize.of(quick: 200, full: 4_000)).map { "old:\($0)" }

  /// Does something with a client of each node, and closes them.
  private func withClients(
    _ nodes: [ServedNode], _ body: ([ClusterClient]) async throws -> Void
  ) async throws {
    let clients = try nodes.map { node in
      try ClusterClient(
        to: try node.address(), cluster: "music", tls: .plainOnLoopback, timeout: .seconds(240))
    }
    let result: Result<Void, any Error>
    do { result = .success(try await body(clients)) } catch { result = .failure(error) }
    for client in clients { await client.close() }
    try result.get()
  }

  private func fill(_ cluster: ServedCluster) async throws {
    try await withClients(cluster.nodes) { clients in
      try await Self.spread(Self.old, clients) { key, client in
        try await client.put(key, key, in: "default")
      }
    }
  }

  /// Some keys at a time, each at another node.
  private static func spread(
    _ keys: [String], _ clients: [ClusterClient],
    _ body: @escaping @Sendable (String, ClusterClient) async throws -> Void
  ) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for lane in 0..<8 {
        group.addTask {
          for index in stride(from: lane, to: keys.count, by: 8) {
            try await body(keys[index], clients[index % clients.count])
          }
        }
      }
      try await group.waitForAll()
    }
  }

  /// That nothing acknowledged is missing at any node, that each increment counts once, and that all replicas
  /// have the same.
  private func check(
    _ cluster: ServedCluster, _ nodes: [ServedNode], _ load: ClusterLoad.Outcome
  ) async throws {
    #expect(!load.keys.isEmpty && load.counted > 0)
    let missing = Guarded<[String]>([])
    try await withClients(nodes) { clients in
      for client in clients {
        // Each node in turn reads all, from a majority.
        try await Self.spread(Self.old + load.keys, [client]) { key, client in
          let expected = key.hasPrefix("old:") ? key : "v" + key
          if try await client.get(key, in: "default").text != expected {
            missing.withLock { $0.append(key) }
          }
        }
      }
    }
    let lost = missing.withLock { $0 }
    #expect(lost.isEmpty, "\(lost.count) are missing: \(lost.prefix(10))")
    let shown = try cluster.ask(nodes[0], "get", "likes").text
    let likes = try #require(
      shown.split(separator: " ").dropFirst().first.flatMap { Int($0.filter(\.isNumber)) }, "\(shown)")
    #expect(likes >= load.counted && likes <= load.counted + load.uncertain)
    try cluster.expectEqualReplicas(nodes)
  }

  /// Starts a node that asks to join.
  ///
  /// - Returns: it, and the number under which it asks.
  private func newcomer(_ name: String) throws -> (ServedNode, String) {
    let node = try ServedNode(roost, name, isPatient: true, "--join")
    let words = try node.line("asks to join: ").split(whereSeparator: { " ;".contains($0) })
    return (node, String(try #require(words.dropFirst(4).first)))
  }

  @Test func `a node joins and one leaves while others write, and nothing is lost`() async throws {
    let cluster = try ServedCluster(roost, of: 3)
    defer { cluster.kill() }
    try await fill(cluster)
    let nodes = cluster.nodes
    let load = try ClusterLoad(roost, writers: 2, at: try nodes.map { try $0.address() })
    defer { load.abandon() }
    let (new, number) = try newcomer("node3")
    defer { new.kill() }
    expect(try cluster.ask(nodes[1], "cluster", "join"), 0, number, try new.address())
    // It does not serve yet.
    expect(try cluster.ask(new, "get", "likes"), 69)
    expect(
      try cluster.ask(nodes[2], "cluster", "join", String(number.prefix(8)), "--wait", "1200"), 0,
      "begun: 12 partitions", "done")
    #expect(try new.ready().hasPrefix("ready: cluster music, 4 nodes"))
    expect(try cluster.ask(new, "cluster", "join"), 0, "nobody")
    // Asked of the one that leaves, as long as it answers.
    expect(
      try cluster.ask(nodes[0], "cluster", "leave", try nodes[0].address(), "--wait", "1200"), 0,
      "begun: ", "done")
    let stays = [nodes[1], nodes[2], new]
    let before = try load.acknowledged()
    try ServedCluster.poll("writes after it has left") { try load.acknowledged() > before + 4 }
    try await check(cluster, stays, try load.end())
    for node in stays {
      let status = try cluster.object(node, "cluster", "status")
      let members = try #require(status["nodes"] as? [[String: Any]])
      #expect(Set(members.compactMap { $0["address"] as? String }) == Set(try stays.map { try $0.address() }))
      #expect(members.allSatisfy { $0["partitions"] as? Int == 16 })
    }
    expect(try cluster.ask(new, "cluster", "transfer"), 0, "none under way", "brought")
    expect(try cluster.ask(new, "cluster", "ring"), 0, "on 3 stores")
    // Who has left is told so, now and when it is started again.
    expect(try cluster.ask(nodes[0], "get", "likes"), 66, "no member")
    nodes[0].send(SIGTERM)
    #expect(try nodes[0].ended() == 0, "\(nodes[0].errors)")
    let again = try ServedNode(roost, "node0")
    defer { again.kill() }
    #expect(try again.ended() == 66, "\(again.errors)")
    new.send(SIGTERM)
    #expect(try new.ended() == 0, "\(new.errors)")
    #expect(try roost.run("verify", roost.path("node3")).status == 0)
  }

  @Test func `a node whose disk is gone is replaced by a new one, which is brought all`() async throws {
    let cluster = try ServedCluster(roost, of: 3)
    defer { cluster.kill() }
    try await fill(cluster)
    let nodes = cluster.nodes
    let (old, stay) = (nodes[2], Array(nodes.prefix(2)))
    let load = try ClusterLoad(roost, writers: 2, at: try stay.map { try $0.address() })
    defer { load.abandon() }
    let (new, number) = try newcomer("node3")
    defer { new.kill() }
    let replace = ["cluster", "replace", try old.address(), number, "--dead", "--wait", "1200"]
    expect(try cluster.ask(try stay[0].address(), replace), 64, "seems to be there")
    old.kill()
    try FileManager.default.removeItem(atPath: roost.path("node2"))
    let gone = try old.address()
    try ServedCluster.poll("a node that is missed") {
      try cluster.members(try stay[0].address()).contains {
        $0["name"] as? String == gone && $0["state"] as? String == "unreachable"
      }
    }
    expect(try cluster.ask(try stay[0].address(), replace), 0, "begun: 16 partitions", "done")
    try new.ready()
    let before = try load.acknowledged()
    try ServedCluster.poll("writes after that") { try load.acknowledged() > before + 4 }
    try await check(cluster, stay + [new], try load.end())
    let members = try cluster.members(try new.address())
    #expect(members.count == 3 && members.contains { $0["id"] as? String == number })
    #expect(!members.contains { $0["name"] as? String == gone })
  }

  @Test func `what is asked of members that cannot be is told`() throws {
    let cluster = try ServedCluster(roost, of: 1)
    defer { cluster.kill() }
    let node = cluster.nodes[0]
    func ask(_ words: String...) throws -> Roost.Outcome {
      try cluster.ask(try node.address(), ["cluster"] + words)
    }
    expect(try ask("join"), 0, "nobody asks to join")
    #expect(try ask("join", "--json").text == "[]\n")
    expect(try ask("join", "127.0.0.1:9"), 66, "nobody does")
    expect(try ask("join", "--weight", "5"), 64)
    expect(try ask("leave", "127.0.0.1:9"), 66, "127.0.0.1:9", try node.address())
    expect(try ask("leave", "0123456789abcdef"), 66, "0123456789abcdef")
    expect(try ask("leave", try node.address()), 64)
    expect(try ask("leave", try node.address(), "--force"), 64, "--dead")
    expect(try ask("weigh", try node.address(), "0"), 64, "1000")
    expect(try ask("weigh", try node.address(), "100"), 0, "nothing to do")
    // A single node has all partitions, whatever its weight.
    for weight in ["200", "100"] {
      expect(try ask("weigh", try node.address(), weight), 0, "done: nothing has to move")
      expect(try ask("weigh", try node.address(), weight), 0, "nothing to do")
    }
    expect(try ask("replace", try node.address()), 64)
    expect(try ask("replace", try node.address(), "a", "b"), 64, "takes its place")
    expect(try ask("leave", try node.address(), "127.0.0.1:9"), 66, "127.0.0.1:9")
    expect(try ask("transfer", "--wait", "1"), 0, "none under way")
    expect(try ask("transfer", "--cancel"), 0, "no change is under way")
    expect(try ask("transfer", "--wait", "-1"), 64)
    expect(try ask("ring", "--add", "new"), 0, "would move")

    // One that waits no more is no candidate any more, at the latest when its lease is over.
    let (gone, first) = try newcomer("node1")
    defer { gone.kill() }
    gone.send(SIGINT)
    #expect(try gone.ended() == 0, "\(gone.errors)")
    try ServedCluster.poll("a list without it") { try ask("join").text.contains("nobody") }
    expect(try ask("join", first), 66)
    let (new, number) = try newcomer("node1")
    defer { new.kill() }
    #expect(number == first, "the same store has the same number")
    let change = try cluster.object(node, "cluster", "join", number, "--weight", "50", "--wait", "1200")
    #expect(change["underWay"] as? Bool == false && change["movesLeft"] as? Int == 0)
    let members = try cluster.members(try node.address())
    let shares = members.compactMap { $0["partitions"] as? Int }
    #expect(shares.reduce(0, +) == 16 && (4...6).contains(shares.min() ?? 0), "\(shares)")
  }
}
