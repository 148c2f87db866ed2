import RoostEnvironment
import RoostStorage

// How partitions move, one after the other, each in these steps:
//
// 1. *Begin.* The receiver takes a new incarnation, once a plan: a dot that it minted when it held the
//    partition earlier must not stand for writes that it does not get back. The ring's record says
//    that the partition is being copied, in all stores; from then on every write of it is forwarded.
// 2. *Copy.* The source's keys are joined into the receiver, a chunk a job. Keys are locked one at a
//    time. A forward that failed makes the copy begin anew.
// 3. *Settle.* The receiver is synced. From here on a write of the partition must reach the receiver
//    too, and a synced one waits for its sync. The receiver is synced once more, for what was
//    forwarded before. Now whichever ring state the next open finds, its owner has everything.
//    Transactional keys are frozen first, and given up by the source: see `DatabaseCore+Handover.swift`.
// 4. *Flip.* The ring with the move carried out is made durable in all stores; then, with all key
//    locks held, it counts. The same record says that the source has something to drop.
// 5. *Drop.* The partition is deleted from the source, durably, and the record says so.
//
// Each step is tried again after a failure, later and later. A process that ends anywhere goes on
// with what the record says; a copy begins anew. Nothing is dropped but what a durable ring has given
// to another store, and what is to be dropped is dropped before anything else begins: so no store
// gets a partition back while it still has old keys of it.

extension DatabaseCore {
  private enum Task {
    case drop(RingState.Drop)
    case retire(Member)
    case begin(PartitionMove)
    case copy(PartitionMove)
  }

  /// Whether all stores of the ring are open. The ring does not change else. A node of a cluster has one.
  var hasAllStores: Bool {
    !options.isNodeOfCluster && ringState.ring.members.allSatisfy { slotOf[$0.id] != nil }
  }

  /// Goes on with what an earlier process began. While the database is being opened.
  func resumeTransfers() {
    if hasAllStores, planRest() { scheduleTransfers() }
  }

  /// Plans anew what the ring is to become. With `topology` held, or while the database is being opened.
  ///
  /// - Returns: whether there is anything to do.
  @discardableResult
  func planRest() -> Bool {
    let ring = ringState.ring
    guard let plan = try? ring.plan(to: ring.staying, keepsOrder: schema.keepsOrder) else { return false }
    adoption = nil
    let isAtRest = ringState.copies.isEmpty && ringState.drops.isEmpty && plan.moves.isEmpty
    if isAtRest { return false }
    let next = ringState.adopting(plan)
    transfers.withRecord { record in
      record.moves = plan.moves
      record.plan += 1
    }
    if next != ringState { adoption = next }
    return true
  }

  /// Has the moves go on in the background.
  func scheduleTransfers() {
    transfers.schedule { [weak self] in self?.runTransfer() ?? false }
  }

  /// One job of the mover. Returns whether there is more to do.
  private func runTransfer() -> Bool {
    if shared.isClosed { return false }
    do throws(DatabaseError) {
      try thawAbandoned()
      let task = try topology.withLock { () throws(DatabaseError) in try nextTask() }
      guard let task else {
        transfers.noteStep()
        topology.withLock { topologyChanged.broadcast() }
        return false
      }
      try perform(task)
      transfers.noteProgress()
      return true
    } catch {
      if transfers.isStopped || shared.isClosed { return false }
      transfers.failed(error)
      topology.withLock { topologyChanged.broadcast() }
      transfers.waitForRetry()
      return true
    }
  }

  /// With `topology` held.
  private func nextTask() throws(DatabaseError) -> Task? {
    guard hasAllStores else { return nil }
    if let next = adoption {
      try install(next)
      adoption = nil
    }
    if let drop = ringState.drops.first { return .drop(drop) }
    let leaver = presentMembers.first { ringState.ring.member($0.id) == nil }
    if let leaver { return .retire(leaver) }
    if let move = ringState.copies.first { return .copy(move) }
    return transfers.withRecord { $0.moves.first }.map { .begin($0) }
  }

  private func perform(_ task: Task) throws(DatabaseError) {
    switch task {
    case .drop(let drop): try self.drop(drop)
    case .retire(let member): try retire(member)
    case .begin(let move): try begin(move)
    case .copy(let move): try copy(move)
    }
  }

  func member(_ id: MemberID) throws(DatabaseError) -> Member {
    let found = topology.withLock { slotOf[id].flatMap { shared.members[$0] } }
    guard let found else {
      throw DatabaseError(.missingStore, "the store of the member \(id) is not open")
    }
    return found
  }

  // MARK: - Begin

