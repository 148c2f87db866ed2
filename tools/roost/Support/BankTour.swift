import Roost
import RoostCluster
import RoostEnvironment
import RoostTransactions
import SystemPackage

/// The tour's step with money: a transfer between stores whose process is killed when it is decided
/// and no store has been told.
struct BankTour {
  let directory: String

  private static let payer = "A"
  private var stores: [String] { (1...2).map { "\(directory)/disk\($0)" } }

  func run() async throws {
    try TourText.step(
      8, "A thousand dollars, and a kill in between",
      """
      A and B have their accounts in different stores. Another process moves 1,000 dollars
      from A to B, and gets SIGKILL at the worst moment: both stores have promised, the
      decision is on disk, and neither store has been told.
      """)
    let payee = try await found()
    try TourText.line("A has 5,000 in one store, \(payee) has 0 in the other.")
    try killInBetween(payee)
    let doubt = try await showDoubt()
    try await heal(payee, doubt)
  }

  /// Founds the bank. Where a key lies follows from the key: so the payee is chosen by name.
  ///
  /// - Returns: the payee.
  private func found() async throws -> String {
    try await withOpenDatabase(stores, creates: true) { database in
      let accounts = try await database.transactionalKeyspace("accounts")
      let payer = try owner(Self.payer, database)
      let names = ["B"] + (2...64).map { "B\($0)" }
      guard let payee = try names.first(where: { try owner($0, database) != payer }) else {
        throw Failure(.software, "the tour found something wrong: all accounts are in one store")
      }
      try await database.transaction(.synced) { txn in
        try await txn.put(Self.payer, "5000", in: accounts)
        try await txn.put(payee, "0", in: accounts)
      }
      return payee
    }
  }

  private func owner(_ key: String, _ database: Database) throws -> MemberID {
    let shared = database.core.shared
    let partition = Placement.partition(
      ofHash: key.withKeyBytes { Placement.hash($0) }, count: shared.partitionCount)
    return try shared.transactionalOwner(partition).id
  }

  private func killInBetween(_ payee: String) throws {
    let script = "\(directory)/transfer.txt"
    try write("require \(Self.payer) >= 1000\nadd \(Self.payer) -1000\nadd \(payee) 1000\n", script)
    let child = try ChildProcess([
      "txn", stores[0], script, "--keyspace", "accounts", "--sync", "--kill-when-decided",
    ])
    if let line = try child.output.readLine() {
      throw Failure(.software, "the child said `\(String(decoding: line, as: UTF8.self))`")
    }
    try TourText.check(child.wait() == 9, "the child was not killed")
    try TourText.line("Killed: nothing was acknowledged.")
  }

  private func write(_ text: String, _ path: String) throws {
    do {
      let file = try FileDescriptor.open(
        FilePath(path), .writeOnly, options: [.create, .truncate], permissions: .ownerReadWrite)
      _ = try file.closeAfter { try file.writeAll(text.utf8) }
    } catch let error as Errno { throw Failure(error, "write", path) }
  }

  /// Opens the store that has no coordinator's log without the other one: alone it cannot decide.
  private func showDoubt() async throws -> TransactionID {
    let environment = Environment.posix()
    let others = try stores.filter { try !CoordinatorLog.exists(in: $0, environment) }
    try TourText.check(others.count == 1, "\(others.count) stores have no coordinator's log, not one")
    let doubts = try await withOpenDatabase(others) { options in
      options.opensKnownStores = false
      options.allowsMissingStores = true
    } _: { try await $0.inDoubt() }
    try TourText.check(doubts.count == 1, "\(doubts.count) transactions are in doubt, not one")
    try TourText.line("Alone, the store without the decision does not guess, and keeps its locks:")
    try TourText.line("  \(doubts[0].id) is in doubt, since \(doubts[0].since)")
    try TourText.line("  and waits for \(doubts[0].waitsFor.first ?? "nobody")")
    return doubts[0].id
  }

  private func heal(_ payee: String, _ id: TransactionID) async throws {
    try await withOpenDatabase(stores) { database in
      let accounts = try await database.transactionalKeyspace("accounts")
      // The snapshot waits for what may lie before it.
      let snapshot = try await database.snapshot()
      let a = try await snapshot.get(Self.payer, Int.self, in: accounts) ?? 0
      let b = try await snapshot.get(payee, Int.self, in: accounts) ?? 0
      try TourText.line("Opened together, the stores ask and are told: it has committed. A has")
      try TourText.line("\(Format.count(a)), \(payee) has \(Format.count(b)): \(Format.count(a + b)) in all.")
      try TourText.check(a == 4_000 && b == 1_000, "A has \(a), \(payee) has \(b)")
      try TourText.check(try await database.inDoubt().isEmpty, "something is in doubt still")
      guard case .committed = try await database.outcome(of: id) else {
        throw Failure(.software, "the tour found something wrong: \(id) is not known to have committed")
      }
    }
  }
}
