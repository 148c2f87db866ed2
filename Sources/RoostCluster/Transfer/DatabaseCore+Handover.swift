import RoostCausality
import RoostEnvironment
import RoostStorage

// How a partition's transactional keys change their owner, the ring's first replica. They are copied as the
// others are, but nothing is forwarded: what transactions write meanwhile is noted, and brought after. Then,
// while the ring is about to be flipped:
//
// 1. *Bring after*, as long as it gets less.
// 2. *Freeze.* The source gives no new locks of the partition; who asks tries again later.
// 3. *Drain.* Until nothing there is locked, prepared or being written. It takes too long: the partition is
//    thawed, and frozen again later, with more time.
// 4. *Bring the rest*, and sync the receiver. Reads of the past go as far back there as here.
// 5. *Give up.* The source serves no read of the partition either, and its record `handover` says so, which
//    makes all that it did before durable too. The receiver's record `clock` is above all that was read.
// 6. *Flip*, as for all keys. Nobody has taken over without proof: a receiver needs the ring that names it,
//    which is written only when the source's record is durable.
// 7. *Thaw* the partition at the receiver.
//
// Where the flip fails, the ring as it was is made durable in all stores once more, then the source's record
// goes, and only then the source serves the partition again.
//
// With its last partition a store leaves. Before that no transaction is coordinated from it any more,
// and what it has on record of transactions is copied to the receiver, which answers for it from then
// on.

extension DatabaseCore {
  /// Fewer keys than this are brought while the partition is frozen.
  private static var fewKeys: Int { 256 }
  private static var mostRounds: Int { 16 }

  /// Copies the next versions of a partition.
  ///
  /// - Returns: how many bytes were read, and whether the partition's end was reached.
  func copyVersions(
    _ copy: inout PartitionCopy, _ keyspace: String, from source: Member, to target: Member
  ) throws(DatabaseError) -> (bytes: Int, isAtEnd: Bool) {
    let versions = try versionedKeyspace(keyspace)
    let brought = try versions.part(of: source).bring(
      copy.move.partition, from: copy.resume, to: try versions.part(of: target),
      keys: KeyspaceCore.chunkKeys, bytes: transfers.chunkBytes)
    copy.keys += UInt64(brought.keys)
    copy.bytes += UInt64(brought.bytes)
    if let next = brought.next { copy.resume = next }
    return (brought.bytes, brought.next == nil)
  }

  /// Deletes what an earlier copy of a partition brought to a store that does not serve it.
  ///
  /// A key that was deleted since, and whose deletion was collected, is in no tree of the source any more:
  /// nothing that this copy brings would remove it.
  func clearVersions(_ partition: Int, _ keyspaces: [String], in store: Store) throws(DatabaseError) {
    let start = StoredKey.make(partition)
    // Partitions are below 32,768.
    let end = StoredKey.make(partition + 1)
    try storing("partition \(partition) could not be copied anew") { () throws(StoreError) in
      var batch = WriteBatch()
      for name in keyspaces {
        for tree in [VersionedPart.currentTree(name), VersionedPart.historyTree(name)] {
          if let tree = store.existingTree(tree) { batch.deleteRange(from: start, to: end, in: tree) }
        }
      }
      // Applied is enough: the copy lies above it in the log, and the receiver is synced before the flip.
      if batch.count > 0 { try store.commit(batch, .applied) }
    }
  }

  // MARK: - Before the flip

  /// Steps 1 to 4, and the first half of 5; a part of them each time it is called.
  ///
  /// - Returns: whether the ring may be flipped, as far as transactions are concerned.
  /// - Throws: `.busy` where something takes too long.
  func prepareHandover(_ copy: PartitionCopy) throws(DatabaseError) -> Bool {
    let move = copy.move
    let (transactions, hasTransactional, hasHadTransactions, leaves) = topology.withLock {
      (
        self.transactions, schema.hasTransactional, self.hasHadTransactions,
        (try? ringState.moved(move)).map { !$0.ring.members.map(\.id).contains(move.from) } ?? false
      )
    }
    guard let transactions else {
      if !hasTransactional, !(leaves && hasHadTransactions) { return true }
      throw DatabaseError(
        .busy, "partition \(move.partition) waits until the database's transactions are open")
    }
    let (source, target) = (try member(move.from), try member(move.to))
    let longest = transactions.longestMilliseconds + 2_000
    if leaves, try !transactions.stopCoordinating(at: source) {
      try wait(copy, longest, for: "the transactions that \(source.path) coordinates")
      return false
    }
    if hasTransactional, move.slot == 0 {
      guard try drain(copy, source, target, transactions) else { return false }
    }
    if leaves { transfers.withRecord { $0.quieted = move } }
    if leaves, !transactions.quiet(source) {
      try wait(copy, longest, for: "what is being recorded of transactions in \(source.path)")
      return false
    }
    if leaves { try transactions.copyRecords(of: source, to: target) }
    return true
  }

