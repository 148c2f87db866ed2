package import RoostCausality
package import RoostCluster
import RoostEnvironment
import RoostStorage

/// The transactions of a database in this process: the participants of its stores, its coordinator,
/// and what was left undecided by an earlier process.
///
/// Opened after the database, closed before it. Thread-safe.
package final class TransactionManager: @unchecked Sendable {
  package let core: DatabaseCore
  package let options: TransactionOptions
  private let services: DriverServices
  private let workers: any Workers
  /// Coordinates what is begun now.
  private let coordinator: CoordinatorDriver
  /// Those of earlier logs, with something left to finish, and the one above.
  private let coordinators: [CoordinatorID: CoordinatorDriver]
  private let participants: [MemberID: ParticipantDriver]
  private let logs: [CoordinatorLog]
  private let holds: SnapshotHolds
  private let lock = Lock()
  // Guarded by `lock`.
  private var isClosed = false

  /// - Throws: `.corruption`, `.newerFormat`, `.storage`: what reading the stores' records and the
  ///   coordinators' logs throws.
  package init(
    _ core: DatabaseCore, transport: any Transport = LocalTransport()
  ) throws(DatabaseError) {
    let options = core.options.transactions
    self.core = core
    self.options = options
    holds = SnapshotHolds(
      retentionMilliseconds: options.versionRetention.wholeMilliseconds,
      longestMilliseconds: options.longestDuration.wholeMilliseconds)
    workers = core.shared.environment.makeWorkers()
    let timers = Timers(core.shared.environment.time, core.shared.environment.makeWorkers())
    services = DriverServices(core.shared, transport, timers, options.times, warn: core.options.warn)
    var participants: [MemberID: ParticipantDriver] = [:]
    var coordinators: [CoordinatorID: CoordinatorDriver] = [:]
    var logs: [CoordinatorLog] = []
    do throws(DatabaseError) {
      let members = core.presentMembers.sorted { $0.id < $1.id }
      var stores: [MemberID: ParticipantStore] = [:]
      for member in members { stores[member.id] = try ParticipantStore(member, of: core) }
      coordinator = try Self.openCoordinators(members, core.id, services, workers, &coordinators, &logs)
      let outbox = EffectWriter(core, stores)
      for member in members {
        participants[member.id] = try ParticipantDriver(member, stores[member.id]!, outbox, services)
      }
    } catch {
      for driver in participants.values { driver.stop() }
      for driver in coordinators.values { driver.stop() }
      for log in logs { try? log.close() }
      timers.stop()
      timers.shutdown()
      workers.shutdown()
      throw error
    }
    self.participants = participants
    self.coordinators = coordinators
    self.logs = logs
    for driver in coordinators.values { driver.resume() }
    scheduleCollection()
  }

  /// Opens every member's coordinator log. The first member's coordinates from now on; the others'
  /// finish what they decided.
  private static func openCoordinators(
    _ members: [Member], _ database: DatabaseID, _ services: DriverServices, _ workers: any Workers,
    _ coordinators: inout [CoordinatorID: CoordinatorDriver], _ logs: inout [CoordinatorLog]
  ) throws(DatabaseError) -> CoordinatorDriver {
    var home: CoordinatorDriver?
    let environment = services.shared.environment
    for member in members {
      let isHome = member === members.first
      if !isHome, try !CoordinatorLog.exists(in: member.path, environment) { continue }
      let (log, recovered) = try CoordinatorLog.open(in: member.path, of: database, environment)
      logs.append(log)
      if let copied = recovered.copyOf {
        services.warn(
          "the coordinator log in \(member.path) is a copy: transactions of \(copied) that it does not "
            + "have stay in doubt")
      }
      // A copy finishes what the original had decided, under its name; what it lacks proves nothing.
      let byID = Dictionary(grouping: recovered.commits) { $0.transaction.coordinator }
      for id in Set(byID.keys).union([log.id]) {
        let machine = Coordinator(
          id, times: services.times, committed: byID[id] ?? [],
          outcomes: Dictionary(
            recovered.ended.filter { $0.transaction.coordinator == id }
              .map { ($0.transaction, .committed($0.timestamp)) }, uniquingKeysWith: { $1 }),
          presumesAbort: id == log.id, at: try services.instant())
        let driver = CoordinatorDriver(machine, log, workers, services)
        coordinators[id] = driver
        if isHome, id == log.id { home = driver }
      }
    }
    guard let home else { throw DatabaseError(.missingStore, "the database has no open store") }
    return home
  }

  /// Ends all transactions; what is decided is finished at the next open.
  ///
  /// - Throws: what closing the coordinator's log throws.
  package func close() throws(DatabaseError) {
    let wasClosed = lock.withLock {
      defer { isClosed = true }
      return isClosed
    }
    if wasClosed { return }
    services.timers.stop()
    for driver in coordinators.values { driver.stop() }
    for driver in participants.values { driver.stop() }
    services.timers.shutdown()
    workers.shutdown()
    var failure: DatabaseError?
    for log in logs {
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
    if lock.withLock({ isClosed }) { return }
    var hasMore = false
    do throws(DatabaseError) {
      let now = try services.instant()
      let kept = services.times.outcomeRetentionMilliseconds
      let outcomes = Timestamp(milliseconds: now.physicalMilliseconds - min(now.physicalMilliseconds, kept))
      let horizon = holds.horizon(
        physicalMilliseconds: now.physicalMilliseconds, atMonotonicMilliseconds: now.monotonicMilliseconds)
      let keyspaces = core.openVersionedKeyspaces
      for driver in participants.values {
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
    try coordinator.begin(age: age)
  }

  package func acquire(
    _ transaction: TransactionID, at member: MemberID, _ locks: [LockTarget], _ read: TransactionRead?,
    _ reply: @escaping ReadReply
  ) {
    coordinator.acquire(transaction, at: member, locks, read, reply)
  }

  /// - Parameter mayWait: whether the caller's thread may wait for a sync; else a worker does.
  package func commit(
    _ transaction: TransactionID, _ writes: [MemberID: [TransactionWrite]], _ effects: [EventualEffect],
    isSynced: Bool, mayWait: Bool = false, _ reply: @escaping @Sendable (TransactionOutcome) -> Void
  ) {
    guard mayWait, isSynced, effects.isEmpty, writes.count == 1, let writer = writes.first,
      !writer.value.isEmpty, let participant = participants[writer.key]
    else { return coordinator.commit(transaction, writes, effects, isSynced: isSynced, reply) }
    participant.committing(transaction) {
      coordinator.commit(transaction, writes, effects, isSynced: isSynced, reply)
    }
  }

  package func abort(_ transaction: TransactionID, _ reason: AbortReason) {
    coordinator.abort(transaction, reason)
  }

  /// The present, for a snapshot: above everything that was acknowledged before.
  package func now() throws(DatabaseError) -> Timestamp { try services.instant().timestamp }

  package func snapshot(
    _ read: TransactionRead, at timestamp: Timestamp, of member: MemberID,
    _ reply: @escaping @Sendable (Result<ReadAnswer, DatabaseError>) -> Void
  ) {
    guard let participant = participants[member] else {
      return reply(.failure(DatabaseError(.unreachable, "the store \(member) is not open")))
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

  func randomNumber() -> UInt64 { core.shared.environment.randomness.next() }

  // MARK: - What became of transactions

  /// What is prepared at this process's stores and not decided.
  package var inDoubt: [(member: Member, doubt: InDoubt)] {
    participants.values.sorted { $0.member.id < $1.member.id }
      .flatMap { driver in driver.inDoubt.map { (driver.member, $0) } }
  }

  package func outcome(of transaction: TransactionID) throws(DatabaseError) -> KnownOutcome {
    for driver in participants.values {
      switch try driver.recordedOutcome(of: transaction) {
      case .committed(let timestamp): return .committed(timestamp)
      case .aborted: return .aborted(.recorded)
      case nil: continue
      }
    }
    guard let driver = coordinators[transaction.coordinator] else { return .expired }
    let known = try driver.outcome(of: transaction)
    // Nobody has a record, all stores are here, and it is young enough that a record would be there.
    if known == .noRecord, !isInDoubt(transaction), core.isWhole { return .aborted(.recorded) }
    return known
  }

  private func isInDoubt(_ transaction: TransactionID) -> Bool {
    participants.values.contains { driver in driver.inDoubt.contains { $0.transaction == transaction } }
  }

  /// Decides a transaction by hand at every store where it is in doubt.
  ///
  /// - Returns: at how many stores it was.
  package func force(
    _ transaction: TransactionID, _ outcome: Outcome,
    _ reply: @escaping @Sendable (Result<Int, DatabaseError>) -> Void
  ) {
    let concerned = inDoubt.filter { $0.doubt.transaction == transaction }.map(\.member.id)
    let gathered = ForcedReplies(concerned.count, reply)
    if concerned.isEmpty { return reply(.success(0)) }
    for member in concerned {
      participants[member]?.force(transaction, outcome) { refusal in gathered.add(refusal) }
    }
  }
}

/// Waits for the answers of several stores to one operator's decision. Thread-safe.
private final class ForcedReplies: @unchecked Sendable {
  private let lock = Lock()
  // Guarded by `lock`.
  private var left: Int
  private var failure: Refusal?
  private let count: Int
  private let reply: @Sendable (Result<Int, DatabaseError>) -> Void

  init(_ count: Int, _ reply: @escaping @Sendable (Result<Int, DatabaseError>) -> Void) {
    self.count = count
    left = count
    self.reply = reply
  }

  func add(_ refusal: Refusal?) {
    let result = lock.withLock { () -> Result<Int, DatabaseError>? in
      left -= 1
      failure = failure ?? refusal
      guard left == 0 else { return nil }
      return failure.map { .failure(DatabaseError($0, at: "a store")) } ?? .success(count)
    }
    if let result { reply(result) }
  }
}

/// Keeps the versions of one time. Thread-safe.
package final class SnapshotHold: Sendable {
  private let holds: SnapshotHolds
  private let id: UInt64

  init(_ holds: SnapshotHolds, _ id: UInt64) {
    self.holds = holds
    self.id = id
  }

  deinit { holds.release(id) }
}
