import Foundation
import Roost
import TestSupport
import Testing

/// Nodes in processes of their own that join and leave a cluster, while a program that is a node of it moves
/// money between accounts of all nodes.
// Budget: 60 s
@Suite(.serialized, .ownThreads, .timeLimit(.minutes(60))) struct TransactionMembersTests {
  let roost: Roost

  init() throws { roost = try Roost() }

  private static let names = (0..<12).map { "account\($0)" }

  /// The number of the one store that asks to join.
  private func candidate(_ cluster: ServedCluster, _ node: ServedNode) throws -> String {
    var number = ""
    try ServedCluster.poll("a store that asks to join") {
      let said = try cluster.ask(node, "cluster", "join")
      guard let found = said.text.firstMatch(of: /\b[0-9a-f]{16}\b/) else { return false }
      number = String(found.output)
      return true
    }
    return number
  }

  /// Moves money until it is told to end.
  ///
  /// - Returns: how often it did.
  private static func move(
    _ database: Database, _ accounts: Keyspace, lane: Int, until hasEnded: Guarded<Bool>
  ) async throws -> Int {
    var (moved, round) = (0, lane)
    while !hasEnded.withLock({ $0 }) {
      round += 1
      let from = names[(lane * 5 + round) % names.count]
      let to = names[(lane * 7 + round * 5 + 1) % names.count]
      if from == to { continue }
      do {
        try await database.transaction(.synced) { txn in
          let source = try await txn.get(from, Int.self, in: accounts, forUpdate: true) ?? 0
          let target = try await txn.get(to, Int.self, in: accounts, forUpdate: true) ?? 0
          try await txn.put(from, value: source - 7, in: accounts)
          try await txn.put(to, value: target + 7, in: accounts)
        }
        moved += 1
      } catch let error as DatabaseError {
        // Whatever became of it, no money did.
        let passing: [DatabaseError.Code] = [
          .transactionAborted, .outcomeUnknown, .unreachable, .busy, .deadlineExceeded,
        ]
        if !passing.contains(error.code) { throw error }
      }
    }
    return moved
  }

  private static func sum(_ database: Database, _ accounts: Keyspace) async throws -> Int {
    let snapshot = try await database.snapshot()
    var sum = 0
    for name in names { sum += try await snapshot.get(name, Int.self, in: accounts) ?? 0 }
    return sum
  }

  @Test func `a node joins and one leaves while money is moved, and none is lost`() async throws {
    let cluster = try ServedCluster(roost, of: 3)
    defer { cluster.kill() }
    var options = DatabaseOptions()
    options.partitionCount = 16
    let (asked, place, directory) = (options, roost.path("program"), roost.path("directory"))
    async let joining = Database.join(
      cluster: "music", at: place, listen: "127.0.0.1:0", directory: .file(directory), tls: .plainOnLoopback,
      asked
    ) {
      $0.joins = true
      $0.foundingTimeout = .seconds(1_200)
      $0.replicaTimeout = .seconds(60)
    }
    let own = try candidate(cluster, cluster.nodes[0])
    let admitted = try cluster.ask(cluster.nodes[0], "cluster", "join", own, "--wait", "1200")
    #expect(admitted.status == 0, "\(admitted.errors)")
    let program = try await joining
    let members = try #require(program.cluster)
    try await members.waitUntilBalanced(timeout: .seconds(1_200))
    let accounts = try await program.keyspace("accounts", .transactional)
    try await program.transaction(.synced) { txn in
      for name in Self.names { try await txn.put(name, value: 100, in: accounts) }
    }

    let hasEnded = Guarded(false)
    async let lanes = withThrowingTaskGroup(of: Int.self) { group in
      for lane in 0..<3 {
        group.addTask { try await Self.move(program, accounts, lane: lane, until: hasEnded) }
      }
      return try await group.reduce(0, +)
    }
    let new = try ServedNode(roost, "node3", isPatient: true, "--join")
    defer { new.kill() }
    do {
      let number = try candidate(cluster, cluster.nodes[1])
      let joined = try cluster.ask(cluster.nodes[1], "cluster", "join", number, "--wait", "1200")
      #expect(joined.status == 0 && joined.text.contains("done"), "\(joined.text)\(joined.errors)")
      #expect(try await Self.sum(program, accounts) == 1_200)
      let gone = try cluster.nodes[0].address()
      let left = try cluster.ask(cluster.nodes[1], "cluster", "leave", gone, "--wait", "1200")
      #expect(left.status == 0 && left.text.contains("done"), "\(left.text)\(left.errors)")
      cluster.nodes[0].kill()
    } catch {
      hasEnded.withLock { $0 = true }
      throw error
    }
    hasEnded.withLock { $0 = true }
    #expect(try await lanes > 3)
    try await members.waitUntilBalanced(timeout: .seconds(1_200))
    #expect(try await Self.sum(program, accounts) == 1_200)
    #expect(members.members.count == 4)
    // What came to the new node is read there by all.
    let shares = try await program.transaction { txn in try await txn.scan(in: accounts).count }
    #expect(shares == Self.names.count)
    try await program.close()
  }
}
