import RoostCluster
public import RoostTransactions

/// A transaction was aborted before its end. ``SimulatedWorld/transaction(at:_:)`` tries again.
public struct SimulatedConflict: Error, Sendable, CustomStringConvertible {
  /// `nil` where it was not begun.
  public let transaction: TransactionID?
  public let reason: AbortReason

  /// Whether another try may go better.
  var isWorthRetrying: Bool {
    switch reason {
    case .conflict, .deadline, .interrupted, .moving: true
    default: false
    }
  }

  public var description: String { "the transaction was aborted: \(reason)" }
}

/// A transaction of a simulated cluster, as its client at a node has it: reads lock what they read, writes
/// are done at the commit. Its calls let the world run until they are answered. Used by one thread.
public final class SimulatedTransaction {
  let run: TransactionRun
  private let world: SimulatedWorld
  /// Names it, also after its end.
  public let id: TransactionID

  init(_ run: TransactionRun, _ id: TransactionID, _ world: SimulatedWorld) {
    self.run = run
    self.id = id
    self.world = world
  }

  /// Reads a key, and locks it until the end.
  ///
  /// - Parameter forUpdate: whether against readers too: for whoever is going to write it.
  /// - Returns: the transaction's own write first; `nil` where the key is absent.
  /// - Throws: ``SimulatedConflict`` where the transaction was aborted; `DatabaseError`, as
  ///   `Transaction.get`; ``SimulationError`` where the simulation is at its end.
  public func get(_ key: String, forUpdate: Bool = false) throws -> String? {
    try world.awaited(id) { run.read(key, forUpdate: forUpdate, $0) }
  }

  /// Writes a value, at the commit.
  ///
  /// - Throws: `DatabaseError`, as `Transaction.put`.
  public func put(_ key: String, _ value: String) throws { try told { try run.write(key, value) } }

  /// Deletes a key, at the commit.
  ///
  /// - Throws: as ``put(_:_:)``.
  public func delete(_ key: String) throws { try told { try run.write(key, nil) } }

  /// Adds to a counter of the eventual keyspace, once, after the commit.
  ///
  /// - Throws: as ``put(_:_:)``.
  public func increment(_ key: String, by amount: Int64 = 1) throws {
    try told { try run.increment(key, by: amount) }
  }

  /// Commits it.
  ///
  /// - Returns: what became of it, as far as its node knows. After `.unknown` it may have committed: ask
  ///   ``SimulatedWorld/outcome(of:at:)``.
  /// - Throws: `DatabaseError` with `.transactionEnded` where it was over before; ``SimulationError`` where
  ///   the simulation is at its end.
  public func commit() throws -> TransactionOutcome {
    guard run.isOpen else {
      throw DatabaseError(.transactionEnded, "the transaction has committed or was aborted")
    }
    let outcome = Box<RecordedTransaction.Outcome?>(nil)
    run.commit { outcome.value = $0 }
    try world.run(untilTrue: { outcome.value != nil }, within: .seconds(600))
    switch outcome.value {
    case .committed(let time)?: return .committed(at: time)
    case .aborted(let reason)?: return .aborted(run.reason ?? .failed(reason))
    case .unknown?, .open?: return .unknown(id)
    case nil: throw SimulationError("a commit was never answered: \(id)")
    }
  }

  /// Ends it without a trace. Nothing where it has ended.
  public func abort() { run.abort() }

  private func told(_ body: () throws -> Void) throws {
    do { try body() } catch is TransactionFailure { throw SimulatedWorld.nodeIsGone }
  }
}

extension SimulatedWorld {
  /// The transactional keyspace.
  static let ledger = "ledger"
  static let nodeIsGone = DatabaseError(.unreachable, "the node is gone")
  private static let mostTries = 50
  /// The client that the world's own calls are.
  private static let client = -1

