package import RoostCausality
package import RoostCluster
import RoostEnvironment
import RoostStorage
import Synchronization

/// The transactions of a database in this process: the participants of its stores, its coordinator,
/// and what was left undecided by an earlier process.
///
/// Opened after the database, closed before it. Thread-safe.
package final class TransactionManager: @unchecked Sendable {
  package let core: DatabaseCore
  package let options: TransactionOptions
  let services: DriverServices
  private let workers: any Workers
  let questions: OutcomeQuestions
  let stores = OpenStores()
  private let outbox: EffectWriter
  private let holds: SnapshotHolds
  /// Of a node of a cluster.
  let fence: ClockFence?
  /// The highest clock of another node that has refused a read.
  private let ahead = Atomic<UInt64>(0)
  let tickets = NamingTickets()
  let missedNames = MissedNames()
  let lock = Lock()
  // Guarded by `lock`.
  var state = State()

  /// Which stores take part, and who coordinates: both change when stores come and go.
  struct State {
    /// Coordinates what is begun now.
    var home: CoordinatorDriver?
    /// With those of earlier logs that have something left to finish, and those that are over.
    var coordinators: [CoordinatorID: CoordinatorDriver] = [:]
    var participants: [MemberID: ParticipantDriver] = [:]
    /// Stores that have left.
    var departed: [MemberID: DepartedStore] = [:]
    /// Each with the member in whose directory it is.
    var logs: [(member: MemberID, log: CoordinatorLog)] = []
    /// Stores from which nothing is to be coordinated any more.
    var leaving: Set<MemberID> = []
    /// Quiet stores whose records another one has: nothing is added to them before they resume.
    var copied: [MemberID: MemberID] = [:]
    var isClosed = false

    /// A simulation of the same seed is to be the same each time.
    var coordinatorsInOrder: [CoordinatorDriver] { coordinators.values.sorted { $0.id < $1.id } }
  }

  /// - Throws: `.corruption`, `.newerFormat`, `.storage`: what reading the stores' records and the
  ///   coordinators' logs throws.
  package convenience init(
    _ core: DatabaseCore, transport: any Transport = LocalTransport()
  ) throws(DatabaseError) {
    try self.init(core, transport: transport, nil, nil)
  }

  /// - Parameters:
  ///   - node: what this process is of a cluster; `nil` where it is alone.
  ///   - fence: whether its clock can be trusted.
  init(
    _ core: DatabaseCore, transport: any Transport, _ node: ClusterNode?, _ fence: ClockFence?
  ) throws(DatabaseError) {
    let options = core.options.transactions
    self.core = core
    self.options = options
    self.fence = fence
    holds = SnapshotHolds(
      retentionMilliseconds: options.versionRetention.wholeMilliseconds,
      longestMilliseconds: options.longestDuration.wholeMilliseconds)
    workers = core.shared.environment.makeWorkers()
    questions = OutcomeQuestions(core.shared.environment.makeWorkers())
    let timers = Timers(core.shared.environment.time, core.shared.environment.makeWorkers())
    services = DriverServices(
      core.shared, transport, timers, node == nil ? options.times : core.options.clusterTimes, node,
      warn: core.options.warn)
    outbox = EffectWriter(core, stores, node)
    do throws(DatabaseError) {
      try openAll()
      for driver in state.coordinatorsInOrder { driver.resume() }
      try core.attach(self)
    } catch {
      try? close()
      throw error
    }
    scheduleCollection()
  }

  private func openAll() throws(DatabaseError) {
    let members = core.presentMembers.sorted { $0.id < $1.id }
    guard let first = members.first else {
      throw DatabaseError(.missingStore, "the database has no open store")
    }
    for member in members { stores[member.id] = try ParticipantStore(member, of: core) }
    var left: Set<MemberID> = []
    for member in members {
      if member !== first {
        guard try CoordinatorLog.exists(in: member.path, core.shared.environment) else { continue }
      }
      let (driver, recovered) = try openCoordinators(in: member)
      if member === first { state.home = driver }
      for commit in recovered { left.formUnion(commit.writers + commit.effects.map(\.target)) }
    }
    for store in stores.all {
      for id in try store.endedCoordinators() where state.coordinators[id] == nil {
        let driver = try makeEnded(id)
        state.coordinators[id] = driver
      }
    }
    // What was decided before a store left may be told again, or an effect be left over. Between nodes the
    // transport answers for those that have left.
    for id in left where services.node == nil && core.ring.member(id) == nil {
      state.departed[id] = DepartedStore(id, heir: first, stores, outbox, services)
    }
    for member in members {
      state.participants[member.id] = try ParticipantDriver(member, stores[member.id]!, outbox, services)
    }
  }

  /// Opens the coordinator log in a member's directory, with all coordinators that have something in it.
  ///
  /// - Returns: the one whose log it is, and what was decided and not ended.
  func openCoordinators(
    in member: Member
  ) throws(DatabaseError) -> (driver: CoordinatorDriver, recovered: [CommitRecord]) {
    let (log, recovered) = try CoordinatorLog.open(in: member.path, of: core.id, core.shared.environment)
    lock.withLock { state.logs.append((member.id, log)) }
    if let copied = recovered.copyOf {
      services.warn(
        "the coordinator log in \(member.path) is a copy: transactions of \(copied) that it does not "
          + "have stay in doubt")
    }
    // A copy finishes what the original had decided, under its name; what it lacks proves nothing.
    let byID = Dictionary(grouping: recovered.commits) { $0.transaction.coordinator }
    var own: CoordinatorDriver?
    for id in Set(byID.keys).union([log.id]).sorted() {
      let machine = Coordinator(
        id, times: services.times, committed: byID[id] ?? [],
        outcomes: Dictionary(
          recovered.ended.filter { $0.transaction.coordinator == id }
            .map { ($0.transaction, .committed($0.timestamp)) }, uniquingKeysWith: { $1 }),
        presumesAbort: id == log.id, at: try services.instant())
      let driver = CoordinatorDriver(machine, log, workers, services)
      lock.withLock { state.coordinators[id] = driver }
      if id == log.id { own = driver }
    }
    return (own!, recovered.commits)
  }

  /// A coordinator that is over, which answers those who ask.
  ///
  /// Its log is in no open store. Where one of this database's is missing it may be there all the same: it
  /// was about to leave, and stayed, or came back. A node that leaves its cluster does not.
  func makeEnded(_ id: CoordinatorID) throws(DatabaseError) -> CoordinatorDriver {
    let machine = Coordinator(
      id, times: services.times, committed: [], outcomes: [:],
      presumesAbort: core.isWhole || services.node != nil, at: try services.instant())
    let driver = CoordinatorDriver(machine, nil, workers, services)
    driver.retire()
    return driver
  }

  func makeParticipant(_ member: Member) throws(DatabaseError) -> ParticipantDriver {
    let store = try ParticipantStore(member, of: core)
    stores[member.id] = store
    return try ParticipantDriver(member, store, outbox, services)
  }

  func makeDeparted(_ member: MemberID, heir: Member) -> DepartedStore {
    DepartedStore(member, heir: heir, stores, outbox, services)
  }

  /// How long closing waits for what is decided to be done everywhere.
  private static let closingMilliseconds: UInt64 = 2_000

  /// Ends all transactions. What is decided is finished first, as far as the stores do it at once; the rest
  /// at the next open.
  ///
  /// - Parameter waits: whether this thread waits for that, two seconds at the longest; where nothing happens
  ///   beside it (in a simulation) it would do so in vain.
  /// - Throws: what closing the coordinator's log throws.
  package func close(waits: Bool = true) throws(DatabaseError) {
    let (state, wasClosed) = lock.withLock {
      defer { self.state.isClosed = true }
      return (self.state, self.state.isClosed)
    }
    if wasClosed { return }
    // Moves wait until transactions are open again.
    try? core.attach(nil)
    let deadline = services.monotonicMilliseconds + (waits ? Self.closingMilliseconds : 0)
    let coordinators = state.coordinatorsInOrder
    for driver in coordinators { driver.retire() }
    for driver in coordinators {
      driver.finish(untilMonotonicMilliseconds: deadline) {
        state.participants[$0] != nil || state.departed[$0] != nil
      }
    }
    services.timers.stop()
    for driver in coordinators { driver.stop() }
    questions.close()
    for driver in state.participants.values { driver.stop() }
    for store in state.departed.values { store.stop() }
    services.timers.shutdown()
    workers.shutdown()
    var failure: DatabaseError?
    for (_, log) in state.logs {
      do throws(DatabaseError) { try log.close() } catch { failure = failure ?? error }
    }
    if let failure { throw failure }
  }

  // MARK: - Collection

  /// Drops old versions and outcomes now and then, a bounded part at a time.
  private func scheduleCollection(soon: Bool = false) {
    let period = min(max(options.versionRetention.wholeMilliseconds / 4, 1_000), 60_000)
    services.timers.schedule(
      atMonotonicMilliseconds: services.monotonicMilliseconds + (soon ? 10 : period)
    ) { [weak self] in self?.collect() }
  }

  private func collect() {
    let (participants, isClosed) = lock.withLock { (state.participants.values, state.isClosed) }
    if isClosed { return }
    var hasMore = false
    do throws(DatabaseError) {
      let now = try services.instant()
      let kept = services.times.outcomeRetentionMilliseconds
      let outcomes = Timestamp(milliseconds: now.physicalMilliseconds - min(now.physicalMilliseconds, kept))
      let horizon = holds.horizon(
        physicalMilliseconds: now.physicalMilliseconds, atMonotonicMilliseconds: now.monotonicMilliseconds)
      let keyspaces = core.openVersionedKeyspaces
      for driver in participants {
        // A store may leave meanwhile.
        guard lock.withLock({ state.participants[driver.member.id] === driver }) else { continue }
        if try driver.collect(outcomesBefore: outcomes, versionsBefore: horizon, keyspaces) { hasMore = true }
      }
    } catch {
      services.warn("old versions could not be collected: \(error)")
    }
    scheduleCollection(soon: hasMore)
  }

  /// Keeps the versions that a snapshot needs while the result lives, up to a transaction's longest time.
  package func hold(_ time: Timestamp) -> SnapshotHold {
    SnapshotHold(holds, holds.hold(time, atMonotonicMilliseconds: services.monotonicMilliseconds))
  }

  // MARK: - Calls

  package typealias ReadReply = @Sendable (Result<ReadAnswer, TransactionAborted>) -> Void

  package func begin(age: TransactionID?) throws(DatabaseError) -> TransactionID {
    try checkMayBegin()
    var retired: CoordinatorDriver?
    while true {
      guard let home = lock.withLock({ state.isClosed ? nil : state.home }) else {
        throw DatabaseError(.closed, "the database is closed")
      }
      if home === retired { throw DatabaseError(.busy, "no store coordinates transactions just now") }
      // One whose store is about to leave begins nothing: there is another by then.
      if let id = try home.begin(age: age) { return id }
      retired = home
    }
  }

  package func acquire(
    _ transaction: TransactionID, at member: MemberID, _ locks: [LockTarget], _ read: TransactionRead?,
    _ reply: @escaping ReadReply
  ) {
    guard let coordinator = coordinator(of: transaction) else {
      return reply(.failure(TransactionAborted(.expired)))
    }
    coordinator.acquire(transaction, at: member, locks, read, reply)
  }

  /// - Parameter mayWait: whether the caller's thread may wait for a sync; else a worker does.
  package func commit(
    _ transaction: TransactionID, _ writes: [MemberID: [TransactionWrite]], _ effects: [EventualEffect],
    isSynced: Bool, mayWait: Bool = false, _ reply: @escaping @Sendable (TransactionOutcome) -> Void
  ) {
    let reply = timed(reply)
    guard let coordinator = coordinator(of: transaction) else { return reply(.unknown(transaction)) }
    guard mayWait, isSynced, effects.isEmpty, writes.count == 1, let writer = writes.first,
      !writer.value.isEmpty, let participant = lock.withLock({ state.participants[writer.key] })
    else { return coordinator.commit(transaction, writes, effects, isSynced: isSynced, reply) }
    participant.committing(transaction) {
      coordinator.commit(transaction, writes, effects, isSynced: isSynced, reply)
    }
  }

  package func abort(_ transaction: TransactionID, _ reason: AbortReason) {
    coordinator(of: transaction)?.abort(transaction, reason)
  }

  func coordinator(of transaction: TransactionID) -> CoordinatorDriver? {
    lock.withLock { state.coordinators[transaction.coordinator] }
  }

  /// Calls `answer` on a thread for questions, once all is done that was asked of the transaction's
  /// coordinator before this call, where that is here; or `refuse`.
  ///
  /// - Parameter refuse: called with `.busy` (too many questions wait already), `.closed`.
  func ask(
    about transaction: TransactionID, answer: @escaping @Sendable () -> Void,
    refuse: @escaping @Sendable (DatabaseError) -> Void
  ) {
    let coordinator = coordinator(of: transaction)
    questions.ask(
      turn: { body in if let coordinator { coordinator.inTurn(body) } else { body() } }, answer: answer,
      refuse: refuse)
  }

  var participants: [ParticipantDriver] {
    lock.withLock { state.participants.values.sorted { $0.member.id < $1.member.id } }
  }

  /// The present, for a snapshot: above everything that was acknowledged before, and above the clocks of
  /// nodes that have refused a read as too old.
  package func now() throws(DatabaseError) -> Timestamp {
    let ahead = Timestamp(rawValue: ahead.load(ordering: .acquiring))
    if ahead.rawValue > 0 { try core.shared.observe(ahead) }
    return try services.instant().timestamp
  }

  /// Notes the clock of a node that has refused a read. Waits for no disk.
  ///
  /// - Throws: `.clockOutOfBound` where it is further ahead than clocks may be.
  func noteAhead(_ clock: Timestamp) throws(DatabaseError) {
    try core.shared.check(clock)
    ahead.max(clock.rawValue, ordering: .acquiringAndReleasing)
  }

  package func snapshot(
    _ read: TransactionRead, at timestamp: Timestamp, of member: MemberID,
    _ reply: @escaping @Sendable (Result<ReadAnswer, DatabaseError>) -> Void
  ) {
    let (participant, hasLeft) = lock.withLock {
      (state.participants[member], state.departed[member] != nil)
    }
    guard let participant else {
      if let node = services.node, member != node.local.id {
        return snapshot(read, at: timestamp, of: member, from: node, reply)
      }
      return reply(
        .failure(DatabaseError(hasLeft ? .busy : .unreachable, "the store \(member) is not open")))
    }
    participant.snapshot(read, at: timestamp, reply)
  }

  /// Calls `job` some time later; at once where the manager is closed.
  func afterMilliseconds(_ wait: UInt64, _ job: @escaping @Sendable () -> Void) {
    let time = services.monotonicMilliseconds + wait
    if !services.timers.schedule(atMonotonicMilliseconds: time, job) { return job() }
    // Simulated time passes by being asked for.
    while services.monotonicMilliseconds < time, services.timers.runOneHere() {}
  }

  var isClosed: Bool { lock.withLock { state.isClosed } }

  func randomNumber() -> UInt64 { core.shared.environment.randomness.next() }
}
