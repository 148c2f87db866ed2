import RoostEnvironment

// What a node does now and then.

extension ClusterNode {
  var now: UInt64 { environment.time.monotonicNanoseconds }

  /// The deadline of a call that comes now and says nothing else.
  package var requestDeadline: UInt64 { now &+ options.requestTimeout.wholeNanoseconds }

  /// Until when a store may answer that is asked now, where another can be asked in its place: as long as
  /// ``ClusterOptions/replicaTimeout`` says, and no longer than half of what is left until the deadline, so
  /// that the other one has time, however long the options say.
  ///
  /// - Parameter isLast: nobody else is left to ask.
  func patience(until deadline: UInt64, isLast: Bool = false) -> UInt64 {
    let now = now
    let left = deadline - min(deadline, now)
    return now &+ min(options.replicaTimeout.wholeNanoseconds, isLast ? left : left / 2)
  }

  func scheduleBeat() {
    guard keepsTime else { return }
    let interval = min(options.lease.wholeNanoseconds / 3, 1_000_000_000)
    timers.schedule(atMonotonicNanoseconds: now &+ interval) { [weak self] in
      guard let self, !hasClosed else { return }
      keepers.submit(.background) { [weak self] in
        guard let self, !hasClosed else { return }
        do throws(DatabaseError) { try beat() } catch {
          core.options.warn("the cluster's directory could not be told of this node: \(error)")
        }
        scheduleBeat()
      }
    }
  }

  /// What is to be done now and then: says in the directory that this node is there, hands hints over, and
  /// compares a share of what is here with the other replicas.
  ///
  /// - Throws: what the directory throws.
  package func beat() throws(DatabaseError) {
    let outcome = answered { () throws(DatabaseError) in
      try announce()
      if !subversions.isDeaf { try refreshRing() }
    }
    if case .failure = outcome { counters.failedRenewals.wrappingAdd(1, ordering: .relaxed) }
    handHintsOver()
    repairInBackground()
    reapInBackground()
    handovers.wake(self)
    moves.beat(self)
    sweepHints()
    observer?.counted(figures)
    try outcome.get()
  }

  func sweepHints() {
    let mayBegin = lock.withLock {
      if isSweeping || isClosed { return false }
      isSweeping = true
      return true
    }
    guard mayBegin else { return }
    run(.background) { [self] in
      if let now = try? core.shared.clock.now() { _ = try? hints.dropExpired(at: now) }
      lock.withLock { isSweeping = false }
    }
  }

  /// Where a lease is over (the process was held up for long), a new one takes its place.
  ///
  /// Once another process says that it has this store, or the cluster has no place for it, it says nothing
  /// more.
  func announce() throws(DatabaseError) {
    if lock.withLock({ isSuperseded }) { return }
    let known = lock.withLock { self.lease }
    if isDismissed {
      lock.withLock { self.lease = nil }
      if let known { try directory.revoke(known) }
      return
    }
    if let known {
      if try directory.renew(known) { return }
      counters.failedRenewals.wrappingAdd(1, ordering: .relaxed)
    }
    let lease = try directory.grantLease(options.lease)
    let name = ClusterRecordName.node(transport.node)
    let record = NodeRecord(member: local.id, address: address)
    let old = try directory.record(name)
    let version = try directory.compareAndSet(
      name, version: old?.version ?? 0, record.encoded(), lease: lease)
    let isLate = lock.withLock {
      // Where it was not written, the next beat tries again.
      if !isClosed { self.lease = version == nil ? nil : lease }
      return isClosed
    }
    if isLate || version == nil { try? directory.revoke(lease) }
  }

  /// Ends what has taken too long, and asks further replicas where reads wait for long.
  package func tick() {
    // In the order in which they began: a simulation of the same seed is to be the same each time.
    let operations = lock.withLock { underWay.sorted { $0.key < $1.key }.map(\.value) }
    let now = now
    for operation in operations { operation.look(at: now) }
    let isLeft = lock.withLock {
      isTicking = !underWay.isEmpty && !isClosed
      return isTicking
    }
    if isLeft { scheduleTick() }
  }

  func scheduleTick() {
    guard keepsTime else { return }
    timers.schedule(atMonotonicNanoseconds: now &+ 10_000_000) { [weak self] in self?.tick() }
  }

  /// Hands over what is kept for members that are there, unless that is under way. A node that is about to go
  /// does so as a step of that (`NodeMoves`).
  func handHintsOver() {
    if view.isLeaving(local.id) { return }
    guard claimHints() else { return }
    HintHandover(self, hintTargets) { [weak self] in self?.releaseHints() }.begin()
  }

  /// Those that something is kept for and that are there. What is for a member that there is no more goes to
  /// those that have its partitions now.
  var hintTargets: [MemberID] {
    let (view, now) = (view, now)
    return hints.statistics.hints.keys.sorted().filter {
      !peers.isSuspected($0, at: now) || view.ring.member($0) == nil
    }
  }

  /// Begins to hand hints over: one ``HintHandover`` at a time does.
  ///
  /// - Returns: `false` where one does already, or the node is closed.
  func claimHints() -> Bool {
    lock.withLock {
      if isHandingOver || isClosed { return false }
      isHandingOver = true
      return true
    }
  }

  func releaseHints() { lock.withLock { isHandingOver = false } }
}
