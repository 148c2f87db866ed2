import RoostEnvironment
import RoostStorage

// How partitions of eventual keyspaces move between the processes of a cluster. What is under way stands in
// the directory's record `database`; each node looks at it and does its part, one thing at a time:
//
// 1. *Begin.* The receiver writes down that a partition moves to it. From then on whoever coordinates a write
//    of it sends it to the receiver too, which counts for no quorum and is asked by no read. Messages name
//    the partition's list (`RingView`), so nobody goes on by the list before without being told.
// 2. *Catch up.* The receiver has each replica say that it goes by that ring, then compares the partition
//    with it by hash trees. What the source held has come with its comparison; what is written since comes by
//    the first step. A source that is gone for good is stood for by so many of the other replicas that every
//    acknowledged write is at one of them.
// 3. *Flip.* The receiver syncs its store, and takes the source's place in the list. The same change says
//    that the source has something to drop.
// 4. *Drop.* The source, which takes no writes of it any more, has each replica make durable what it holds,
//    compares with it and sends what it lacks; then it deletes the partition and says so.
// 5. *Leave.* A member that holds nothing any more hands over the hints that it keeps, and is forgotten.
//
// A cluster that has had transactions does more between 2 and 3 (`PartitionHandover.swift`), and in 5
// (`TransactionLeave.swift`).
//
// Every step reads the record anew and changes it by compare-and-set; a node that is killed anywhere finds in
// the record where it was, and does that step again: comparing twice is comparing once. What a receiver had
// caught up on is known to its process only.

/// A node's part in the change of its cluster's members. Thread-safe.
final class NodeMoves: @unchecked Sendable {
  enum Job: Hashable {
    case drop(Int)
    case copy(PartitionMove)
    /// The lists are to be put in another order, or what was planned fits no more.
    case replan
    case begin(PartitionMove)
    case leave
  }

  private struct Wait {
    var job: Job
    /// Milliseconds since 1970.
    var since: UInt64
    var text: String
  }

  private let lock = Lock()
  // Guarded by `lock`.
  private var isRunning = false
  /// Whether something may have changed since jobs were looked for last.
  private var isWanted = false
  private var isClosed = false
  private var current: Job?
  private var repair: TreeRepair?
  private var retryAt: [Job: UInt64] = [:]
  private var failures: [Job: Int] = [:]
  private var wait: Wait?
  private var movesDone: UInt64 = 0
  private var keys: UInt64 = 0
  private var bytes: UInt64 = 0

  // MARK: - Running

  /// Looks for something to do.
  func wake(_ node: ClusterNode) {
    let mustRun = lock.withLock {
      if isClosed { return false }
      isWanted = true
      defer { isRunning = true }
      return !isRunning
    }
    if mustRun { node.run(.background) { [self, weak node] in if let node { work(node) } } }
  }

  /// Looks whether what is under way may go on, and for more.
  func beat(_ node: ClusterNode) {
    lock.withLock { repair }?.begin()
    let view = node.view
    let isAtRest = view.change == nil && view.state.copies.isEmpty && view.state.drops.isEmpty
    if !isAtRest || view.isDeparting(node.local.id) { wake(node) }
  }

  /// The node closes.
  func end() {
    let repair = lock.withLock {
      isClosed = true
      defer { self.repair = nil }
      return self.repair
    }
    repair?.end()
  }

  private func work(_ node: ClusterNode) {
    while true {
      let goesOn = lock.withLock {
        if !isWanted || isClosed { isRunning = false }
        defer { isWanted = false }
        return isRunning
      }
      guard goesOn else { return }
      if let job = next(node) { begin(job, node) }
    }
  }

  /// The first thing to do that has not failed just now, which is taken as under way.
  private func next(_ node: ClusterNode) -> Job? {
    if lock.withLock({ current != nil }) { return nil }
    let (view, now) = (node.view, node.now)
    let jobs = Self.jobs(view, of: node.local.id)
    return lock.withLock {
      guard current == nil, !isClosed else { return nil }
      // A flip that was made, and that the directory did not answer.
      for case .copy(let move) in failures.keys
      where !jobs.contains(.copy(move))
        && view.ring.replica(of: move.partition, slot: move.slot) == move.to
      {
        movesDone += 1
      }
      retryAt = retryAt.filter { jobs.contains($0.key) }
      failures = failures.filter { jobs.contains($0.key) }
      if let wait, !jobs.contains(wait.job) { self.wait = nil }
      current = jobs.first { retryAt[$0, default: 0] <= now }
      return current
    }
  }

