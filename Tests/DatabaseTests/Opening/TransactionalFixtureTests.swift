import Foundation
import Roost
import RoostCausality
import RoostEnvironment
import RoostSimulation
import RoostStorage
import RoostTransactions
import SystemPackage
import TestSupport
import Testing

@testable import RoostCluster

/// A database with a transactional keyspace stays readable for ever, as those of
/// ``DatabaseFixtureTests``: with old versions, outcomes, marks, and a transaction that is decided in
/// the coordinator's log, prepared in the stores, and not finished. Beside it is what its trees hold: a
/// line an entry.
// Budget: 2 s
@Suite struct TransactionalFixtureTests {
  private static let name = "database-v2"
  private let environment: Environment

  init() {
    var environment = Environment.posix()
    environment.time = EarlierTime(environment.time, DatabaseFixtureTests.made + 10_000_000_000)
    self.environment = environment
  }

  /// The machine's time, but that it began when the fixture was made: what is kept for a while is still
  /// there. It passes as it does, for real workers do what others wait for.
  private final class EarlierTime: TimeSource {
    private let time: any TimeSource
    private let wallClockStart: UInt64
    private let start: UInt64

    init(_ time: any TimeSource, _ wallClockStart: UInt64) {
      self.time = time
      self.wallClockStart = wallClockStart
      start = time.monotonicNanoseconds
    }

    var monotonicNanoseconds: UInt64 { time.monotonicNanoseconds }
    var wallClockNanoseconds: UInt64 { wallClockStart &+ (time.monotonicNanoseconds &- start) }

    func wait(on condition: Condition, untilMonotonicNanoseconds deadline: UInt64) -> Bool {
      time.wait(on: condition, untilMonotonicNanoseconds: deadline)
    }
  }

  private func copy(into folder: TemporaryDirectory) throws -> [String] {
    try DatabaseFixtureTests.stores.map { store in
      let target = folder.appending(store).string
      try FileManager.default.copyItem(
        atPath: DatabaseFixtureTests.fixtures.appending(Self.name).appending(store).string, toPath: target)
      return target
    }
  }

  /// What the trees of versions and of transactions hold, and the coordinator's log, sorted.
  private static func lines(_ paths: [String], _ environment: Environment) throws -> [String] {
    var lines: [String] = []
    for path in paths {
      let store = try Store.open(at: path, environment: environment)
      for name in store.treeNames {
        let kind = name.prefix { $0 != "/" }
        guard kind == "current" || kind == "history" || name == Member.transactionTree else { continue }
        var cursor = try #require(store.existingTree(name)).cursor()
        while try cursor.next() {
          lines.append("\(name) " + (try text(String(kind), cursor.keyBytes, cursor.valueBytes)))
        }
      }
      try store.close()
    }
    return lines.sorted()
  }

  private static func text(_ kind: String, _ key: [UInt8], _ value: [UInt8]) throws -> String {
    switch kind {
    case "current":
      let version = try unsafe StoredVersion(decoding: value.span.bytes)
      return "\(String(decoding: key.dropFirst(2), as: UTF8.self)) at \(version.timestamp.rawValue) "
        + shown(version)
    case "history":
      let version = try unsafe StoredVersion(decoding: value.span.bytes)
      let parts = try #require(VersionKey.splitHistory(key))
      return "\(String(decoding: parts.key, as: UTF8.self)) at \(parts.timestamp) until "
        + "\(version.timestamp.rawValue) \(shown(version))"
    default:
      let (kind, id, index) = try #require(TransactionKey.split(key))
      switch kind {
      case .prepared:
        let record = try PreparedRecord(id, decoding: value)
        #expect(record.encoded() == value)
        return "prepared \(id) at \(record.timestamp.rawValue), \(record.writes.count) writes"
      case .outcome, .forced:
        let record = try OutcomeRecord(id, decoding: value)
        #expect(record.encoded() == value)
        return "outcome \(id) \(record.outcome == .aborted ? "aborted" : "committed")"
      case .mark, .ended:
        #expect(try EffectMark(id, decoding: value).encoded() == value)
        return "mark \(id) \(index ?? -1)"
      }
    }
  }

  private static func shown(_ version: StoredVersion) -> String {
    version.value.map { String(decoding: $0, as: UTF8.self) } ?? "(deleted)"
  }

  @Test func `each tree of an old store holds what its name says`() throws {
    let folder = try TemporaryDirectory()
    let paths = try copy(into: folder)
    let expected = try String(
      contentsOfFile: DatabaseFixtureTests.fixtures.appending(Self.name + ".txt").string, encoding: .utf8
    ).split(separator: "\n").map(String.init)
    #expect(try Self.lines(paths, environment) == expected)
    for word in ["current/accounts", "history/accounts", "prepared", "outcome", "mark", "(deleted)"] {
      #expect(expected.contains { $0.contains(word) }, "there is nothing of `\(word)`")
    }
    let logs = try paths.filter { try CoordinatorLog.exists(in: $0, environment) }
    #expect(logs.count == 1)
  }