  /// Runs a transaction, and again where it met another one. The transactional keyspace is made by the first
  /// one. Once there were transactions random faults lose no disk and replace no member.
  ///
  /// ```swift
  /// try world.transaction(at: nodes[0]) { transaction in
  ///   let money = try transaction.get("ann", forUpdate: true)
  ///   try transaction.put("ann", "\(Int(money ?? "0")! + 10)")
  /// }
  /// ```
  ///
  /// - Parameter body: may run several times. Where it throws, the transaction is aborted.
  /// - Returns: what the body returned, once it has committed.
  /// - Throws: `DatabaseError` with `.transactionAborted` (nothing of it was done), `.outcomeUnknown` (it may
  ///   have committed), and what beginning it throws; ``SimulationError`` where the simulation is at its end;
  ///   what the body throws.
  @discardableResult
  public func transaction<Result>(
    at node: SimulatedNode, _ body: (SimulatedTransaction) throws -> Result
  ) throws -> Result {
    var age: TransactionID?
    var tries = 0
    while true {
      let transaction = try begin(at: node, age: age)
      age = transaction.run.age
      do {
        let result = try body(transaction)
        switch try transaction.commit() {
        case .committed: return result
        case .unknown(let id):
          throw DatabaseError(.outcomeUnknown, "transaction \(id) may or may not have committed")
        case .aborted(let reason):
          throw SimulatedConflict(transaction: transaction.id, reason: reason)
        }
      } catch let conflict as SimulatedConflict where conflict.transaction == transaction.id {
        transaction.abort()
        tries += 1
        guard conflict.isWorthRetrying, tries < Self.mostTries else {
          throw DatabaseError(.transactionAborted, "\(conflict) (after \(tries) tries)")
        }
        run(for: .milliseconds(1 + below(min(1 << min(tries, 7), 100))))
      } catch {
        transaction.abort()
        throw error
      }
    }
  }

  /// Begins a transaction that its caller ends.
  ///
  /// - Throws: `DatabaseError`, as `Database.begin`, and `.unreachable` where the node does not run;
  ///   ``SimulationError`` where the simulation is at its end.
  public func beginTransaction(at node: SimulatedNode) throws -> SimulatedTransaction {
    try begin(at: node, age: nil)
  }

  private func begin(at node: SimulatedNode, age: TransactionID?) throws -> SimulatedTransaction {
    let run = TransactionRun(self, at: try host(node), client: Self.client)
    try awaited(nil) { run.begin(age: age, $0) }
    guard let id = run.id else { throw SimulationError("a transaction was begun without a name") }
    return SimulatedTransaction(run, id, self)
  }

  /// Reads transactional keys as they are now, all as of one moment.
  ///
  /// - Returns: the values; absent keys have none.
  /// - Throws: `DatabaseError`, as `DatabaseSnapshot.get`; ``SimulationError`` where the simulation is at its
  ///   end.
  public func snapshot(of keys: [String], at node: SimulatedNode) throws -> [String: String] {
    let host = try host(node)
    return try awaited(nil) { done in
      SnapshotRun.begin(keys, at: host, client: Self.client) { done($0.map(\.values)) }
    }
  }

  /// What became of a transaction, as a node says that has asked the others.
  ///
  /// - Returns: `nil` where it is not known yet.
  /// - Throws: `DatabaseError` with `.outcomeUnknown` where it is not known any more, and as
  ///   `Database.outcome`; ``SimulationError`` where the simulation is at its end.
  public func outcome(of id: TransactionID, at node: SimulatedNode) throws -> TransactionOutcome? {
    guard let process = try host(node).process else { throw Self.nodeIsGone }
    let known: KnownOutcome = try awaited(nil) { done in
      process.ask(done) { process, reply in
        try process.manager().outcome(of: id) { reply($0.mapError { .failed($0) }) }
      }
    }
    switch known {
    case .committed(let time): return .committed(at: time)
    case .aborted(let reason): return .aborted(reason)
    case .undecided: return nil
    case .expired, .noRecord:
      throw DatabaseError(.outcomeUnknown, "nothing is known any more of transaction \(id)")
    }
  }

  /// The transactions that a node has prepared and cannot decide alone.
  public func inDoubt(at node: SimulatedNode) throws -> [TransactionID] {
    try host(node).process?.transactions?.current?.inDoubt.map(\.doubt.transaction) ?? []
  }

  /// Begins something, and lets the world run until it is answered.
  ///
  /// - Parameter transaction: which one's call it is.
  func awaited<Value: Sendable>(
    _ transaction: TransactionID?, _ body: (@escaping TransactionReply<Value>) -> Void
  ) throws -> Value {
    let result = Box<Result<Value, TransactionFailure>?>(nil)
    body { result.value = $0 }
    try run(untilTrue: { result.value != nil }, within: .seconds(600))
    switch result.value {
    case .success(let value)?: return value
    case .failure(.aborted(let reason))?:
      throw SimulatedConflict(transaction: transaction, reason: reason)
    case .failure(.failed(let error))?: throw error
    case .failure(.lost)?: throw Self.nodeIsGone
    case nil: throw SimulationError("a call about a transaction was never answered")
    }
  }
}