  private func begin(_ move: PartitionMove) throws(DatabaseError) {
    try topology.withLock { () throws(DatabaseError) in
      // The plan may be another by now.
      guard transfers.withRecord({ $0.moves.first }) == move, ringState.copies.isEmpty else { return }
      try install(ringState.copying(move), routing: move.partition)
    }
  }

  // MARK: - Copy

  private func copy(_ move: PartitionMove) throws(DatabaseError) {
    let plan = transfers.withRecord { $0.plan }
    var copy: PartitionCopy
    if let known = transfers.withRecord({ $0.copy }), known.move == move, known.plan == plan {
      copy = known
    } else {
      copy = try beginCopy(move, plan)
      transfers.withRecord { if $0.plan == plan { $0.copy = copy } }
    }
    if copy.isWhole {
      try settle(copy)
      return
    }
    let (source, target) = (try member(move.from), try member(move.to))
    waitForRoom(target.store)
    let before = copy
    let walk = copy.keyspaces[copy.position]
    let bytes: Int
    let isAtEnd: Bool
    if walk.isTransactional {
      (bytes, isAtEnd) = try copyVersions(&copy, walk.name, from: source, to: target)
    } else {
      let keyspace = try transferKeyspace(walk.name)
      (bytes, isAtEnd) = try keyspace.copyChunk(
        &copy, from: try keyspace.part(of: source), to: try keyspace.part(of: target),
        limit: transfers.chunkBytes)
    }
    if isAtEnd { copy.nextKeyspace() }
    let now = shared.environment.time.monotonicNanoseconds
    transfers.withRecord { record in
      record.copy = copy
      record.keys += copy.keys - before.keys
      record.bytes += UInt64(bytes)
      record.meter.add(bytes, at: now)
    }
    transfers.pace(bytes)
  }

  private func beginCopy(_ move: PartitionMove, _ plan: Int) throws(DatabaseError) -> PartitionCopy {
    let target = try member(move.to)
    if !transfers.withRecord({ $0.renewed.contains(move.to) }) {
      // Interleaving 2. Once a plan is enough: no plan gives a member a partition that it takes away
      // from it, so none of the dots minted since then can be in one that it still gets.
      try target.takeNewIncarnation()
      transfers.withRecord { record in
        if record.plan == plan { _ = record.renewed.insert(move.to) }
      }
    }
    // With all key locks held no write is between its forwarding and the source's store: what fails
    // to be forwarded from now on is noted, and all else the cursor finds.
    shared.locks.withAll { _ = shared.takeForwardFailure(move.partition) }
    for other in presentMembers where other.id != move.from { other.versionGate.follow(nil) }
    // Keyspaces that are made from now on are brought by what is noted of them.
    try member(move.from).versionGate.follow(move.slot == 0 ? move.partition : nil)
    let keyspaces = topology.withLock {
      // Those that the member at that place has: a transactional one has one replica.
      schema.keyspaces.filter { move.slot < $0.replicas }
        .map { PartitionCopy.Walk(name: $0.name, isTransactional: $0.kind == .transactional) }
    }
    if move.slot == 0 {
      let names = keyspaces.filter(\.isTransactional).map(\.name)
      try clearVersions(move.partition, names, in: target.store)
    }
    return PartitionCopy(move, plan: plan, keyspaces: keyspaces)
  }

  /// A store that has to catch up slows its writers down, and the mover holds a key's lock when it
  /// writes: so it lets the store catch up before. Not for ever: the store itself decides then.
  private func waitForRoom(_ store: Store) {
    for _ in 0..<100 {
      if !store.mayWait || transfers.isStopped { return }
      transfers.pause(milliseconds: 2)
    }
  }

  // MARK: - Settle and flip

  private func settle(_ copy: PartitionCopy) throws(DatabaseError) {
    let move = copy.move
    let target = try member(move.to)
    do throws(DatabaseError) {
      guard try prepareHandover(copy) else { return }
      try settleAndFlip(copy, target)
    } catch {
      // Its transactions go on meanwhile.
      try? letGo(move)
      throw error
    }
  }

  private func settleAndFlip(_ copy: PartitionCopy, _ target: Member) throws(DatabaseError) {
    let move = copy.move
    try sync(target)
    let failure = topology.withLock {
      shared.locks.withAll { () -> DatabaseError? in
        if let failure = shared.takeForwardFailure(move.partition) { return failure }
        if ringState.copies.contains(move) { shared.routes.setSettling(move.partition, true) }
        return nil
      }
    }
    if let failure {
      transfers.withRecord { $0.copy = nil }
      throw failure
    }
    do throws(DatabaseError) {
      try sync(target)
      try flip(copy)
    } catch {
      topology.withLock {
        if isRingInDoubt { return }
        shared.locks.withAll { shared.routes.setSettling(move.partition, false) }
      }
      throw error
    }
  }

