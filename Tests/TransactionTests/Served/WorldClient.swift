import RoostCausality
import RoostCluster
import TestSupport
import Testing

@testable import RoostTransactions

/// A program that is no node, and asks the nodes of a ``RemoteWorld``. Used by one thread.
final class WorldClient: @unchecked Sendable {
  typealias Answer = Guarded<Result<ClientAnswer, DatabaseError>?>

  let world: RemoteWorld
  let number: NodeID
  private let transport: any NodeTransport
  private var begun: UInt64 = 0
  private var numbers: [TransactionID: UInt64] = [:]

  init(_ world: RemoteWorld, number: UInt64 = 1_000) {
    self.world = world
    self.number = NodeID(rawValue: number)
    transport = world.messages.transport(of: self.number)
  }

  /// Asks a node; the answer comes as things happen.
  func send(
    _ statement: ClientStatement, at index: Int = 0, seconds: UInt64 = 60
  ) -> Answer {
    let answer = Answer(nil)
    transport.request(
      NodeMessage(kind: NodeMessageKind.clientStatement, body: statement.encoded()),
      of: world.hosts[index].number, deadline: world.time.monotonicNanoseconds + seconds * 1_000_000_000
    ) { result in
      answer.withLock { answer in
        #expect(answer == nil, "answered twice")
        do throws(DatabaseError) {
          switch result {
          case .success(let bytes):
            answer = .success(
              try ClientAnswer(decoding: try NodeAnswer.decode(bytes), of: statement.transaction))
          case .failure(let error): throw NodeAnswer.failure(error, of: "the node", isWrite: true)
          }
        } catch { answer = .failure(error) }
      }
    }
    return answer
  }

  func wait(_ answer: Answer) throws -> ClientAnswer {
    try world.settle { answer.withLock { $0 != nil } }
    return try answer.withLock { $0! }.get()
  }

  func begin(
    at index: Int = 0, age: TransactionID? = nil, idle: UInt64 = 5_000, duration: UInt64 = 0
  ) throws -> TransactionID {
    begun += 1
    let statement = ClientStatement(
      nil, begun, .begin(age: age, idleMilliseconds: idle, durationMilliseconds: duration))
    guard case .begun(let id) = try wait(send(statement, at: index)) else {
      throw DatabaseError(.corruption, "it was not begun")
    }
    numbers[id] = 0
    return id
  }

  /// The next statement of a transaction.
  func next(_ id: TransactionID, _ operation: ClientStatement.Operation) -> ClientStatement {
    numbers[id, default: 0] += 1
    return ClientStatement(id, numbers[id]!, operation)
  }

  @discardableResult
  func run(
    _ id: TransactionID, _ operation: ClientStatement.Operation, at index: Int = 0
  ) throws -> ClientAnswer {
    try wait(send(next(id, operation), at: index))
  }

  @discardableResult
  func put(_ id: TransactionID, _ name: String, _ value: String, at index: Int = 0) throws -> ClientAnswer {
    try run(id, .put(Array(name.utf8), Array(value.utf8), keyspace: "accounts"), at: index)
  }

  func get(
    _ id: TransactionID, _ names: [String], forUpdate: Bool = false, at index: Int = 0
  ) throws -> [String?] {
    let keys = names.map { Array($0.utf8) }
    let read = ClientStatement.Operation.get(keys, keyspace: "accounts", forUpdate: forUpdate)
    guard case .values(let values) = try run(id, read, at: index) else {
      throw DatabaseError(.corruption, "no values came")
    }
    return values.map { $0.map { String(decoding: $0, as: UTF8.self) } }
  }

  func commit(_ id: TransactionID, at index: Int = 0) throws -> TransactionOutcome {
    guard case .ended(let outcome) = try run(id, .commit(isSynced: true), at: index) else {
      throw DatabaseError(.corruption, "no outcome came")
    }
    return outcome
  }

  /// Another question than a statement.
  func ask(_ kind: UInt16, _ body: [UInt8], at index: Int = 0) throws -> [UInt8] {
    let found = Guarded<Result<[UInt8], TransportError>?>(nil)
    transport.request(
      NodeMessage(kind: kind, body: body), of: world.hosts[index].number,
      deadline: world.time.monotonicNanoseconds + 60_000_000_000
    ) { result in found.withLock { $0 = result } }
    try world.settle { found.withLock { $0 != nil } }
    return try NodeAnswer.decode(try found.withLock { $0! }.get())
  }

  /// The node hears that the connection has ended.
  func disconnect(at index: Int = 0) throws { try world.node(index).ended(0, of: number) }
}
