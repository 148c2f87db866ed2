import RoostCluster
import RoostEnvironment
import RoostNetwork
import RoostTransactions

/// A transaction at the node that a client is connected to: sends its statements, one after the other.
///
/// Nothing is sent twice. Once a statement has no answer the transaction is over, since nobody knows what the
/// node has done of it: before COMMIT it is aborted, here and, when the node notices, there; with COMMIT
/// under way its outcome is unknown.
///
/// Thread-safe; statements at the same time wait for each other.
final class RemoteTransaction: @unchecked Sendable {
  /// How long an answer to a statement is waited for at least: longer than the node waits for a lock
  /// (``TransactionOptions/lockWait``, five seconds unless the node's program says otherwise), and the way
  /// there and back. So it says itself that it aborted the transaction, which is worth another try.
  private static let shortestWait = Duration.seconds(7)
  /// The same of COMMIT, whose outcome is unknown where the answer comes later: longer than a transaction
  /// lasts (``TransactionOptions/longestDuration``, ten seconds), with what clocks may differ by.
  private static let shortestCommitWait = Duration.seconds(12)

  let id: TransactionID
  /// The first attempt's id: its age among others.
  let age: TransactionID
  private let client: NetworkClient
  private let lock = Lock()
  // Guarded by `lock`.
  private var next: UInt64 = 1
  private var isEnded = false
  private var isKnown = true
  private var isBusy = false
  private var waiting: [CheckedContinuation<Void, Never>] = []

  private init(_ id: TransactionID, age: TransactionID?, _ client: NetworkClient) {
    self.id = id
    self.age = age ?? id
    self.client = client
  }

  deinit {
    // Its caller let go of it: so does the node.
    if !isEnded { Self.tellAbort(id, client) }
  }

  /// - Parameters:
  ///   - idleMilliseconds: after how long without a statement the node aborts it.
  ///   - durationMilliseconds: after how long in any case; 0 for as long as the node allows.
  /// - Throws: `.busy` (the connection or the node has too many), `.clockOutOfBound`, `.unreachable`,
  ///   `.deadlineExceeded`, `.closed`.
  static func begin(
    _ client: NetworkClient, age: TransactionID? = nil, idleMilliseconds: UInt64,
    durationMilliseconds: UInt64
  ) async throws(DatabaseError) -> RemoteTransaction {
    let begin = ClientStatement.Operation.begin(
      age: age, idleMilliseconds: idleMilliseconds, durationMilliseconds: durationMilliseconds)
    let statement = ClientStatement(nil, client.randomNumber() >> 2, begin)
    // Where the answer is lost, the node soon finds the transaction without a statement.
    let bytes = try await client.ask(NodeMessageKind.clientStatement, statement.encoded(), isWrite: false)
    guard case .begun(let id) = try ClientAnswer(decoding: bytes, of: nil) else {
      throw DatabaseError(.corruption, "the node's answer is no beginning of a transaction")
    }
    return RemoteTransaction(id, age: age, client)
  }

  /// Does one statement.
  ///
  /// - Throws: `.transactionEnded`; ``TransactionConflict`` where the node has aborted it; what the node
  ///   answers, after which the transaction goes on; `.unreachable`, `.deadlineExceeded`, `.busy`, `.closed`
  ///   where no answer came, after which it does not.
  func perform(_ operation: ClientStatement.Operation) async throws -> ClientAnswer {
    await enter()
    defer { leave() }
    let statement = ClientStatement(id, try takeNumber(), operation)
    let sent = await client.send(
      NodeMessageKind.clientStatement, statement.encoded(), atLeast: Self.shortestWait)
    switch sent {
    case .failure(let error):
      end(telling: true)
      let cause = client.failure(error, isWrite: false)
      throw DatabaseError(cause.code, "\(cause.message); transaction \(id) is aborted")
    case .success(let bytes):
      let answer: ClientAnswer
      do throws(DatabaseError) {
        answer = try ClientAnswer(decoding: NodeAnswer.decode(bytes), of: id)
      } catch {
        switch error.code {
        case .transactionEnded:
          end(telling: false)
          noteForgotten()
          throw TransactionConflict(id, .failed(error.message))
        case .unreachable, .closed, .corruption, .newerFormat:
          end(telling: true)
          throw error
        case .invalidArgument where error.message.contains(ClientStatement.beforeItsTurn):
          end(telling: true)
          throw error
        default: throw error
        }
      }
      guard case .aborted(let reason) = answer else { return answer }
      end(telling: false)
      throw TransactionConflict(id, reason)
    }
  }