  private func drain(
    _ copy: PartitionCopy, _ source: Member, _ target: Member, _ transactions: any TransactionHandover
  ) throws(DatabaseError) -> Bool {
    let partition = copy.move.partition
    if copy.rounds < Self.mostRounds, source.versionGate.writtenCount > Self.fewKeys {
      try bringWritten(partition, source, target)
      change(copy) { $0.rounds += 1 }
      return false
    }
    transfers.withRecord { $0.frozen = copy.move }
    guard transactions.freeze(partition, at: source) else {
      let failures = transfers.withRecord { $0.drainFailures }
      let limit = min(UInt64(250) << UInt64(min(failures, 20)), transactions.longestMilliseconds + 2_000)
      do throws(DatabaseError) {
        try wait(copy, limit, for: "the transactions that hold locks of it in \(source.path)")
      } catch {
        transfers.withRecord { $0.drainFailures += 1 }
        throw error
      }
      return false
    }
    try bringWritten(partition, source, target)
    let names = topology.withLock { schema.keyspaces.filter { $0.kind == .transactional }.map(\.name) }
    for name in names {
      let versions = try versionedKeyspace(name)
      // What was collected before it was brought lies below.
      try versions.part(of: target).raiseFloor(to: try versions.part(of: source).horizon)
    }
    guard let highest = transactions.giveUp(partition, at: source) else {
      try wait(copy, 10_000, for: "reads in \(source.path)")
      return false
    }
    change(copy) { $0.highest = highest }
    return true
  }

  /// Brings what was committed to since it was copied.
  private func bringWritten(
    _ partition: Int, _ source: Member, _ target: Member
  ) throws(DatabaseError) {
    let written = source.versionGate.takeWritten()
    do throws(DatabaseError) {
      for (name, keys) in Dictionary(grouping: written, by: \.keyspace) {
        let versions = try versionedKeyspace(name)
        let (from, to) = (try versions.part(of: source), try versions.part(of: target))
        for start in stride(from: 0, to: keys.count, by: KeyspaceCore.chunkKeys) {
          let chunk = keys[start..<min(start + KeyspaceCore.chunkKeys, keys.count)]
          let brought = try from.bring(partition, chunk.map(\.key), to: to)
          transfers.withRecord { record in
            record.keys += UInt64(brought.keys)
            record.bytes += UInt64(brought.bytes)
          }
        }
      }
    } catch {
      source.versionGate.putBack(written, of: partition)
      throw error
    }
  }

  private func change(_ copy: PartitionCopy, _ body: (inout PartitionCopy) -> Void) {
    transfers.withRecord { record in
      guard var known = record.copy, known.move == copy.move, known.plan == copy.plan else { return }
      body(&known)
      record.copy = known
    }
  }

  /// Waits a moment, for what is then looked at again.
  ///
  /// - Throws: `.busy` where it has been waited for too long.
  private func wait(
    _ copy: PartitionCopy, _ limitMilliseconds: UInt64, for what: String
  ) throws(DatabaseError) {
    let now = shared.environment.time.monotonicNanoseconds
    let since = copy.waiting.flatMap { $0.what == what ? $0.since : nil } ?? now
    guard now &- since < limitMilliseconds * 1_000_000 else {
      throw DatabaseError(.busy, "partition \(copy.move.partition) waits for \(what)")
    }
    change(copy) { $0.waiting = PartitionCopy.Waiting(what: what, since: since) }
    transfers.pause(milliseconds: 1)
  }

  // MARK: - The flip

