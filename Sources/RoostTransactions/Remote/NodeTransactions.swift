import RoostCausality
package import RoostCluster
import RoostEnvironment

/// The transactions of a node of a cluster: opened when they are first needed, here or by another node, and
/// told what other nodes send.
///
/// A message is handled on a worker, and counts against what its sender may have under way until it is: so a
/// node that is behind holds the others back. What cannot be handled is dropped: whoever waits sends it
/// again.
///
/// Thread-safe.
package final class NodeTransactions: NodeTransactionHandler, @unchecked Sendable {
  private enum State {
    case unopened
    case opening
    case open(TransactionManager)
    case closed
  }

  package let node: ClusterNode
  private let makeTransport: @Sendable (ClusterNode, UInt64) -> RemoteTransport
  /// Handle messages; reads as of a time and questions have threads of their own.
  private let workers: any Workers
  private let readers: any Workers
  private let clockBoundMilliseconds: UInt64
  private let fence: ClockFence
  /// What programs that are no nodes ask.
  let clients: ClientService
  private let lock = Lock()
  private let changed: Condition
  // Guarded by `lock`.
  private var state = State.unopened
  private var transport: RemoteTransport?
  /// How transactions had ended when they were closed.
  private var endedOutcomes = OutcomeCounts()
  /// Members that were warned of for another bound of the clocks.
  private var strangers: Set<MemberID> = []

  /// Takes the node's messages about transactions from now on; it is held by whoever made it.
  ///
  /// - Parameters:
  ///   - limits: of what is kept for clients.
  ///   - makeTransport: given the bound of the clocks.
  package init(
    _ node: ClusterNode, _ limits: ServedLimits = ServedLimits(),
    makeTransport: @escaping @Sendable (ClusterNode, UInt64) -> RemoteTransport = {
      RemoteTransport($0, clockBoundMilliseconds: $1)
    }
  ) {
    self.node = node
    self.makeTransport = makeTransport
    let environment = node.core.shared.environment
    workers = environment.makeWorkers()
    readers = environment.makeWorkers()
    let times = node.core.options.clusterTimes
    clockBoundMilliseconds = times.clockBoundMilliseconds
    fence = ClockFence(
      boundMilliseconds: clockBoundMilliseconds, lifeMilliseconds: 2 * times.durationMilliseconds
    ) { [weak node] in node?.otherMembers.count ?? 0 }
    clients = ClientService(node, limits)
    changed = Condition(lock)
    node.attach(self)
  }

  /// Opens the transactions where an earlier process may have left some: those in doubt hold their locks, and
  /// what was decided goes on, before anyone asks.
  ///
  /// - Throws: as ``manager()``.
  package func start() throws(DatabaseError) {
    if node.core.mayHaveTransactions { _ = try manager() }
  }

  package var current: TransactionManager? {
    lock.withLock { if case .open(let manager) = state { manager } else { nil } }
  }

  /// The node's transactions; opened where nobody has used them yet.
  ///
  /// - Throws: `.closed`; what opening them throws: the next call tries again.
  package func manager() throws(DatabaseError) -> TransactionManager {
    guard let manager = try open(waits: true) else {
      throw DatabaseError(.busy, "the transactions are being opened")
    }
    return manager
  }

  /// - Parameter waits: whether to wait for another thread that opens them; `nil` is returned else.
  private func open(waits: Bool) throws(DatabaseError) -> TransactionManager? {
    lock.lock()
    while case .opening = state, waits { changed.wait() }
    switch state {
    case .open(let manager):
      lock.unlock()
      return manager
    case .opening:
      lock.unlock()
      return nil
    case .closed:
      lock.unlock()
      throw DatabaseError(.closed, "the database is closed")
    case .unopened: state = .opening
    }
    let transport = self.transport ?? makeTransport(node, clockBoundMilliseconds)
    self.transport = transport
    lock.unlock()
    // Not with the lock held: what is in doubt asks other nodes at once, and their answers come here.
    do throws(DatabaseError) {
      // Before the first one: from then on what moves needs the word of whoever has it.
      if !node.core.mayHaveTransactions { try node.noteTransactions() }
      let manager = try TransactionManager(node.core, transport: transport, node, fence)
      let isLate = lock.withLock {
        defer { changed.broadcast() }
        if case .closed = state { return true }
        state = .open(manager)
        return false
      }
      guard isLate else { return manager }
      try manager.close()
      throw DatabaseError(.closed, "the database is closed")
    } catch {
      lock.withLock {
        if case .opening = state { state = .unopened }
        changed.broadcast()
      }
      throw error
    }
  }

  /// Ends all transactions, before the node is closed: those of clients first, of which COMMITs in hand are
  /// waited for, two seconds at the longest. Closing twice does nothing.
  ///
  /// - Parameter waits: as there; and whether COMMITs are waited for.
  /// - Throws: as ``TransactionManager/close(waits:)``.
  package func close(waits: Bool = true) throws(DatabaseError) {
    // Before the state is: until they are answered other nodes' votes are needed.
    clients.close(waits: waits)
    let (manager, wasClosed): (TransactionManager?, Bool) = lock.withLock {
      defer {
        state = .closed
        changed.broadcast()
      }
      switch state {
      case .open(let manager): return (manager, false)
      case .closed: return (nil, true)
      case .unopened, .opening: return (nil, false)
      }
    }
    if wasClosed { return }
    // What is decided is told, and acknowledged, as far as it comes at once.
    let failure = answered { () throws(DatabaseError) in try manager?.close(waits: waits) }
    if let outcomes = manager?.figures.outcomes { lock.withLock { endedOutcomes = outcomes } }
    node.attach(nil)
    workers.shutdown()
    readers.shutdown()
    clients.shutdown()
    try failure.get()
  }

  package var figures: TransactionFigures {
    let (manager, outcomes) = lock.withLock { () -> (TransactionManager?, OutcomeCounts) in
      if case .open(let manager) = state { (manager, endedOutcomes) } else { (nil, endedOutcomes) }
    }
    var figures = manager?.figures ?? TransactionFigures()
    if manager == nil { figures.outcomes = outcomes }
    (figures.clientsOpen, figures.clientsRefused) = clients.served.figures
    return figures
  }

  package func opened() throws(DatabaseError) -> (any NodeTransactionMoves)? { try open(waits: false) }

  // MARK: - What other nodes say

  package func heard(_ sign: NodeSign, of member: MemberID) {
    tell(fence.heard(sign, of: member, at: monotonicMilliseconds))
  }

  package func ended(_ connection: UInt64, of node: NodeID) { clients.ended(connection, of: node) }

  package func receive(_ message: ReceivedMessage) {
    switch message.message.kind {
    case NodeMessageKind.transaction:
      workers.submit(.urgent) { [weak self] in
        self?.take(message)
        message.finished()
      }
    case NodeMessageKind.transactionRead:
      readers.submit(.urgent) { [weak self] in self?.read(message) }
    case NodeMessageKind.transactionOutcome:
      readers.submit(.background) { [weak self] in self?.answerQuestion(message) }
    case NodeMessageKind.clientTransactions:
      clients.receive(message) { [weak self] () throws(DatabaseError) in
        guard let self else { throw DatabaseError(.closed, "the database is closed") }
        return try manager()
      }
    default:
      message.answer(
        .failure(TransportError(.failed, "there are no messages of kind \(message.message.kind)")))
    }
    // Where workers have no threads of their own (the simulator's).
    while workers.runOneHere() || readers.runOneHere() {}
  }

  private func take(_ message: ReceivedMessage) {
    do throws(DatabaseError) {
      let remote = try RemoteEnvelope(decoding: message.message.body)
      try check(remote.header, of: message)
      var envelope = remote.envelope
      guard let manager = try openForOthers(), let transport = lock.withLock({ transport }) else { return }
      if remote.header.clockBoundMilliseconds != clockBoundMilliseconds {
        warn(ofBound: remote.header)
        // One that goes by another bound is as good as one whose clock is beyond it: participants refuse it,
        // where they have promised nothing yet.
        if case .participant = envelope.to { envelope.physicalMilliseconds = .max }
      }
      if case .acquire(let request) = envelope.message.body {
        if let refusal = refusal(of: request, envelope) { return manager.refuse(envelope, request, refusal) }
      } else {
        try node.learn(keyspaces: envelope.message.body.keyspaces)
      }
      transport.deliver(envelope, of: remote.header.member)
    } catch {
      // Of one that comes too early, or too late, nobody need hear.
      if [.unreachable, .closed, .busy].contains(error.code) { return }
      node.core.options.warn("a message about a transaction, of node \(message.from), was dropped: \(error)")
    }
  }

  /// Why nothing is locked for another node's transaction, if so.
  private func refusal(of request: AcquireRequest, _ envelope: Envelope) -> Refusal? {
    if fence.isFenced(at: monotonicMilliseconds) { return .clock }
    do throws(DatabaseError) { try node.learn(keyspaces: envelope.message.body.keyspaces) } catch {
      return .failed(error.description)
    }
    return nil
  }

  private func read(_ message: ReceivedMessage) {
    let answer: @Sendable (Result<[UInt8], DatabaseError>) -> Void = { message.answer(NodeAnswer.encode($0)) }
    if message.isCancelled { return answer(.failure(DatabaseError(.deadlineExceeded, "too late"))) }
    do throws(DatabaseError) {
      let request = try RemoteRead(decoding: message.message.body)
      try check(request.header, of: message)
      guard let manager = try openForOthers() else {
        throw DatabaseError(.busy, "the transactions are being opened")
      }
      guard request.header.clockBoundMilliseconds == clockBoundMilliseconds else {
        warn(ofBound: request.header)
        throw DatabaseError(.clockOutOfBound, "the nodes go by different bounds of their clocks")
      }
      try manager.observe(request.header)
      try node.learn(keyspaces: request.read.keyspaces)
      let limit = node.largestTransactionBody
      manager.snapshot(request.read, at: request.time, of: node.local.id) { result in
        if case .failure(let error) = result, error.code == .snapshotTooOld {
          // So that whoever has read nothing yet can ask for a time that is kept.
          let refusal = RemoteReadAnswer.tooOld(clock: manager.core.shared.latestTimestamp, error.message)
          return answer(.success(refusal.encoded()))
        }
        answer(
          result.flatMap { found in
            guard let part = found.fitting(byteCount: limit) else {
              return .failure(DatabaseError(.invalidArgument, "what was read is more than a message takes"))
            }
            if case .keys = request.read, part.entries.count < found.entries.count {
              return .failure(
                DatabaseError(.invalidArgument, "the values of all keys are more than a message takes"))
            }
            return .success(RemoteReadAnswer.found(part).encoded())
          })
      }
    } catch { answer(.failure(error)) }
  }

  private func answerQuestion(_ message: ReceivedMessage) {
    do throws(DatabaseError) {
      let question = try OutcomeQuestion(decoding: message.message.body)
      try check(question.header, of: message)
      guard let manager = try openForOthers() else {
        throw DatabaseError(.busy, "the transactions are being opened")
      }
      manager.standing(of: question.transaction) { result in
        message.answer(NodeAnswer.encode(result.map { $0.encoded() }))
      }
    } catch { message.answer(NodeAnswer.encode(.failure(error))) }
  }

  private func openForOthers() throws(DatabaseError) -> TransactionManager? {
    guard node.isServing else { throw DatabaseError(.unreachable, "the node does not serve its store") }
    return try open(waits: false)
  }

  /// - Throws: `.foreignStore`, `.unreachable`: another database's, or of a process that has not the member's
  ///   store, as far as it is known here.
  private func check(_ header: RemoteHeader, of message: ReceivedMessage) throws(DatabaseError) {
    guard header.database == node.core.id else {
      throw DatabaseError(
        .foreignStore, "the message is of the database \(header.database), not \(node.core.id)")
    }
    guard node.speaks(message.from, for: header.member) else {
      throw DatabaseError(.unreachable, "node \(message.from) is not known to have member \(header.member)")
    }
    // What it says may be false: each message is judged by it, but only what is fresh says something of now.
    tell(
      fence.received(
        header.physicalMilliseconds, of: header.member,
        here: node.core.shared.environment.time.wallClockNanoseconds / 1_000_000, at: monotonicMilliseconds))
  }

  private var monotonicMilliseconds: UInt64 {
    node.core.shared.environment.time.monotonicNanoseconds / 1_000_000
  }

  private func warn(ofBound header: RemoteHeader) {
    let isNews = lock.withLock { strangers.insert(header.member).inserted }
    guard isNews else { return }
    node.core.options.warn(
      "member \(header.member) goes by a clock bound of \(header.clockBoundMilliseconds) ms, this node by "
        + "\(clockBoundMilliseconds) ms: transactions between the two are refused")
  }

  private func tell(_ isFenced: Bool?) {
    guard let isFenced else { return }
    node.core.options.warn(
      isFenced
        ? "this node's clock is apart from most of the others' by nearly \(clockBoundMilliseconds) ms or "
          + "more: it runs no transactions until it is not"
        : "this node's clock is within the bound of most others' again: it runs transactions")
  }
}

extension DatabaseOptions {
  /// The times of the protocol between nodes: clocks always have a bound there, that of the database where
  /// transactions have none of their own.
  var clusterTimes: ProtocolTimes {
    var times = transactions.times
    if times.clockBoundMilliseconds == 0 {
      times.clockBoundMilliseconds = max(1, maximumClockOffset.wholeMilliseconds)
    }
    return times
  }
}

/// The outcome of a call, as a value.
func answered<Value>(_ body: () throws(DatabaseError) -> Value) -> Result<Value, DatabaseError> {
  do throws(DatabaseError) { return .success(try body()) } catch { return .failure(error) }
}
