import Roost
import RoostCluster

/// The accounts of `roost bank`: balances in a transactional keyspace, as decimal numbers, and how many there
/// are beside them.
struct BankAccounts: Sendable {
  let house: any BankHouse
  let count: Int
  let isSynced: Bool

  private struct Poor: Error {}

  private static let countKey = "bank:accounts"

  /// Takes over the bank, or founds it.
  init(_ house: any BankHouse, wished: Int, isSynced: Bool) async throws {
    self.house = house
    self.isSynced = isSynced
    count = try await Self.found(in: house, wished)
  }

  /// Their number is written with the last of them, and nobody moves money before. So accounts of a run that
  /// ended too early are made anew, and each transaction finds out whether somebody else was faster.
  ///
  /// - Returns: how many accounts there are.
  private static func found(in house: any BankHouse, _ wished: Int) async throws -> Int {
    // In a cluster each account is a message.
    let size = BatchSize()
    var next = 0
    while true {
      let numbers = next..<min(next + size.keyCount, wished)
      let start = ContinuousClock.now
      let known: Int?
      do {
        known = try await house.transaction(.synced) { txn -> Int? in
          if let known = try await number(under: countKey, txn, forUpdate: false) { return Int(known) }
          for number in numbers { try await put(Bank.balance, under: key(number), txn) }
          guard numbers.upperBound == wished else { return nil }
          try await put(Int64(wished), under: countKey, txn)
          return wished
        }
      } catch let error as DatabaseError where error.code == .transactionAborted
        || error.code == .transactionTooLarge
      {
        // Nothing of it was done: perhaps it was too much.
        guard size.noteTooMuch(of: numbers.count) else { throw error }
        continue
      }
      if let known { return known }
      let milliseconds = start.duration(to: .now) / Duration.milliseconds(1)
      size.noteCommit(of: numbers.count, milliseconds: UInt64(milliseconds))
      next = numbers.upperBound
    }
  }

  static func key(_ number: Int) -> String { "account:\(number)" }

  private static func number(
    under key: String, _ txn: any ScriptTransaction, forUpdate: Bool
  ) async throws -> Int64? {
    try await txn.get(Array(key.utf8), forUpdate: forUpdate).map { try number($0, under: key) }
  }

  private static func number(_ value: [UInt8], under key: String) throws -> Int64 {
    guard let number = Int64(String(decoding: value, as: UTF8.self)) else {
      throw Failure(.damage, "what is under `\(key)` is no number")
    }
    return number
  }

  private static func put(_ number: Int64, under key: String, _ txn: any ScriptTransaction) async throws {
    try await txn.put(Array(key.utf8), Array("\(number)".utf8))
  }

  /// The sum of all balances, at one moment.
  ///
  /// - Throws: ``Failure`` where an account is missing or below zero.
  func total() async throws -> Int64 {
    let keys = (0..<count).map(Self.key)
    var sum: Int64 = 0
    for (number, value) in try await house.values(of: keys).enumerated() {
      guard let value else { throw Failure(.damage, "the account \(number) is missing") }
      let balance = try Self.number(value, under: keys[number])
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
      let id = try await house.transaction(isSynced ? .synced : .applied) { txn in
        let (payer, payee) = (Self.key(from), Self.key(to))
        let source = try await Self.number(under: payer, txn, forUpdate: true) ?? 0
        guard source >= amount else { throw Poor() }
        let target = try await Self.number(under: payee, txn, forUpdate: true) ?? 0
        try await Self.put(source - amount, under: payer, txn)
        try await Self.put(target + amount, under: payee, txn)
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
    } catch let error as DatabaseError where house.mayPass(error) {
      tally.aborted += 1
      try await Task.sleep(for: .milliseconds(100))
    }
  }

  /// A line for whoever watches, at once.
  private static func say(_ text: String) throws { try LineOutput.standard.line(text) }
}
