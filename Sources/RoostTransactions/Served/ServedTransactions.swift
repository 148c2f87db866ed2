import RoostCluster
import RoostEnvironment

// Transactions of programs that are no nodes. The node that such a program is connected to coordinates them,
// and holds what a caller in its own process would: the buffer of writes, and where it has been.
//
// 1. `begin` finds a place for the transaction, and answers with its id: so whoever loses the connection
//    later can ask any node what became of it.
// 2. Statements come one after the other, each with the next number. One that comes twice, or from another
//    connection, is refused and changes nothing.
// 3. The transaction is aborted when its connection ends, when no statement came for so long as it said at
//    its begin, when its time is over, and when nobody waits for a statement's answer any more.
// 4. From COMMIT on none of this ends it: it commits or aborts as any other, whether or not somebody still
//    waits for the answer.

/// The transactions that a node runs for its clients. Thread-safe.
final class ServedTransactions: @unchecked Sendable {
  /// How often is looked for transactions whose time is over.
  private static let sweepMilliseconds: UInt64 = 100

  struct Connection: Hashable {
    var node: NodeID
    var number: UInt64

    init(_ message: ReceivedMessage) { self.init(node: message.from, number: message.connection) }

    init(node: NodeID, number: UInt64) {
      self.node = node
      self.number = number
    }
  }

  private struct Open {
    let core: TransactionCore
    let connection: Connection
    /// The client's number of its begin.
    let begin: UInt64
    let idleMilliseconds: UInt64
    /// When it is over in any case, by the monotonic clock, in milliseconds.
    let deadline: UInt64
    var idleUntil: UInt64
    /// The number of the statement to come.
    var next: UInt64 = 1
    /// Whether a statement is under way.
    var isBusy = false
    var isCommitting = false
    /// That it keeps, with those of the statement under way.
    var bytes = 0
  }

  let node: ClusterNode
  let limits: ServedLimits
  private let lock = Lock()
  private let answered: Condition
  // Guarded by `lock`.
  private var open: [TransactionID: Open] = [:]
  /// The numbers of the begins of what is open or is about to be.
  private var begins: [Connection: Set<UInt64>] = [:]
  private var count = 0
  private var byteCount = 0
  /// COMMITs that were taken and not answered yet.
  private var commitCount = 0
  /// Begins that were refused, and statements for which there was no room.
  private var refusedCount: UInt64 = 0
  private var isSweeping = false
  private var isClosed = false

  init(_ node: ClusterNode, _ limits: ServedLimits) {
    self.node = node
    self.limits = limits
    answered = Condition(lock)
  }

  /// How many are open.
  var openCount: Int { lock.withLock { open.count } }

  /// The same, and how often one was refused.
  var figures: (open: Int, refused: UInt64) { lock.withLock { (open.count, refusedCount) } }

  private var now: UInt64 { node.core.shared.environment.time.monotonicNanoseconds / 1_000_000 }

  // MARK: - The begin

  /// - Throws: `.busy` (too many are open), `.invalidArgument` (begun already), and as
  ///   ``TransactionManager/begin(age:)``.
  func begin(
    _ number: UInt64, age: TransactionID?, idle: UInt64, duration: UInt64, of connection: Connection,
    _ manager: TransactionManager, isCancelled: () -> Bool
  ) throws(DatabaseError) -> TransactionID {
    try reserve(number, of: connection)
    let core: TransactionCore
    do throws(DatabaseError) { core = try TransactionCore(manager, age: age) } catch {
      lock.withLock {
        refusedCount += 1
        release(number, of: connection)
      }
      throw error
    }
    let now = now
    let longest = manager.services.times.durationMilliseconds
    let idle = max(1, min(idle, limits.longestIdleMilliseconds))
    let entry = Open(
      core: core, connection: connection, begin: number, idleMilliseconds: idle,
      deadline: now &+ (duration == 0 ? longest : min(duration, longest)), idleUntil: now &+ idle)
    let isLate = lock.withLock {
      if isClosed {
        release(number, of: connection)
        return true
      }
      open[core.id] = entry
      return false
    }
    // A connection that ends from now on finds it.
    if isLate || isCancelled() {
      abort(core.id, .requested)
      core.abort()
      throw DatabaseError(.closed, "nobody waits for the transaction any more")
    }
    sweepLater(manager)
    return core.id
  }

  private func reserve(_ number: UInt64, of connection: Connection) throws(DatabaseError) {
    try lock.withLock { () throws(DatabaseError) in
      if isClosed { throw DatabaseError(.closed, "the database is closed") }
      let own = begins[connection, default: []]
      if own.contains(number) {
        throw DatabaseError(.invalidArgument, "the transaction was begun already: its begin came twice")
      }
      guard own.count < limits.perConnection else {
        refusedCount += 1
        throw DatabaseError(
          .busy, "the connection has \(limits.perConnection) transactions open, and may have no more")
      }
      guard count < limits.total else {
        refusedCount += 1
        throw DatabaseError(.busy, "the node has \(limits.total) transactions of clients open already")
      }
      begins[connection, default: []].insert(number)
      count += 1
    }
  }

  /// With the lock held.
  private func release(_ number: UInt64, of connection: Connection) {
    guard begins[connection]?.remove(number) != nil else { return }
    if begins[connection]?.isEmpty == true { begins[connection] = nil }
    count -= 1
  }

  // MARK: - Statements

