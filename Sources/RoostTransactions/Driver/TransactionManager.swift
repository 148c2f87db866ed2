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
  private let lock = Lock()
  // Guarded by `lock`.
  private var isClosed = false

  /// - Parameter warn: told what is worth a line in the process's log.
  /// - Throws: `.corruption`, `.newerFormat`, `.storage`: what reading the stores' records and the
  ///   coordinators' logs throws.
  package init(
    _ core: DatabaseCore, _ options: TransactionOptions, transport: any Transport = LocalTransport(),
    warn: @escaping @Sendable (String) -> Void
  ) throws(DatabaseError) {
    self.core = core
    self.options = options
    workers = core.shared.environment.makeWorkers()
    let timers = Timers(core.shared.environment.time, workers)
    services = DriverServices(core.shared, transport, timers, options.times, warn: warn)
    var participants: [MemberID: ParticipantDriver] = [:]
    var coordinators: [CoordinatorID: CoordinatorDriver] = [:]
    do throws(DatabaseError) {
      let members = core.presentMembers.sorted { $0.id < $1.id }
      var stores: [MemberID: ParticipantStore] = [:]
      for member in members { stores[member.id] = try ParticipantStore(member, core) }
      let outbox = EffectWriter(core, stores)
      let home = try Self.openCoordinators(members, services, workers, &coordinators)
      coordinator = home
      for member in members {
        participants[member.id] = try ParticipantDriver(member, stores[member.id]!, outbox, services)
      }
    } catch {
      for driver in participants.values { driver.stop() }
      for driver in coordinators.values {
        driver.stop()
        try? driver.closeLog()
      }
      workers.shutdown()
      throw error
    }
    self.participants = participants
    self.coordinators = coordinators
    for driver in coordinators.values { driver.resume() }
  }

  /// Opens every member's coordinator log. The first member's coordinates from now on; the others'
  /// finish what they decided.
  private static func openCoordinators(
    _ members: [Member], _ services: DriverServices, _ workers: any Workers,
    _ coordinators: inout [CoordinatorID: CoordinatorDriver]
  ) throws(DatabaseError) -> CoordinatorDriver {
    var home: CoordinatorDriver?
    for (index, member) in members.enumerated() {
      let isHome = index == 0
      guard let opened = try CoordinatorLog.open(member, creates: isHome, services) else { continue }
      for part in opened {
        let now = try services.instant()
        let machine = Coordinator(
          part.id, times: services.times, committed: part.committed, outcomes: part.outcomes,
          presumesAbort: part.presumesAbort, at: now)
        let driver = CoordinatorDriver(
          machine, part.id, part.log, services.shared.environment.makeWorkers(),
          recovered: part.committed, services)
        coordinators[part.id] = driver
        if isHome, part.isCurrent { home = driver }
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
    workers.shutdown()
    var failure: DatabaseError?
    for driver in coordinators.values {
      do throws(StoreError) { try driver.closeLog() } catch {
        failure = failure ?? DatabaseError(error, "the coordinator's log could not be closed")
      }
    }
    if let failure { throw failure }
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

  package func commit(
    _ transaction: TransactionID, _ writes: [MemberID: [TransactionWrite]], _ effects: [EventualEffect],
    isSynced: Bool, _ reply: @escaping @Sendable (TransactionOutcome) -> Void
  ) {
    coordinator.commit(transaction, writes, effects, isSynced: isSynced, reply)
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
    if !services.timers.schedule(atMonotonicMilliseconds: services.monotonicMilliseconds + wait, job) { job() }
  }

  func randomNumber() -> UInt64 { core.shared.environment.randomness.next() }

  // MARK: - What became of transactions

  /// What is prepared at this process's stores and not decided.
  package var inDoubt: [(member: Member, doubt: InDoubt)] {
    participants.values.sorted { $0.member.id < $1.member.id }
      .flatMap { driver in driver.inDoubt.map { (driver.member, $0) } }
  }

  package func outcome(of transaction: TransactionID) throws(DatabaseError) -> CoordinatorKnowledge {
    for driver in participants.values {
      switch try driver.recordedOutcome(of: transaction) {
      case .committed(let timestamp): return .committed(timestamp)
      case .aborted: return .aborted
      case nil: continue
      }
    }
    guard let driver = coordinators[transaction.coordinator] else { return .unknown }
    return try driver.outcome(of: transaction)
  }

  /// Decides a transaction by hand at every store where it is in doubt.
  ///
  /// - Returns: at how many stores it was.
  package func force(
    _ transaction: TransactionID, _ outcome: Outcome, _ reply: @escaping @Sendable (Result<Int, DatabaseError>) -> Void
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
