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
  func effectTarget(_ partition: Int, in keyspace: UInt64) throws(DatabaseError) -> MemberID {
    guard let node = services.node else { return try core.shared.firstOwner(partition).id }
    return node.effectTarget(partition, ofFirst: node.replicas(ofKeyspace: keyspace))
  }

  /// Looks whether what a transaction is about to decide can be sent: before anybody is asked to promise it,
  /// since what was decided and cannot be told would never be done.
  ///
  /// - Throws: `.transactionTooLarge`: another member's writes, one of this node's, or an effect, are more
  ///   than a message takes.
  func checkFits(
    _ writes: [MemberID: [TransactionWrite]], _ effects: [EventualEffect]
  ) throws(DatabaseError) {
    guard let node = services.node else { return }
    let limit = node.largestTransactionBody
    for (member, writes) in writes {
      // With the lengths and numbers beside key and value.
      let sizes = writes.map { $0.target.key.count + ($0.value?.count ?? 0) + 32 }
      // What this node keeps travels too once its partition moves, if each by itself.
      let bytes = member == node.local.id ? sizes.max() ?? 0 : sizes.reduce(0, +)
      guard bytes <= limit else {
        throw DatabaseError(
          .transactionTooLarge,
          "\(bytes) bytes of keys and values for member \(member): a message takes \(limit)")
      }
    }
    // Each goes alone, and what this node does itself goes to the other replicas.
    for (index, effect) in effects.enumerated() where effect.byteCount > limit {
      throw DatabaseError(
        .transactionTooLarge,
        "effect \(index), on a key of \(effect.key.count) bytes, has \(effect.byteCount) bytes: a message "
          + "takes \(limit)")
    }
  }

  /// - Throws: this node begins no transactions: `.busy` (not yet: it was admitted, and no partition has come
  ///   to it), `.notAMember`, `.clockOutOfBound`, `.unreachable`.
  func checkMayBegin() throws(DatabaseError) {
    guard let node = services.node else { return }
    guard node.isServing else {
      throw DatabaseError(.unreachable, "another process has this node's store")
    }
    guard node.isInRing else {
      throw DatabaseError(.notAMember, "this node is about to leave the cluster: it begins no transactions")
    }
    guard node.mayCoordinate else {
      throw DatabaseError(
        .busy, "this node was admitted to the cluster, and begins transactions once it has a partition")
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

  /// Reads at another node. `reply` gets `.unreachable`, `.deadlineExceeded`, and what reading there throws;
  /// after `.snapshotTooOld` what ``now()`` gives is not too old for that node.
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
          switch try RemoteReadAnswer(decoding: try result.get()) {
          case .found(let answer): reply(.success(answer))
          case .tooOld(let clock, let text):
            try self.noteAhead(clock)
            throw DatabaseError(.snapshotTooOld, text)
          }
        } catch {
          if error.code == .busy { node.refreshRingSoon() }
          // It is another database's process that is closed, not this one.
          let isTheirs = error.code == .closed
          reply(.failure(isTheirs ? DatabaseError(.unreachable, error.message, cause: error.cause) : error))
        }
      }
    } catch { reply(.failure(error)) }
  }

  private static let travelMilliseconds: UInt64 = 1_000

  // MARK: - What became of transactions

  /// What this node knows of a transaction, once its coordinator, where that is here, has done what was asked
  /// of it before.
  ///
  /// - Parameter reply: called once, on a thread for questions: with `.busy` where too many wait already,
  ///   `.closed`, and what reading records throws.
  func standing(
    of transaction: TransactionID,
    _ reply: @escaping @Sendable (Result<OutcomeStanding, DatabaseError>) -> Void
  ) {
    ask(about: transaction) { [self] in
      reply(answered { () throws(DatabaseError) in try standing(of: transaction) })
    } refuse: { reply(.failure($0)) }
  }

  /// What this node knows of a transaction now.
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
  /// - Parameter reply: called once: with what reading records here throws, with `.busy` where too many
  ///   questions wait already, and with `.closed`.
  package func outcome(
    of transaction: TransactionID, _ reply: @escaping @Sendable (Result<KnownOutcome, DatabaseError>) -> Void
  ) {
    ask(about: transaction) { [self] in find(transaction, reply) } refuse: { reply(.failure($0)) }
  }

  private func find(
    _ transaction: TransactionID, _ reply: @escaping @Sendable (Result<KnownOutcome, DatabaseError>) -> Void
  ) {
    do throws(DatabaseError) {
      guard let node = services.node else { return reply(.success(try outcome(of: transaction))) }
      let reply: @Sendable (Result<KnownOutcome, DatabaseError>) -> Void = { [self] result in
        reply(result.flatMap { outcome in answered { () throws(DatabaseError) in try shown(outcome) } })
      }
      // Where the coordinator is here and cannot tell, a store may. What nobody here knows others may, of
      // whom this node has yet to hear.
      let alone = OutcomeStanding.joined([try standing(of: transaction)], missing: 1)
      guard alone == .undecided else { return reply(.success(alone)) }
      node.refreshingRing { [self] found in
        // Those of the ring that was looked for are all that can have taken a part by now: one that comes
        // later takes none in what is too old.
        let others = node.otherMembers
        var isWhole = true
        if case .failure = found { isWhole = false }
        do throws(DatabaseError) {
          // Once more: one that has left since may have left its records to this node.
          ask(others, of: transaction, try standing(of: transaction), isWhole: isWhole, node, reply)
        } catch { reply(.failure(error)) }
      }
    } catch { reply(.failure(error)) }
  }

  private func ask(
    _ others: [MemberID], of transaction: TransactionID, _ own: OutcomeStanding, isWhole: Bool,
    _ node: ClusterNode, _ reply: @escaping @Sendable (Result<KnownOutcome, DatabaseError>) -> Void
  ) {
    let missing = isWhole ? 0 : 1
    if others.isEmpty { return reply(.success(OutcomeStanding.joined([own], missing: missing))) }
    let question: [UInt8]
    do throws(DatabaseError) { question = OutcomeQuestion(try header(), transaction).encoded() } catch {
      return reply(.failure(error))
    }
    let gathered = GatheredStandings(own, others.count, missing: missing, reply)
    for member in others {
      node.ask(
        NodeMessageKind.transactionOutcome, question, of: member, deadline: node.requestDeadline
      ) { result in
        gathered.add(try? OutcomeStanding(decoding: result.get()))
      }
    }
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
  private var missing: Int
  private let reply: @Sendable (Result<KnownOutcome, DatabaseError>) -> Void

  init(
    _ own: OutcomeStanding, _ count: Int, missing: Int,
    _ reply: @escaping @Sendable (Result<KnownOutcome, DatabaseError>) -> Void
  ) {
    standings = [own]
    left = count
    self.missing = missing
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
