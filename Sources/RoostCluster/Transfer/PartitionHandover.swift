import RoostCausality
import RoostEnvironment
import RoostStorage
import Synchronization

// How a partition's transactional keys come to another process, as a part of the move of the list's first
// place (`NodeMoves`). "Durable" is what survives the machine that says so.
//
// 1. *Begun.* The directory says that the partition moves from the owner to the receiver (`copies`).
// 2. *No effects.* From then on no node names the owner for an effect on that partition. The receiver asks
//    every member, each of which goes by that ring first, until none has an unfinished transaction that does
//    (`NamingQuestions`). Every move of a replica does so: COMMIT names one store for each effect, for good.
// 3. *Copy.* The owner notes which keys are committed to. The receiver raises the version of the directory's
//    record, so that no flip of an earlier attempt comes true any more, deletes what that had brought, and
//    fetches the partition's versions, a page at a time, then what was noted, until little is left.
//    Transactions go on.
// 4. *Freeze and drain.* The owner gives no new locks; when nothing is locked, prepared or being written the
//    rest is fetched. If that takes too long, or the receiver is silent, the partition is thawed.
// 5. *Give up.* The owner serves no reads either, and a record in its store says durably to whom it gave
//    the partition up, and a time above all reads that it served. Only then does it say so. All that it
//    committed is durable before.
// 6. *Above.* The receiver's clock lies durably above that time; what it was brought is durable too.
// 7. *Flip.* The directory's record names the receiver, by compare-and-set: only while that move is
//    still begun there, by the same change of the members. From then on the receiver serves.
//
// Who has given up serves nobody, whatever ring it goes by and however often it is started, until it has
// itself heard from the directory what became of the move:
//
// - Another is the first of the list: the record goes.
// - It is the first itself, and that move is no longer begun (the change was cancelled, or planned anew):
//   no flip can follow from this giving up any more, since that needs the move, and beginning it again needs
//   another giving up. The record goes, durably; then it serves again.
// - The move is begun still: it waits. A receiver that was started again fetches everything anew, and is
//   told what was given up.
//
// So the directory's record alone decides, at each moment at most one store serves, and none takes over
// without the word of the one before it. Kills at any point leave one of these states; nothing else is kept.

/// What a node gives away of its transactional partitions: one at a time, to one receiver. Thread-safe.
final class NodeHandovers: @unchecked Sendable {
  /// How long a receiver may be silent, in nanoseconds: it says something every twenty seconds at least, also
  /// where it waits until it may fetch more.
  private static let longestSilence: UInt64 = 60_000_000_000
  /// The same while the partition is frozen.
  private static let frozenSilence: UInt64 = 3_000_000_000
  /// Keys that may be noted: beyond it the receiver begins anew.
  private static let mostWritten = 200_000

  private struct Session {
    var number: UInt64
    var move: PartitionMove
    /// Nanoseconds of the monotonic clock.
    var heard: UInt64
    var isFrozen = false
    /// What was committed to, taken from the gate and not brought yet, and where to go on in the last one.
    var pending: [VersionGate.WrittenKey] = []
    var historyFrom: [UInt8]?
    /// The last request that was answered, and what with.
    var lastNumber: UInt64 = 0
    var lastAnswer: [UInt8] = []
  }

  private struct GivenUp {
    var record: HandoverRecord
    var isDurable: Bool
  }

  private let lock = Lock()
  // Guarded by `lock`.
  private var session: Session?
  private var givenUp: [Int: GivenUp] = [:]
  /// Whether something is being done of all this: one thing at a time.
  private var isWorking = false
  /// Whether `givenUp` has anything: each request for a lock looks.
  private let mayHaveGivenUp = Atomic<Bool>(false)

