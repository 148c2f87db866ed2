package import RoostCausality

/// What the mover asks of a database's transactions: the layer above does it.
///
/// Nothing here waits for a transaction: what is not so yet is asked for again.
///
/// Thread-safe.
package protocol TransactionHandover: AnyObject, Sendable {
  /// A store is about to become a member: it takes part in transactions from now on. With the database's
  /// `topology` held.
  func joined(_ member: Member) throws(DatabaseError)

  /// It did not become one after all.
  func withdrew(_ member: Member)

  /// No new locks of a partition's keys at its owner.
  ///
  /// - Returns: whether nothing of it is locked, prepared or being written there any more. It stays so.
  func freeze(_ partition: Int, at member: Member) -> Bool

  /// Of a frozen partition: nothing of it is read there any more either.
  ///
  /// - Returns: a time above all those at which it was read; `nil` where reads are not over yet.
  func giveUp(_ partition: Int, at member: Member) -> Timestamp?

  /// The partition is served at the member from now on, or again.
  func thaw(_ partition: Int, at member: Member)

  /// No transaction is coordinated from the member's store any more.
  ///
  /// - Returns: whether all that was are over, at all stores.
  /// - Throws: what beginning another coordinator's log throws.
  func stopCoordinating(at member: Member) throws(DatabaseError) -> Bool

  /// A store that holds no transactional keys any more records nothing of transactions either.
  ///
  /// - Returns: whether nothing is on its way into its records.
  func quiet(_ member: Member) -> Bool

  /// It goes on after ``quiet(_:)``.
  func resume(_ member: Member)

  /// Copies what a quiet store has on record of transactions to another, durably. It takes as long as there
  /// are records: so without `topology`, and before ``bequeath(from:to:)``.
  func copyRecords(of member: Member, to heir: Member) throws(DatabaseError)

  /// Sees to it that a store's heir has all that was on record there, and knows that what it coordinated is
  /// over. With the database's `topology` held.
  func bequeath(from member: Member, to heir: Member) throws(DatabaseError)

  /// A store has left: another answers for it.
  func left(_ member: Member, heir: Member)

  /// For how long a transaction may hold its locks before it is decided, in milliseconds.
  var longestMilliseconds: UInt64 { get }
}

extension DatabaseCore {
  /// Has the transactions of this process take part in what the mover does; `nil` ends that.
  ///
  /// - Throws: what opening their part in a store throws that became a member meanwhile.
  package func attach(_ transactions: (any TransactionHandover)?) throws(DatabaseError) {
    try topology.withLock { () throws(DatabaseError) in
      if let transactions { for member in presentMembers { try transactions.joined(member) } }
      self.transactions = transactions
    }
    // What waited for them goes on.
    if transactions != nil { retryMoves() }
  }
}
