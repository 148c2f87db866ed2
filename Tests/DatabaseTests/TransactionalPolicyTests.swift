import Roost
import RoostSimulation
import Testing

@testable import RoostCluster

/// A keyspace whose keys are transactions' alone: made, opened, and refused to all others.
// Budget: 5 s
@Suite struct TransactionalPolicyTests {
  private let world = SimulatedEnvironment()

  private func open(stores: Int = 2, replicas: Int = 1) throws -> DatabaseCore {
    try DatabaseOpening.open(
      Databases.directories(stores), Databases.options(replicas: replicas), world.environment)
  }

  @Test func `it is listed, and opens again with its policy only`() throws {
    var core = try open(stores: 3, replicas: 2)
    let accounts = try core.keyspace("accounts", .transactional)
    #expect(accounts.policy.isTransactional && accounts.kind == .transactional)
    _ = try core.keyspace("posts", .eventual)
    try core.close()
    core = try open(stores: 3, replicas: 2)
    let entry = try #require(core.keyspaceEntries.first)
    #expect(entry.name == "accounts" && entry.kind == .transactional && entry.replicas == 1)
    for policy in [KeyspacePolicy.eventual, .eventual(.lastWriterWins)] {
      #expect(thrownCode { _ = try core.keyspace("accounts", policy) } == .wrongPolicy)
    }
    #expect(thrownCode { _ = try core.keyspace("posts", .transactional) } == .wrongPolicy)
    #expect(try core.keyspace("accounts", nil).policy.isTransactional)
    #expect(try core.keyspace("accounts", .transactional).versions != nil)
    #expect(thrownCode { _ = try core.keyspace("accounts", .eventual) } == .wrongPolicy)
    #expect(try core.versionedKeyspace(entry.id).name == "accounts")
    #expect(thrownCode { _ = try core.versionedKeyspace("posts") } == .wrongPolicy)
    #expect(thrownCode { _ = try core.versionedKeyspace(99) } == .unknownKeyspace)
    // Reading all replicas of all others passes it by.
    _ = try core.repair()
    try core.close()
  }

  @Test func `its keys are on one store each, the first replica's`() throws {
    let core = try open(stores: 3, replicas: 2)
    let accounts = try #require(try core.keyspace("accounts", .transactional).versions)
    for partition in 0..<accounts.partitionCount {
      #expect(try accounts.owner(of: partition).id == core.ring.replicas(of: partition)[0])
    }
    #expect(thrownCode { _ = try accounts.owner(of: 8) } == .invalidArgument)
    try core.close()
  }

  @Test func `where its store is missing nobody else serves a partition`() throws {
    let whole = try open(stores: 3, replicas: 2)
    _ = try whole.keyspace("accounts", .transactional)
    try whole.close()
    var options = Databases.options(replicas: 2)
    options.allowsMissingStores = true
    let core = try DatabaseOpening.open(["/disk0/db", "/disk1/db"], options, world.environment)
    let accounts = try #require(try core.keyspace("accounts", nil).versions)
    let present = Set(core.presentMembers.map(\.id))
    var missing = 0
    for partition in 0..<accounts.partitionCount {
      if present.contains(core.ring.replicas(of: partition)[0]) { continue }
      missing += 1
      #expect(thrownCode { _ = try accounts.owner(of: partition) } == .unreachable)
    }
    #expect(missing > 0)
    try core.close()
  }

  @Test func `all that is eventual refuses it`() async throws {
    let database = try await Databases.open(world, stores: 2)
    let accounts = try await database.keyspace("accounts", .transactional)
    #expect(await code { _ = try await accounts.get("a") } == .wrongPolicy)
    #expect(await code { try await accounts.put("a", "1") } == .wrongPolicy)
    #expect(await code { try await accounts.put("a", "1", .synced) } == .wrongPolicy)
    #expect(await code { try await accounts.delete("a") } == .wrongPolicy)
    #expect(await code { try await accounts.counter("a").increment() } == .wrongPolicy)
    let core = accounts.core
    #expect(thrownCode { _ = try KeyspaceScan(core, .all, .ascending) } == .wrongPolicy)
    #expect(thrownCode { _ = try core.changes(since: nil) } == .wrongPolicy)
    #expect(thrownCode { _ = try core.export(since: nil, byteLimit: 1_000) } == .wrongPolicy)
    #expect(thrownCode { _ = try core.query("author", .all, limit: 1) } == .wrongPolicy)
    let index = Index("author") { _, _ in [] }
    for name in ["accounts", "new"] {
      let refused = await code { _ = try await database.keyspace(name, .transactional, indexes: [index]) }
      #expect(refused == .wrongPolicy)
    }
    #expect(database.keyspaceNames == ["accounts"])
    try await database.close()
  }

  @Test func `the ring is not changed while there is one`() async throws {
    let database = try await Databases.open(world, stores: 2)
    _ = try await database.keyspace("accounts", .transactional)
    let epoch = database.ring.epoch
    #expect(await code { try await database.addStore(at: "/disk9/db") } == .wrongPolicy)
    #expect(await code { try await database.removeStore(at: "/disk1/db") } == .wrongPolicy)
    #expect(await code { try await database.setWeight(300, of: "/disk1/db") } == .wrongPolicy)
    #expect(database.ring.epoch == epoch && database.rebalance.isBalanced)
    try await database.close()
    #expect(try world.fileSystem.info(of: "/disk9/db") == nil)
  }

  @Test func `none is made while partitions move`() throws {
    let core = try open(stores: 1)
    _ = try core.addStore("/disk1/db", weight: 100, zone: "")
    #expect(thrownCode { _ = try core.keyspace("accounts", .transactional) } == .busy)
    try core.waitUntilBalanced(.seconds(60))
    _ = try core.keyspace("accounts", .transactional)
    try core.close()
    let again = try open(stores: 2)
    #expect(again.rebalance.isBalanced)
    try again.close()
  }
}
