public import RoostCausality
import RoostCluster
import RoostNetwork
public import RoostStorage
public import RoostTransactions

// Transactions of programs that are no nodes: what `Database` has for those that are.

extension ClusterClient {
  /// How often a transaction that met a conflict is begun anew.
  private static var mostRetries: Int { 50 }
  /// As long as a node keeps a transaction where its options say nothing. That a client is gone it notices
  /// before, by its connection.
  private static var idleTimeout: Duration { .seconds(10) }
  /// For how long one that meets partitions on their way is begun anew, beyond that, in milliseconds.
  private static var moveMilliseconds: UInt64 { 20_000 }

  /// Runs a transaction at the node that the client is connected to, and again where it met another one: as
  /// ``Database/transaction(_:_:)``.
  ///
  /// ```swift
  /// try await client.transaction { txn in
  ///   let a = try await txn.get("A", Int.self, in: "accounts", forUpdate: true) ?? 0
  ///   try await txn.put("A", value: a - 1_000, in: "accounts")
  /// }
  /// ```
  ///
  /// The body may run several times, and must do nothing but by the transaction that cannot be done twice.
  /// Where it throws, or waits for ten seconds between two calls, the transaction is aborted. It is tried
  /// again only where it is certain that nothing of it was done: never once COMMIT was sent and no answer
  /// came.
  ///
  /// - Parameter durability: what the commit must survive; what the node's database does when `nil`. One that
  ///   writes to several nodes, or has effects, is always synced.
  /// - Returns: what the body returned, once it has committed.
  /// - Throws: `.transactionAborted` (tries ended: nothing of it was done); `.outcomeUnknown` (it may or may
  ///   not have committed: ask ``outcome(of:)``, at this node or another, with the id in the message, and do
  ///   not do it again before); `.unreachable`, `.deadlineExceeded`, `.busy`, `.closed` (nothing of it was
  ///   done); what the body throws.
  public func transaction<R: Sendable>(
    _ durability: Durability? = nil, _ body: @Sendable (ClientTransaction) async throws -> R
  ) async throws -> R {
    switch try await tries(durability, body) {
    case .success(let result): return result
    case .failure(let end): throw end.error
    }
  }

  /// Why a transaction was given up; nothing of it was done.
  struct GivenUp: Error {
    let conflict: TransactionConflict
    let tries: Int
    /// Whether the node did not have it any more.
    let isForgotten: Bool

    /// As callers are told.
    var error: DatabaseError {
      DatabaseError(
        conflict.isUnreachable ? .unreachable : .transactionAborted, "\(conflict) (after \(tries) tries)")
    }

    /// Whether a shorter one may do: it took longer than the node allows. Of one that was aborted between two
    /// calls the node knows nothing any more, and the next call fails. What failed otherwise fails again.
    var mayBeTooLong: Bool { conflict.reason == .expired || isForgotten }
  }

  /// The same; tells whoever has to know why it was given up.
  ///
  /// - Throws: as ``transaction(_:_:)``, but for the ends of tries.
  func tries<R: Sendable>(
    _ durability: Durability?, _ body: @Sendable (ClientTransaction) async throws -> R
  ) async throws -> Result<R, GivenUp> {
    var age: TransactionID?
    var attempt = 0
    var moveDeadline: UInt64?
    while true {
      let remote = try await RemoteTransaction.begin(
        client, age: age, idleMilliseconds: Self.milliseconds(Self.idleTimeout), durationMilliseconds: 0)
      age = remote.age
      do {
        let result = try await body(ClientTransaction(remote, codec))
        switch try await remote.commit(isSynced: durability.map { $0 == .synced }) {
        case .committed: return .success(result)
        case .unknown(let id):
          throw DatabaseError(
            .outcomeUnknown,
            "transaction \(id) may or may not have committed: ask outcome(of:) before doing it again")
        case .aborted(let reason): throw TransactionConflict(remote.id, reason)
        }
      } catch let conflict as TransactionConflict where conflict.transaction == remote.id {
        remote.abort()
        let now = client.monotonicMilliseconds
        var isMoving = false
        if conflict.reason == .moving {
          let deadline = moveDeadline ?? now + Self.moveMilliseconds
          moveDeadline = deadline
          isMoving = now < deadline
        }
        guard conflict.isWorthRetrying, isMoving || attempt < Self.mostRetries, !Task.isCancelled else {
          return .failure(
            GivenUp(conflict: conflict, tries: attempt + 1, isForgotten: remote.isForgotten))
        }
        if !isMoving { attempt += 1 }
        await pause(afterAttempt: isMoving ? 5 : attempt)
      } catch {
        remote.abort()
        throw error
      }
    }
  }