  /// Commits.
  ///
  /// - Returns: what became of it: `.unknown` wherever the node may have begun to commit and has not said how
  ///   that ended.
  /// - Throws: `.transactionEnded`; `.transactionTooLarge`, `.invalidArgument` (aborted).
  func commit(isSynced: Bool?) async throws(DatabaseError) -> TransactionOutcome {
    await enter()
    defer { leave() }
    let statement = ClientStatement(id, try takeNumber(), .commit(isSynced: isSynced))
    // Nothing follows it.
    lock.withLock { isEnded = true }
    let sent = await client.send(
      NodeMessageKind.clientStatement, statement.encoded(), atLeast: Self.shortestCommitWait)
    switch sent {
    case .failure(let error):
      if error.mayHaveArrived { return .unknown(id) }
      Self.tellAbort(id, client)
      return .aborted(.unreachable(client.failure(error, isWrite: false).message))
    case .success(let bytes):
      do throws(DatabaseError) {
        switch try ClientAnswer(decoding: NodeAnswer.decode(bytes), of: id) {
        case .ended(let outcome): return outcome
        case .aborted(let reason): return .aborted(reason)
        case .begun, .values, .entries, .noted: return .unknown(id)
        }
      } catch {
        // The node may have it still, with its locks. What is being committed already no abort ends.
        if error.code != .transactionEnded { Self.tellAbort(id, client) }
        switch error.code {
        // The node says so of what it has not begun to commit.
        case .transactionEnded:
          noteForgotten()
          return .aborted(.failed(error.message))
        case .unreachable, .busy, .closed: return .aborted(.unreachable(error.message))
        case .transactionTooLarge, .invalidArgument: throw error
        default: return .unknown(id)
        }
      }
    }
  }

  /// Whether the node said that it does not have it any more, though it was not ended here.
  var isForgotten: Bool { lock.withLock { !isKnown } }

  private func noteForgotten() { lock.withLock { isKnown = false } }

  /// Lets go of everything; waits for no answer. Nothing after the end.
  func abort() { end(telling: true) }

  private func takeNumber() throws(DatabaseError) -> UInt64 {
    try lock.withLock { () throws(DatabaseError) in
      if isEnded {
        throw DatabaseError(.transactionEnded, "the transaction has committed or was aborted")
      }
      defer { next += 1 }
      return next
    }
  }

  private func end(telling: Bool) {
    let mustTell = lock.withLock {
      defer { isEnded = true }
      return !isEnded && telling
    }
    if mustTell { Self.tellAbort(id, client) }
  }

  private static func tellAbort(_ id: TransactionID, _ client: NetworkClient) {
    // Its number does not matter: it ends what there is.
    client.post(NodeMessageKind.clientStatement, ClientStatement(id, 0, .abort).encoded())
  }

  // MARK: - One at a time

  private func enter() async {
    await withCheckedContinuation { continuation in
      let mayGo = lock.withLock {
        if isBusy { waiting.append(continuation) }
        defer { isBusy = true }
        return !isBusy
      }
      if mayGo { continuation.resume() }
    }
  }

  private func leave() {
    let next = lock.withLock { () -> CheckedContinuation<Void, Never>? in
      isBusy = !waiting.isEmpty
      return waiting.isEmpty ? nil : waiting.removeFirst()
    }
    next?.resume()
  }
}
