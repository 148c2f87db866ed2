import RoostCausality
import RoostCluster
import RoostEnvironment

/// A node's end of what clients ask about transactions: does each statement and answers.
///
/// A statement is begun on a worker, since it may wait for a disk, and so is each of its reads; it ends on
/// whatever thread brings what it waited for. Thread-safe.
final class ClientService: Sendable {
  typealias Manager = @Sendable () throws(DatabaseError) -> TransactionManager

  private let node: ClusterNode
  let served: ServedTransactions
  private let workers: any Workers
  private let readLimits: ClientReadLimits

  init(_ node: ClusterNode, _ limits: ServedLimits) {
    self.node = node
    served = ServedTransactions(node, limits)
    workers = node.core.shared.environment.makeWorkers()
    let largest = node.largestTransactionBody
    readLimits = ClientReadLimits(pageBytes: min(1 << 20, largest / 2), valueBytes: largest)
  }

  /// - Parameter manager: opens the node's transactions where nobody has used them yet.
  func receive(_ message: ReceivedMessage, _ manager: @escaping Manager) {
    let isStatement = message.message.kind == NodeMessageKind.clientStatement
    if isStatement, let id = ClientStatement.transaction(in: message.message.body) {
      // Not idle, however long the statement waits for a thread.
      served.arrived(id, ServedTransactions.Connection(message))
    }
    // Transactions hold locks: nobody's reads and questions keep their statements waiting.
    run(isStatement ? .urgent : .background) { [weak self] in self?.handle(message, manager) }
  }

  /// A client's connection has ended.
  func ended(_ connection: UInt64, of node: NodeID) {
    run(.urgent) { [weak self] in
      self?.served.ended(ServedTransactions.Connection(node: node, number: connection))
    }
  }

  /// As ``ServedTransactions/close(waits:)``.
  func close(waits: Bool) { served.close(waits: waits) }

  /// Ends the threads: no message comes any more.
  func shutdown() { workers.shutdown() }

  private func run(_ lane: WorkLane, _ job: @escaping @Sendable () -> Void) {
    workers.submit(lane, job)
    // Where workers have no threads of their own (the simulator's).
    while workers.runOneHere() {}
  }

  private func handle(_ message: ReceivedMessage, _ manager: Manager) {
    do throws(DatabaseError) {
      guard node.isServing else { throw DatabaseError(.unreachable, "another process has this node's store") }
      let body = message.message.body
      // Only a statement changes anything here that somebody else comes to know of.
      if message.isCancelled, message.message.kind != NodeMessageKind.clientStatement {
        throw DatabaseError.tooLate
      }
      switch message.message.kind {
      case NodeMessageKind.clientStatement:
        try perform(try ClientStatement(decoding: body), message, manager)
      case NodeMessageKind.clientMoment:
        let wish = try ClientMoment(decoding: body).time
        try counted(message) { answer throws(DatabaseError) in
          answer(.success(ClientMoment.encode(try manager().moment(wish))))
        }
      case NodeMessageKind.clientRead: try read(try ClientRead(decoding: body), message, manager)
      case NodeMessageKind.clientOutcome: try tell(try ClientOutcome.decode(body), message, manager)
      case NodeMessageKind.clientDoubts:
        try ClientDoubt.checkQuestion(body)
        let doubts = node.core.mayHaveTransactions ? doubts(try manager()) : []
        answer(message, .success(ClientDoubt.encode(doubts)))
      default:
        message.answer(
          .failure(TransportError(.failed, "there are no messages of kind \(message.message.kind)")))
      }
    } catch { answer(message, .failure(error)) }
  }

  private func answer(_ message: ReceivedMessage, _ result: Result<[UInt8], DatabaseError>) {
    message.answer(NodeAnswer.encode(result))
  }

  /// Counts a client's call in until it is answered.
  private func counted(
    _ message: ReceivedMessage,
    _ body: (@escaping @Sendable (Result<[UInt8], DatabaseError>) -> Void) throws(DatabaseError) -> Void
  ) throws(DatabaseError) {
    try node.enterClient()
    let call = CountedCall(node, message)
    let answer: @Sendable (Result<[UInt8], DatabaseError>) -> Void = { call.answer($0) }
    do throws(DatabaseError) { try body(answer) } catch { answer(.failure(error)) }
  }

  // MARK: - Transactions

  private func perform(
    _ statement: ClientStatement, _ message: ReceivedMessage, _ manager: Manager
  ) throws(DatabaseError) {
    let connection = ServedTransactions.Connection(message)
    guard let id = statement.transaction else {
      guard case .begin(let age, let idle, let duration) = statement.operation else { return }
      return try counted(message) { answer throws(DatabaseError) in
        let id = try served.begin(
          statement.number, age: age, idle: idle, duration: duration, of: connection, try manager(),
          isCancelled: { message.isCancelled })
        answer(.success(ClientAnswer.begun(id).encoded()))
      }
    }
    if case .abort = statement.operation {
      // Whatever its number: it ends what there is, and does nothing twice.
      served.abort(id, .requested, of: connection)
      return answer(message, .success(ClientAnswer.noted.encoded()))
    }
    let core = try served.take(statement, of: id, connection)
    if case .commit(let isSynced) = statement.operation { return commit(core, isSynced, message) }
    // Who does not wait for one statement does not wait for the next.
    message.onCancel { [weak self] in
      self?.run(.urgent) { [weak self] in self?.served.abort(id, .requested) }
    }
    let reply: StatementReply = { [served] result in
      if case .failure(.aborted) = result { served.remove(id) }
      served.finish(id)
      message.answer(NodeAnswer.encode(Self.encoded(result)))
    }
    do throws(DatabaseError) { try perform(statement.operation, core, reply) } catch {
      reply(.failure(.failed(error)))
    }
  }

