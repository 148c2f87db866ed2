import Roost
import RoostStorage
import Synchronization

/// Roost's transactions, on one store or several.
final class RoostBank: Bank {
  static let blocks = false

  private let database: Database
  private let accounts: Keyspace
  private let keys: [[UInt8]]

  init(_ settings: BankSettings) async throws {
    var options = DatabaseOptions()
    options.partitionCount = 64
    options.transactions.clockBound = .milliseconds(settings.clockBoundMilliseconds)
    options.transactions.mostRetries = 1_000
    let directories = (1...settings.stores).map { "\(settings.directory)/store\($0)" }
    database = try await Database.open(at: directories, options)
    accounts = try await database.keyspace("accounts", .transactional)
    keys = (0..<settings.accounts).map(accountKey)
    let (keys, accounts) = (keys, accounts)
    for first in stride(from: 0, to: keys.count, by: 1_000) {
      let last = min(first + 1_000, keys.count)
      try await database.transaction(.applied) { transaction in
        for account in first..<last {
          try await transaction.put(keys[account], accountValue(BankSettings.balance), in: accounts)
        }
      }
    }
  }

  func client() -> Client { Client(database, accounts, keys) }

  func total() async throws -> (accounts: Int, sum: Int64) {
    let snapshot = try await database.snapshot()
    var sum: Int64 = 0
    var count = 0
    for key in keys {
      guard let value = try await snapshot.get(key, in: accounts) else { continue }
      sum += try accountBalance(value)
      count += 1
    }
    return (count, sum)
  }

  func close() async throws { try await database.close() }

  final class Client: BankClient {
    private let database: Database
    private let accounts: Keyspace
    private let keys: [[UInt8]]

    init(_ database: Database, _ accounts: Keyspace, _ keys: [[UInt8]]) {
      self.database = database
      self.accounts = accounts
      self.keys = keys
    }

    func transfer(_ amount: Int64, from: Int, to: Int) async throws -> Int {
      let (from, to, accounts) = (keys[from], keys[to], accounts)
      let tries = Tries()
      do {
        try await database.transaction(.synced) { transaction in
          tries.add()
          let a = try accountBalance(try await transaction.get(from, in: accounts, forUpdate: true))
          let b = try accountBalance(try await transaction.get(to, in: accounts, forUpdate: true))
          try await transaction.put(from, accountValue(a - amount), in: accounts)
          try await transaction.put(to, accountValue(b + amount), in: accounts)
        }
      } catch let error as DatabaseError where error.code == .transactionAborted {
        throw TransferGivenUp(tries: tries.count)
      }
      return tries.count
    }
  }

  /// How often a body ran.
  private final class Tries: Sendable {
    private let tries = Atomic<Int>(0)
    var count: Int { tries.load(ordering: .relaxed) }
    func add() { tries.add(1, ordering: .relaxed) }
  }
}

/// 16 bytes: a number and eight times '0', as the other workloads have them.
func accountKey(_ account: Int) -> [UInt8] {
  let key = KeyBuffer()
  let bytes = key(UInt64(account))
  return [UInt8](UnsafeRawBufferPointer(start: bytes.start, count: bytes.count))
}

func accountValue(_ balance: Int64) -> [UInt8] {
  withUnsafeBytes(of: balance.littleEndian) { [UInt8]($0) }
}

func accountBalance(_ value: [UInt8]?) throws -> Int64 {
  guard let value, value.count == 8 else { throw BenchmarkError("wrong answer: no balance") }
  return value.withUnsafeBytes { Int64(littleEndian: $0.loadUnaligned(as: Int64.self)) }
}
