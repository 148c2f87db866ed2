import RoostCausality
import RoostCluster
import RoostTransactions

/// A transaction of a client at a node, by events: what the client asks for is done by the node's own
/// transactions, and what it is told is in the history. Used by one thread.
final class TransactionRun: @unchecked Sendable {
  private enum State { case unbegun, open, committing, over }

  /// In the history.
  let number: Int
  private let world: SimulatedWorld
  let host: SimulatedHost
  private let process: HostProcess?
  private var core: TransactionCore?
  private var state = State.unbegun
  /// Why its commit was refused.
  private(set) var reason: AbortReason?

  /// - Parameter client: of several that act at a time.
  init(_ world: SimulatedWorld, at host: SimulatedHost, client: Int) {
    self.world = world
    self.host = host
    process = host.process
    world.hasTransactions = true
    number = world.history.beginTransaction(node: host.index, client: client, at: world.nanoseconds)
  }

  deinit {
    // Nobody commits it any more: its stores are told by the end of the other object.
    if state == .unbegun || state == .open {
      world.history.endTransaction(number, .aborted("let go of"), at: world.nanoseconds)
    }
  }

  var isOpen: Bool { state == .open }
  /// Once it has begun.
  var id: TransactionID? { core?.id }
  /// Of its first attempt.
  var age: TransactionID? { core?.age }

  /// - Parameter age: the first attempt's, where this is another.
  func begin(age: TransactionID? = nil, _ done: @escaping TransactionReply<Void>) {
    ask(done) { [self] process, reply in
      let core = try TransactionCore(try process.manager(), age: age)
      self.core = core
      state = .open
      world.history.note(number) { $0.id = core.id }
      reply(.success(()))
    }
  }

  // MARK: - Reading and writing

  /// - Parameter isList: whether the value is a list, as the history has it.
  func read(
    _ key: String, forUpdate: Bool, isList: Bool = false, _ done: @escaping TransactionReply<String?>
  ) {
    let noted: TransactionReply<String?> = { [self] result in
      if case .success(let value) = result {
        note(RecordedTransaction.Operation(kind: .read, key: key, value: value, isList: isList))
      }
      done(result)
    }
    ask(noted) { [self] process, reply in
      let core = try opened()
      let target = try process.reference(key)
      let (own, owner) = try core.look(target)
      if let own { return reply(.success(own.map { String(decoding: $0, as: UTF8.self) })) }
      let lock = forUpdate ? LockTarget.exclusive(target) : .shared(target)
      core.manager.acquire(core.id, at: owner, [lock], .keys([target])) { result in
        switch result {
        case .success(let answer):
          reply(.success(answer.entries.first.map { String(decoding: $0.value, as: UTF8.self) }))
        case .failure(let aborted): reply(.failure(.aborted(aborted.reason)))
        }
      }
    }
  }

  /// Writes a value at the commit; `nil` deletes.
  ///
  /// - Parameter element: what this appends, where the value is a list.
  func write(_ key: String, _ value: String?, appending element: String? = nil) throws {
    try attempt { [self] process in
      try opened().write(try process.reference(key), value.map { Array($0.utf8) })
    }
    note(
      RecordedTransaction.Operation(
        kind: element.map { .append($0) } ?? .write, key: key, value: value, isList: element != nil))
  }

  /// Adds to a counter of the eventual keyspace, once it has committed.
  func increment(_ key: String, by amount: Int64) throws {
    try attempt { [self] process in
      guard let node = process.node,
        let entry = node.core.keyspaceEntries.first(where: { $0.name == SimulatedWorld.keyspace })
      else { throw TransactionFailure.lost }
      try opened().add(
        keyspace: entry.id, Array(key.utf8), partition: try process.partition(of: key),
        .increment(amount))
    }
    world.history.note(number) { $0.effects.append((key, amount)) }
  }

  // MARK: - The end

  /// - Parameter done: told what became of it, as far as the node says so.
  func commit(_ done: @escaping @Sendable (RecordedTransaction.Outcome) -> Void) {
    guard state == .open else { return done(.aborted("it is over")) }
    state = .committing
    world.history.note(number) { $0.hasAskedToCommit = true }
    let ended: TransactionReply<TransactionOutcome> = { [self] result in
      state = .over
      if case .success(.aborted(let reason)) = result { self.reason = reason }
      let outcome: RecordedTransaction.Outcome =
        switch result {
        case .success(.committed(let time)): .committed(time)
        case .success(.aborted(let reason)): .aborted("\(reason)")
        case .success(.unknown): .unknown("its node does not know")
        // Nothing was asked of the stores.
        case .failure(.failed(let error)): .aborted("\(error.code)")
        case .failure(let failure): .unknown(failure.text)
        }
      world.history.endTransaction(number, outcome, at: world.nanoseconds)
      done(outcome)
    }
    process?.ask(ended) { [self] _, reply in
      guard let core else { throw TransactionFailure.lost }
      try core.commit(isSynced: true) { reply(.success($0)) }
    }
  }

  /// Lets go of everything. Nothing after the end.
  func abort(_ reason: String = "by its client") {
    guard state == .open || state == .unbegun else { return }
    state = .over
    // A process that is gone has let go of it.
    if let process, process.isAlive { core?.abort() }
    world.history.endTransaction(number, .aborted(reason), at: world.nanoseconds)
  }

  // MARK: - The parts

  private func opened() throws -> TransactionCore {
    guard let core, state == .open else {
      throw DatabaseError(.transactionEnded, "the transaction has committed or was aborted")
    }
    return core
  }

  private func note(_ operation: RecordedTransaction.Operation) {
    if state == .open { world.history.note(number) { $0.operations.append(operation) } }
  }

  /// A failure of any but a commit ends the transaction.
  private func ask<Value: Sendable>(
    _ done: @escaping TransactionReply<Value>,
    _ body: @escaping @Sendable (HostProcess, @escaping TransactionReply<Value>) throws -> Void
  ) {
    let noted: TransactionReply<Value> = { [self] result in
      if case .failure(let failure) = result { abort(failure.text) }
      done(result)
    }
    guard let process else {
      return noted(.failure(.failed(DatabaseError(.unreachable, "the node does not run"))))
    }
    process.ask(noted, body)
  }

  /// Does at the node what it does at once.
  private func attempt(_ body: (HostProcess) throws -> Void) throws {
    do {
      guard let process, process.isAlive else { throw TransactionFailure.lost }
      try body(process)
    } catch {
      abort((error as? DatabaseError).map { "\($0.code)" } ?? TransactionFailure.lost.text)
      throw error
    }
  }
}
