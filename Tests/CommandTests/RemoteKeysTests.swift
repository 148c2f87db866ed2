import Roost
import RoostStorage
import TestSupport
import Testing

@testable import RoostCommand

/// How the commands go over the keys of a cluster: at a node in this process, over TCP on loopback.
// Budget: 5 s
@Suite(.ownThreads, .timeLimit(.minutes(30))) struct RemoteKeysTests {
  /// Runs `body` with a client of a cluster of one node that has the transactional keyspace `accounts`, where
  /// a transaction may write 40 keys.
  private func withClient(_ body: (ClusterClient) async throws -> Void) async throws {
    let folder = try TemporaryDirectory()
    var options = DatabaseOptions()
    options.partitionCount = 4
    options.transactions.mostKeys = 40
    // A machine that is busy is no fault.
    options.transactions.clockBound = .milliseconds(2)
    options.transactions.longestDuration = .seconds(120)
    options.transactions.lockWait = .seconds(30)
    options.transactions.versionRetention = .seconds(3_600)
    let node = try await Database.join(
      cluster: "music", at: "\(folder.path)/node", listen: "127.0.0.1:0",
      directory: .file("\(folder.path)/directory"), tls: .plainOnLoopback, options
    ) {
      $0.foundingNodes = 1
      $0.foundingTimeout = .seconds(600)
      $0.replicaTimeout = .seconds(60)
      $0.requestTimeout = .seconds(240)
    }
    var failure: (any Error)?
    do {
      _ = try await node.keyspace("accounts", .transactional)
      let client = try ClusterClient(
        to: try #require(node.address), cluster: "music", tls: .plainOnLoopback, timeout: .seconds(300))
      do { try await body(client) } catch { failure = error }
      await client.close()
    } catch { failure = error }
    try await node.close()
    if let failure { throw failure }
  }

  @Test func `versions are handed on page by page`() async throws {
    try await withClient { client in
      let large = [UInt8](repeating: 7, count: 300 << 10)
      let keys = (0..<10).map { Array("k\($0)".utf8) }
      for key in keys { try await client.put(key, large, in: "accounts") }
      var pages: [[[UInt8]]] = []
      try await client.forEachVersion(in: "accounts", .all) { pages.append($0.map(\.key)) }
      #expect(pages.flatMap { $0 } == keys)
      #expect(pages.allSatisfy { $0.count <= 5 }, "\(pages.map(\.count)): no more than a message takes")
      for limit in [0, 3, 7, 100] {
        var found: [[UInt8]] = []
        try await client.forEachVersion(in: "accounts", .all, limit: limit) { found += $0.map(\.key) }
        #expect(found == Array(keys.prefix(limit)))
      }
      // Where there is nothing it is said once: an export makes its file then.
      var calls = 0
      try await client.forEachVersion(in: "accounts", KeyRange(prefix: Array("none".utf8))) { entries in
        #expect(entries.isEmpty)
        calls += 1
      }
      #expect(calls == 1)
    }
  }

  @Test func `a bank is founded with as many accounts at a time as the node allows`() async throws {
    try await withClient { client in
      let bank = try await BankAccounts(ClusterBank(client, nodes: 1), wished: 120, isSynced: false)
      let total = try await bank.total()
      #expect(bank.count == 120 && total == 120 * Bank.balance)
      let again = try await BankAccounts(ClusterBank(client, nodes: 1), wished: 7, isSynced: false)
      #expect(again.count == 120)
    }
  }
}