  /// The second half of step 5. With `topology` held, right before the ring is flipped.
  ///
  /// - Returns: `false` where the partition has transactional keys that are not frozen: a keyspace
  ///   was made since.
  func decideHandover(
    _ move: PartitionMove, _ source: Member, _ target: Member, leaves: Bool
  ) throws(DatabaseError) -> Bool {
    if schema.hasTransactional, move.slot == 0 {
      guard let highest = transfers.withRecord({ $0.copy?.highest }) else { return false }
      // Whatever comes of writing it, it may be on disk.
      transfers.withRecord { $0.isGivenUp = true }
      let record = HandoverRecord(partition: move.partition, member: move.to, highest: highest)
      try source.writeSystem(Member.SystemKey.handover, record.encoded())
      // The clock's bound is known to some stores, which need not be the receiver. It never takes over with
      // a clock that may go back behind what was read.
      try shared.clock.withDurableBound { bound throws(DatabaseError) in
        try target.writeSystem(Member.SystemKey.clock, ClockRecord.encode(max(bound, highest)))
      }
    }
    if leaves { try transactions?.bequeath(from: source, to: target) }
    return true
  }

  /// Step 7. Without locks: whoever serves the partition then may need any.
  func finishHandover(_ move: PartitionMove, _ source: Member, _ target: Member, leaves: Bool) {
    source.versionGate.follow(nil)
    transfers.withRecord { if $0.quieted?.from == move.from { $0.quieted = nil } }
    guard let transactions = topology.withLock({ self.transactions }) else { return }
    if leaves { transactions.left(source, heir: target) }
    if move.slot == 0 { transactions.thaw(move.partition, at: target) }
  }

  /// Once the source has dropped the partition, nobody need be told that it was given up.
  func forgetHandover(at id: MemberID) throws(DatabaseError) {
    let member = try member(id)
    let isThere = try storing("handover of \(member.path) could not be read") { () throws(StoreError) in
      try member.system.get(Member.SystemKey.handover) != nil
    }
    if isThere { try member.removeSystem(Member.SystemKey.handover) }
  }

  // MARK: - Giving a handover up

  /// Has the source serve the partition again, where it is frozen for a move that is not to be flipped now.
  ///
  /// - Throws: what writing to the stores throws, where the source had given the partition up durably. It
  ///   serves it to nobody then.
  func letGo(_ move: PartitionMove) throws(DatabaseError) {
    change(move) { copy in
      copy.waiting = nil
      copy.highest = nil
    }
    guard let source = try? member(move.from) else { return }
    let (isFrozen, isGivenUp) = transfers.withRecord { ($0.frozen == move, $0.isGivenUp) }
    if isGivenUp, isFrozen {
      try topology.withLock { () throws(DatabaseError) in
        // Some store may know a ring that names the other: all learn first that this did not come to be.
        try install(ringState)
        try source.removeSystem(Member.SystemKey.handover)
        transfers.withRecord { $0.isGivenUp = false }
      }
    }
    transfers.withRecord { record in
      if record.frozen == move { record.frozen = nil }
      if record.quieted?.from == move.from { record.quieted = nil }
    }
    let transactions = topology.withLock { self.transactions }
    transactions?.resume(source)
    if isFrozen { transactions?.thaw(move.partition, at: source) }
  }

  private func change(_ move: PartitionMove, _ body: (inout PartitionCopy) -> Void) {
    transfers.withRecord { record in
      guard var copy = record.copy, copy.move == move else { return }
      body(&copy)
      record.copy = copy
    }
  }

  /// Lets go of what is frozen for a move that is planned no more, or that was given up and could not be
  /// taken back.
  func thawAbandoned() throws(DatabaseError) {
    let (frozen, quieted, isGivenUp, plan, copy) = transfers.withRecord {
      ($0.frozen, $0.quieted, $0.isGivenUp, $0.plan, $0.copy)
    }
    guard let frozen else {
      // Only a store's records were kept still: of a move of keys that no transaction has.
      if let quieted, !(copy?.move == quieted && copy?.plan == plan) { try letGo(quieted) }
      return
    }
    let isGoing = copy?.move == frozen && copy?.plan == plan && !isGivenUp
    if !isGoing { try letGo(frozen) }
  }
}