  private func flip(_ copy: PartitionCopy) throws(DatabaseError) {
    let move = copy.move
    let (source, target) = (try member(move.from), try member(move.to))
    var leaves = false
    let isFlipped = try topology.withLock { () throws(DatabaseError) in
      guard transfers.withRecord({ $0.plan }) == copy.plan, ringState.copies.contains(move) else {
        return false
      }
      let next: RingState
      do throws(RingError) { next = try ringState.moved(move) } catch { throw DatabaseError(error) }
      leaves = next.ring.member(move.from) == nil
      guard try decideHandover(move, source, target, leaves: leaves) else { return false }
      try install(next, routing: move.partition)
      transfers.withRecord { record in
        record.moves.removeAll { $0 == move }
        record.movesDone += 1
        record.copy = nil
        record.frozen = nil
        record.isGivenUp = false
        record.drainFailures = 0
      }
      transfers.noteStep()
      return true
    }
    if isFlipped {
      finishHandover(move, source, target, leaves: leaves)
    } else {
      try letGo(move)
    }
  }

  private func sync(_ member: Member) throws(DatabaseError) {
    try storing("\(member.path) could not be synced") { () throws(StoreError) in
      try member.store.sync()
    }
  }

  // MARK: - Drop

  private func drop(_ drop: RingState.Drop) throws(DatabaseError) {
    let (store, isNeeded) = topology.withLock {
      (slotOf[drop.member].flatMap { shared.members[$0]?.store },
        ringState.needs(drop.partition, at: drop.member))
    }
    if let store, !isNeeded {
      try deletePartition(drop.partition, in: store, topology.withLock { Array(keyspaces.values) })
      try forgetHandover(at: drop.member)
    }
    try topology.withLock { () throws(DatabaseError) in
      try install(ringState.dropped(drop), routing: drop.partition)
    }
  }

  /// Deletes a partition from all trees of a store, durably: all but the system's, the transactions' and the
  /// hints' are ordered by it, those of leaves too.
  ///
  /// - Parameter open: the keyspaces that are open.
  func deletePartition(
    _ partition: Int, in store: Store, _ open: [KeyspaceCore]
  ) throws(DatabaseError) {
    let leaves = open.compactMap { $0.leaves(in: store) }
    for leaves in leaves { leaves.block(partition) }
    defer {
      for keyspace in open { keyspace.forgetRecentPuts(in: store) }
      // By then each stripe was free once: nobody writes any more who read a record before.
      for leaves in leaves { leaves.unblock(partition) }
    }
    try storing("partition \(partition) could not be dropped") { () throws(StoreError) in
      try store.deletePartition(partition)
    }
  }

  // MARK: - Leaving

  /// Lets go of a store that holds nothing any more. Its directory cannot be added again before it is
  /// closed.
  private func retire(_ member: Member) throws(DatabaseError) {
    transfers.withRecord { $0.isRetiring = true }
    defer { transfers.withRecord { $0.isRetiring = false } }
    try ringChanges.withLock { () throws(DatabaseError) in
      try withdrawLeaver(member)
      shared.clock.finishRaising()
      member.calls.drain()
      try member.close()
    }
  }

  private func withdrawLeaver(_ member: Member) throws(DatabaseError) {
    try topology.withLock { () throws(DatabaseError) in
      try install(ringState.forgetting(member.id)) {
        shared.members.withdraw(member.slot)
        slotOf[member.id] = nil
        for keyspace in keyspaces.values { keyspace.withdraw(member.slot) }
        for keyspace in transferKeyspaces.values { keyspace.withdraw(member.slot) }
      }
    }
  }

  // MARK: - Keyspaces

  /// A keyspace, for moving its keys: the one that is in use, or, where it is not, one that knows
  /// nothing of its policy, which moving does not need.
  private func transferKeyspace(_ name: String) throws(DatabaseError) -> KeyspaceCore {
    try topology.withLock { () throws(DatabaseError) in
      try shared.checkOpen()
      if let open = keyspaces[name] { return open }
      if let known = transferKeyspaces[name] { return known }
      guard let entry = schema.keyspace(name) else {
        throw DatabaseError(.unknownKeyspace, "the keyspace `\(name)` went while it was moved")
      }
      let policy = KeyspacePolicy(siblings: .keep, replicas: entry.replicas)
      let opened = KeyspaceCore(entry, policy, shared)
      for member in presentMembers { try opened.attach(member) }
      transferKeyspaces[name] = opened
      return opened
    }
  }
}

extension KeyspaceCore {
  func part(of member: Member) throws(DatabaseError) -> KeyspacePart {
    if let part = parts[member.slot] { return part }
    throw DatabaseError(.missingStore, "the keyspace `\(name)` is not open in \(member.path)")
  }
}
