package import RoostCausality
package import RoostCluster
import RoostEnvironment
package import RoostStorage

/// What a participant has on disk: the tree `transactions` of its store, and the versions of the
/// transactional keyspaces that are there.
///
/// Each write of a participant is one batch. It is in the operating system's hands when a call returns;
/// whoever must have it durable syncs the store afterwards.
///
/// Thread-safe, where no two calls write about one transaction at a time.
package final class ParticipantStore: Sendable {
  package let member: Member
  package let tree: Tree
  private let keyspaces: OpenedKeyspaces
  let names = PreparedNames()

  /// - Parameter keyspaces: finds a transactional keyspace by its id, and opens it where it must.
  /// - Throws: `.storage`, `.closed`.
  package init(
    _ member: Member,
    keyspaces: @escaping @Sendable (UInt64) throws(DatabaseError) -> VersionedKeyspace
  ) throws(DatabaseError) {
    self.member = member
    self.keyspaces = OpenedKeyspaces(keyspaces)
    tree = try storing("the transactions of \(member.path) could not be opened") {
      () throws(StoreError) in try member.store.tree(Member.transactionTree)
    }
  }

  /// The participant of a member of a database.
  package convenience init(_ member: Member, of database: DatabaseCore) throws(DatabaseError) {
    try self.init(member) { [weak database] id throws(DatabaseError) in
      guard let database else { throw DatabaseError(.closed, "the database is closed") }
      return try database.versionedKeyspace(id)
    }
  }

  // MARK: - Writing

  /// Writes what a participant asks for, in one batch.
  ///
  /// - Parameters:
  ///   - now: when, by the clock of the database: outcomes are kept from then on.
  ///   - durability: what it must survive before this returns.
  /// - Throws: `.corruption` where a key has a version at or above the commit (nothing was written), or what
  ///   is read is damaged; `.indeterminate` where nobody knows whether it is on disk; `.storage`, `.closed`.
  /// - Complexity: a lookup for each key that is committed.
  package func execute(
    _ write: ParticipantWrite, at now: Timestamp, _ durability: Durability = .applied
  ) throws(DatabaseError) {
    switch write {
    case .prepare(let record):
      var batch = WriteBatch()
      names.add(record.transaction)
      batch.put(TransactionKey.make(.prepared, record.transaction), record.encoded(), in: tree)
      try commit(batch, durability)
    case .commit(let id, let timestamp, let writes):
      try finish(id, .committed(timestamp), writes, at: now, durability)
    case .abort(let id):
      var batch = WriteBatch()
      batch.delete(TransactionKey.make(.prepared, id), in: tree)
      try commit(batch, durability)
      names.remove(id)
    case .refuse(let id): try finish(id, .aborted, [], at: now, durability)
    case .force(let id, let outcome, let writes):
      try finish(id, outcome, writes, at: now, durability, isForced: true)
    }
  }

  private func finish(
    _ id: TransactionID, _ outcome: Outcome, _ writes: [TransactionWrite], at now: Timestamp,
    _ durability: Durability, isForced: Bool = false
  ) throws(DatabaseError) {
    let record = OutcomeRecord(outcome, recorded: now).encoded()
    let mayBePrepared = names.mayContain(id)
    try member.versionGate.committing { () throws(DatabaseError) in
      var batch = WriteBatch()
      if case .committed(let timestamp) = outcome { try append(writes, at: timestamp, to: &batch) }
      batch.put(TransactionKey.make(.outcome, id), record, in: tree)
      if isForced { batch.put(TransactionKey.make(.forced, id), record, in: tree) }
      // What commits at once was not prepared.
      if mayBePrepared { batch.delete(TransactionKey.make(.prepared, id), in: tree) }
      try commit(batch, durability)
    }
    if mayBePrepared { names.remove(id) }
  }

  private func append(
    _ writes: [TransactionWrite], at timestamp: Timestamp, to batch: inout WriteBatch
  ) throws(DatabaseError) {
    var byKeyspace: [UInt64: [VersionedWrite]] = [:]
    for write in writes {
      byKeyspace[write.target.keyspace, default: []].append(
        VersionedWrite(write.target.partition, write.target.key, write.value))
    }
    for (keyspace, writes) in byKeyspace {
      try part(keyspace).append(writes, at: timestamp, to: &batch)
    }
  }

  private func commit(
    _ batch: borrowing WriteBatch, _ durability: Durability
  ) throws(DatabaseError) {
    do throws(StoreError) { try member.store.commit(batch, durability) } catch {
      throw DatabaseError(error, "a transaction could not be written in \(member.path)")
    }
  }

  /// Whether the keys and values of a transaction are within their limits: to be asked before it locks.
  ///
  /// - Throws: `.invalidArgument`; `.unknownKeyspace`, `.wrongPolicy`.
  package func check(_ writes: [TransactionWrite]) throws(DatabaseError) {
    for write in writes {
      try VersionedPart.check(write.target.key)
      try VersionedPart.check(value: write.value)
      _ = try part(write.target.keyspace)
    }
  }

  // MARK: - Reading keys

  /// The newest versions, or those of a time. Whoever asks sees to it that none is on its way.
  ///
  /// - Throws: `.invalidArgument`, `.snapshotTooOld`, `.corruption`, `.newerFormat`, `.storage`, `.closed`.
  package func read(
    _ read: TransactionRead, at time: Timestamp? = nil
  ) throws(DatabaseError) -> ReadAnswer {
    switch read {
    case .keys(let keys):
      var answer = ReadAnswer()
      for target in keys {
        let part = try part(target.keyspace)
        let found =
          if let time {
            try part.read(target.partition, target.key, at: time)
          } else {
            try part.latest(target.partition, target.key)
          }
        if let found { answer.entries.append(ReadEntry(target, found.value, at: found.timestamp)) }
      }
      return answer
    case .range(let range, let limit):
      let page = try part(range.keyspace).scan(
        range.partition, from: range.lower, to: range.upper, at: time, limit: limit)
      let entries = page.entries.map { entry in
        ReadEntry(
          KeyReference(keyspace: range.keyspace, partition: range.partition, key: entry.key), entry.value,
          at: entry.timestamp)
      }
      return ReadAnswer(entries, isComplete: page.isComplete, next: page.next)
    }
  }

  private func part(_ keyspace: UInt64) throws(DatabaseError) -> VersionedPart {
    try keyspaces[keyspace].part(of: member)
  }
}