  /// - Throws: `.corruption`, `.newerFormat`, `.storage`: what reading the store's records throws.
  init(_ local: Member) throws(DatabaseError) {
    for record in try HandoverRecord.ofNode(local.system, at: local.path) {
      givenUp[record.partition] = GivenUp(record: record, isDurable: true)
    }
    mayHaveGivenUp.store(!givenUp.isEmpty, ordering: .releasing)
  }

  /// Whether this node serves a partition to nobody, whatever the ring says. To be asked before the ring is
  /// looked at: what is forgotten here the ring has told before.
  func hasGivenUp(_ partition: Int) -> Bool {
    if !mayHaveGivenUp.load(ordering: .acquiring) { return false }
    return lock.withLock { givenUp[partition] != nil }
  }

  /// The partitions that were given up, and not heard of since.
  var partitions: [Int] { lock.withLock { givenUp.keys.sorted() } }

  // MARK: - One thing at a time

  private func claim() throws(DatabaseError) {
    let isFree = lock.withLock {
      defer { isWorking = true }
      return !isWorking
    }
    if !isFree { throw DatabaseError(.busy, "another step of a handover is being done") }
  }

  private func release() { lock.withLock { isWorking = false } }

  // MARK: - What a receiver asks

  /// Does a step for the receiver of a partition. May wait for the disk.
  ///
  /// - Throws: `.busy` (not now), `.staleRing` (the move is not known here, or its session is over: it is to
  ///   be begun anew), `.foreignStore`, and what reading or writing the store throws.
  func serve(_ request: HandoverRequest, _ node: ClusterNode) throws(DatabaseError) -> [UInt8] {
    try claim()
    defer { release() }
    guard request.database == node.core.id else {
      throw DatabaseError(.foreignStore, "the handover is of the database \(request.database)")
    }
    let transactions = try node.openedTransactions()
    try check(request.move, node.view(atLeast: request.revision), node)
    if request.step == .begin { return try begin(request.move, node, transactions) }
    let repeated = try lock.withLock { () throws(DatabaseError) -> [UInt8]? in
      guard var known = session, known.number == request.session, known.move == request.move,
        request.number == known.lastNumber || request.number == known.lastNumber + 1
          // Who gives up does not know whether its last request came.
          || request.step == .thaw && request.number > known.lastNumber
      else { throw Self.unknown(request.move) }
      known.heard = node.now
      session = known
      return request.number == known.lastNumber ? known.lastAnswer : nil
    }
    if let repeated { return repeated }
    let answer = try perform(request.step, request.move, node, transactions)
    lock.withLock {
      session?.lastNumber = request.number
      session?.lastAnswer = answer
    }
    return answer
  }

  private static func unknown(_ move: PartitionMove) -> DatabaseError {
    DatabaseError(.staleRing, "the handover of partition \(move.partition) is to be begun anew")
  }

  private func check(
    _ move: PartitionMove, _ view: RingView, _ node: ClusterNode
  ) throws(DatabaseError) {
    guard view.isConfirmed, view.hasTransactions, move.from == node.local.id,
      view.state.copies.contains(move),
      view.ring.replica(of: move.partition, slot: 0) == node.local.id
    else {
      throw DatabaseError(
        .staleRing,
        "partition \(move.partition) does not move from \(move.from) to \(move.to) by revision "
          + "\(view.revision) of the ring")
    }
  }

  private func begin(
    _ move: PartitionMove, _ node: ClusterNode, _ transactions: any NodeTransactionMoves
  ) throws(DatabaseError) -> [UInt8] {
    let (known, other) = lock.withLock { (session, givenUp[move.partition]?.record.member) }
    if let other, other != move.to {
      throw DatabaseError(.busy, "partition \(move.partition) was given up for member \(other)")
    }
    if let known {
      guard known.move == move || isOver(known, node) else {
        throw DatabaseError(
          .busy, "\(node.local.path) hands partition \(known.move.partition) over: one at a time")
      }
      end(known, node, transactions)
    }
    node.local.versionGate.follow(move.partition)
    // A keyspace that is made later has nothing that is not noted.
    let keyspaces = node.core.keyspaceEntries.filter { $0.kind == .transactional }.map(\.id)
    let next = Session(number: node.environment.randomness.next(), move: move, heard: node.now)
    lock.withLock { session = next }
    return HandoverAnswer.Begun(session: next.number, keyspaces: keyspaces).encoded()
  }

