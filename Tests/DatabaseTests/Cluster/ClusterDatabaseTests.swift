import Roost
import RoostNetwork
import TestSupport
import Testing

/// Databases that are nodes of one cluster, over TCP on loopback, by the public calls.
// Budget: 10 s
@Suite(.ownThreads, .timeLimit(.minutes(30))) struct ClusterDatabaseTests {
  private static func join(
    _ index: Int, of count: Int, in folder: TemporaryDirectory
  ) async throws -> Database {
    var options = Patience.options(partitions: 16)
    options.transactions.clockBound = .milliseconds(10)
    return try await Database.join(
      cluster: "music", at: "\(folder.path)/node\(index)", listen: "127.0.0.1:0",
      directory: .file("\(folder.path)/directory"), tls: .plainOnLoopback, options, network: Patience.network
    ) {
      Patience.set(&$0)
      $0.foundingNodes = count
    }
  }

  private static func cluster(of count: Int, in folder: TemporaryDirectory) async throws -> [Database] {
    try await withThrowingTaskGroup(of: (Int, Database).self) { group in
      for index in 0..<count {
        group.addTask { (index, try await join(index, of: count, in: folder)) }
      }
      var all: [Int: Database] = [:]
      for try await (index, database) in group { all[index] = database }
      return (0..<count).map { all[$0]! }
    }
  }

  /// Of a keyspace at all replicas of a partition, and at one of three.
  @Test(arguments: [nil, 1] as [Int?])
  func `what a node shows is the whole cluster's`(replicas: Int?) async throws {
    let folder = try TemporaryDirectory()
    let nodes = try await Self.cluster(of: 4, in: folder)
    let words = Index("words") { _, value in value.split(separator: UInt8(ascii: " ")).map(Array.init) }
    var keyspaces: [Keyspace] = []
    for node in nodes {
      keyspaces.append(try await node.keyspace("posts", .eventual(replicas: replicas), indexes: [words]))
    }
    let posts = keyspaces
    let keys = (10..<60).map { "k\($0)" }
    for (index, key) in keys.enumerated() { try await posts[index % 4].put(key, "word\(index % 2) \(key)") }
    for keyspace in posts {
      var shown: [String] = []
      for try await entry in keyspace.scan() {
        #expect(entry.text?.hasSuffix(entry.keyText) == true)
        shown.append(entry.keyText)
      }
      #expect(shown == keys)
      #expect(try await keyspace.multiGet(keys + ["none"]).count { !$0.isEmpty } == 50)
      let hits = try await keyspace.query("words", equals: "word1", limit: 500)
      #expect(hits.entries.map(\.keyText) == stride(from: 1, to: 50, by: 2).map { keys[$0] })
      // A source that has missed a write is brought it soon, and tells of it then.
      var told: Set<String> = []
      for try await change in keyspace.changes() {
        if let key = change.keyText { told.insert(key) }
        if told.isSuperset(of: keys) { break }
      }
      var count = 0
      for try await _ in keyspace.changes(following: false) { count += 1 }
      #expect(count >= 50)
    }
    let first = try await posts[0].scanPage(.prefix("k"), .descending, limit: 20)
    let second = try await posts[3].scanPage(.prefix("k"), .descending, limit: 20, after: first.token)
    #expect(first.map(\.keyText) + second.map(\.keyText) == Array(keys.reversed().prefix(40)))
    // Typed values, from nodes that are no replicas of them as well.
    for (index, keyspace) in posts.enumerated() {
      try await keyspace.flag("open").enable()
      try await posts[(index + 1) % 4].flag("open").disable()
      #expect(try await !posts[(index + 2) % 4].flag("open").isEnabled())
      try await keyspace.register("name").assign("n\(index)")
      #expect(try await posts[(index + 3) % 4].register("name").text() == "n\(index)")
      try await keyspace.map("m").set("s").insert("e\(index)")
    }
    #expect(try await posts[2].map("m").set("s").count() == 4)
    #expect(try await posts[1].map("m").remove("s"))
    #expect(try await posts[0].map("m").fields().isEmpty)
    // Whoever follows is told of what another node has written.
    let follower = Task { [keyspace = posts[0]] in
      for try await change in keyspace.changes() where change.keyText == "later" { return true }
      return false
    }
    try await posts[3].put("later", "v")
    #expect(try await follower.value)
    for node in nodes { try await node.close() }
  }

  @Test func `three nodes like a post at once, and all say three`() async throws {
    let folder = try TemporaryDirectory()
    let nodes = try await Self.cluster(of: 3, in: folder)
    #expect(Set(nodes.map(\.id)).count == 1)
    let cluster = try #require(nodes[0].cluster)
    try await poll("connections both ways") {
      let statistics = cluster.networkStatistics
      return statistics.peers.count { $0.state == .connected } == 2 && statistics.listener.connections >= 2
    }
    let addresses = Set(cluster.networkStatistics.peers.map { "\($0.address)" })
    #expect(addresses == Set(nodes.dropFirst().compactMap { $0.address }))
    var keyspaces: [Keyspace] = []
    for node in nodes { keyspaces.append(try await node.keyspace("posts", .eventual)) }
    let posts = keyspaces
    try await withThrowingTaskGroup(of: Void.self) { group in
      for keyspace in posts { group.addTask { try await keyspace.counter("likes:42").increment() } }
      try await group.waitForAll()
    }
    for keyspace in posts { #expect(try await keyspace.counter("likes:42").value() == 3) }

    try await posts[0].put("k", "v1")
    let read = try await posts[1].get("k")
    #expect(read.text == "v1")
    try await posts[1].put("k", "v2", context: read.context)
    #expect(try await posts[2].get("k").text == "v2")
    #expect(try await posts[2].multiGet(["k", "none"]).map(\.text) == ["v2", nil])
    await #expect(
      code { try await posts[0].put("k", "v3", ifUnchangedSince: read.context) } == .conditionFailed)
    await #expect(
      code { try await posts[0].delete("k", ifUnchangedSince: read.context) } == .conditionFailed)
    #expect(try await nodes[0].repair().keys >= 2)
    await #expect(code { try await nodes[0].addStore(at: "\(folder.path)/more") } == .wrongPolicy)
    try await posts[0].delete("k")
    #expect(try await posts[1].get("k").isEmpty)

    try await posts[0].set("s").insert("a", "b")
    try await posts[1].set("s").remove("a")
    #expect(try await posts[2].set("s").elements() == [Array("b".utf8)])
    try await posts[0].map("m").counter("n").increment(by: 5)
    #expect(try await posts[2].map("m").counter("n").value() == 5)
    #expect(try await posts[2].map("m").fields().count == 1)

    await #expect(code { _ = try await nodes[1].keyspace("unknown") } == .unknownKeyspace)
    #expect(try await nodes[2].keyspace("posts").name == "posts")

    // One leaves: the others go on. It comes back as what it was.
    let running = Task { [node = nodes[2]] in try await node.run() }
    running.cancel()
    try await running.value
    await #expect(code { _ = try await posts[2].get("k") } == .closed)
    try await posts[0].counter("likes:42").increment(.synced)
    #expect(try await posts[1].counter("likes:42").value() == 4)
    let again = try await Self.join(2, of: 3, in: folder)
    #expect(try await again.keyspace("posts").counter("likes:42").value() == 4)
    for node in [nodes[0], nodes[1], again] { try await node.close() }
  }

  @Test func `any of three nodes moves money between keys of all of them`() async throws {
    let folder = try TemporaryDirectory()
    let nodes = try await Self.cluster(of: 3, in: folder)
    var opened: [Keyspace] = []
    for node in nodes { opened.append(try await node.keyspace("accounts", .transactional)) }
    let accounts = opened
    let transfers = try await nodes[0].keyspace("transfers", .eventual)
    await #expect(code { _ = try await nodes[1].keyspace("accounts", .eventual) } == .wrongPolicy)
    let names = (0..<12).map { "account\($0)" }
    try await nodes[0].transaction(.synced) { txn in
      for name in names { try await txn.put(name, value: 100, in: accounts[0]) }
    }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for (index, node) in nodes.enumerated() {
        group.addTask {
          let counted = try await node.keyspace("transfers")
          for round in 0..<6 {
            let from = names[(index * 5 + round) % names.count]
            let to = names[(index * 7 + round * 3 + 1) % names.count]
            if from == to { continue }
            try await node.transaction(.synced) { txn in
              let source = try await txn.get(from, Int.self, in: accounts[index], forUpdate: true) ?? 0
              let target = try await txn.get(to, Int.self, in: accounts[index], forUpdate: true) ?? 0
              try await txn.put(from, value: source - 7, in: accounts[index])
              try await txn.put(to, value: target + 7, in: accounts[index])
              try txn.counter("moves", in: counted).increment()
            }
          }
        }
      }
      try await group.waitForAll()
    }
    for (index, node) in nodes.enumerated() {
      let snapshot = try await node.snapshot()
      var sum = 0
      for name in names { sum += try await snapshot.get(name, Int.self, in: accounts[index]) ?? 0 }
      #expect(sum == 1_200)
      #expect(try await snapshot.scan(in: accounts[index]).map { String(decoding: $0.key, as: UTF8.self) }
        == names.sorted())
      #expect(try await node.transaction { txn in try await txn.scan(in: accounts[index]).count } == 12)
    }
    let moves = (0..<3).reduce(0) { sum, index in
      sum + (0..<6).count { (index * 5 + $0) % 12 != (index * 7 + $0 * 3 + 1) % 12 }
    }
    // An effect is done a little later than its commit.
    try await poll("all effects") { try await transfers.counter("moves").value() >= Int64(moves) }
    #expect(try await transfers.counter("moves").value() == Int64(moves))

    try await accounts[1].put("plain", "v")
    #expect(try await accounts[2].get("plain").text == "v")
    try await accounts[0].delete("plain")
    #expect(try await accounts[1].get("plain").isEmpty)
    let transaction = try await nodes[0].begin()
    try await transaction.put("by hand", "v", in: accounts[0])
    let outcome = try await nodes[0].commit(transaction)
    for node in nodes { #expect(try await node.outcome(of: transaction.id) == outcome) }
    let dropped = try await nodes[1].begin()
    try await dropped.put("dropped", "v", in: accounts[1])
    nodes[1].abort(dropped)
    #expect(try await accounts[2].get("dropped").isEmpty)

    // All start again, and know what was committed.
    for node in nodes { try await node.close() }
    let again = try await Self.cluster(of: 3, in: folder)
    let reopened = try await again[2].keyspace("accounts")
    #expect(try await reopened.get("by hand").text == "v")
    // A node's close waits for its own store only: what the others had yet to be told they ask for, once they
    // and whoever decided it have started again. When that is, the nodes' timers say.
    for node in again { try await poll("nothing in doubt") { try await node.inDoubt().isEmpty } }
    for node in again { try await node.close() }
  }

  @Test func `a cluster whose nodes are all started again goes on at once`() async throws {
    let folder = try TemporaryDirectory()
    for round in 1...3 {
      let nodes = try await Self.cluster(of: 3, in: folder)
      for node in nodes { try await node.keyspace("posts", .eventual).counter("likes").increment() }
      for node in nodes {
        #expect(try await node.keyspace("posts").counter("likes").value() == Int64(3 * round))
      }
      for node in nodes { try await node.close() }
    }
  }

  @Test func `a keyspace has quorums of its own, and a call says others`() async throws {
    let folder = try TemporaryDirectory()
    let nodes = try await Self.cluster(of: 3, in: folder)
    let policy = KeyspacePolicy.eventual(readQuorum: 2, writeQuorum: 2)
    var opened: [Keyspace] = []
    for node in nodes { opened.append(try await node.keyspace("carts", policy)) }
    let carts = opened
    #expect(try await nodes[2].keyspace("carts").policy.writeQuorum == 2)
    for (index, keyspace) in carts.enumerated() {
      let context = try await keyspace.put("k\(index)", "v")
      try await keyspace.counter("n").increment()
      #expect(try await keyspace.get("k\(index)", quorum: 1).text == "v")
      for other in carts {
        #expect(try await other.get("k\(index)").text == "v")
        #expect(try await other.counter("n").value() == Int64(index + 1))
      }
      try await keyspace.put("k\(index)", "w", context: context, quorum: 1)
      #expect(try await keyspace.get("k\(index)", quorum: 1).text == "w")
      try await keyspace.delete("k\(index)", quorum: 2)
      #expect(try await keyspace.get("k\(index)").isEmpty)
    }
    for quorum in [-1, 0, 4] {
      await #expect(code { _ = try await carts[0].get("k", quorum: quorum) } == .invalidArgument)
      await #expect(code { try await carts[1].put("k", "v", quorum: quorum) } == .invalidArgument)
      await #expect(code { try await carts[2].delete("k", quorum: quorum) } == .invalidArgument)
    }
    await #expect(
      code { _ = try await nodes[0].keyspace("others", .eventual(readQuorum: 4)) } == .invalidArgument)
    await #expect(
      code { _ = try await nodes[1].keyspace("carts", .eventual(writeQuorum: 1)) } == .wrongPolicy)
    let accounts = try await nodes[0].keyspace("accounts", .transactional)
    await #expect(code { _ = try await accounts.get("k", quorum: 1) } == .wrongPolicy)
    for node in nodes { try await node.close() }
  }

  @Test func `a node that waits for founders in vain says how many came`() async throws {
    let folder = try TemporaryDirectory()
    let error = await databaseError {
      _ = try await Database.join(
        cluster: "c", at: "\(folder.path)/n", listen: "127.0.0.1:0", directory: .file("\(folder.path)/d"),
        tls: .plainOnLoopback
      ) {
        $0.foundingNodes = 2
        $0.foundingTimeout = .milliseconds(200)
      }
    }
    #expect(error?.code == .deadlineExceeded)
    #expect(error?.message.contains("1 of 2") == true)
    // Nothing is held on to: the same directory founds a cluster of its own.
    let alone = try await Self.join(0, of: 1, in: TemporaryDirectory())
    #expect(alone.address != nil)
    try await alone.close()
  }

  @Test func `addresses and options are checked`() async throws {
    let folder = try TemporaryDirectory()
    for (listen, tls, expected) in [
      ("nowhere", TLSOptions.plainOnLoopback, TransportError.Code.invalidAddress),
      ("10.0.0.1:0", .plainOnLoopback, .notSecure),
      ("127.0.0.1:0", .mutual(certificate: "/none", key: "/none", authority: "/none"), .certificate),
    ] {
      do {
        _ = try await Database.join(
          cluster: "c", at: "\(folder.path)/n", listen: listen, directory: .file("\(folder.path)/d"),
          tls: tls)
        Issue.record("it joined at \(listen)")
      } catch let error as TransportError { #expect(error.code == expected) }
    }
    await #expect(
      code {
        _ = try await Database.join(
          cluster: "", at: "\(folder.path)/n", listen: "127.0.0.1:0", directory: .file("\(folder.path)/d"),
          tls: .plainOnLoopback)
      } == .invalidOption)
  }
}