  /// Waits before another try: longer with each, and by chance, so that those that met do not meet again.
  private func pause(afterAttempt attempt: Int) async {
    let longest = min(UInt64(1) << UInt64(min(attempt, 7)), 100)
    await client.pause(milliseconds: client.randomNumber() % longest + 1)
  }

  /// Begins a transaction that its caller ends, with ``commit(_:_:)`` or ``abort(_:)``.
  ///
  /// - Parameters:
  ///   - idleTimeout: after how long without a call the node aborts it: 1 ms to a minute.
  ///   - timeout: after how long in any case: 1 ms to ten minutes, and no longer than
  ///     ``TransactionOptions/longestDuration`` at the node, which `nil` stands for.
  /// - Throws: `.invalidArgument`; `.busy` (the connection or the node has too many open),
  ///   `.clockOutOfBound`, `.unreachable`, `.deadlineExceeded`, `.closed`.
  public func begin(
    idleTimeout: Duration = .seconds(10), timeout: Duration? = nil
  ) async throws -> ClientTransaction {
    guard (.milliseconds(1) ... .seconds(60)).contains(idleTimeout),
      timeout.map({ (.milliseconds(1) ... .seconds(600)).contains($0) }) ?? true
    else {
      throw DatabaseError(
        .invalidArgument,
        "an idle timeout of \(idleTimeout), a timeout of \(timeout.map { "\($0)" } ?? "none"): they must be "
          + "1 ms to a minute, and to ten minutes")
    }
    let remote = try await RemoteTransaction.begin(
      client, idleMilliseconds: Self.milliseconds(idleTimeout),
      durationMilliseconds: timeout.map(Self.milliseconds) ?? 0)
    return ClientTransaction(remote, codec)
  }

  /// Of what was checked to be neither negative nor too long.
  private static func milliseconds(_ duration: Duration) -> UInt64 {
    let (seconds, attoseconds) = duration.components
    return UInt64(seconds) * 1_000 + UInt64(attoseconds / 1_000_000_000_000_000)
  }

  /// Commits a transaction.
  ///
  /// - Returns: what became of it. After `.unknown` it may have committed: ask ``outcome(of:)``.
  /// - Throws: `.transactionEnded`; `.transactionTooLarge`, `.invalidArgument` (aborted).
  public func commit(
    _ transaction: ClientTransaction, _ durability: Durability? = nil
  ) async throws -> TransactionOutcome {
    try await transaction.remote.commit(isSynced: durability.map { $0 == .synced })
  }

  /// Ends a transaction without a trace of it; waits for no answer. Nothing happens where it has ended.
  public func abort(_ transaction: ClientTransaction) { transaction.remote.abort() }

  /// What became of a transaction, whichever node coordinated it: as ``Database/outcome(of:)``.
  ///
  /// - Returns: `nil` where it is not known yet, or nobody within the node's reach knows.
  /// - Throws: `.outcomeUnknown` where it ended too long ago to be known any more, or is another database's;
  ///   `.busy` (too many ask at a time), `.storage`, `.unreachable`, `.deadlineExceeded`, `.closed`.
  public func outcome(of id: TransactionID) async throws -> TransactionOutcome? {
    let answer = try await client.ask(
      NodeMessageKind.clientOutcome, ClientOutcome.encode(id), isWrite: false)
    switch try ClientOutcome.answer(answer) {
    case .committed(let timestamp): return .committed(at: timestamp)
    case .aborted(let reason): return .aborted(reason)
    case .undecided: return nil
    case .expired, .noRecord:
      throw DatabaseError(.outcomeUnknown, "nothing is known any more of transaction \(id)")
    }
  }

  /// The transactions that the node's own store has prepared and cannot decide alone.
  ///
  /// - Throws: `.unreachable`, `.deadlineExceeded`, `.closed`.
  public func inDoubt() async throws -> [InDoubtTransaction] {
    let answer = try await client.ask(
      NodeMessageKind.clientDoubts, ClientDoubt.question, isWrite: false)
    return try ClientDoubt.decode(answer).map { doubt in
      InDoubtTransaction(
        id: doubt.transaction, store: doubt.store, since: doubt.since, waitsFor: doubt.waitsFor)
    }
  }

  /// The transactional keyspaces as they are now, or were at a time.
  ///
  /// - Parameter timestamp: as of ``Database/snapshot(at:)``.
  /// - Throws: `.clockOutOfBound`, `.snapshotTooOld`, `.unreachable`, `.deadlineExceeded`, `.busy`,
  ///   `.closed`.
  public func snapshot(at timestamp: Timestamp? = nil) async throws -> ClientSnapshot {
    ClientSnapshot(try await client.moment(timestamp), isFixed: timestamp != nil, client, codec)
  }
}
