public import RoostCausality
import RoostCluster
public import RoostStorage
import RoostTransactions

// What a transaction does to eventual keyspaces: kept with its COMMIT record, done after it, exactly
// once, whatever stops meanwhile. Other readers may see it a little later than the commit.

extension Transaction {
  /// A counter of an eventual keyspace, which the transaction may add to.
  public func counter(_ key: some ByteKey & Sendable, in keyspace: Keyspace) -> TransactionCounter {
    TransactionCounter(self, key.withKeyBytes { [UInt8](copying: $0) }, keyspace)
  }

  /// Writes a value to an eventual keyspace, after the commit.
  ///
  /// - Parameter context: from a read of the key: what the value replaces.
  /// - Throws: `.invalidArgument`, `.wrongPolicy` (the keyspace is transactional), `.foreignContext`,
  ///   `.unreachable`, `.transactionTooLarge`, `.transactionEnded`.
  public func put(
    _ key: some ByteKey & Sendable, _ value: some ByteValue & Sendable, context: CausalContext?,
    in keyspace: Keyspace
  ) throws {
    let bytes = value.withValueBytes { [UInt8](copying: $0) }
    try add(key.withKeyBytes { [UInt8](copying: $0) }, .put(bytes, context: context?.bytes), in: keyspace)
  }

  /// Deletes a key of an eventual keyspace, after the commit. As ``put(_:_:context:in:)``.
  public func delete(
    _ key: some ByteKey & Sendable, context: CausalContext?, in keyspace: Keyspace
  ) throws {
    try add(key.withKeyBytes { [UInt8](copying: $0) }, .delete(context: context?.bytes), in: keyspace)
  }

  func add(_ key: [UInt8], _ change: EventualEffect.Change, in keyspace: Keyspace) throws {
    let place = try keyspace.place(of: key, in: database)
    try core.add(keyspace: place.keyspace, key, partition: place.partition, change)
  }
}

/// A counter as a transaction has it. A value.
public struct TransactionCounter: Sendable {
  private let transaction: Transaction
  private let key: [UInt8]
  private let keyspace: Keyspace

  init(_ transaction: Transaction, _ key: [UInt8], _ keyspace: Keyspace) {
    self.transaction = transaction
    self.key = key
    self.keyspace = keyspace
  }

  /// Adds to the counter, after the commit.
  ///
  /// - Throws: as ``Transaction/put(_:_:context:in:)``.
  public func increment(by amount: Int64 = 1) throws {
    try transaction.add(key, .increment(amount), in: keyspace)
  }
}