  @Test func `an old database finishes what was decided, and goes on`() async throws {
    let folder = try TemporaryDirectory()
    let paths = try copy(into: folder)
    var options = DatabaseOptions()
    options.creation = .mustExist
    options.transactions.outcomeRetention = .seconds(86_400)
    var database = try await Database.open(at: paths, options, environment: environment)
    #expect(database.keyspaceNames == ["accounts", "notes"])
    var accounts = try await database.keyspace("accounts", .transactional)
    let notes = try await database.keyspace("notes", .eventual)
    // The last transfer was decided, and no store had been told.
    let snapshot = try await database.snapshot()
    var balances: [Int?] = []
    for number in 0..<8 { balances.append(try await snapshot.get("a\(number)", Int.self, in: accounts)) }
    #expect(balances == [nil, 90, 100, 100, 100, 100, 100, 210])
    #expect(try await database.inDoubt().isEmpty)
    #expect(try await accounts.scanPage(.prefix("a"), limit: 9).count == 7)
    var count = try await notes.counter("transfers").value()
    for try await _ in notes.changes() {
      count = try await notes.counter("transfers").value()
      if count >= 4 { break }
    }
    #expect(count == 4)
    let goesOn = accounts
    try await database.transaction(.synced) { txn in
      for number in 1..<8 {
        let balance = try await txn.get("a\(number)", Int.self, in: goesOn) ?? 0
        try await txn.put("a\(number)", value: balance + 1, in: goesOn)
      }
      try txn.counter("transfers", in: notes).increment()
    }
    try await database.close()
    database = try await Database.open(at: paths, options, environment: environment)
    accounts = try await database.keyspace("accounts")
    #expect(try await accounts.multiGet(["a0", "a1", "a7"]).map(\.text) == [nil, "91", "211"])
    #expect(try await database.keyspace("notes").counter("transfers").value() == 5)
    try await database.close()
  }

  /// Makes the fixture: `ROOST_MAKE_DATABASE_FIXTURE=DIRECTORY`, to which `-transactional` is added,
  /// and which must not exist.
  @Test(.enabled(if: ProcessInfo.processInfo.environment["ROOST_MAKE_DATABASE_FIXTURE"] != nil))
  func `make a transactional fixture`() async throws {
    let path =
      try #require(ProcessInfo.processInfo.environment["ROOST_MAKE_DATABASE_FIXTURE"]) + "-transactional"
    var environment = Environment.posix()
    environment.randomness = SeededRandomness(seed: 2)
    environment.makeWorkers = { ManualWorkers() }
    environment.time = SimulatedTime(wallClockNanoseconds: DatabaseFixtureTests.made)
    var options = DatabaseOptions()
    options.creation = .mustNotExist
    options.partitionCount = 8
    options.store.logSegmentBytes = 16 << 10
    options.store.logAccess = .calls
    options.transactions.outcomeRetention = .seconds(86_400)
    let paths = DatabaseFixtureTests.stores.map { path + "/" + $0 }
    let transport = HeldTransport()
    let database = try await Database.open(
      at: paths, options, environment: environment, transport: transport)
    let accounts = try await database.keyspace("accounts", .transactional)
    let notes = try await database.keyspace("notes", .eventual)
    try await database.transaction(.synced) { txn in
      for number in 0..<8 { try await txn.put("a\(number)", value: 100, in: accounts) }
    }
    for step in 0..<3 {
      try await database.transaction(.synced) { txn in
        try await txn.put("a7", value: 110 + 40 * step, in: accounts)
        try await txn.put("a\(step == 0 ? 1 : 0)", value: 90 - step, in: accounts)
        try txn.counter("transfers", in: notes).increment()
      }
      // In tables; what follows is in the logs.
      if step == 1 { for member in database.core.presentMembers { try member.store.compact() } }
    }
    try await accounts.delete("a0", .synced)
    // Decided, and nobody is told.
    let last = try await database.begin()
    try await last.put("a7", value: 210, in: accounts)
    for number in 2..<7 { try await last.put("a\(number)", value: 100, in: accounts) }
    try last.counter("transfers", in: notes).increment()
    transport.drops = { envelope in
      switch envelope.message.body {
      case .commit, .effect, .answer, .forgetEffects: true
      default: false
      }
    }
    guard case .committed = try await database.commit(last, .synced) else {
      throw Mismatch("it did not commit")
    }
    try await database.close()
    for path in paths { try FileManager.default.removeItem(atPath: path + "/" + FileNames.lock) }
    // Of a copy: opening a store writes its logs to tables.
    let folder = try TemporaryDirectory()
    let copies = DatabaseFixtureTests.stores.map { folder.appending($0).string }
    for (path, copy) in zip(paths, copies) { try FileManager.default.copyItem(atPath: path, toPath: copy) }
    let lines = try Self.lines(copies, environment)
    try (lines.joined(separator: "\n") + "\n").write(toFile: path + ".txt", atomically: true, encoding: .utf8)
  }
}