  /// What a member has to do, what comes first in front: nothing comes to a store that has yet to delete what
  /// it had of it before.
  static func jobs(_ view: RingView, of member: MemberID) -> [Job] {
    guard view.isConfirmed else { return [] }
    let state = view.state
    let drops = state.drops.filter { $0.member == member }
    var jobs = drops.map { Job.drop($0.partition) }
    let copies = state.copies.filter { $0.to == member }
    jobs += copies.map { Job.copy($0) }
    if let plan = view.plan {
      if !plan.isEmpty {
        jobs.append(.replan)
      } else if copies.isEmpty, let move = nextMove(plan, state, to: member) {
        jobs.append(.begin(move))
      }
    }
    if view.isLeaving(member) { jobs.append(.leave) }
    return jobs
  }

  /// The next move to a member that may begin: no other of its partition is under way, or comes before it.
  static func nextMove(_ plan: RingPlan, _ state: RingState, to member: MemberID) -> PartitionMove? {
    var seen = Set(state.copies.map(\.partition))
    for move in plan.moves {
      let isFirst = seen.insert(move.partition).inserted
      if isFirst, move.to == member,
        !state.drops.contains(RingState.Drop(partition: move.partition, member: member))
      {
        return move
      }
    }
    return nil
  }

  private func finished(_ job: Job, _ result: Result<Void, DatabaseError>, _ node: ClusterNode) {
    let now = node.now
    let wallClock = node.core.shared.clock.physicalMilliseconds
    lock.withLock {
      current = nil
      repair = nil
      switch result {
      case .success:
        failures[job] = nil
        retryAt[job] = nil
        if wait?.job == job { wait = nil }
      case .failure(let error):
        let count = failures[job, default: 0]
        failures[job] = count + 1
        // 0.5 s, then twice as long each time, up to 8 s.
        retryAt[job] = now &+ 500_000_000 &* (1 << UInt64(min(count, 4)))
        wait = Wait(
          job: job, since: wait?.job == job ? wait?.since ?? wallClock : wallClock, text: error.message)
      }
    }
    wake(node)
  }

  /// What this node was brought since it was started, as in ``ChangeProgress``.
  var totals: (moves: UInt64, keys: UInt64, bytes: UInt64) { lock.withLock { (movesDone, keys, bytes) } }

  /// Fills in what this node knows of itself.
  func add(to progress: inout ChangeProgress) {
    lock.withLock {
      progress.movesDone = movesDone
      progress.keys = keys
      progress.bytes = bytes
      progress.waitsSince = wait?.since ?? 0
      progress.waitsFor = wait?.text ?? ""
    }
  }

  // MARK: - Jobs

  private func begin(_ job: Job, _ node: ClusterNode) {
    switch job {
    case .replan: finished(job, answered { () throws(DatabaseError) in try replan(node) }, node)
    case .begin(let move):
      finished(job, answered { () throws(DatabaseError) in try begin(move, node) }, node)
    case .copy(let move):
      PartitionCatchUp(move, node, self) { [self, weak node] result in
        guard let node else { return }
        if case .success = result { lock.withLock { movesDone += 1 } }
        finished(job, result, node)
      }.begin()
    case .drop(let partition):
      PartitionDrop(partition, node, self) { [self, weak node] result in
        if let node { finished(job, result, node) }
      }.begin()
    case .leave: leave(node)
    }
  }

  /// A change of the record that came too late, or that nothing is left of: the next look tells.
  static let outdated = DatabaseError(.busy, "the cluster's ring was changed meanwhile")

  private func replan(_ node: ClusterNode) throws(DatabaseError) {
    let isDone = try node.changeRecord { record throws(DatabaseError) in
      guard let change = record.change, !change.isCancelled else { return false }
      let plan = try record.planRest()
      if plan.isEmpty { return false }
      record.ring = record.ring.adopting(plan)
      record.forgetDead()
      return true
    }
    if !isDone { throw Self.outdated }
  }

