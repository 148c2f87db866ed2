import Roost
import RoostTransactions
import TestSupport
import Testing

/// Reads for an update: whoever reads so is the only one to have read, until its end.
// Budget: 10 s
@Suite("Transactions that read for an update") struct TransactionUpdateTests {
  private typealias Bank = TransactionFaceTests.Bank

  private func abortedAs(_ outcome: TransactionOutcome) -> AbortReason? {
    if case .aborted(let reason) = outcome { reason } else { nil }
  }

  @Test(arguments: [false, true])
  func `an older reader takes the lock from a younger one only where that reads for an update`(
    forUpdate: Bool
  ) async throws {
    let bank = try await Bank.open()
    let (database, accounts) = (bank.database, bank.accounts)
    try await bank.fill(2, 10)
    let old = try await database.begin()
    let young = try await database.begin()
    #expect(try await young.get("a0", Int.self, in: accounts, forUpdate: forUpdate) == 10)
    #expect(try await old.get("a0", Int.self, in: accounts) == 10)
    let outcome = try await database.commit(young)
    #expect(abortedAs(outcome) == (forUpdate ? .conflict : nil), "\(outcome)")
    #expect(abortedAs(try await database.commit(old)) == nil)
    try await database.close()
  }

  @Test func `several keys are read for an update, and own writes need no lock`() async throws {
    let bank = try await Bank.open()
    let (database, accounts) = (bank.database, bank.accounts)
    try await bank.fill(3, 10)
    let old = try await database.begin()
    let young = try await database.begin()
    try await young.put("a2", "own", in: accounts)
    let values = try await young.multiGet(["a0", "a1", "none", "a2"], in: accounts, forUpdate: true)
    #expect(values.map { $0.map { String(decoding: $0, as: UTF8.self) } } == ["10", "10", nil, "own"])
    // What it has written only is not locked before its commit.
    #expect(try await old.get("a2", Int.self, in: accounts) == 10)
    #expect(abortedAs(try await database.commit(old)) == nil)
    database.abort(young)
    // A key that is absent is.
    let oldest = try await database.begin()
    let later = try await database.begin()
    #expect(try await later.get("none", in: accounts, forUpdate: true) == nil)
    #expect(try await oldest.get("none", in: accounts) == nil)
    #expect(abortedAs(try await database.commit(later)) == .conflict)
    database.abort(oldest)
    try await database.close()
  }

  @Test func `a read for an update after one without takes the stronger lock`() async throws {
    let bank = try await Bank.open()
    let (database, accounts) = (bank.database, bank.accounts)
    try await bank.fill(1, 10)
    let old = try await database.begin()
    let young = try await database.begin()
    #expect(try await old.get("a0", Int.self, in: accounts) == 10)
    #expect(try await young.get("a0", Int.self, in: accounts) == 10)
    #expect(try await old.get("a0", Int.self, in: accounts, forUpdate: true) == 10)
    try await old.put("a0", value: 11, in: accounts)
    #expect(abortedAs(try await database.commit(old)) == nil)
    #expect(abortedAs(try await database.commit(young)) == .conflict)
    #expect(try await database.snapshot().get("a0", Int.self, in: accounts) == 11)
    try await database.close()
  }

  @Test func `no update is lost`() async throws {
    let bank = try await Bank.open(stores: 1) { $0.transactions.mostRetries = 1_000 }
    let (database, accounts) = (bank.database, bank.accounts)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<8 {
        group.addTask {
          for _ in 0..<20 {
            try await database.transaction { txn in
              let count = try await txn.get("count", Int.self, in: accounts, forUpdate: true) ?? 0
              try await txn.put("count", value: count + 1, in: accounts)
            }
          }
        }
      }
      try await group.waitForAll()
    }
    #expect(try await database.snapshot().get("count", Int.self, in: accounts) == 160)
    try await database.close()
  }

  @Test func `a younger one waits at its read, and then reads what the older wrote`() async throws {
    let bank = try await Bank.open()
    let (database, accounts) = (bank.database, bank.accounts)
    try await bank.fill(1, 10)
    let old = try await database.begin()
    let young = try await database.begin()
    #expect(try await old.get("a0", Int.self, in: accounts, forUpdate: true) == 10)
    let reading = Task {
      try await young.get("a0", Int.self, in: accounts, forUpdate: true)
    }
    try await old.put("a0", value: 11, in: accounts)
    #expect(abortedAs(try await database.commit(old, .synced)) == nil)
    // Whether it asked before the commit or after: it never sees what was before.
    #expect(try await reading.value == 11)
    try await young.put("a0", value: 12, in: accounts)
    #expect(abortedAs(try await database.commit(young)) == nil)
    #expect(try await database.snapshot().get("a0", Int.self, in: accounts) == 12)
    try await database.close()
  }

  @Test func `transfers that lock in every order go on`() async throws {
    let bank = try await Bank.open { $0.transactions.mostRetries = 1_000 }
    let (database, accounts) = (bank.database, bank.accounts)
    let count = 4
    try await bank.fill(count, 100)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for client in 0..<8 {
        group.addTask {
          for step in 0..<20 {
            let from = "a\((client + step) % count)"
            let to = "a\((client + step + 1 + step % (count - 1)) % count)"
            // Some read as others do, without saying that they will write.
            let says = (client + step) % 3 > 0
            try await database.transaction { txn in
              let source = try await txn.get(from, Int.self, in: accounts, forUpdate: says) ?? 0
              let target = try await txn.get(to, Int.self, in: accounts, forUpdate: says) ?? 0
              try await txn.put(from, value: source - 1, in: accounts)
              try await txn.put(to, value: target + 1, in: accounts)
            }
          }
        }
      }
      try await group.waitForAll()
    }
    #expect(try await bank.total(count) == 100 * count)
    #expect(try await database.inDoubt().isEmpty)
    try await database.close()
  }
}
