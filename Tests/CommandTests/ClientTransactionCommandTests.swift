import Foundation
import Roost
import TestSupport
import Testing

/// Transactions over a connection, with nodes in processes of their own: by the command, and by programs that
/// go on while a node is killed.
// Budget: 60 s
@Suite(.serialized) struct ClientTransactionCommandTests {
  let roost: Roost

  init() throws { roost = try Roost() }

  /// Starts three nodes with the transactional keyspace `accounts`.
  private func start() throws -> ServedCluster {
    let cluster = try ServedCluster(roost, of: 3)
    do {
      let made = try cluster.ask(
        cluster.nodes[0], "cluster", "make-keyspace", "accounts", "--policy", "transactional")
      try #require(made.status == 0, "\(made.errors)")
    } catch {
      cluster.kill()
      throw error
    }
    return cluster
  }

  private func connection(_ node: ServedNode) throws -> [String] {
    ["--connect", try node.address(), "--cluster", "music", "--plain", "--timeout", "60"]
  }

  private func txn(
    _ node: ServedNode, _ script: String, _ options: String...
  ) throws -> Roost.Outcome {
    try roost.run(
      ["txn"] + (try connection(node)) + ["-k", "accounts"] + options, input: Array(script.utf8))
  }

  @Test func `scripts, keys and outcomes of a cluster, at any node`() throws {
    let cluster = try start()
    defer { cluster.kill() }
    let nodes = cluster.nodes
    let founded = try txn(nodes[0], "put A 5000\nput B 0\nincr default transfers 1\n", "--sync")
    #expect(founded.status == 0 && founded.text.hasPrefix("committed "), "\(founded)")
    let id = try #require(founded.lines.last?.split(separator: " ").last.map(String.init))
    let moved = try txn(nodes[1], "require A >= 1000\nadd A -1000\nadd B 1000\nget A\nscan\n")
    #expect(moved.status == 0, "\(moved.errors)")
    #expect(moved.lines.dropLast() == ["A\t4000", "A\t4000", "B\t1000"], "\(moved.text)")
    let refused = try txn(nodes[2], "require A >= 4001\nadd A -4001\n")
    #expect(refused.status == 1 && refused.text.contains("aborted"), "\(refused)")
    for node in nodes {
      let told = try roost.run(["txn", "--outcome", id] + (try connection(node)))
      #expect(told.status == 0 && told.text.hasPrefix("committed \(id)"), "\(told)")
      let doubts = try roost.run(["indoubt"] + (try connection(node)))
      #expect(doubts.text == "nothing is in doubt\n", "\(doubts)")
    }
    // Plain commands.
    #expect(try cluster.ask(nodes[2], "get", "A", "-k", "accounts").text == "4000\n")
    #expect(try cluster.ask(nodes[0], "get", "none", "-k", "accounts").status == 1)
    #expect(try cluster.ask(nodes[0], "put", "C", "7", "-k", "accounts", "--sync").status == 0)
    #expect(try cluster.ask(nodes[1], "scan", "-k", "accounts").text == "A\t4000\nB\t1000\nC\t7\n")
    let two = try cluster.ask(nodes[1], "scan", "-k", "accounts", "--limit", "2", "--keys-only")
    #expect(two.text == "A\nB\n")
    #expect(try cluster.ask(nodes[2], "delete", "C", "-k", "accounts").status == 0)
    #expect(try cluster.ask(nodes[2], "delete", "--prefix", "B", "-k", "accounts").status == 0)
    #expect(try cluster.ask(nodes[0], "scan", "-k", "accounts", "--count").text == "1\n")
    let names = try cluster.ask(nodes[1], "keyspaces").text
    #expect(names.contains("siblings, 3 replicas\n"), "\(names)")
    #expect(names.contains("transactional, 1 replica\n"), "\(names)")
    let wrong: [([String], String)] = [
      (["get", "A", "-k", "accounts", "--show-context"], "no contexts"),
      (["put", "A", "1", "-k", "accounts", "--ttl", "5"], "no times to live"),
      (["put", "A", "1", "-k", "accounts", "--quorum", "2"], "no quorums"),
      (["scan", "-k", "accounts", "--reverse"], "--reverse"),
      (["txn", "a", "b"], "one word too many"),
      (["txn", "--quorum", "2"], "--quorum"),
      (["indoubt", "--abort", id], "at the store itself"),
    ]
    for (words, complaint) in wrong {
      let outcome = try cluster.ask(try nodes[0].address(), words)
      #expect(outcome.status == 64 && outcome.errors.contains(complaint), "\(words): \(outcome)")
    }
  }

  /// What became of one transaction, as its client was told.
  private enum Told { case committed, aborted, unknown(ClientTransaction) }

