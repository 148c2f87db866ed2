import CRocksDB
import Glibc

/// RocksDB's pessimistic transactions: reads lock for writing, commits are synced, deadlocks are found.
final class RocksDBBank: Bank, @unchecked Sendable {
  static let blocks = true

  private let options: OpaquePointer
  private let transactionOptions: OpaquePointer
  private let database: OpaquePointer
  private let keys: [[UInt8]]

  init(_ settings: BankSettings) async throws {
    options = rocksdb_options_create()
    rocksdb_options_set_create_if_missing(options, 1)
    transactionOptions = rocksdb_transactiondb_options_create()
    keys = (0..<settings.accounts).map(accountKey)
    var error: UnsafeMutablePointer<CChar>?
    let path = settings.directory + "/rocksdb"
    let opened = rocksdb_transactiondb_open(options, transactionOptions, path, &error)
    guard let opened else { throw RocksDBFailure.taking(error) }
    database = opened
    let writeOptions = rocksdb_writeoptions_create()
    defer { rocksdb_writeoptions_destroy(writeOptions) }
    for key in keys {
      let value = accountValue(BankSettings.balance)
      key.withCharacters { key in
        value.withCharacters { value in
          rocksdb_transactiondb_put(
            database, writeOptions, key.baseAddress, key.count, value.baseAddress, value.count, &error)
        }
      }
      if error != nil { throw RocksDBFailure.taking(error) }
    }
  }

  func client() -> Client { Client(database, keys) }

  func total() async throws -> (accounts: Int, sum: Int64) {
    let readOptions = rocksdb_readoptions_create()
    defer { rocksdb_readoptions_destroy(readOptions) }
    var sum: Int64 = 0
    var count = 0
    let iterator = rocksdb_transactiondb_create_iterator(database, readOptions)
    defer { rocksdb_iter_destroy(iterator) }
    rocksdb_iter_seek_to_first(iterator)
    while rocksdb_iter_valid(iterator) != 0 {
      var length = 0
      let value = rocksdb_iter_value(iterator, &length)
      sum += try accountBalance([UInt8](UnsafeRawBufferPointer(start: value, count: length)))
      count += 1
      rocksdb_iter_next(iterator)
    }
    return (count, sum)
  }

  func close() async throws {
    rocksdb_transactiondb_close(database)
    rocksdb_transactiondb_options_destroy(transactionOptions)
    rocksdb_options_destroy(options)
  }

  /// Keeps its transaction object for the next transfer, as RocksDB advises.
  final class Client: BankClient, @unchecked Sendable {
    private let database: OpaquePointer
    private let keys: [[UInt8]]
    private let writeOptions: OpaquePointer
    private let readOptions: OpaquePointer
    private let transactionOptions: OpaquePointer
    private var transaction: OpaquePointer?

    init(_ database: OpaquePointer, _ keys: [[UInt8]]) {
      self.database = database
      self.keys = keys
      writeOptions = rocksdb_writeoptions_create()
      rocksdb_writeoptions_set_sync(writeOptions, 1)
      readOptions = rocksdb_readoptions_create()
      transactionOptions = rocksdb_transaction_options_create()
      rocksdb_transaction_options_set_deadlock_detect(transactionOptions, 1)
    }

    func close() {
      if let transaction { rocksdb_transaction_destroy(transaction) }
      rocksdb_transaction_options_destroy(transactionOptions)
      rocksdb_readoptions_destroy(readOptions)
      rocksdb_writeoptions_destroy(writeOptions)
    }

    func transfer(_ amount: Int64, from: Int, to: Int) async throws -> Int {
      var tries = 1
      while true {
        do {
          try attempt(amount, from: from, to: to)
          return tries
        } catch let failure as RocksDBFailure where failure.isConflict {
          var error: UnsafeMutablePointer<CChar>?
          rocksdb_transaction_rollback(transaction, &error)
          if error != nil { throw RocksDBFailure.taking(error) }
          if tries > 1_000 { throw TransferGivenUp(tries: tries) }
          tries += 1
        }
      }
    }

    private func attempt(_ amount: Int64, from: Int, to: Int) throws {
      transaction = rocksdb_transaction_begin(database, writeOptions, transactionOptions, transaction)
      let a = try balance(from)
      let b = try balance(to)
      try put(from, a - amount)
      try put(to, b + amount)
      var error: UnsafeMutablePointer<CChar>?
      rocksdb_transaction_commit(transaction, &error)
      if error != nil { throw RocksDBFailure.taking(error) }
    }

    private func balance(_ account: Int) throws -> Int64 {
      var error: UnsafeMutablePointer<CChar>?
      var length = 0
      let value = keys[account].withCharacters { key in
        rocksdb_transaction_get_for_update(
          transaction, readOptions, key.baseAddress, key.count, &length, 1, &error)
      }
      if error != nil { throw RocksDBFailure.taking(error) }
      guard let value, length == 8 else { throw BenchmarkError("wrong answer: no balance") }
      defer { rocksdb_free(value) }
      return Int64(littleEndian: UnsafeRawPointer(value).loadUnaligned(as: Int64.self))
    }

    private func put(_ account: Int, _ balance: Int64) throws {
      var error: UnsafeMutablePointer<CChar>?
      keys[account].withCharacters { key in
        withUnsafeBytes(of: balance.littleEndian) { bytes in
          let value = bytes.assumingMemoryBound(to: CChar.self)
          rocksdb_transaction_put(
            transaction, key.baseAddress, key.count, value.baseAddress, value.count, &error)
        }
      }
      if error != nil { throw RocksDBFailure.taking(error) }
    }
  }
}

/// What RocksDB said.
private struct RocksDBFailure: Error, CustomStringConvertible {
  let description: String

  static func taking(_ error: UnsafeMutablePointer<CChar>?) -> RocksDBFailure {
    defer { if let error { rocksdb_free(error) } }
    return RocksDBFailure(description: error.map { String(cString: $0) } ?? "no reason given")
  }

  /// Whether another transaction was in the way: a deadlock, or a lock that did not come in time.
  var isConflict: Bool {
    description.hasPrefix("Resource busy") || description.hasPrefix("Operation timed out")
  }
}

extension [UInt8] {
  @inline(__always)
  fileprivate func withCharacters<R>(_ body: (UnsafeBufferPointer<CChar>) -> R) -> R {
    withUnsafeBytes { body($0.assumingMemoryBound(to: CChar.self)) }
  }
}