  private func begin(_ move: PartitionMove, _ node: ClusterNode) throws(DatabaseError) {
    try node.checkStep(.begin)
    // A disk that went back may have something of it from earlier: what has replaced it may be reaped.
    if node.reaping.rule != nil { try node.core.deleteMoved(move.partition) }
    let isDone = try node.changeRecord { record throws(DatabaseError) in
      guard let change = record.change, !change.isCancelled,
        let plan = try? record.planRest(), plan.isEmpty,
        !record.ring.copies.contains(where: { $0.to == move.to }),
        Self.nextMove(plan, record.ring, to: move.to) == move
      else { return false }
      record.ring = record.ring.copying(move)
      return true
    }
    if !isDone { throw Self.outdated }
  }

  private func leave(_ node: ClusterNode) {
    let kept = node.hints.statistics.hints
    if kept.isEmpty {
      let view = node.view
      guard view.hasTransactions else { return forget(node) }
      return TransactionLeave(node, view) { [self, weak node] result in
        guard let node else { return }
        if case .failure = result { return finished(.leave, result, node) }
        // What it coordinated meanwhile may have left some.
        guard node.hints.statistics.hints.isEmpty else {
          return finished(.leave, .failure(DatabaseError(.busy, "hints were kept meanwhile")), node)
        }
        forget(node)
      }.begin()
    }
    let before = kept.values.reduce(0, +)
    guard node.claimHints() else {
      // As one that stays does it, which ends soon.
      let reason = DatabaseError(.busy, "\(before) hints for other members are being handed over")
      return finished(.leave, .failure(reason), node)
    }
    HintHandover(node, kept.keys.sorted(), isLeaving: true) { [self, weak node] in
      guard let node else { return }
      node.releaseHints()
      let left = node.hints.statistics.hints.values.reduce(0, +)
      finished(
        .leave,
        left < before
          ? .success(())
          : .failure(DatabaseError(.busy, "\(left) hints for other members are to be handed over")),
        node)
    }.begin()
  }

  private func forget(_ node: ClusterNode) {
    finished(
      .leave,
      answered { () throws(DatabaseError) in
        let local = node.local.id
        let isDone = try node.changeRecord { record in
          guard record.ring.ring.member(local) == nil, record.ring.places[local] != nil,
            !record.ring.drops.contains(where: { $0.member == local })
          else { return false }
          record.ring = record.ring.forgetting(local)
          return true
        }
        if !isDone { throw Self.outdated }
      }, node)
  }

  // MARK: - Versions

  /// Counts what this node was brought of transactional keyspaces.
  func moved(bytes moved: Int, keys count: Int, _ node: ClusterNode) {
    node.paces.moves.note(moved, at: node.now)
    lock.withLock {
      bytes += UInt64(moved)
      keys += UInt64(count)
    }
  }

  // MARK: - Comparing

  /// Compares a partition with another member, as fast as the options let it.
  func compare(
    _ partition: Int, with member: MemberID, _ keyspaces: [KeyspaceCore], _ direction: TreeRepair.Direction,
    _ node: ClusterNode, _ reply: @escaping @Sendable (Result<Void, DatabaseError>) -> Void
  ) {
    let repair = TreeRepair(
      node, keyspaces, partition: partition, with: member, direction
    ) { [self, weak node] result in
      guard let node else { return }
      node.run(.background) { [self] in
        switch result {
        case .failure(let error): reply(.failure(error))
        case .success(let report):
          lock.withLock {
            bytes += report.bytes
            if direction == .both { keys += report.mended }
          }
          guard report.notCompared == 0 else {
            return reply(.failure(DatabaseError(.unreachable, report.problem)))
          }
          reply(.success(()))
        }
      }
    }
    let wasClosed = lock.withLock {
      if !isClosed { self.repair = repair }
      return isClosed
    }
    if wasClosed { repair.end() } else { repair.begin() }
  }
}

extension ClusterNode {
  /// Where a test stops the moves.
  func checkStep(_ step: MoveStep) throws(DatabaseError) {
    if subversions.stopsBefore.contains(step) { throw DatabaseError(.busy, "stopped before \(step)") }
  }
}
