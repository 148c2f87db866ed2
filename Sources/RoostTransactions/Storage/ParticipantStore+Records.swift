package import RoostCausality
package import RoostCluster
package import RoostStorage

// What a participant reads back of its tree, and what it drops from it.

/// Outcomes of a store, as far as one call tells them.
package struct OutcomePage: Sendable {
  package var outcomes: [(transaction: TransactionID, record: OutcomeRecord)] = []
  /// The start of the transaction to go on from; `nil` at the end.
  package var next: Timestamp?
}

extension ParticipantStore {
  /// All that is prepared here and not decided, the oldest first.
  ///
  /// - Throws: `.corruption` (names the key), `.newerFormat`, `.storage`, `.closed`.
  /// - Complexity: O(bytes of those records): no more than transactions were under way at a time.
  package func prepared() throws(DatabaseError) -> [PreparedRecord] {
    var records: [PreparedRecord] = []
    try walk(.prepared, since: .zero) { id, _, bytes throws(DatabaseError) in
      records.append(try PreparedRecord(id, decoding: bytes))
      return true
    }
    names.add(read: records.map(\.transaction))
    return records
  }

  /// What became of a transaction here; `nil` where nothing is recorded.
  ///
  /// - Throws: as ``prepared()``.
  package func outcome(of id: TransactionID) throws(DatabaseError) -> OutcomeRecord? {
    guard let bytes = try value(TransactionKey.make(.outcome, id)) else { return nil }
    return try OutcomeRecord(id, decoding: bytes)
  }

  /// The outcomes of transactions that began at or after a time, the oldest first.
  ///
  /// - Parameter limit: most of them in this page.
  /// - Throws: as ``prepared()``.
  package func outcomes(since start: Timestamp, limit: Int) throws(DatabaseError) -> OutcomePage {
    var page = OutcomePage()
    try walk(.outcome, since: start) { id, _, bytes throws(DatabaseError) in
      // Those that began at one moment stay together: the next page begins with another.
      if page.outcomes.count >= max(1, limit), id.start > page.outcomes.last!.transaction.start {
        page.next = id.start
        return false
      }
      page.outcomes.append((id, try OutcomeRecord(id, decoding: bytes)))
      return true
    }
    return page
  }

  /// What operators decided here, the oldest first. Kept for good.
  ///
  /// - Throws: as ``prepared()``.
  package func forcedDecisions(
  ) throws(DatabaseError) -> [(transaction: TransactionID, record: OutcomeRecord)] {
    var decisions: [(transaction: TransactionID, record: OutcomeRecord)] = []
    try walk(.forced, since: .zero) { id, _, bytes throws(DatabaseError) in
      decisions.append((id, try OutcomeRecord(id, decoding: bytes)))
      return true
    }
    return decisions
  }

  /// Drops outcomes that were recorded before a time, and whose transactions began before it.
  ///
  /// - Parameter limit: most that are looked at.
  /// - Returns: how many went, and whether all that could go did.
  /// - Throws: as ``prepared()``.
  package func dropOutcomes(
    before time: Timestamp, limit: Int
  ) throws(DatabaseError) -> (dropped: Int, isDone: Bool) {
    var batch = WriteBatch()
    var lookedAt = 0
    var isDone = true
    try walk(.outcome, since: .zero) { id, key, bytes throws(DatabaseError) in
      if id.start >= time { return false }
      if lookedAt >= max(1, limit) {
        isDone = false
        return false
      }
      lookedAt += 1
      if try OutcomeRecord(id, decoding: bytes).recorded < time { batch.delete(key, in: tree) }
      return true
    }
    if batch.count > 0 {
      try storing("old outcomes could not be dropped in \(member.path)") { () throws(StoreError) in
        try member.store.commit(batch, .applied)
      }
    }
    return (batch.count, isDone)
  }

  // MARK: - Effects

  /// Whether an effect of a transaction was done here.
  ///
  /// - Throws: as ``prepared()``.
  package func hasDone(_ id: TransactionID, index: Int) throws(DatabaseError) -> Bool {
    guard let bytes = try value(TransactionKey.mark(id, index: index)) else { return false }
    _ = try EffectMark(id, decoding: bytes)
    return true
  }

  /// Adds to the batch that does an effect the mark that says so.
  ///
  /// - Parameter outcome: when the transaction committed, where nobody else records it.
  package func mark(
    _ id: TransactionID, index: Int, outcome: Timestamp? = nil, at now: Timestamp,
    in batch: inout WriteBatch
  ) {
    if let outcome {
      let record = OutcomeRecord(.committed(outcome), recorded: now)
      batch.put(TransactionKey.make(.outcome, id), record.encoded(), in: tree)
    }
    batch.put(TransactionKey.mark(id, index: index), EffectMark(recorded: now).encoded(), in: tree)
  }

  /// Drops the marks of a transaction's effects: its coordinator will not ask for them again.
  ///
  /// - Throws: `.storage`, `.closed`.
  package func forgetEffects(of id: TransactionID) throws(DatabaseError) {
    let first = TransactionKey.make(.mark, id)
    try storing("marks of effects could not be dropped in \(member.path)") { () throws(StoreError) in
      var batch = WriteBatch()
      var cursor = try tree.cursor(prefix: first)
      while try cursor.next() { batch.delete(cursor.keyBytes, in: tree) }
      if batch.count > 0 { try member.store.commit(batch, .applied) }
    }
  }

  // MARK: - The parts

  private func value(_ key: [UInt8]) throws(DatabaseError) -> [UInt8]? {
    try storing("the transactions of \(member.path) could not be read") { () throws(StoreError) in
      try tree.get(key)
    }
  }

  /// Hands the entries of a kind to `body` until it returns `false`.
  func walk(
    _ kind: TransactionKey.Kind, since start: Timestamp,
    _ body: (TransactionID, _ key: [UInt8], _ value: [UInt8]) throws(DatabaseError) -> Bool
  ) throws(DatabaseError) {
    let doing = "the transactions of \(member.path) could not be read"
    var cursor = try storing(doing) { () throws(StoreError) in
      try tree.cursor(from: TransactionKey.first(kind, since: start), to: TransactionKey.end(of: kind))
    }
    while try storing(doing, { () throws(StoreError) in try cursor.next() }) {
      let key = cursor.keyBytes
      guard let parts = TransactionKey.split(key), parts.kind == kind else {
        throw DatabaseError(
          .corruption, "a key of \(key.count) bytes of the tree `\(tree.name)` in \(member.path) is none")
      }
      do throws(DatabaseError) {
        if try !body(parts.transaction, key, cursor.valueBytes) { return }
      } catch {
        throw DatabaseError(
          error.code, "the tree `\(tree.name)` in \(member.path): \(error.message)", cause: error.cause)
      }
    }
  }
}