  private static func encoded(
    _ result: Result<ClientAnswer, StatementFailure>
  ) -> Result<[UInt8], DatabaseError> {
    switch result {
    case .success(let answer): .success(answer.encoded())
    case .failure(let failure): failure.answer.map { $0.encoded() }
    }
  }

  private func perform(
    _ operation: ClientStatement.Operation, _ core: TransactionCore, _ reply: @escaping StatementReply
  ) throws(DatabaseError) {
    let manager = core.manager
    switch operation {
    case .get(let keys, let keyspace, let forUpdate):
      let targets = try references(keys, in: keyspace, manager)
      let reader = LockingReader(core: core, forUpdate: forUpdate)
      KeysRead(targets, reader, readLimits, on: workers, reply).begin()
    case .scan(let start, let end, let limit, let keyspace):
      let ranges = try manager.ranges(from: start, to: end, in: keyspace)
      RangeRead(ranges, limit: limit, LockingReader(core: core), readLimits, on: workers, reply).begin()
    case .put(let key, let value, let keyspace):
      try core.write(try manager.reference(key, in: keyspace), value)
      reply(.success(.noted))
    case .delete(let key, let keyspace):
      try core.write(try manager.reference(key, in: keyspace), nil)
      reply(.success(.noted))
    case .effect(let change, let key, let keyspace):
      let (id, partition) = try manager.effectPlace(of: key, in: keyspace)
      try core.add(keyspace: id, key, partition: partition, change)
      reply(.success(.noted))
    case .begin, .commit, .abort:
      // They have ways of their own.
      reply(.success(.noted))
    }
  }

  private func references(
    _ keys: [[UInt8]], in keyspace: String, _ manager: TransactionManager
  ) throws(DatabaseError) -> [KeyReference] {
    guard keys.count <= served.limits.keysPerRead else {
      throw DatabaseError(
        .invalidArgument, "\(keys.count) keys in one read; \(served.limits.keysPerRead) are the most")
    }
    var targets: [KeyReference] = []
    for key in keys { targets.append(try manager.reference(key, in: keyspace)) }
    return targets
  }

  private func commit(_ core: TransactionCore, _ isSynced: Bool?, _ message: ReceivedMessage) {
    let id = core.id
    let isSynced = isSynced ?? (node.core.options.durability == .synced)
    do throws(DatabaseError) {
      try core.commit(isSynced: isSynced) { [served] outcome in
        served.remove(id)
        message.answer(NodeAnswer.encode(.success(ClientAnswer.ended(outcome).encoded())))
        served.answeredCommit()
      }
    } catch {
      // Nothing was begun of it.
      core.abort()
      served.remove(id)
      answer(message, .failure(error))
      served.answeredCommit()
    }
  }

  // MARK: - Beside transactions

  private func read(
    _ request: ClientRead, _ message: ReceivedMessage, _ manager: Manager
  ) throws(DatabaseError) {
    try counted(message) { answer throws(DatabaseError) in
      let manager = try manager()
      let reader = TimeReader(
        manager: manager, time: request.time,
        deadline: min(manager.readDeadline, message.deadline / 1_000_000),
        isCancelled: { message.isCancelled })
      let reply: StatementReply = { answer(Self.encoded($0)) }
      switch request.what {
      case .keys(let keys):
        let targets = try references(keys, in: request.keyspace, manager)
        KeysRead(targets, reader, readLimits, on: workers, reply).begin()
      case .range(let start, let end, let limit):
        let ranges = try manager.ranges(from: start, to: end, in: request.keyspace)
        RangeRead(ranges, limit: limit, reader, readLimits, on: workers, reply).begin()
      }
    }
  }

  private func tell(
    _ id: TransactionID, _ message: ReceivedMessage, _ manager: Manager
  ) throws(DatabaseError) {
    guard node.core.mayHaveTransactions else {
      return answer(message, .success(ClientOutcome.encode(answer: .expired)))
    }
    try manager().outcome(of: id) { result in
      message.answer(NodeAnswer.encode(result.map { ClientOutcome.encode(answer: $0) }))
    }
  }

  private func doubts(_ manager: TransactionManager) -> [ClientDoubt] {
    manager.inDoubt.map { member, doubt in
      ClientDoubt(
        doubt.transaction, in: member.path, since: doubt.since,
        waitsFor: doubt.waitsFor.map { manager.name(of: $0) })
    }
  }
}

/// A client's call that is counted in until it is answered: at the latest when nobody can answer it any more,
/// as the job that would have was dropped by workers that were shut down. Thread-safe.
private final class CountedCall: @unchecked Sendable {
  private let node: ClusterNode
  private let message: ReceivedMessage
  private let lock = Lock()
  // Guarded by `lock`.
  private var isAnswered = false

  init(_ node: ClusterNode, _ message: ReceivedMessage) {
    self.node = node
    self.message = message
  }

  deinit { answer(.failure(DatabaseError(.closed, "the database is closed"))) }

  /// Answers, the first time.
  func answer(_ result: Result<[UInt8], DatabaseError>) {
    let isFirst = lock.withLock {
      defer { isAnswered = true }
      return !isAnswered
    }
    guard isFirst else { return }
    node.leaveClient()
    message.answer(NodeAnswer.encode(result))
  }
}
