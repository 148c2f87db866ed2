import Roost
import RoostCluster

/// The accounts of `roost bank`: balances in a transactional keyspace, their number beside them.
struct BankAccounts: Sendable {
  let database: Database
  let accounts: Keyspace
  let count: Int
  let isSynced: Bool
  /// Transactions that an earlier run left undecided.
  let inDoubtAtOpen: Int

  private struct Poor: Error {}

  /// Opens the bank, or founds it. What is in doubt is decided first.
  init(_ database: Database, wished: Int, isSynced: Bool) async throws {
    self.database = database
    self.isSynced = isSynced
    accounts = try await database.transactionalKeyspace("accounts")
    inDoubtAtOpen = try await database.inDoubt().count
    let accounts = accounts
    count = try await database.transaction(.synced) { txn in
      if let known = try await txn.get("bank:accounts", Int.self, in: accounts) { return known }
      for number in 0..<wished {
        try await txn.put(Self.key(number), value: Bank.balance, in: accounts)
      }
      try await txn.put("bank:accounts", value: wished, in: accounts)
      return wished
    }
  }

  static func key(_ number: Int) -> String { "account:\(number)" }

  /// The sum of all balances, at one moment.
  ///
  /// - Throws: ``Failure`` where an account is missing or below zero.
  func total() async throws -> Int64 {
    let snapshot = try await database.snapshot()
    var sum: Int64 = 0
    for number in 0..<count {
      guard let balance = try await snapshot.get(Self.key(number), Int64.self, in: accounts) else {
        throw Failure(.damage, "the account \(number) is missing")
      }
      guard balance >= 0 else { throw Failure(.damage, "the account \(number) has \(balance)") }
      sum += balance
    }
    return sum
  }

  /// Moves a random amount from one random account to another.
  func transfer(_ random: inout SplitMix, _ tally: inout BankTally, acknowledges: Bool) async throws {
    let from = Int.random(in: 0..<count, using: &random)
    let to = (from + Int.random(in: 1..<count, using: &random)) % count
    let amount = Int64.random(in: 1...100, using: &random)
    do {
      let accounts = accounts
      let id = try await database.transaction(isSynced ? .synced : .applied) { txn in
        let source = try await txn.get(Self.key(from), Int64.self, in: accounts, forUpdate: true) ?? 0
        guard source >= amount else { throw Poor() }
        let target = try await txn.get(Self.key(to), Int64.self, in: accounts, forUpdate: true) ?? 0
        try await txn.put(Self.key(from), value: source - amount, in: accounts)
        try await txn.put(Self.key(to), value: target + amount, in: accounts)
        return txn.id
      }
      tally.committed += 1
      if acknowledges { try BankAccounts.say("committed \(id) \(from) \(to) \(amount)") }
    } catch is Poor {
      tally.refused += 1
    } catch let error as DatabaseError where error.code == .transactionAborted {
      tally.aborted += 1
    } catch let error as DatabaseError where error.code == .outcomeUnknown {
      tally.unknown += 1
    }
  }

  /// A line for whoever watches, at once.
  private static func say(_ text: String) throws { try LineOutput.standard.line(text) }
}