  private func perform(
    _ step: HandoverRequest.Step, _ move: PartitionMove, _ node: ClusterNode,
    _ transactions: any NodeTransactionMoves
  ) throws(DatabaseError) -> [UInt8] {
    let partition = move.partition
    switch step {
    case .begin: throw Self.unknown(move)
    case .page(let keyspace, let tree, let start, let byteLimit):
      var page = VersionEntries()
      let next = try node.core.versionedKeyspace(keyspace).part(of: node.local).addPage(
        of: partition, tree, keyspace: keyspace, from: start, byteLimit: node.pageBytes(byteLimit), to: &page)
      return HandoverAnswer.Brought(page, next: next).encoded()
    case .written(let byteLimit):
      return try written(partition, node, byteLimit: node.pageBytes(byteLimit)).encoded()
    case .freeze:
      try node.checkStep(.freeze)
      // Who has given up is drained for ever.
      if hasGivenUp(partition) { return HandoverAnswer.encode(isDrained: true) }
      lock.withLock { session?.isFrozen = true }
      let isDrained = transactions.freeze(partition, at: node.local)
      return HandoverAnswer.encode(isDrained: isDrained || node.subversions.givesUpUndrained)
    case .thaw:
      if !hasGivenUp(partition) {
        transactions.thaw(partition, at: node.local)
        lock.withLock { session?.isFrozen = false }
      }
      return []
    case .giveUp: return try giveUp(move, node, transactions).encoded()
    }
  }

  /// The next of what was committed to since it was fetched.
  private func written(
    _ partition: Int, _ node: ClusterNode, byteLimit: Int
  ) throws(DatabaseError) -> HandoverAnswer.Written {
    var (pending, historyFrom) = lock.withLock { (session?.pending ?? [], session?.historyFrom) }
    let gate = node.local.versionGate
    if pending.isEmpty {
      // In an order: a simulation of the same seed is to be the same each time.
      pending = gate.takeWritten().sorted {
        $0.keyspace == $1.keyspace
          ? $0.key.lexicographicallyPrecedes($1.key) : $0.keyspace < $1.keyspace
      }
      // They are noted nowhere else by now.
      let taken = pending
      lock.withLock { session?.pending = taken }
    }
    var page = VersionEntries()
    fill: while let key = pending.last, page.byteCount < byteLimit {
      let versions = try node.core.versionedKeyspace(key.keyspace)
      let added = try versions.part(of: node.local).add(
        key.key, of: partition, keyspace: versions.id, from: historyFrom, byteLimit: byteLimit, to: &page)
      switch added {
      case .nothing: break fill
      case .upTo(let next):
        historyFrom = next
        break fill
      case .whole:
        historyFrom = nil
        pending.removeLast()
      }
    }
    let (left, from) = (pending, historyFrom)
    lock.withLock {
      session?.pending = left
      session?.historyFrom = from
    }
    return HandoverAnswer.Written(page, left: left.count + gate.writtenCount)
  }