  @Test func `a node that is killed leaves clients in no wrong belief`() async throws {
    let cluster = try start()
    let replacement = Guarded<ServedNode?>(nil)
    defer {
      cluster.kill()
      replacement.withLock { $0 }?.kill()
    }
    let victim = cluster.nodes[0]
    let (first, other) = (try cluster.nodes[0].address(), try cluster.nodes[1].address())
    let client = try ClusterClient(
      to: first, cluster: "music", tls: .plainOnLoopback, timeout: .seconds(5))
    let told = Guarded<[String: Told]>([:])
    let acknowledged = Guarded(0)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for writer in 0..<6 {
        group.addTask {
          // Until the node is gone; bounded, should it never be.
          for number in 0..<2_000 {
            let name = "w\(writer)-\(number)"
            guard let txn = try? await client.begin() else { return }
            do {
              for part in 0..<3 { try await txn.put("\(name)-\(part)", name, in: "accounts") }
              switch try await client.commit(txn, .synced) {
              case .committed:
                told.withLock { $0[name] = .committed }
                acknowledged.withLock { $0 += 1 }
              case .aborted: told.withLock { $0[name] = .aborted }
              case .unknown:
                told.withLock { $0[name] = .unknown(txn) }
                return
              }
            } catch {
              told.withLock { $0[name] = .aborted }
              return
            }
          }
        }
      }
      // In the middle of whatever is under way then.
      group.addTask {
        try await poll("twenty commits", client) { acknowledged.withLock { $0 } >= 20 }
        try await onThread { victim.kill() }
      }
      try await group.waitForAll()
    }
    await client.close()
    // With the node that ran them back, nothing stays in doubt, and what is unknown is decided.
    let roost = roost
    let back = try await onThread { try ServedNode(roost, "node0") }
    replacement.withLock { $0 = back }
    _ = try await onThread { try back.ready() }
    let asking = try ClusterClient(
      to: other, cluster: "music", tls: .plainOnLoopback, timeout: .seconds(60))
    for address in try [other, cluster.nodes[2].address(), back.address()] {
      let near = try ClusterClient(
        to: address, cluster: "music", tls: .plainOnLoopback, timeout: .seconds(60))
      try await poll("nothing in doubt at \(address)", asking) { try await near.inDoubt().isEmpty }
      await near.close()
    }
    for (name, outcome) in told.withLock({ $0 }) {
      var isCommitted: Bool
      switch outcome {
      case .committed: isCommitted = true
      case .aborted: isCommitted = false
      case .unknown(let txn):
        isCommitted = try await isDecided(txn, by: asking)
      }
      let found = try await presentParts(of: name, by: asking)
      #expect(found == (isCommitted ? 3 : 0), "\(name): \(outcome)")
    }
    await asking.close()
  }

  /// How many of a transaction's three keys are there. The node that came back listens elsewhere, which the
  /// others hear in a while: until then its keys are out of reach. Its clock may be some seconds ahead, and
  /// it keeps nothing from before: a snapshot that has read a key elsewhere by then is too old for it.
  private func presentParts(of name: String, by client: ClusterClient) async throws -> Int {
    let count = Guarded(0)
    try await poll("all parts of \(name)", client) {
      do {
        let snapshot = try await client.snapshot()
        var found = 0
        for part in 0..<3 {
          if try await snapshot.get("\(name)-\(part)", in: "accounts") != nil { found += 1 }
        }
        count.withLock { $0 = found }
        return true
      } catch let error as DatabaseError where [.unreachable, .snapshotTooOld].contains(error.code) {
        return false
      }
    }
    return count.withLock { $0 }
  }

  /// Asks until it is known: where the coordinator had not decided, that takes some 20 seconds.
  private func isDecided(_ txn: ClientTransaction, by client: ClusterClient) async throws -> Bool {
    let isCommitted = Guarded<Bool?>(nil)
    try await poll("the outcome of \(txn.id)", client) {
      switch try await client.outcome(of: txn.id) {
      case .committed: isCommitted.withLock { $0 = true }
      case .aborted: isCommitted.withLock { $0 = false }
      case .unknown, nil: break
      }
      return isCommitted.withLock { $0 != nil }
    }
    return isCommitted.withLock { $0 == true }
  }

  /// Asks again until it is as wished, or the time is up.
  ///
  /// - Parameter client: keeps the time between.
  private func poll(
    _ what: String, _ client: ClusterClient, _ wish: () async throws -> Bool
  ) async throws {
    let deadline = ContinuousClock.now + .seconds(ServedNode.patience)
    while try await !wish() {
      if ContinuousClock.now > deadline { throw ServedNode.NeverCame(description: "never came: \(what)") }
      await client.client.pause(milliseconds: 50)
    }
  }
}
