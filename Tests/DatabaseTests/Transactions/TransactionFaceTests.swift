import Roost
import RoostEnvironment
import RoostSimulation
import RoostTransactions
import TestSupport
import Testing

/// Transactions as a program uses them, over several stores of the real file system.
// Budget: 10 s
@Suite("Transactions") struct TransactionFaceTests {
  struct Bank {
    let folder: TemporaryDirectory
    let directories: [String]
    let database: Database
    let accounts: Keyspace

    static func open(
      stores: Int = 3, _ change: (inout DatabaseOptions) -> Void = { _ in }
    ) async throws -> Bank {
      let folder = try TemporaryDirectory()
      let directories = (0..<stores).map { folder.appending("disk\($0)").string }
      let database = try await Database.open(at: directories, Databases.options(change))
      return Bank(
        folder: folder, directories: directories, database: database,
        accounts: try await database.keyspace("accounts", .transactional))
    }

    func reopened() async throws -> Bank {
      try await database.close()
      let database = try await Database.open(at: directories, Databases.options())
      return Bank(
        folder: folder, directories: directories, database: database,
        accounts: try await database.keyspace("accounts", .transactional))
    }

    func fill(_ count: Int, _ balance: Int) async throws {
      let accounts = accounts
      try await database.transaction { txn in
        for number in 0..<count { try await txn.put("a\(number)", value: balance, in: accounts) }
      }
    }

    func total(_ count: Int) async throws -> Int {
      let snapshot = try await database.snapshot()
      var sum = 0
      for number in 0..<count { sum += try await snapshot.get("a\(number)", Int.self, in: accounts) ?? 0 }
      return sum
    }

    func balances(_ count: Int, _ snapshot: DatabaseSnapshot) async throws -> [Int?] {
      var balances: [Int?] = []
      for number in 0..<count {
        balances.append(try await snapshot.get("a\(number)", Int.self, in: accounts))
      }
      return balances
    }

    func transferAround(_ count: Int, _ steps: Int) async throws {
      for step in 0..<steps { try await transfer(step % count, (step + 1) % count, 1 + step % 3) }
    }

    func transfer(_ from: Int, _ to: Int, _ amount: Int) async throws {
      let accounts = accounts
      try await database.transaction { txn in
        let source = try await txn.get("a\(from)", Int.self, in: accounts) ?? 0
        let target = try await txn.get("a\(to)", Int.self, in: accounts) ?? 0
        guard source >= amount else { return }
        try await txn.put("a\(from)", value: source - amount, in: accounts)
        try await txn.put("a\(to)", value: target + amount, in: accounts)
      }
    }
  }

  @Test func `what is committed is there, also after a restart`() async throws {
    var bank = try await Bank.open()
    let accounts = bank.accounts
    try await bank.database.transaction(.synced) { txn in
      try await txn.put("A", "1", in: accounts)
      try await txn.put("B", "2", in: accounts)
      #expect(try await txn.get("A", in: accounts) == Array("1".utf8), "its own write")
      try await txn.delete("B", in: accounts)
      #expect(try await txn.get("B", in: accounts) == nil)
      try await txn.put("C", "3", in: accounts)
    }
    for _ in 0..<2 {
      let snapshot = try await bank.database.snapshot()
      #expect(try await snapshot.get("A", in: bank.accounts) == Array("1".utf8))
      #expect(try await snapshot.get("B", in: bank.accounts) == nil)
      #expect(try await snapshot.scan(in: bank.accounts).map(\.key) == [Array("A".utf8), Array("C".utf8)])
      bank = try await bank.reopened()
    }
    try await bank.database.close()
  }

