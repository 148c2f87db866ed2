import RoostCausality
import RoostCluster
import RoostEnvironment
import RoostNetwork
import RoostTransactions
import TestSupport
import Testing

@testable import Roost

/// What a client makes of a node that does not answer, or not as one does, over TCP on loopback.
// Budget: 5 s
@Suite(.ownThreads, .timeLimit(.minutes(30))) struct ClientOutcomeTests {
  /// A node that answers statements as a test says. Thread-safe.
  private final class FakeNode: NodeMessageHandler, Sendable {
    enum Reply {
      case answer(ClientAnswer)
      case failure(DatabaseError.Code)
      case rubbish
      /// The connection ends.
      case cut
    }

    typealias Action = @Sendable (ClientStatement) -> Reply

    let network: Network
    /// All statements that came, in order.
    let statements = Guarded<[ClientStatement]>([])
    private let action: Action
    /// Never answered.
    private let held = Guarded<[ReceivedMessage]>([])

    init(_ action: @escaping Action) throws {
      self.action = action
      var options = NetworkOptions()
      options.threads = 1
      network = try Network.start(
        NetworkIdentity(cluster: "music", database: nil, node: NodeID(rawValue: 9)),
        at: try NodeAddress("127.0.0.1:0"), tls: .plainOnLoopback, options, .posix())
      network.attach(self)
    }

    static func id(_ number: Int) -> TransactionID {
      TransactionID(
        start: Timestamp(milliseconds: 1_000 + UInt64(number)), coordinator: CoordinatorID(rawValue: 7))
    }

    func receive(_ message: ReceivedMessage) {
      guard let statement = try? ClientStatement(decoding: message.message.body) else {
        return message.answer([9])
      }
      let count = statements.withLock { statements in
        statements.append(statement)
        return statements.count
      }
      if case .begin = statement.operation {
        return message.answer(NodeAnswer.encode(.success(ClientAnswer.begun(Self.id(count)).encoded())))
      }
      switch action(statement) {
      case .answer(let answer): message.answer(NodeAnswer.encode(.success(answer.encoded())))
      case .failure(let code): message.answer(NodeAnswer.encode(.failure(DatabaseError(code, "no"))))
      case .rubbish: message.answer([9, 9])
      case .cut:
        held.withLock { $0.append(message) }
        network.close()
      }
    }

    func close() async { await withCheckedContinuation { done in network.close { done.resume() } } }
  }

  /// Runs a transaction of one write at a node, and says what came of it.
  private func outcome(
    _ action: @escaping FakeNode.Action
  ) async throws -> (error: DatabaseError?, statements: [ClientStatement]) {
    let node = try FakeNode(action)
    let client = try ClusterClient(
      to: try #require(node.network.address).description, cluster: "music", tls: .plainOnLoopback,
      timeout: Patience.limit)
    var failure: DatabaseError?
    do {
      try await client.transaction { txn in try await txn.put("A", "1", in: "accounts") }
    } catch { failure = try #require(error as? DatabaseError) }
    await client.close()
    await node.close()
    return (failure, node.statements.withLock { $0 })
  }

  private static func isCommit(_ statement: ClientStatement) -> Bool {
    if case .commit = statement.operation { true } else { false }
  }

  private static func begins(_ statements: [ClientStatement]) -> [TransactionID?] {
    statements.compactMap { statement -> TransactionID?? in
      if case .begin(let age, _, _) = statement.operation { .some(age) } else { nil }
    }
  }

  @Test(arguments: ["the connection ends", "rubbish", "another answer"])
  func `a commit whose answer tells nothing is unknown, and not tried again`(how: String) async throws {
    let (error, statements) = try await outcome { statement in
      guard Self.isCommit(statement) else { return .answer(.noted) }
      return how == "rubbish" ? .rubbish : how == "another answer" ? .answer(.noted) : .cut
    }
    #expect(error?.code == .outcomeUnknown, "\(String(describing: error))")
    #expect(error?.message.contains("\(FakeNode.id(1))") == true, "the id is told")
    #expect(Self.begins(statements) == [nil])
    #expect(statements.count { Self.isCommit($0) } == 1)
  }

  @Test func `a commit that the node says it has not begun was aborted`() async throws {
    let (error, statements) = try await outcome { statement in
      Self.isCommit(statement) ? .failure(.transactionEnded) : .answer(.noted)
    }
    #expect(error?.code == .transactionAborted, "\(String(describing: error))")
    #expect(Self.begins(statements) == [nil])
    let large = try await outcome { statement in
      Self.isCommit(statement) ? .failure(.transactionTooLarge) : .answer(.noted)
    }
    #expect(large.error?.code == .transactionTooLarge)
  }

  @Test func `a commit that the node refuses is let go of there`() async throws {
    let node = try FakeNode { Self.isCommit($0) ? .failure(.invalidArgument) : .answer(.noted) }
    let client = try ClusterClient(
      to: try #require(node.network.address).description, cluster: "music", tls: .plainOnLoopback,
      timeout: Patience.limit)
    let transaction = try await client.begin()
    await #expect(throws: DatabaseError.self) { _ = try await client.commit(transaction) }
    // Behind it on the same connection.
    _ = try await client.begin()
    await client.close()
    await node.close()
    let statements = node.statements.withLock { $0 }
    #expect(statements.contains { $0.transaction == FakeNode.id(1) && $0.operation == .abort })
  }

  @Test func `a connection that ends before the commit is an abort, and not tried again`() async throws {
    let (error, statements) = try await outcome { _ in .cut }
    #expect(error?.code == .unreachable, "\(String(describing: error))")
    #expect(Self.begins(statements) == [nil])
  }

  @Test func `conflicts are tried again under the age of the first try`() async throws {
    let (error, statements) = try await outcome { statement in
      let commits = Self.isCommit(statement)
      if statement.transaction == FakeNode.id(1) { return .answer(.aborted(.conflict)) }
      if !commits { return .answer(.noted) }
      let isSecond = statement.transaction == FakeNode.id(3)
      return .answer(
        .ended(isSecond ? .aborted(.deadline) : .committed(at: Timestamp(milliseconds: 5))))
    }
    #expect(error == nil)
    #expect(Self.begins(statements) == [nil, FakeNode.id(1), FakeNode.id(1)])
    let own = statements.filter { $0.transaction != nil }
    #expect(own.map(\.number) == [1, 1, 2, 1, 2])
    let begun = statements.filter { $0.transaction == nil }
    #expect(Set(begun.map(\.number)).count == 3, "each begin is another")
  }

  @Test func `what is not worth another try is told`() async throws {
    for (reason, code) in [
      (AbortReason.failed("disk"), DatabaseError.Code.transactionAborted), (.expired, .transactionAborted),
      (.unreachable("node 3"), .unreachable),
    ] {
      let (error, statements) = try await outcome { _ in .answer(.aborted(reason)) }
      #expect(error?.code == code, "\(reason): \(String(describing: error))")
      #expect(Self.begins(statements).count == 1)
    }
  }
}
