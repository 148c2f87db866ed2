import Roost
import RoostNetwork
import TestSupport
import Testing

/// What an operator's program does with a cluster's members, over TCP on loopback, by the public calls.
// Budget: 10 s
@Suite(.ownThreads, .timeLimit(.minutes(30))) struct ClusterMembersTests {
  private static func join(
    _ name: String, in folder: TemporaryDirectory, joins: Bool = false
  ) async throws -> Database {
    return try await Database.join(
      cluster: "music", at: "\(folder.path)/\(name)", listen: "127.0.0.1:0",
      directory: .file("\(folder.path)/directory"), tls: .plainOnLoopback,
      Patience.options(partitions: 8), network: Patience.network
    ) {
      Patience.set(&$0)
      $0.foundingNodes = 1
      $0.replicas = 1
      $0.joins = joins
    }
  }

  /// Asks again until somebody asks to join.
  private static func candidate(of cluster: ClusterMembers) async throws -> ClusterCandidate {
    let end = ContinuousClock.now + Patience.limit
    while ContinuousClock.now < end {
      if let candidate = try await cluster.candidates().first { return candidate }
      await Task.yield()
    }
    throw DatabaseError(.deadlineExceeded, "nobody asks to join")
  }

  @Test func `a node is admitted and weighed anew, and the first one is removed`() async throws {
    let folder = try TemporaryDirectory()
    let first = try await Self.join("one", in: folder)
    let posts = try await first.keyspace("posts", .eventual)
    let keys = (0..<100).map { "p:\($0)" }
    for key in keys { try await posts.put(key, key) }
    let cluster = try #require(first.cluster)
    #expect(cluster.members.map(\.id) == [cluster.own])
    #expect(cluster.members.first?.address == first.address)
    #expect(try await cluster.candidates().isEmpty && cluster.rebalance.isBalanced)
    try await cluster.waitUntilBalanced(timeout: .zero)
    try await cluster.cancelChange()

    async let joining = Self.join("two", in: folder, joins: true)
    let candidate = try await Self.candidate(of: cluster)
    #expect(candidate.weight == 100 && candidate.zone.isEmpty)
    await #expect(code { try await cluster.admit(MemberID(rawValue: 1)) } == .notAMember)
    await #expect(code { try await cluster.admit(candidate.id, weight: 0) } == .invalidArgument)
    await #expect(code { try await cluster.remove(cluster.own) } == .tooManyReplicas)
    try await cluster.admit(candidate.id, weight: 300, zone: "z")
    let second = try await joining
    try await cluster.waitUntilBalanced(timeout: Patience.limit)
    let other = try #require(second.cluster)
    #expect(other.own == candidate.id)
    let member = try #require(cluster.members.first { $0.id == candidate.id })
    #expect(member.weight == 300 && member.zone == "z" && member.partitions == 6)
    for node in [first, second] {
      let posts = try await node.keyspace("posts")
      for key in keys { #expect(try await posts.get(key).text == key) }
    }

    try await other.waitUntilBalanced(timeout: Patience.limit)
    #expect(other.rebalance.movesDone == 6)
    try await other.setWeight(100, of: candidate.id)
    try await other.waitUntilBalanced(timeout: Patience.limit)
    #expect(other.members.allSatisfy { $0.partitions == 4 })
    try await other.remove(cluster.own)
    // The last that the one that leaves hears of the cluster.
    let end = ContinuousClock.now + Patience.limit
    await #expect(
      code {
        while ContinuousClock.now < end {
          try await cluster.waitUntilBalanced(timeout: Patience.limit)
          await Task.yield()
        }
      } == .notAMember)
    await #expect(code { _ = try await posts.get("p:1") } == .notAMember)
    try await other.waitUntilBalanced(timeout: Patience.limit)
    try await poll("a member that is forgotten") { other.members.map(\.id) == [other.own] }
    let left = try await second.keyspace("posts")
    for key in keys { #expect(try await left.get(key).text == key) }
    try await first.close()
    await #expect(code { _ = try await cluster.candidates() } == .closed)
    try await second.close()
    await #expect(code { _ = try await Self.join("one", in: folder) } == .notAMember)
  }

  @Test func `a database of no cluster has no members to change`() async throws {
    let folder = try TemporaryDirectory()
    let database = try await Database.open(at: "\(folder.path)/db")
    #expect(database.cluster == nil && database.address == nil)
    try await database.close()
  }
}
