import RoostCluster
import RoostTransactions

/// Why something that a transaction's client asked for was not done.
enum TransactionFailure: Error, Sendable {
  /// The transaction is over, and has done nothing.
  case aborted(AbortReason)
  case failed(DatabaseError)
  /// The node is gone.
  case lost

  var text: String {
    switch self {
    case .aborted(let reason): "\(reason)"
    case .failed(let error): "\(error.code)"
    case .lost: "the node is gone"
    }
  }
}

typealias TransactionReply<Value> = @Sendable (Result<Value, TransactionFailure>) -> Void

extension HostProcess {
  /// Has the node do something for a client of its transactions, as an event, and tells the client once what
  /// came of it: where the process is gone before, that.
  func ask<Value: Sendable>(
    _ done: @escaping TransactionReply<Value>,
    _ body: @escaping @Sendable (HostProcess, @escaping TransactionReply<Value>) throws -> Void
  ) {
    guard isAlive else { return done(.failure(.lost)) }
    let number = enlist { done(.failure(.lost)) }
    let answer: TransactionReply<Value> = { [weak self] result in
      // Of a process that is about to be found dead nothing is heard.
      guard let self, isAlive, strike(number) else { return }
      done(result)
    }
    let label = EventLabel(kind: .call, from: host.index, to: host.index, detail: ~number)
    host.world.plan(after: UInt64(20_000 + host.world.below(200_000)) * host.slowness, label) { [weak self] in
      guard let self, isAlive else { return }
      do { try body(self, answer) } catch let error as DatabaseError {
        answer(.failure(.failed(error)))
      } catch let failure as TransactionFailure {
        answer(.failure(failure))
      } catch {
        answer(.failure(.failed(DatabaseError(.storage, "\(error)"))))
      }
    }
  }

  /// The node's transactions, which are opened, and the cluster's transactional keyspace, which is made,
  /// where nobody has used them yet.
  func manager() throws -> TransactionManager {
    guard let node, let transactions else { throw TransactionFailure.lost }
    let name = SimulatedWorld.ledger
    if !node.core.keyspaceEntries.contains(where: { $0.name == name }) {
      try node.makeKeyspace(KeyspaceRequest(name: name, kind: .transactional))
    }
    return try transactions.manager()
  }

  /// A key of the transactional keyspace.
  func reference(_ key: String) throws -> KeyReference {
    guard let node,
      let entry = node.core.keyspaceEntries.first(where: { $0.name == SimulatedWorld.ledger })
    else { throw TransactionFailure.lost }
    return KeyReference(
      keyspace: entry.id, partition: try partition(of: key), key: Array(key.utf8))
  }

  /// The same in all keyspaces.
  func partition(of key: String) throws -> Int {
    guard let node else { throw TransactionFailure.lost }
    return try node.keyspace(SimulatedWorld.keyspace).partition(of: Array(key.utf8))
  }
}
