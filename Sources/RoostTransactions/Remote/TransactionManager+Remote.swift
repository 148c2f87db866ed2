import RoostCausality
package import RoostCluster
import RoostEnvironment

// What transactions do beyond this process: who has which key, reads as of a time, outcomes.

extension TransactionManager {
  /// The member that has a partition's transactional keys.
  ///
  /// - Throws: `.unreachable` where it is none of this process, which is alone; `.closed`.
  package func owner(of partition: Int) throws(DatabaseError) -> MemberID {
    guard let node = services.node else { return try core.shared.transactionalOwner(partition).id }
    try core.shared.throwIfClosed()
    return node.transactionalOwner(partition)
  }

  /// The member that does effects on a partition's eventual keys: one that has them, and no other afterwards.
  ///
  /// - Throws: as ``owner(of:)``.
  func effectTarget(_ partition: Int) throws(DatabaseError) -> MemberID {
    guard let node = services.node else { return try core.shared.firstOwner(partition).id }
    return node.effectTarget(partition)
  }

  /// - Throws: `.transactionTooLarge`: what a member is to write is more than a message takes.
  func checkFits(_ writes: [MemberID: [TransactionWrite]]) throws(DatabaseError) {
    guard let node = services.node else { return }
    for (member, writes) in writes where member != node.local.id {
      // Of the lengths and numbers beside key and value.
      let bytes = writes.reduce(0) { $0 + $1.target.key.count + ($1.value?.count ?? 0) + 32 }
      guard bytes <= node.largestTransactionBody else {
        throw DatabaseError(
          .transactionTooLarge,
          "\(bytes) bytes of keys and values for member \(member): a message takes "
            + "\(node.largestTransactionBody)")
      }
    }
  }

  /// - Throws: `.clockOutOfBound`, `.unreachable`: this node runs no transactions.
  func checkMayBegin() throws(DatabaseError) {
    guard let node = services.node else { return }
    guard node.isServing else {
      throw DatabaseError(.unreachable, "another process has this node's store")
    }
    if fence?.isFenced(at: services.monotonicMilliseconds) ?? false {
      throw DatabaseError(
        .clockOutOfBound,
        "this node's clock differs from most of the others' by nearly the bound or more: it begins no "
          + "transaction meanwhile")
    }
  }

  private func header() throws(DatabaseError) -> RemoteHeader {
    let now = try services.instant()
    return RemoteHeader(
      database: core.id, member: services.node?.local.id ?? MemberID(rawValue: 0),
      clockBoundMilliseconds: services.times.clockBoundMilliseconds, timestamp: now.timestamp,
      physicalMilliseconds: now.physicalMilliseconds)
  }

  /// Takes note of the clock of another node's request.
  ///
  /// - Throws: `.clockOutOfBound` where it is too far ahead.
  func observe(_ header: RemoteHeader) throws(DatabaseError) {
    let now = try services.instant()
    guard
      header.physicalMilliseconds <= now.physicalMilliseconds &+ services.times.clockBoundMilliseconds
    else {
      throw DatabaseError(
        .clockOutOfBound,
        "the clock of member \(header.member) is "
          + "\(header.physicalMilliseconds - now.physicalMilliseconds) ms ahead; "
          + "\(services.times.clockBoundMilliseconds) ms are allowed")
    }
    try core.shared.observe(header.timestamp)
  }

  /// Tells another node's coordinator that nothing is locked for it here.
  func refuse(_ envelope: Envelope, _ request: AcquireRequest, _ refusal: Refusal) {
    guard let now = try? services.instant() else { return }
    let message = Message(envelope.message.transaction, .refused(request: request.request, refusal))
    _ = services.transport.send(services.envelope(from: envelope.to, to: envelope.from, message, now))
  }

  // MARK: - Reads as of a time

  /// Reads at another node. `reply` gets `.unreachable`, `.deadlineExceeded`, and what reading there throws.
  func snapshot(
    _ read: TransactionRead, at timestamp: Timestamp, of member: MemberID, from node: ClusterNode,
    _ reply: @escaping @Sendable (Result<ReadAnswer, DatabaseError>) -> Void
  ) {
    do throws(DatabaseError) {
      let request = RemoteRead(try header(), of: member, at: timestamp, read)
      // As long as the read may wait there, and some time on the way.
      let wait = services.times.lockWaitMilliseconds &+ Self.travelMilliseconds
      let deadline = services.monotonicNanoseconds &+ wait &* 1_000_000
      node.ask(NodeMessageKind.transactionRead, request.encoded(), of: member, deadline: deadline) { result in
        do throws(DatabaseError) {
          reply(.success(try RemoteRead.answer(try result.get())))
        } catch {
          // It is another database's process that is closed, not this one.
          let isTheirs = error.code == .closed
          reply(.failure(isTheirs ? DatabaseError(.unreachable, error.message, cause: error.cause) : error))
        }
      }
    } catch { reply(.failure(error)) }
  }

