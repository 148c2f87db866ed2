import CSQLite
import Glibc

/// SQLite with a write-ahead log that each commit syncs; one connection a client.
///
/// There is one writer at a time: a transfer that will write says so at its beginning (`BEGIN IMMEDIATE`),
/// and waits for the one before it.
final class SQLiteBank: Bank, @unchecked Sendable {
  static let blocks = true

  private let path: String
  private let connection: SQLiteConnection

  init(_ settings: BankSettings) async throws {
    path = settings.directory + "/bank.sqlite"
    connection = try SQLiteConnection(path)
    try connection.run("CREATE TABLE accounts(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)")
    let insert = try connection.prepare("INSERT INTO accounts VALUES(?, ?)")
    defer { sqlite3_finalize(insert) }
    try connection.run("BEGIN IMMEDIATE")
    for account in 0..<settings.accounts {
      _ = try connection.step(insert, Int64(account), BankSettings.balance)
    }
    try connection.run("COMMIT")
  }

  func client() throws -> Client { try Client(path) }

  func total() async throws -> (accounts: Int, sum: Int64) {
    let select = try connection.prepare("SELECT count(*), sum(balance) FROM accounts")
    defer { sqlite3_finalize(select) }
    guard sqlite3_step(select) == SQLITE_ROW else { throw connection.failure("sum") }
    return (Int(sqlite3_column_int64(select, 0)), sqlite3_column_int64(select, 1))
  }

  func close() async throws { connection.close() }

  final class Client: BankClient, @unchecked Sendable {
    private let connection: SQLiteConnection
    private let begin: OpaquePointer
    private let commit: OpaquePointer
    private let select: OpaquePointer
    private let update: OpaquePointer

    init(_ path: String) throws {
      connection = try SQLiteConnection(path)
      begin = try connection.prepare("BEGIN IMMEDIATE")
      commit = try connection.prepare("COMMIT")
      select = try connection.prepare("SELECT balance FROM accounts WHERE id = ?")
      update = try connection.prepare("UPDATE accounts SET balance = ?2 WHERE id = ?1")
    }

    func close() {
      for statement in [begin, commit, select, update] { sqlite3_finalize(statement) }
      connection.close()
    }

    func transfer(_ amount: Int64, from: Int, to: Int) async throws -> Int {
      var tries = 1
      // Busy only where the wait for the writer's turn was over: then nothing was done.
      while try !connection.step(begin) {
        if tries > 1_000 { throw TransferGivenUp(tries: tries) }
        tries += 1
      }
      let a = try balance(Int64(from))
      let b = try balance(Int64(to))
      _ = try connection.step(update, Int64(from), a - amount)
      _ = try connection.step(update, Int64(to), b + amount)
      guard try connection.step(commit) else { throw connection.failure("commit") }
      return tries
    }

    private func balance(_ account: Int64) throws -> Int64 {
      sqlite3_bind_int64(select, 1, account)
      defer { sqlite3_reset(select) }
      guard sqlite3_step(select) == SQLITE_ROW else { throw connection.failure("read") }
      return sqlite3_column_int64(select, 0)
    }
  }
}

/// One connection, of one thread at a time.
private final class SQLiteConnection {
  private let database: OpaquePointer

  init(_ path: String) throws {
    var opened: OpaquePointer?
    let flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX
    guard sqlite3_open_v2(path, &opened, flags, nil) == SQLITE_OK, let opened else {
      throw BenchmarkError("SQLite could not open \(path)")
    }
    database = opened
    sqlite3_busy_timeout(database, 10_000)
    try run("PRAGMA journal_mode = WAL")
    try run("PRAGMA synchronous = FULL")
  }

  func close() { sqlite3_close(database) }

  func run(_ text: String) throws {
    guard sqlite3_exec(database, text, nil, nil, nil) == SQLITE_OK else { throw failure(text) }
  }

  func prepare(_ text: String) throws -> OpaquePointer {
    var statement: OpaquePointer?
    guard sqlite3_prepare_v2(database, text, -1, &statement, nil) == SQLITE_OK, let statement else {
      throw failure(text)
    }
    return statement
  }

  /// Runs a statement that returns nothing.
  ///
  /// - Returns: `false` where another connection is in the way.
  func step(_ statement: OpaquePointer, _ numbers: Int64...) throws -> Bool {
    for (index, number) in numbers.enumerated() {
      sqlite3_bind_int64(statement, Int32(index + 1), number)
    }
    let code = sqlite3_step(statement)
    sqlite3_reset(statement)
    if code == SQLITE_BUSY { return false }
    guard code == SQLITE_DONE else { throw failure("take a step") }
    return true
  }

  func failure(_ doing: String) -> BenchmarkError {
    BenchmarkError("SQLite could not \(doing): \(String(cString: sqlite3_errmsg(database)))")
  }
}