  @Test func `an error in the body leaves nothing behind`() async throws {
    struct Stop: Error {}
    let bank = try await Bank.open()
    let accounts = bank.accounts
    await #expect(throws: Stop.self) {
      try await bank.database.transaction { txn in
        try await txn.put("A", "1", in: accounts)
        throw Stop()
      }
    }
    #expect(try await bank.database.snapshot().get("A", in: accounts) == nil)
    // Its locks are free.
    try await bank.database.transaction { try await $0.put("A", "2", in: accounts) }
    try await bank.database.close()
  }

  @Test func `transactions that meet are tried again, and none is lost`() async throws {
    let bank = try await Bank.open { $0.transactions.mostRetries = 1_000 }
    let (database, accounts) = (bank.database, bank.accounts)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<8 {
        group.addTask {
          for _ in 0..<20 {
            try await database.transaction { txn in
              let count = try await txn.get("count", Int.self, in: accounts) ?? 0
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

  @Test func `transfers in every direction go on, and no snapshot sees half of one`() async throws {
    let bank = try await Bank.open { $0.transactions.mostRetries = 1_000 }
    let count = 6
    try await bank.fill(count, 100)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for client in 0..<6 {
        group.addTask {
          for step in 0..<20 {
            let from = (client + step) % count
            try await bank.transfer(from, (from + 1 + step % (count - 1)) % count, 1 + step)
          }
        }
      }
      group.addTask {
        for _ in 0..<30 {
          let total = try await bank.total(count)
          #expect(total == 100 * count)
        }
      }
      try await group.waitForAll()
    }
    #expect(try await bank.total(count) == 100 * count)
    #expect(try await bank.database.inDoubt().isEmpty)
    try await bank.database.close()
  }

  @Test func `a scan locks its gaps`() async throws {
    let bank = try await Bank.open { $0.transactions.mostRetries = 1_000 }
    let (database, accounts) = (bank.database, bank.accounts)
    // Each adds an entry only where there are fewer than ten: so there are never more.
    try await withThrowingTaskGroup(of: Void.self) { group in
      for client in 0..<4 {
        group.addTask {
          for step in 0..<6 {
            try await database.transaction { txn in
              guard try await txn.scan(prefix: "seat:", in: accounts).count < 10 else { return }
              try await txn.put("seat:\(client):\(step)", "taken", in: accounts)
            }
          }
        }
      }
      try await group.waitForAll()
    }
    #expect(try await database.snapshot().scan(prefix: "seat:", in: accounts).count == 10)
    try await database.close()
  }

  @Test func `a scan shows own writes in order, and goes on past deleted ones`() async throws {
    let bank = try await Bank.open()
    let accounts = bank.accounts
    try await bank.database.transaction { txn in
      for number in 10..<40 { try await txn.put("k\(number)", "\(number)", in: accounts) }
    }
    let keys = try await bank.database.transaction { txn in
      for number in 10..<30 { try await txn.delete("k\(number)", in: accounts) }
      try await txn.put("k15x", "own", in: accounts)
      return try await txn.scan(prefix: "k", limit: 3, in: accounts).map {
        String(decoding: $0.key, as: UTF8.self)
      }
    }
    #expect(keys == ["k15x", "k30", "k31"])
    try await bank.database.close()
  }

  @Test func `an effect on an eventual keyspace happens once`() async throws {
    var bank = try await Bank.open()
    for round in 1...3 {
      let stats = try await bank.database.keyspace("stats", .eventual)
      let accounts = bank.accounts
      try await bank.database.transaction(.synced) { txn in
        try await txn.put("A", value: round, in: accounts)
        try await txn.put("B\(round)", value: round, in: accounts)
        try txn.counter("transfers", in: stats).increment(by: 2)
        try txn.put("last", "\(round)", context: try await stats.get("last").context, in: stats)
      }
      bank = try await bank.reopened()
      let again = try await bank.database.keyspace("stats", .eventual)
      // What close cut off is done once the database is open again; the feed tells when.
      for try await _ in again.changes() {
        let count = try await again.counter("transfers").value()
        let last = try await again.get("last").values
        if count == Int64(2 * round), last == [Array("\(round)".utf8)] { break }
      }
    }
    try await bank.database.close()
  }

  @Test func `outcomes are kept`() async throws {
    var bank = try await Bank.open()
    let accounts = bank.accounts
    var ids: [TransactionID] = []
    for names in [["A"], ["B", "C", "D", "E", "F", "G"]] {
      let txn = try await bank.database.begin()
      for name in names { try await txn.put(name, "1", in: accounts) }
      guard case .committed = try await bank.database.commit(txn, .synced) else {
        Issue.record("it did not commit")
        return
      }
      ids.append(txn.id)
    }
    let aborted = try await bank.database.begin()
    try await aborted.put("A", "2", in: accounts)
    bank.database.abort(aborted)
    #expect(await code { try await aborted.put("A", "2", in: accounts) } == .transactionEnded)
    for _ in 0..<2 {
      for id in ids {
        guard case .committed = try await bank.database.outcome(of: id) else {
          Issue.record("\(id) is not known to have committed")
          continue
        }
      }
      // Also where the abort stood behind others' events.
      let outcome = try await bank.database.outcome(of: aborted.id)
      guard case .aborted = outcome else {
        Issue.record("\(aborted.id) is not known to be aborted: \(String(describing: outcome))")
        return
      }
      bank = try await bank.reopened()
    }
    try await bank.database.close()
  }

  @Test func `misuse is a clear error`() async throws {
    let bank = try await Bank.open {
      $0.transactions.largestBytes = 1_000
      $0.transactions.mostKeys = 20
    }
    let (database, accounts) = (bank.database, bank.accounts)
    let posts = try await database.keyspace("posts", .eventual)
    let txn = try await database.begin()
    #expect(await code { try await txn.put("k", "v", in: posts) } == .wrongPolicy)
    #expect(await code { _ = try await txn.get("k", in: posts) } == .wrongPolicy)
    #expect(await code { try txn.counter("k", in: accounts).increment() } == .wrongPolicy)
    #expect(await code { try await txn.put("", "v", in: accounts) } == .invalidArgument)
    #expect(
      await code { try await txn.put([UInt8](repeating: 1, count: 40_000), "v", in: accounts) }
        == .invalidArgument)
    #expect(
      await code { try await txn.put("k", [UInt8](repeating: 1, count: 2_000), in: accounts) }
        == .transactionTooLarge)
    #expect(
      await code { for number in 0..<30 { try await txn.put("\(number)", "v", in: accounts) } }
        == .transactionTooLarge)
    #expect(await code { _ = try await txn.scan(limit: 0, in: accounts) } == .invalidArgument)
    database.abort(txn)
    let other = try await Bank.open(stores: 1)
    #expect(
      await code { try await database.transaction { try await $0.put("k", "v", in: other.accounts) } }
        == .invalidArgument)
    try await other.database.close()
    #expect(
      await code { _ = try await database.snapshot(at: Timestamp(milliseconds: 1)) } == .snapshotTooOld)
    try await database.close()
    #expect(
      await code { _ = try await database.transaction { try await $0.get("k", in: accounts) } } == .closed)
  }

  @Test func `a snapshot stays as it was, and holds nobody up`() async throws {
    let bank = try await Bank.open()
    try await bank.fill(4, 10)
    let snapshot = try await bank.database.snapshot()
    try await bank.transferAround(4, 20)
    let balances = try await bank.balances(4, snapshot)
    #expect(balances == [10, 10, 10, 10])
    let entries = try await snapshot.scan(in: bank.accounts)
    #expect(entries.count == 4)
    try await bank.database.close()
  }

  /// In one process all clocks are one: they are never near a bound, however small it is.
  @Test func `with a bound of 1 ms transactions go on`() async throws {
    let warnings = SharedLines()
    let bank = try await Bank.open {
      $0.transactions.clockBound = .milliseconds(1)
      $0.warn = { warnings.add($0) }
    }
    try await bank.fill(6, 100)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for client in 0..<3 {
        group.addTask {
          for step in 0..<30 { try await bank.transfer((client + step) % 6, (client + step + 1) % 6, 1) }
        }
      }
      try await group.waitForAll()
    }
    #expect(try await bank.total(6) == 600)
    #expect(warnings.lines == [])
    try await bank.database.close()
  }

  @Test func `a transaction that takes too long is aborted, and its locks are free`() async throws {
    let bank = try await Bank.open {
      $0.transactions.longestDuration = .milliseconds(50)
      $0.transactions.mostRetries = 0
    }
    let (database, accounts) = (bank.database, bank.accounts)
    var slow = try await database.begin()
    var isLocked = false
    var triesLeft = 1_000
    while !isLocked {
      try #require(triesLeft > 0, "it never had the lock in time")
      triesLeft -= 1
      do {
        try await slow.put("A", "slow", in: accounts)
        _ = try await slow.get("A1", in: accounts)
        isLocked = true
      } catch is TransactionConflict {
        // On a crowded machine its time was over before it had the lock.
        slow = try await database.begin()
      }
    }
    // Another cannot have the key before the first is gone, waits for it as long as it may itself, and
    // gets it then.
    var isDone = false
    triesLeft = 1_000
    while !isDone {
      try #require(triesLeft > 0, "the other never had the lock")
      triesLeft -= 1
      do {
        try await database.transaction { try await $0.put("A1", "quick", in: accounts) }
        isDone = true
      } catch let error as DatabaseError
        // On a crowded machine it may itself take too long, and be told so when nobody knows yet.
        where error.code == .transactionAborted || error.code == .outcomeUnknown {}
    }
    guard case .aborted = try await database.commit(slow) else {
      Issue.record("it committed")
      return
    }
    #expect(try await database.snapshot().get("A", in: accounts) == nil)
    try await database.close()
  }
}

/// Lines from any thread.
private final class SharedLines: @unchecked Sendable {
  private let lock = Lock()
  // Guarded by `lock`.
  private var all: [String] = []
  var lines: [String] { lock.withLock { all } }
  func add(_ line: String) { lock.withLock { all.append(line) } }
}
