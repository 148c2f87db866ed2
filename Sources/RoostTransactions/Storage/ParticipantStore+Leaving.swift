package import RoostCausality
package import RoostCluster
import RoostStorage

// What stays of a store's part in transactions when it leaves the database: outcomes, marks of effects and
// operators' decisions go to another store, and so does the word that a coordinator whose log was in it
// has nothing left to say.

extension ParticipantStore {
  /// Bytes of records after which a batch is written.
  private static var batchBytes: Int { 1 << 20 }

  /// Copies to another store what is on record here and not there, durably.
  ///
  /// - Throws: `.busy` where something is prepared here: its fate is not known; `.corruption`,
  ///   `.newerFormat`, `.storage`, `.closed`.
  /// - Complexity: O(records): outcomes are kept for `outcomeRetention`.
  package func copyRecords(to heir: ParticipantStore) throws(DatabaseError) {
    if let record = try prepared().first {
      throw DatabaseError(.busy, "\(record.transaction) is prepared in \(member.path) and not decided")
    }
    let doing = "the records of transactions in \(member.path) could not be copied to \(heir.member.path)"
    try storing(doing) { () throws(StoreError) in
      var batch = WriteBatch()
      var bytes = 0
      var cursor = try tree.cursor()
      while try cursor.next() {
        let key = cursor.keyBytes
        // What the other has of a transaction is the same, or was decided by hand there.
        if try heir.tree.get(key) != nil { continue }
        let value = cursor.valueBytes
        batch.put(key, value, in: heir.tree)
        bytes += key.count + value.count
        if bytes < Self.batchBytes { continue }
        try heir.member.store.commit(batch, .applied)
        batch = WriteBatch()
        bytes = 0
      }
      if batch.count > 0 { try heir.member.store.commit(batch, .applied) }
      try heir.member.store.sync()
    }
  }

  /// The next of what is on record here, for a store of another process.
  ///
  /// - Parameter key: to go on behind it; empty to begin.
  /// - Returns: a page, and the key to go on behind; `nil` at the end.
  /// - Throws: as ``copyRecords(to:)``.
  func records(
    after key: [UInt8], byteLimit: Int
  ) throws(DatabaseError) -> (bequest: TransactionBequest, next: [UInt8]?) {
    if key.isEmpty, let record = try prepared().first {
      throw DatabaseError(.busy, "\(record.transaction) is prepared in \(member.path) and not decided")
    }
    return try storing("the records of transactions in \(member.path) could not be read") {
      () throws(StoreError) in
      var bequest = TransactionBequest()
      var bytes = 0
      var cursor = try tree.cursor(from: key + [0])
      while try cursor.next() {
        let (key, value) = (cursor.keyBytes, cursor.valueBytes)
        bequest.records.append(TransactionBequest.Record(key: key, value: value))
        bytes += key.count + value.count
        if bytes >= byteLimit { return (bequest, key) }
      }
      return (bequest, nil)
    }
  }

  /// Keeps what a store of another process had on record and this one does not, durably.
  ///
  /// - Throws: `.invalidArgument` where something is no such record, `.storage`, `.closed`.
  func take(_ bequest: TransactionBequest) throws(DatabaseError) {
    for record in bequest.records {
      guard let parts = TransactionKey.split(record.key), parts.kind != .prepared else {
        throw DatabaseError(.invalidArgument, "a record of \(record.key.count) bytes is none that is kept")
      }
    }
    try storing("the records of transactions could not be kept in \(member.path)") {
      () throws(StoreError) in
      var batch = WriteBatch()
      // What is here of a transaction is the same, or was decided by hand here.
      for record in bequest.records where try tree.get(record.key) == nil {
        batch.put(record.key, record.value, in: tree)
      }
      if batch.count > 0 { try member.store.commit(batch, .applied) }
      try member.store.sync()
    }
  }

  /// Notes that a coordinator is over whose log was whole: of its transactions those that committed are on
  /// record in the stores, and all others are aborted. Durable.
  ///
  /// - Throws: `.storage`, `.closed`.
  package func noteEnded(_ coordinator: CoordinatorID, at now: Timestamp) throws(DatabaseError) {
    let key = TransactionKey.make(.ended, TransactionID(start: .zero, coordinator: coordinator))
    try storing("the end of a coordinator could not be noted in \(member.path)") { () throws(StoreError) in
      try tree.put(key, EffectMark(recorded: now).encoded(), .synced)
    }
  }

  /// The coordinators that are over.
  ///
  /// - Throws: as ``prepared()``.
  package func endedCoordinators() throws(DatabaseError) -> [CoordinatorID] {
    var ended: [CoordinatorID] = []
    try walk(.ended, since: .zero) { id, _, bytes throws(DatabaseError) in
      _ = try EffectMark(id, decoding: bytes)
      ended.append(id.coordinator)
      return true
    }
    return ended
  }
}
