import RoostCausality
import RoostEnvironment
import RoostSimulation
import RoostStorage
import RoostTransactions
import TestSupport

@testable import RoostCluster

/// A transport that keeps messages back when it is told to, so that a test sees what happens in between.
final class HeldTransport: Transport, @unchecked Sendable {
  private let local = LocalTransport()
  private let lock = Lock()
  // Guarded by `lock`.
  private var holds = false
  private var messages: [Envelope] = []
  private var dropping: (@Sendable (Envelope) -> Bool)?

  var isHolding: Bool {
    get { lock.withLock { holds } }
    set { lock.withLock { holds = newValue } }
  }

  /// What is on its way, by kind.
  var held: [String] { lock.withLock { messages.map { $0.message.kind } } }

  /// Which messages are lost.
  var drops: (@Sendable (Envelope) -> Bool)? {
    get { lock.withLock { dropping } }
    set { lock.withLock { dropping = newValue } }
  }

  func send(_ envelope: Envelope) -> Bool {
    if drops?(envelope) ?? false { return true }
    let isHeld = lock.withLock {
      if holds { messages.append(envelope) }
      return holds
    }
    return isHeld || local.send(envelope)
  }

  /// Delivers what is on its way; what that causes is held.
  func deliver() {
    let round = lock.withLock {
      defer { messages = [] }
      return messages
    }
    for envelope in round { _ = local.send(envelope) }
  }

  func attach(_ endpoint: Endpoint, _ receive: @escaping @Sendable (Envelope) -> Void) {
    local.attach(endpoint, receive)
  }

  func detach(_ endpoint: Endpoint) { local.detach(endpoint) }
}

extension Message {
  /// The name of the body's case.
  var kind: String { String("\(body)".prefix { $0 != "(" }) }
}

/// A simulated database of two stores with transactions. One thread runs it: where no message is held,
/// a call is answered before it returns.
final class TransactionWorld: @unchecked Sendable {
  let world: TransferWorld
  let core: DatabaseCore
  let accounts: KeyspaceCore
  let statistics: KeyspaceCore
  let transport = HeldTransport()
  let manager: TransactionManager

  init(_ world: TransferWorld, _ change: (inout DatabaseOptions) -> Void = { _ in }) throws {
    self.world = world
    core = try world.open([0, 1], partitions: 8, change)
    accounts = try core.keyspace("accounts", .transactional)
    statistics = try core.keyspace("statistics", .eventual)
    manager = try TransactionManager(core, transport: transport)
  }

  func close() throws {
    try manager.close()
    try core.close()
  }

  // MARK: - Keys

  func reference(_ name: String) -> KeyReference {
    let key = Array(name.utf8)
    return KeyReference(keyspace: accounts.schemaID, partition: partition(name), key: key)
  }

  private func partition(_ name: String) -> Int {
    Placement.partition(
      ofHash: name.withKeyBytes { Placement.hash($0) }, count: core.shared.partitionCount)
  }

  func owner(_ name: String) throws -> Member { try core.shared.transactionalOwner(partition(name)) }

  /// Two keys in the first store, then one in the other.
  func keys() throws -> (a: String, alsoA: String, b: String) {
    let names = (0..<64).map { "account\($0)" }
    let first = try owner(names[0])
    let same = try names.filter { try owner($0) === first }
    let other = try names.filter { try owner($0) !== first }
    guard same.count > 1, let b = other.first else { throw Mismatch("all keys are in one store") }
    return (same[0], same[1], b)
  }

  // MARK: - Calls

  /// Begins a transaction with these writes, and an effect that adds one to a counter.
  func begin(_ writes: [String: String], counter: String? = nil) throws -> TransactionCore {
    let transaction = try TransactionCore(manager)
    for (name, value) in writes.sorted(by: { $0.key < $1.key }) {
      try transaction.write(reference(name), Array(value.utf8))
    }
    if let counter {
      try transaction.add(
        keyspace: statistics.schemaID, Array(counter.utf8), partition: partition(counter), .increment(1))
    }
    return transaction
  }

  /// Commits, which must be answered at once.
  func commit(_ transaction: TransactionCore, isSynced: Bool = true) throws {
    let answer = Answer<TransactionOutcome>()
    try transaction.commit(isSynced: isSynced) { answer.set($0) }
    guard case .committed? = answer.value else {
      throw Mismatch("the commit was answered with \(String(describing: answer.value))")
    }
  }

  /// The value of a key now. Fails where the read has to wait.
  func value(_ name: String) throws -> String? {
    let answer = Answer<Result<ReadAnswer, DatabaseError>>()
    manager.snapshot(.keys([reference(name)]), at: try manager.now(), of: try owner(name).id) {
      answer.set($0)
    }
    guard let result = answer.value else { throw Mismatch("a read of \(name) waits") }
    return try result.get().entries.first.map { String(decoding: $0.value, as: UTF8.self) }
  }

  func count(_ counter: String) throws -> Int64 {
    try counter.withKeyBytes { key throws(DatabaseError) in
      try statistics.state(key, PNCounter.self)
    }.value()
  }
}

/// What a callback brought, and how often it came. Thread-safe.
final class Answer<Value: Sendable>: @unchecked Sendable {
  private let lock = Lock()
  // Guarded by `lock`.
  private var answers: [Value] = []

  var value: Value? { lock.withLock { answers.first } }
  var all: [Value] { lock.withLock { answers } }
  var count: Int { lock.withLock { answers.count } }

  func set(_ value: Value) { lock.withLock { answers.append(value) } }
}
