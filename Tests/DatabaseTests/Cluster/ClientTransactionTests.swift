import Roost
import TestSupport
import Testing

/// Transactions of programs that are no nodes, by the public calls, at a node over TCP on loopback.
// Budget: 10 s
@Suite(.ownThreads, .timeLimit(.minutes(30))) struct ClientTransactionTests {
  /// Runs `body` with a client of a cluster of one node that has a keyspace of either kind.
  private func withClient(
    _ transactions: TransactionOptions = Patience.options(partitions: 4).transactions,
    _ body: (ClusterClient, Database) async throws -> Void
  ) async throws {
    let folder = try TemporaryDirectory()
    var options = Patience.options(partitions: 4)
    options.transactions = transactions
    options.transactions.clockBound = .milliseconds(2)
    let node = try await Database.join(
      cluster: "music", at: "\(folder.path)/node", listen: "127.0.0.1:0",
      directory: .file("\(folder.path)/directory"), tls: .plainOnLoopback, options, network: Patience.network
    ) {
      Patience.set(&$0)
      $0.foundingNodes = 1
    }
    _ = try await node.keyspace("accounts", .transactional)
    _ = try await node.keyspace("posts", .eventual)
    let client = try self.client(of: node)
    let result: Result<Void, any Error>
    do { result = .success(try await body(client, node)) } catch { result = .failure(error) }
    await client.close()
    try await node.close()
    try result.get()
  }

  private func client(of node: Database) throws -> ClusterClient {
    try ClusterClient(
      to: try #require(node.address), cluster: "music", tls: .plainOnLoopback, timeout: Patience.limit)
  }

  @Test func `a transaction of a client is one of the node's`() async throws {
    try await withClient { client, node in
      let accounts = try await node.keyspace("accounts")
      let id = try await client.transaction(.synced) { txn in
        #expect(try await txn.get("A", Int.self, in: "accounts") == nil)
        try await txn.put("A", value: 100, in: "accounts")
        try await txn.put("B", "text", in: "accounts")
        try await txn.put("C", "gone", in: "accounts")
        try await txn.delete("C", in: "accounts")
        let values = try await txn.multiGet(["A", "C", "B"], in: "accounts")
        #expect(values == [Array("100".utf8), nil, Array("text".utf8)])
        try await txn.increment("transfers", by: 2, in: "posts")
        try await txn.put("note", "done", context: nil, in: "posts")
        return txn.id
      }
      guard case .committed = try await client.outcome(of: id) else {
        Issue.record("its outcome is not known")
        return
      }
      guard case .committed = try await node.outcome(of: id) else {
        Issue.record("the node does not know its outcome")
        return
      }
      #expect(try await accounts.get("A").text == "100")
      try await node.transaction { txn in try await txn.put("A", value: 70, in: accounts) }
      let (shown, count) = try await client.transaction { txn in
        (try await txn.scan(in: "accounts"), try await txn.scan(prefix: "B", limit: 5, in: "accounts").count)
      }
      #expect(shown.map { String(decoding: $0.key, as: UTF8.self) } == ["A", "B"])
      #expect(shown.first.map { String(decoding: $0.value, as: UTF8.self) } == "70" && count == 1)
      #expect(try await client.inDoubt().isEmpty)
      // Effects are done a little later.
      let posts = try await node.keyspace("posts")
      for try await _ in posts.changes(since: nil) {
        let count = try await posts.counter("transfers").value()
        if count == 2, try await posts.get("note").text == "done" { break }
      }
    }
  }

  @Test func `transactions that meet are tried again, and each counts once`() async throws {
    try await withClient { client, node in
      let other = try self.client(of: node)
      let accounts = try await node.keyspace("accounts")
      try await withThrowingTaskGroup(of: Void.self) { group in
        for number in 0..<6 {
          group.addTask {
            for _ in 0..<8 {
              if number == 0 {
                try await node.transaction { txn in
                  let old = try await txn.get("n", Int.self, in: accounts) ?? 0
                  try await txn.put("n", value: old + 1, in: accounts)
                }
              } else {
                try await (number % 2 == 0 ? client : other).transaction { txn in
                  let old = try await txn.get("n", Int.self, in: "accounts", forUpdate: number < 4) ?? 0
                  try await txn.put("n", value: old + 1, in: "accounts")
                }
              }
            }
          }
        }
        try await group.waitForAll()
      }
      #expect(try await client.snapshot().get("n", Int.self, in: "accounts") == 48)
      await other.close()
    }
  }

  @Test func `what the body throws aborts, and a client that goes lets go`() async throws {
    struct Poor: Error {}
    try await withClient { client, node in
      await #expect(throws: Poor.self) {
        try await client.transaction { txn in
          try await txn.put("A", "1", in: "accounts")
          throw Poor()
        }
      }
      #expect(try await client.get("A", in: "accounts").isEmpty)
      let leaving = try self.client(of: node)
      let left = try await leaving.begin()
      #expect(try await left.get("A", in: "accounts", forUpdate: true) == nil)
      await leaving.close()
      // Nobody holds the key any more, or this waits for its lock, and then for the transaction's end.
      try await client.transaction { txn in try await txn.put("A", "2", in: "accounts") }
      await #expect(code { _ = try await left.get("A", in: "accounts") } == .closed)
      await #expect(code { _ = try await left.get("A", in: "accounts") } == .transactionEnded)
      let ended = try await client.begin()
      client.abort(ended)
      await #expect(code { try await ended.put("A", "3", in: "accounts") } == .transactionEnded)
      await #expect(code { _ = try await client.commit(ended) } == .transactionEnded)
      await #expect(code { _ = try await client.begin(idleTimeout: .zero) } == .invalidArgument)
      await #expect(code { _ = try await client.begin(timeout: .seconds(601)) } == .invalidArgument)
      #expect(try await client.get("A", in: "accounts").text == "2")
    }
  }

  @Test func `calls at the same time are done one after the other`() async throws {
    try await withClient { client, _ in
      let txn = try await client.begin()
      try await withThrowingTaskGroup(of: Void.self) { group in
        for number in 0..<20 {
          group.addTask { try await txn.put("k\(number)", value: number, in: "accounts") }
        }
        try await group.waitForAll()
      }
      guard case .committed = try await client.commit(txn) else {
        Issue.record("it did not commit")
        return
      }
      #expect(try await client.snapshot().scan(prefix: "k", in: "accounts").count == 20)
    }
  }

  @Test func `a snapshot stays as it is, and plain calls are transactions`() async throws {
    try await withClient { client, node in
      try await client.put("A", "1", in: "accounts")
      let snapshot = try await client.snapshot()
      let time = snapshot.timestamp
      try await client.put("A", "2", in: "accounts", .synced)
      try await client.delete("B", in: "accounts")
      #expect(try await snapshot.get("A", in: "accounts") == Array("1".utf8))
      #expect(try await client.snapshot(at: time).scan(in: "accounts").map(\.value) == [Array("1".utf8)])
      #expect(try await client.get("A", in: "accounts").text == "2")
      #expect(try await node.snapshot(at: time).get("A", in: try await node.keyspace("accounts")) == [49])
      let context = try await client.get("p", in: "posts").context
      await #expect(code { try await client.put("A", "3", in: "accounts", context: context) } == .wrongPolicy)
      await #expect(code { _ = try await client.snapshot(at: .init(milliseconds: 1)) } == .snapshotTooOld)
      await #expect(code { _ = try await snapshot.get("A", in: "posts") } == .wrongPolicy)
      await #expect(code { _ = try await snapshot.get("A", in: "none") } == .unknownKeyspace)
      await #expect(code { _ = try await snapshot.scan(limit: 0, in: "accounts") } == .invalidArgument)
      await #expect(
        code { try await client.transaction { try await $0.put("A", "1", in: "posts") } } == .wrongPolicy)
      // Values of which a page holds few.
      let large = [UInt8](repeating: 7, count: 300 << 10)
      for number in 0..<8 { try await client.put("l\(number)", large, in: "accounts") }
      let found = try await client.snapshot().scan(prefix: "l", in: "accounts")
      #expect(found.count == 8 && found.allSatisfy { $0.value == large })
      let read = try await client.transaction { txn in
        try await txn.scan(prefix: "l", limit: 6, in: "accounts")
      }
      #expect(read.map { String(decoding: $0.key, as: UTF8.self) } == (0..<6).map { "l\($0)" })
    }
  }
  @Test func `many keys are written by several transactions, and read as of one moment`() async throws {
    try await withClient { client, _ in
      var entries = (0..<1_200).map { (key: Array("k\($0)".utf8), value: Array("v\($0)".utf8)) }
      entries.append((key: Array("k3".utf8), value: Array("last".utf8)))
      try await client.multiPut(entries, in: "accounts")
      let snapshot = try await client.snapshot()
      #expect(try await snapshot.scan(limit: 10_000, in: "accounts").count == 1_200)
      // More than one transaction may write.
      let large = [UInt8](repeating: 7, count: 2 << 20)
      try await client.multiPut(
        (0..<6).map { (key: Array("large\($0)".utf8), value: large) }, in: "accounts", .synced)
      let reads = try await client.multiGet(["large5", "k3", "none", "k4"], in: "accounts")
      #expect(reads.map(\.value) == [large, Array("last".utf8), nil, Array("v4".utf8)])
      let before = try await snapshot.multiGet(["k4", "large5", "k3"], in: "accounts")
      #expect(before == [Array("v4".utf8), nil, Array("last".utf8)])
      await #expect(code { _ = try await snapshot.multiGet(["k4"], in: "posts") } == .wrongPolicy)
    }
  }

  @Test func `many keys are written where a node allows few of a transaction`() async throws {
    var limits = Patience.options(partitions: 4).transactions
    limits.mostKeys = 40
    limits.largestBytes = 64 << 10
    try await withClient(limits) { client, _ in
      // Thirteen are as many bytes as it allows.
      let entries = (0..<150).map { (key: Array("k\($0)".utf8), value: [UInt8](repeating: 7, count: 5_000)) }
      try await client.multiPut(entries, in: "accounts")
      #expect(try await client.snapshot().scan(in: "accounts").count == 150)
      let large = [(key: Array("large".utf8), value: [UInt8](repeating: 7, count: 65 << 10))]
      await #expect(code { try await client.multiPut(large, in: "accounts") } == .transactionTooLarge)
    }
  }

  @Test func `a range is read page by page, each of which is what a message takes`() async throws {
    try await withClient { client, _ in
      let large = [UInt8](repeating: 7, count: 300 << 10)
      let keys = (0..<8).map { Array("l\($0)".utf8) }
      try await client.multiPut(keys.map { (key: $0, value: large) }, in: "accounts")
      let snapshot = try await client.snapshot()
      for limit in [1_000, 3] {
        var found: [[UInt8]] = []
        var next: [UInt8]? = []
        while let start = next {
          let page = try await snapshot.page(from: start, to: nil, limit: limit, in: "accounts")
          #expect(page.entries.count <= min(limit, 5), "eight are far more than a message takes")
          #expect(page.entries.allSatisfy { $0.value == large })
          found += page.entries.map(\.key)
          next = page.next
          try #require(found.count <= keys.count)
        }
        #expect(found == keys)
      }
      let end = Array("l2".utf8)
      let short = try await snapshot.page(from: [], to: end, limit: 2, in: "accounts")
      #expect(short.entries.count == 2)
      let next = try #require(short.next)
      let rest = try await snapshot.page(from: next, to: end, limit: 2, in: "accounts")
      #expect(rest.entries.isEmpty && rest.next == nil)
      await #expect(
        code { _ = try await snapshot.page(from: [], to: nil, limit: 2, in: "posts") } == .wrongPolicy)
    }
  }
}
