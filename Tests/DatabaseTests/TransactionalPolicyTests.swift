import Roost
import RoostSimulation
import RoostTransactions
import TestSupport
import Testing

@testable import RoostCluster

/// A transactional keyspace: made, opened, its plain calls, and what is refused.
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

  @Test func `plain calls are transactions of one key`() async throws {
    let folder = try TemporaryDirectory()
    let directories = (0..<2).map { folder.appending("disk\($0)").string }
    let database = try await Database.open(at: directories, Databases.options())
    var accounts = try await database.keyspace("accounts", .transactional)
    #expect(try await accounts.get("a").isEmpty)
    let context = try await accounts.put("a", "1")
    try await accounts.put("b", "2", .synced)
    try await accounts.put("c", value: 3)
    var read = try await accounts.get("a")
    #expect(read.text == "1" && read.values.count == 1 && read.siblings.count == 1 && !read.isEmpty)
    try await accounts.put("a", "one")
    #expect(try await accounts.get("a").text == "one")
    #expect(try await accounts.get("c", as: Int.self) == 3)
    #expect(try await accounts.multiGet(["b", "none", "a", "b"]).map(\.text) == ["2", nil, "one", "2"])
    try await accounts.delete("b")
    try await accounts.delete("none")
    #expect(try await accounts.get("b").isEmpty)
    // What it has not.
    read = try await accounts.get("a")
    for context in [context, read.context] {
      #expect(await code { try await accounts.put("a", "2", context: context) } == .wrongPolicy)
      #expect(await code { try await accounts.delete("a", context: context) } == .wrongPolicy)
      #expect(await code { try await accounts.put("a", "2", ifUnchangedSince: context) } == .wrongPolicy)
      #expect(await code { try await accounts.delete("a", ifUnchangedSince: context) } == .wrongPolicy)
    }
    #expect(await code { try await accounts.put("a", "2", timeToLive: .seconds(1)) } == .wrongPolicy)
    #expect(await code { try await accounts.put("", "2") } == .invalidArgument)
    let long = [UInt8](repeating: 1, count: 40_000)
    #expect(await code { _ = try await accounts.get(long) } == .invalidArgument)
    #expect(try await accounts.get("a").text == "one")
    try await database.close()
    #expect(await code { _ = try await accounts.get("a") } == .closed)
    let reopened = try await Database.open(at: directories, Databases.options())
    accounts = try await reopened.keyspace("accounts")
    #expect(try await accounts.multiGet(["a", "b", "c"]).map(\.text) == ["one", nil, "3"])
    try await reopened.close()
  }

  @Test func `a plain read waits for who commits, and sees it`() async throws {
    let folder = try TemporaryDirectory()
    let directories = (0..<2).map { folder.appending("disk\($0)").string }
    let database = try await Database.open(at: directories, Databases.options())
    let accounts = try await database.keyspace("accounts", .transactional)
    // Each key is one writer's own: what it was told is done, it reads.
    try await withThrowingTaskGroup(of: Void.self) { group in
      for writer in 0..<4 {
        group.addTask {
          for number in 0..<50 {
            try await database.transaction { txn in
              try await txn.put("own\(writer)", value: number, in: accounts)
              try await txn.put("pair\(writer)", value: number, in: accounts)
            }
            let own = try await accounts.get("own\(writer)", as: Int.self)
            let both = try await accounts.multiGet(["own\(writer)", "pair\(writer)"]).map(\.text)
            guard own == number, both == ["\(number)", "\(number)"] else {
              throw Mismatch("wrote \(number), read \(String(describing: own)) and \(both)")
            }
          }
        }
      }
      try await group.waitForAll()
    }
    try await database.close()
  }

  @Test func `plain scans are in order, page by page, and as of one moment`() async throws {
    let folder = try TemporaryDirectory()
    let database = try await Database.open(
      at: (0..<2).map { folder.appending("disk\($0)").string }, Databases.options())
    let accounts = try await database.keyspace("accounts", .transactional)
    let names = (100..<400).map { "k\($0)" }
    try await database.transaction { txn in
      for name in names { try await txn.put(name, "v" + name, in: accounts) }
      for tag in 0..<3 { try await txn.put("t{x}\(tag)", "tagged", in: accounts) }
    }
    try await accounts.delete("k150")
    let expected = names.filter { $0 != "k150" }
    var found: [String] = []
    for try await entry in accounts.scan(.prefix("k")) {
      // What is deleted meanwhile was there when it began.
      if found.count == 10 { try await accounts.delete("k399") }
      found.append(entry.keyText)
      #expect(entry.text == "v" + entry.keyText && entry.values.count == 1)
    }
    #expect(found == expected)
    var paged: [String] = []
    var token: ScanToken?
    repeat {
      let page = try await accounts.scanPage(.range(from: "k2", to: "k39"), limit: 7, after: token)
      paged += page.map(\.keyText)
      token = page.token
    } while token != nil
    #expect(paged == expected.filter { $0 >= "k2" && $0 < "k39" })
    #expect(try await accounts.scanPage(.tag("x"), limit: 9).map(\.keyText) == ["t{x}0", "t{x}1", "t{x}2"])
    #expect(await code { _ = try await accounts.scanPage(.all, .descending, limit: 1) } == .wrongPolicy)
    #expect(await code { _ = try await accounts.scanPage(.all, limit: 0) } == .invalidArgument)
    let other = try await accounts.scanPage(.all, limit: 1)
    #expect(
      await code { _ = try await accounts.scanPage(.prefix("k"), limit: 1, after: other.token) }
        == .foreignToken)
    try await database.close()
  }

  @Test func `one is made while partitions move`() throws {
    let core = try open(stores: 1)
    _ = try core.addStore("/disk1/db", weight: 100, zone: "")
    let accounts = try core.keyspace("accounts", .transactional)
    #expect(accounts.policy.isTransactional)
    let manager = try TransactionManager(core)
    try core.waitUntilBalanced(.seconds(60))
    try manager.close()
    try core.close()
    let again = try open(stores: 2)
    #expect(again.rebalance.isBalanced)
    try again.close()
  }
}