  private func giveUp(
    _ move: PartitionMove, _ node: ClusterNode, _ transactions: any NodeTransactionMoves
  ) throws(DatabaseError) -> HandoverAnswer.GivenUp {
    let partition = move.partition
    let (known, isReady) = lock.withLock {
      (givenUp[partition], session.map { $0.isFrozen && $0.pending.isEmpty } ?? false)
    }
    var record = known?.record
    if record == nil {
      try node.checkStep(.giveUp)
      let isBroken = node.subversions.givesUpUndrained
      guard isReady, transactions.freeze(partition, at: node.local) || isBroken,
        node.local.versionGate.writtenCount == 0
      else {
        throw DatabaseError(.busy, "partition \(partition) is not drained in \(node.local.path)")
      }
      let read = transactions.giveUp(partition, at: node.local)
      guard let highest = read ?? (isBroken ? node.core.shared.latestTimestamp : nil) else {
        throw DatabaseError(.busy, "reads of partition \(partition) in \(node.local.path) are not over")
      }
      record = HandoverRecord(partition: partition, member: move.to, highest: highest)
    }
    guard let record else { throw Self.unknown(move) }
    if !(known?.isDurable ?? false) {
      // Whatever comes of writing it, it may be on disk.
      lock.withLock { givenUp[partition] = GivenUp(record: record, isDurable: false) }
      mayHaveGivenUp.store(true, ordering: .releasing)
      if !node.subversions.givesUpUnrecorded {
        try node.local.writeSystem(HandoverRecord.key(of: partition), record.encoded())
      }
      lock.withLock { givenUp[partition]?.isDurable = true }
    }
    var floors: [UInt64: Timestamp] = [:]
    for entry in node.core.keyspaceEntries where entry.kind == .transactional {
      floors[entry.id] = try node.core.versionedKeyspace(entry.id).part(of: node.local).horizon
    }
    return HandoverAnswer.GivenUp(highest: record.highest, floors: floors)
  }

  // MARK: - What became of it

  private func isOver(_ session: Session, _ node: ClusterNode) -> Bool {
    let silence = node.now &- min(session.heard, node.now)
    if !node.view.state.copies.contains(session.move) { return true }
    let longest = session.isFrozen ? Self.frozenSilence : Self.longestSilence
    return silence > longest
      || node.local.versionGate.writtenCount + session.pending.count > Self.mostWritten
  }

  /// Ends a session: the partition is thawed, unless it was given up.
  private func end(_ old: Session, _ node: ClusterNode, _ transactions: (any NodeTransactionMoves)?) {
    lock.withLock { session = nil }
    node.local.versionGate.follow(nil)
    if old.isFrozen, !hasGivenUp(old.move.partition) {
      transactions?.thaw(old.move.partition, at: node.local)
    }
  }

  /// Looks, in the background, whether the directory has said what became of what was given up, and whether a
  /// receiver is still there.
  func wake(_ node: ClusterNode) {
    if lock.withLock({ session == nil && givenUp.isEmpty }) { return }
    node.run(.background) { [self, weak node] in
      guard let node, !node.hasClosed else { return }
      do throws(DatabaseError) { try settle(node) } catch {
        // The next beat tries again; until then it is served by nobody.
        if error.code != .busy { node.core.options.warn("a handover could not be settled: \(error)") }
      }
    }
  }

  private func settle(_ node: ClusterNode) throws(DatabaseError) {
    try claim()
    defer { release() }
    let view = node.view
    guard view.isConfirmed else { return }
    let transactions = try? node.openedTransactions()
    let (known, givenUp) = lock.withLock { (session, self.givenUp) }
    if let known, isOver(known, node) { end(known, node, transactions) }
    for (partition, entry) in givenUp.sorted(by: { $0.key < $1.key }) {
      let isFirst = view.ring.replica(of: partition, slot: 0) == node.local.id
      let isBegun = view.state.copies.contains {
        $0.partition == partition && $0.slot == 0 && $0.from == node.local.id && $0.to == entry.record.member
      }
      if isFirst, isBegun { continue }
      try node.checkStep(.takeBack)
      try node.local.removeSystem(HandoverRecord.key(of: partition))
      let isEmpty = lock.withLock {
        self.givenUp[partition] = nil
        return self.givenUp.isEmpty
      }
      if isEmpty { mayHaveGivenUp.store(false, ordering: .releasing) }
      transactions?.thaw(partition, at: node.local)
    }
  }
}
