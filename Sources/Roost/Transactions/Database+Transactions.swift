public import RoostCausality
import RoostCluster
public import RoostStorage
public import RoostTransactions

/// A transaction was aborted before its end. ``Database/transaction(_:_:)`` tries again; who begins
/// transactions by hand decides.
public struct TransactionConflict: Error, Sendable, CustomStringConvertible {
  public let transaction: TransactionID
  public let reason: AbortReason

  init(_ transaction: TransactionID, _ reason: AbortReason) {
    self.transaction = transaction
    self.reason = reason
  }

  /// Whether another try may go better.
  public var isWorthRetrying: Bool {
    switch reason {
    case .conflict, .deadline, .interrupted, .moving: true
    default: false
    }
  }

  /// Whether a store that it needed is out of reach.
  var isUnreachable: Bool { if case .unreachable = reason { true } else { false } }

  public var description: String { "transaction \(transaction) was aborted: \(reason)" }
}

extension Database {
  /// Runs a transaction, and again where it met another one.
  ///
  /// ```swift
  /// try await database.transaction { txn in
  ///   let a = try await txn.get("A", Int.self, in: accounts, forUpdate: true) ?? 0
  ///   try await txn.put("A", value: a - 1_000, in: accounts)
  /// }
  /// ```
  ///
  /// The body may run several times, and must do nothing but by the transaction that cannot be done
  /// twice. Where it throws, the transaction is aborted and the error passed on.
  ///
  /// - Parameter durability: what the commit must survive; the database's default when `nil`. One that
  ///   writes to several stores, or has effects, is always synced: it could survive in part else.
  /// - Returns: what the body returned, once it has committed.
  /// - Throws: `.transactionAborted` (tries ended: nothing of it was done); `.outcomeUnknown` (it may
  ///   or may not have committed: ask ``outcome(of:)`` with the id in the message, and do not do it
  ///   again before); `.unreachable`, `.closed`; what the body throws.
  public func transaction<R: Sendable>(
    _ durability: Durability? = nil, _ body: @Sendable (Transaction) async throws -> R
  ) async throws -> R {
    let manager = try await transactions()
    var age: TransactionID?
    var attempt = 0
    // Waiting for a partition that moves is no try that failed, but it does not last for ever.
    var moveDeadline: UInt64?
    while true {
      let transaction = Transaction(try TransactionCore(manager, age: age), self)
      age = transaction.core.age
      do {
        let result = try await body(transaction)
        switch try await commit(transaction, durability) {
        case .committed: return result
        case .unknown(let id):
          throw DatabaseError(
            .outcomeUnknown,
            "transaction \(id) may or may not have committed: ask outcome(of:) before doing it again")
        case .aborted(let reason): throw TransactionConflict(transaction.id, reason)
        }
      } catch let conflict as TransactionConflict where conflict.transaction == transaction.id {
        transaction.core.abort()
        var isMoving = false
        if conflict.reason == .moving {
          let deadline = moveDeadline ?? manager.moveDeadline
          moveDeadline = deadline
          isMoving = manager.isBefore(deadline)
        }
        guard conflict.isWorthRetrying, isMoving || attempt < manager.options.mostRetries, !Task.isCancelled
        else {
          throw DatabaseError(
            node != nil && conflict.isUnreachable ? .unreachable : .transactionAborted,
            "\(conflict) (after \(attempt + 1) tries)")
        }
        if !isMoving { attempt += 1 }
        try await manager.pause(afterAttempt: isMoving ? 5 : attempt)
      } catch {
        transaction.core.abort()
        throw error
      }
    }
  }

  /// Begins a transaction that its caller ends, with ``commit(_:_:)`` or ``abort(_:)``.
  ///
  /// - Throws: `.closed`, `.busy` (too many are open), `.clockOutOfBound`.
  public func begin() async throws -> Transaction {
    Transaction(try TransactionCore(try await transactions()), self)
  }

  /// Commits a transaction.
  ///
  /// - Returns: what became of it. After `.unknown` it may have committed: ask ``outcome(of:)``.
  /// - Throws: `.transactionEnded`; `.unreachable` (aborted: a store it wrote to is not open).
  public func commit(
    _ transaction: Transaction, _ durability: Durability? = nil
  ) async throws -> TransactionOutcome {
    let isSynced = (durability ?? core.options.durability) == .synced
    // An actor's other callers would wait as well.
    let mayWait = isOnNoActor()
    let result: Result<TransactionOutcome, DatabaseError> = await handedOver { handOver in
      do throws(DatabaseError) {
        try transaction.core.commit(isSynced: isSynced, mayWait: mayWait) { handOver(.success($0)) }
      } catch { handOver(.failure(error)) }
    }
    return try result.get()
  }