/// Which transactions may have a prepared record. Thread-safe.
///
/// A name is there from before its record is written until after that is deleted; and before those of an
/// earlier process were read, every transaction may have one.
final class PreparedNames: @unchecked Sendable {
  private let lock = Lock()
  // Guarded by `lock`.
  private var names: Set<TransactionID> = []
  private var isWhole = false

  func add(_ id: TransactionID) { lock.withLock { _ = names.insert(id) } }
  func remove(_ id: TransactionID) { lock.withLock { _ = names.remove(id) } }
  func mayContain(_ id: TransactionID) -> Bool { lock.withLock { !isWhole || names.contains(id) } }

  /// Adds those that were read from the store: with those that were added since, they are all.
  func add(read ids: [TransactionID]) {
    lock.withLock {
      names.formUnion(ids)
      isWhole = true
    }
  }
}

/// The keyspaces that a participant has met. Thread-safe.
private final class OpenedKeyspaces: @unchecked Sendable {
  private let find: @Sendable (UInt64) throws(DatabaseError) -> VersionedKeyspace
  private let lock = Lock()
  // Guarded by `lock`.
  private var known: [UInt64: VersionedKeyspace] = [:]

  init(_ find: @escaping @Sendable (UInt64) throws(DatabaseError) -> VersionedKeyspace) {
    self.find = find
  }

  subscript(_ id: UInt64) -> VersionedKeyspace {
    get throws(DatabaseError) {
      if let found = lock.withLock({ known[id] }) { return found }
      // Not with the lock held: it may write to every store.
      let found = try find(id)
      lock.withLock { known[id] = found }
      return found
    }
  }
}
