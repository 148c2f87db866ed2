import Roost
import RoostStorage
import RoostTransactions
import TestSupport
import Testing

/// Transactions that enter from several threads at once, over the real file system.
// Budget: 10 s
@Suite("Transactions of many threads") struct TransactionThreadTests {
  private typealias Bank = TransactionFaceTests.Bank

  /// Money is moved for update, synced and not, in one store and across two; each snapshot, and each
  /// transaction that reads all, sees the whole sum.
  @Test(arguments: [1, 2])
  func `every moment has the whole sum`(stores: Int) async throws {
    let bank = try await Bank.open(stores: stores)
    let count = 12
    try await bank.fill(count, 100)
    let steps = TestSize.of(quick: 150, full: 2_000)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for client in 0..<6 {
        group.addTask {
          var random = SplitMix64(seed: UInt64(client))
          for step in 0..<steps {
            let (from, to) = (Int(random.below(count)), Int(random.below(count)))
            if from == to { continue }
            try await Self.transfer(bank, from, to, step % 3 == 0 ? .applied : .synced)
          }
        }
      }
      group.addTask {
        for _ in 0..<steps / 2 {
          let sum = try await bank.total(count)
          #expect(sum == 100 * count)
        }
      }
      group.addTask {
        for _ in 0..<steps / 10 {
          let sum = try await bank.database.transaction { txn in
            var sum = 0
            for number in 0..<count {
              sum += try await txn.get("a\(number)", Int.self, in: bank.accounts) ?? 0
            }
            return sum
          }
          #expect(sum == 100 * count)
        }
      }
      try await group.waitForAll()
    }
    let again = try await bank.reopened()
    #expect(try await again.total(count) == 100 * count)
    try await again.database.close()
  }

  private static func transfer(
    _ bank: Bank, _ from: Int, _ to: Int, _ durability: Durability
  ) async throws {
    try await bank.database.transaction(durability) { txn in
      let a = try await txn.get("a\(from)", Int.self, in: bank.accounts, forUpdate: true) ?? 0
      let b = try await txn.get("a\(to)", Int.self, in: bank.accounts, forUpdate: true) ?? 0
      // Whoever lost a lock in between must not see what another wrote since.
      #expect(a >= 0 && b >= 0)
      guard a > 0 else { return }
      try await txn.put("a\(from)", value: a - 1, in: bank.accounts)
      try await txn.put("a\(to)", value: b + 1, in: bank.accounts)
    }
  }
}