  /// Ends a transaction without a trace of it. Nothing happens where it has ended.
  public func abort(_ transaction: Transaction) { transaction.core.abort() }

  /// What became of a transaction. At a node of a cluster, of any node's: the others are asked.
  ///
  /// - Returns: `nil` where it is not known yet, or nobody within reach knows. At a node of a cluster that
  ///   may be so for about twice ``TransactionOptions/longestDuration`` after it began, where its coordinator
  ///   stopped before it had decided.
  /// - Throws: `.outcomeUnknown` where it ended too long ago to be known any more, or is another
  ///   database's; `.busy` (too many ask at a time), `.storage`, `.closed`.
  public func outcome(of id: TransactionID) async throws -> TransactionOutcome? {
    let manager = try await transactions()
    let result: Result<KnownOutcome, DatabaseError> = await handedOver { handOver in
      manager.outcome(of: id, handOver)
    }
    switch try result.get() {
    case .committed(let timestamp): return .committed(at: timestamp)
    case .aborted(let reason): return .aborted(reason)
    case .undecided: return nil
    case .expired, .noRecord:
      throw DatabaseError(
        .outcomeUnknown, "nothing is known any more of transaction \(id): outcomes are kept for "
          + "\(manager.options.outcomeRetention)")
    }
  }

  /// The transactions that a store of this process has prepared and cannot decide alone: they hold their
  /// locks until whom they wait for is back.
  public func inDoubt() async throws -> [InDoubtTransaction] {
    try await transactions().inDoubt.map { member, doubt in
      InDoubtTransaction(
        id: doubt.transaction, store: member.path, since: doubt.since,
        waitsFor: doubt.waitsFor.map { describe($0) })
    }
  }

  private func describe(_ endpoint: Endpoint) -> String {
    switch endpoint {
    case .coordinator(let id): "the coordinator \(id)"
    case .participant(let member):
      core.presentMembers.first { $0.id == member }?.path ?? "the store \(member)"
    }
  }

  /// Decides a transaction that is in doubt by hand, where its coordinator will never come back.
  ///
  /// Dangerous: where another store decided otherwise, the transaction is done in part for ever. The
  /// decision is logged as a warning and kept (``forcedOutcomes()``); a coordinator that comes back with
  /// another one is answered with a warning too.
  ///
  /// - Returns: at how many stores it was in doubt.
  /// - Throws: `.storage`, `.closed`.
  @discardableResult
  public func forceOutcome(of id: TransactionID, committedAt timestamp: Timestamp?) async throws -> Int {
    let manager = try await transactions()
    let result: Result<Int, DatabaseError> = await handedOver { handOver in
      let outcome = timestamp.map { Outcome.committed($0) } ?? .aborted
      manager.force(id, outcome, handOver)
    }
    return try result.get()
  }
}

extension Database {
  /// What was decided by hand (``forceOutcome(of:committedAt:)``) in the stores that are open. Kept for good.
  ///
  /// - Throws: `.corruption` (names the key), `.storage`, `.closed`.
  public func forcedOutcomes() async throws -> [ForcedOutcome] {
    let manager = try await transactions()
    return try await blocking { () throws(DatabaseError) -> [ForcedOutcome] in
      try manager.forcedDecisions().map { member, id, record in
        let committed: Timestamp? = if case .committed(let time) = record.outcome { time } else { nil }
        return ForcedOutcome(
          id: id, store: member.path, committedAt: committed, decided: record.recorded)
      }
    }
  }
}

/// What an operator decided of a transaction in one store.
public struct ForcedOutcome: Sendable, Hashable {
  public let id: TransactionID
  /// The directory of the store.
  public let store: String
  /// The commit time that the operator gave; `nil` of an abort.
  public let committedAt: Timestamp?
  /// When it was decided, by the store's clock.
  public let decided: Timestamp
}

/// Whether the caller runs on no actor.
// Not inlined: the optimiser of Swift 6.3 fails on it.
@inline(never)
private func isOnNoActor(_ isolation: (any Actor)? = #isolation) -> Bool { isolation == nil }

/// A transaction that a store cannot decide.
public struct InDoubtTransaction: Sendable, Hashable {
  public let id: TransactionID
  /// The directory of the store.
  public let store: String
  /// Since when, by the store's clock.
  public let since: Timestamp
  /// Whom the store has asked.
  public let waitsFor: [String]
}