  /// Takes the next statement of a transaction; ``finish(_:)`` or ``remove(_:)`` follows, and of COMMIT
  /// ``answeredCommit()``.
  ///
  /// - Parameter bytes: that it adds to what is kept.
  /// - Throws: `.transactionEnded` (it is not here, or is another connection's), `.invalidArgument` (not the
  ///   next one), `.busy` (too much is kept for clients: the statement was not done, and the transaction can
  ///   go on).
  func take(
    _ statement: ClientStatement, of id: TransactionID, _ connection: Connection
  ) throws(DatabaseError) -> TransactionCore {
    let now = now
    return try lock.withLock { () throws(DatabaseError) in
      guard var entry = open[id], entry.connection == connection else {
        throw DatabaseError(
          .transactionEnded,
          "the node does not have the transaction \(id): it was without a statement for too long, or took "
            + "too long, or its connection has ended")
      }
      guard statement.number == entry.next, !entry.isBusy else {
        throw DatabaseError(
          .invalidArgument,
          statement.number < entry.next
            ? "statement \(statement.number) of transaction \(id) has come twice: it is done once"
            : "statement \(statement.number) of transaction \(id) \(ClientStatement.beforeItsTurn): "
              + (entry.isBusy ? "another is under way" : "\(entry.next) is the next"))
      }
      entry.next += 1
      let bytes = statement.keptBytes
      guard bytes == 0 || byteCount + bytes <= limits.bytes else {
        entry.idleUntil = now &+ entry.idleMilliseconds
        open[id] = entry
        refusedCount += 1
        throw DatabaseError(
          .busy, "the node keeps \(byteCount) bytes for clients' transactions; \(limits.bytes) are the most")
      }
      byteCount += bytes
      entry.bytes += bytes
      entry.isBusy = true
      if case .commit = statement.operation {
        entry.isCommitting = true
        commitCount += 1
      }
      open[id] = entry
      return entry.core
    }
  }

  /// A statement has come, and will be taken.
  func arrived(_ id: TransactionID, _ connection: Connection) {
    let now = now
    lock.withLock {
      guard let entry = open[id], entry.connection == connection else { return }
      open[id]?.idleUntil = now &+ entry.idleMilliseconds
    }
  }

  /// A statement was answered: the next may come.
  func finish(_ id: TransactionID) {
    let now = now
    lock.withLock {
      guard var entry = open[id] else { return }
      // A write takes the place of an earlier one of its key; of a statement that failed nothing is kept.
      let kept = entry.core.byteCount
      byteCount += kept - entry.bytes
      entry.bytes = kept
      entry.isBusy = false
      entry.idleUntil = now &+ entry.idleMilliseconds
      open[id] = entry
    }
  }

  /// It has ended: its place is free.
  func remove(_ id: TransactionID) { lock.withLock { _ = strike(id) } }

  /// A COMMIT is answered, whatever became of it.
  func answeredCommit() {
    lock.withLock {
      commitCount -= 1
      answered.broadcast()
    }
  }

  /// With the lock held.
  private func strike(_ id: TransactionID) -> TransactionCore? {
    guard let entry = open.removeValue(forKey: id) else { return nil }
    release(entry.begin, of: entry.connection)
    byteCount -= entry.bytes
    return entry.core
  }

  // MARK: - The end

  /// Aborts a transaction, unless it is being committed.
  ///
  /// - Parameter connection: that has to have it; any where `nil`.
  func abort(_ id: TransactionID, _ reason: AbortReason, of connection: Connection? = nil) {
    let core = lock.withLock { () -> TransactionCore? in
      guard let entry = open[id], !entry.isCommitting, connection.map({ $0 == entry.connection }) ?? true
      else { return nil }
      return strike(id)
    }
    core?.abort(reason)
  }

  /// A connection has ended: so do its transactions.
  func ended(_ connection: Connection) {
    abortAll(.requested) { $0.connection == connection }
  }

  /// How long closing waits for the COMMITs in hand.
  private static let closingMilliseconds: UInt64 = 2_000

  /// Begins nothing more, and aborts what is not being committed.
  ///
  /// - Parameter waits: whether this thread waits until the COMMITs in hand are answered, two seconds at the
  ///   longest. Other nodes have to be heard meanwhile.
  func close(waits: Bool = false) {
    lock.withLock { isClosed = true }
    abortAll(.requested) { _ in true }
    guard waits else { return }
    let time = node.core.shared.environment.time
    let deadline = time.monotonicNanoseconds &+ Self.closingMilliseconds &* 1_000_000
    lock.withLock {
      while commitCount > 0, time.monotonicNanoseconds < deadline {
        _ = time.wait(on: answered, untilMonotonicNanoseconds: deadline)
      }
    }
  }

  private func abortAll(_ reason: AbortReason, where condition: (Open) -> Bool) {
    let cores = lock.withLock {
      open.filter { !$0.value.isCommitting && condition($0.value) }.keys.sorted().compactMap { strike($0) }
    }
    for core in cores { core.abort(reason) }
  }

  private func sweepLater(_ manager: TransactionManager) {
    let mustSet = lock.withLock {
      if isSweeping || isClosed || open.isEmpty { return false }
      isSweeping = true
      return true
    }
    guard mustSet else { return }
    let isSet = manager.services.timers.schedule(
      atMonotonicMilliseconds: now &+ Self.sweepMilliseconds
    ) { [weak self, weak manager] in
      guard let self, let manager else { return }
      lock.withLock { isSweeping = false }
      sweep()
      sweepLater(manager)
    }
    if !isSet { lock.withLock { isSweeping = false } }
  }

  /// Aborts what is without a statement for too long, or took too long.
  private func sweep() {
    let now = now
    abortAll(.expired) { now >= $0.deadline || (!$0.isBusy && now >= $0.idleUntil) }
  }
}
