import Roost
import RoostCluster
import RoostStorage

/// Where a bank keeps its accounts: a database that is open here, or a cluster.
protocol BankHouse: Sendable {
  /// Stores; of a cluster its nodes, which have one each.
  var storeCount: Int { get }
  /// Transactions that an earlier run left undecided here.
  var inDoubtAtOpen: Int { get }

  /// Runs a transaction on the accounts, and again where it met another one.
  func transaction<R: Sendable>(
    _ durability: Durability, _ body: @Sendable (any ScriptTransaction) async throws -> R
  ) async throws -> R

  /// What is under these keys, as of one moment.
  func values(of keys: [String]) async throws -> [[UInt8]?]

  /// Whether nothing was done of what failed so, and it may go better in a while.
  func mayPass(_ error: DatabaseError) -> Bool
}

/// A bank in a database that is open here.
struct LocalBank: BankHouse {
  private let database: Database
  private let accounts: Keyspace
  let storeCount: Int
  let inDoubtAtOpen: Int

  /// What is in doubt is decided first. The keyspace is made where it is missing.
  init(_ database: Database, stores: Int) async throws {
    self.database = database
    storeCount = stores
    accounts = try await database.transactionalKeyspace("accounts")
    inDoubtAtOpen = try await database.inDoubt().count
  }

  func transaction<R: Sendable>(
    _ durability: Durability, _ body: @Sendable (any ScriptTransaction) async throws -> R
  ) async throws -> R {
    let (database, accounts) = (database, accounts)
    return try await database.transaction(durability) { txn in
      try await body(LocalScriptTransaction(transaction: txn, keyspace: accounts, database: database))
    }
  }

  func values(of keys: [String]) async throws -> [[UInt8]?] {
    let snapshot = try await database.snapshot()
    var values: [[UInt8]?] = []
    for key in keys { values.append(try await snapshot.get(key, in: accounts)) }
    return values
  }

  /// Whatever fails in one process stays so.
  func mayPass(_ error: DatabaseError) -> Bool { false }
}

/// A bank in a cluster, whose keyspace is there.
struct ClusterBank: BankHouse {
  private static let accounts = "accounts"
  /// Keys that one message asks for: the node reads them one after the other, each at its owner.
  private static let keysOfMessage = 100

  private let client: ClusterClient
  let storeCount: Int
  /// What is in doubt in a cluster may be somebody else's, and is decided by the nodes.
  let inDoubtAtOpen = 0

  init(_ client: ClusterClient, nodes: Int) {
    self.client = client
    storeCount = nodes
  }

  func transaction<R: Sendable>(
    _ durability: Durability, _ body: @Sendable (any ScriptTransaction) async throws -> R
  ) async throws -> R {
    try await client.transaction(durability) { txn in
      try await body(RemoteScriptTransaction(transaction: txn, keyspace: Self.accounts))
    }
  }

  func values(of keys: [String]) async throws -> [[UInt8]?] {
    let snapshot = try await client.snapshot()
    var values: [[UInt8]?] = []
    while values.count < keys.count {
      let part = Array(keys[values.count...].prefix(Self.keysOfMessage))
      values += try await snapshot.multiGet(part, in: Self.accounts)
    }
    return values
  }

  /// A node that is out of reach comes back, or another one takes its place.
  func mayPass(_ error: DatabaseError) -> Bool {
    [.unreachable, .deadlineExceeded, .busy].contains(error.code)
  }
}
