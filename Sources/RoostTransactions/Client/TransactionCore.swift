import RoostCausality
package import RoostCluster
import RoostEnvironment

/// One attempt of a transaction, as its caller has it: what it buffers, and where it has been.
///
/// Thread-safe; calls at the same time are done in some order.
package final class TransactionCore: @unchecked Sendable {
  package let id: TransactionID
  /// The first attempt's id: its age among others.
  package let age: TransactionID
  package let manager: TransactionManager
  private let lock = Lock()
  // Guarded by `lock`.
  private var buffer: TransactionBuffer
  /// Stores that hold locks of it, and how many were asked for.
  private var touched: Set<MemberID> = []
  private var lockCount = 0
  private var isFinished = false

  /// - Throws: `.closed`, `.busy` (too many are open), `.clockOutOfBound` (this process is fenced).
  package init(_ manager: TransactionManager, age: TransactionID? = nil) throws(DatabaseError) {
    self.manager = manager
    id = try manager.begin(age: age)
    self.age = age ?? id
    buffer = TransactionBuffer(manager.options)
  }

  deinit {
    // Its caller let go of it: so do the stores.
    if !isFinished { manager.abort(id, .requested) }
  }

  // MARK: - Reading

  /// What the transaction wrote under a key, if anything; else where to ask.
  package func look(
    _ target: KeyReference
  ) throws(DatabaseError) -> (own: [UInt8]??, owner: MemberID) {
    let owner = try manager.owner(of: target.partition)
    return try lock.withLock { () throws(DatabaseError) in
      try checkOpen()
      if let own = buffer.ownWrite(target) { return (.some(own), owner) }
      try touch(owner, locks: 1)
      return (nil, owner)
    }
  }

  /// Notes that locks of a store are asked for.
  package func willLock(_ count: Int, at member: MemberID) throws(DatabaseError) {
    try lock.withLock { () throws(DatabaseError) in
      try checkOpen()
      try touch(member, locks: count)
    }
  }

  package func overlay(
    _ entries: [ReadEntry], of range: RangeReference
  ) -> [(key: [UInt8], value: [UInt8])] {
    lock.withLock { buffer }.overlay(entries, of: range)
  }

  private func touch(_ member: MemberID, locks: Int) throws(DatabaseError) {
    guard lockCount + locks <= manager.options.mostKeys else {
      throw DatabaseError(
        .transactionTooLarge,
        "a transaction may lock \(manager.options.mostKeys) keys; this one asks for more")
    }
    lockCount += locks
    touched.insert(member)
  }

  // MARK: - Writing

  package func write(_ target: KeyReference, _ value: [UInt8]?) throws(DatabaseError) {
    try lock.withLock { () throws(DatabaseError) in
      try checkOpen()
      try buffer.write(target, value)
    }
  }

  package func add(
    keyspace: UInt64, _ key: [UInt8], partition: Int, _ change: EventualEffect.Change
  ) throws(DatabaseError) {
    let target = try manager.effectTarget(partition, in: keyspace)
    try lock.withLock { () throws(DatabaseError) in
      try checkOpen()
      try buffer.add(EventualEffect(keyspace: keyspace, key: key, change: change, target: target))
    }
  }

  /// Bytes of keys and values that it keeps to write.
  var byteCount: Int { lock.withLock { buffer.byteCount } }

  // MARK: - The end

  /// Commits; the reply comes when the outcome is known, or that it cannot be.
  ///
  /// - Parameters:
  ///   - isSynced: whether a commit at one store is to be synced; one at several, or with effects, always is.
  ///   - mayWait: whether this thread may wait for such a sync, rather than a worker.
  package func commit(
    isSynced: Bool, mayWait: Bool = false, _ reply: @escaping @Sendable (TransactionOutcome) -> Void
  ) throws(DatabaseError) {
    let (buffer, touched) = try lock.withLock { () throws(DatabaseError) in
      try checkOpen()
      isFinished = true
      return (self.buffer, self.touched)
    }
    var writes: [MemberID: [TransactionWrite]] = [:]
    for member in touched { writes[member] = [] }
    do throws(DatabaseError) {
      for (target, value) in buffer.writes {
        let owner = try manager.owner(of: target.partition)
        writes[owner, default: []].append(TransactionWrite(target, value))
      }
      try manager.checkFits(writes, buffer.effects)
    } catch {
      manager.abort(id, .unreachable(error.message))
      throw error
    }
    for member in writes.keys { writes[member]!.sort { $0.target < $1.target } }
    // What is in several places survives a power loss whole only where each is on disk before the next
    // builds on it.
    let isSpread = !buffer.effects.isEmpty || writes.values.count { !$0.isEmpty } > 1
    try manager.naming(buffer.effects) { effects in
      guard let effects else {
        // Nobody keeps the partition that could be named: it is to be begun anew once that has moved.
        manager.abort(id, .moving)
        return reply(.aborted(.moving))
      }
      manager.commit(id, writes, effects, isSynced: isSynced || isSpread, mayWait: mayWait, reply)
    }
  }

  /// Lets go of everything. Nothing after the end.
  package func abort(_ reason: AbortReason = .requested) {
    let mustTell = lock.withLock {
      defer { isFinished = true }
      return !isFinished
    }
    if mustTell { manager.abort(id, reason) }
  }

  private func checkOpen() throws(DatabaseError) {
    if isFinished {
      throw DatabaseError(.transactionEnded, "the transaction has committed or was aborted")
    }
  }
}