  private static let travelMilliseconds: UInt64 = 1_000

  // MARK: - What became of transactions

  /// What this node knows of a transaction.
  func standing(of transaction: TransactionID) throws(DatabaseError) -> OutcomeStanding {
    let (coordinator, participants) = lock.withLock {
      (state.coordinators[transaction.coordinator], Array(state.participants.values))
    }
    var standing = OutcomeStanding(coordinator: .elsewhere, record: nil, isSettled: true)
    // Before the records: what was settled has made its own.
    for participant in participants where try !participant.isSettled(transaction) {
      standing.isSettled = false
    }
    if let coordinator {
      standing.coordinator =
        switch try coordinator.outcome(of: transaction) {
        case .undecided: .undecided
        case .committed(let timestamp): .committed(timestamp)
        case .aborted: .aborted
        case .noRecord: .noRecord(presumesAbort: coordinator.presumesAbort)
        case .expired: .expired
        }
    }
    for store in stores.all {
      if let record = try store.outcome(of: transaction) { standing.record = record.outcome }
    }
    // After the record: one that is being written may go with this machine, and the asker is another.
    if participants.contains(where: { $0.isWritingOutcome(transaction) }) {
      standing.record = nil
      standing.isSettled = false
    }
    return standing
  }

  /// What became of a transaction, as all nodes know it together; by this process alone where it is of none.
  ///
  /// Asks the other nodes where it is not known here. Where some do not answer, and nobody else knows, it is
  /// undecided. So it is for about twice ``TransactionOptions/longestDuration`` after it began, where only
  /// the absence of a record says that it was aborted.
  ///
  /// - Parameter reply: called once: with what reading records here throws.
  package func outcome(
    of transaction: TransactionID, _ reply: @escaping @Sendable (Result<KnownOutcome, DatabaseError>) -> Void
  ) {
    do throws(DatabaseError) {
      guard let node = services.node else { return reply(.success(try outcome(of: transaction))) }
      let reply: @Sendable (Result<KnownOutcome, DatabaseError>) -> Void = { [self] result in
        reply(result.flatMap { outcome in answered { () throws(DatabaseError) in try shown(outcome) } })
      }
      let own = try standing(of: transaction)
      let others = node.otherMembers
      let alone = OutcomeStanding.joined([own], missing: others.count)
      // Where the coordinator is here and cannot tell, a store may.
      guard alone == .undecided, !others.isEmpty else { return reply(.success(alone)) }
      let question = OutcomeQuestion(try header(), transaction).encoded()
      let gathered = GatheredStandings(own, others.count, reply)
      for member in others {
        node.ask(
          NodeMessageKind.transactionOutcome, question, of: member, deadline: node.requestDeadline
        ) { result in
          gathered.add(try? OutcomeStanding(decoding: result.get()))
        }
      }
    } catch { reply(.failure(error)) }
  }

  /// A commit is told once a snapshot that is taken here after that shows it: not before all clocks have
  /// passed its time.
  private func shown(_ outcome: KnownOutcome) throws(DatabaseError) -> KnownOutcome {
    guard case .committed(let timestamp) = outcome else { return outcome }
    try core.shared.observe(timestamp)
    return services.times.hasPassed(timestamp, at: try services.instant()) ? outcome : .undecided
  }
}

/// Waits for what the other nodes know of a transaction. Thread-safe.
private final class GatheredStandings: @unchecked Sendable {
  private let lock = Lock()
  // Guarded by `lock`.
  private var standings: [OutcomeStanding]
  private var left: Int
  private var missing = 0
  private let reply: @Sendable (Result<KnownOutcome, DatabaseError>) -> Void

  init(
    _ own: OutcomeStanding, _ count: Int,
    _ reply: @escaping @Sendable (Result<KnownOutcome, DatabaseError>) -> Void
  ) {
    standings = [own]
    left = count
    self.reply = reply
  }

  /// - Parameter standing: `nil` of a node that did not answer.
  func add(_ standing: OutcomeStanding?) {
    let result = lock.withLock { () -> KnownOutcome? in
      if let standing { standings.append(standing) } else { missing += 1 }
      left -= 1
      return left == 0 ? OutcomeStanding.joined(standings, missing: missing) : nil
    }
    if let result { reply(.success(result)) }
  }
}
