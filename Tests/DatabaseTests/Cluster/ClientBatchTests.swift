import RoostCausality
import RoostCluster
import RoostEnvironment
import RoostNetwork
import RoostTransactions
import TestSupport
import Testing

@testable import Roost

/// Many keys at a time, at a node that answers as a test says, over TCP on loopback.
// Budget: 5 s
@Suite(.ownThreads, .timeLimit(.minutes(30))) struct ClientBatchTests {
  /// How a node says that a transaction was too much, or has failed.
  enum Refusal: Sendable {
    case expired, forgotten, tooLarge, expiredAtCommit, forgottenAtCommit, tooLargeAtCommit
    case failed, failedAtCommit

    static let tooMuch: [Refusal] = [
      .expired, .forgotten, .tooLarge, .expiredAtCommit, .forgottenAtCommit, .tooLargeAtCommit,
    ]

    var isAtCommit: Bool {
      [.expiredAtCommit, .forgottenAtCommit, .tooLargeAtCommit, .failedAtCommit].contains(self)
    }
  }

  /// Has `accounts`, of which a transaction may write 30 keys, and eventual keyspaces, where reads of keys
  /// that begin with `k` wait. Thread-safe.
  private final class FakeNode: NodeMessageHandler, Sendable {
    static let most = 30

    struct Seen {
      /// All that came for single keys, in order.
      var requests: [KeyRequest] = []
      var begins: UInt64 = 0
      /// Keys that open transactions write.
      var open: [TransactionID: [[UInt8]]] = [:]
      /// Those of transactions that committed.
      var committed: [[[UInt8]]] = []
      var waiting: [ReceivedMessage] = []
    }

    let network: Network
    let seen = Guarded(Seen())
    private let refusal: Refusal

    init(_ refusal: Refusal = .expired) throws {
      self.refusal = refusal
      var options = NetworkOptions()
      options.threads = 1
      network = try Network.start(
        NetworkIdentity(cluster: "music", database: nil, node: NodeID(rawValue: 9)),
        at: try NodeAddress("127.0.0.1:0"), tls: .plainOnLoopback, options, .posix())
      network.attach(self)
    }

    func receive(_ message: ReceivedMessage) {
      let body = message.message.body
      if message.message.kind == NodeMessageKind.key {
        guard let request = try? KeyRequest(decoding: body) else { return message.answer([9]) }
        let waits = seen.withLock { (seen: inout Seen) -> Bool in
          seen.requests.append(request)
          guard request.operation == .get, request.keyspace != "accounts", request.key[0] == UInt8(ascii: "k")
          else { return false }
          seen.waiting.append(message)
          return true
        }
        if waits { return }
        guard request.keyspace == "accounts" else { return Self.answerNothing(message) }
        return message.answer(NodeAnswer.encode(.failure(DatabaseError(.wrongPolicy, "transactional"))))
      }
      guard let statement = try? ClientStatement(decoding: body) else { return message.answer([9]) }
      switch reply(to: statement) {
      case .success(let answer): message.answer(NodeAnswer.encode(.success(answer.encoded())))
      case .failure(let error): message.answer(NodeAnswer.encode(.failure(error)))
      }
    }

    /// Says that the key was never written.
    private static func answerNothing(_ message: ReceivedMessage) {
      let answer = KeyAnswer(context: CausalContext(binding: 0, vector: VersionVector()))
      message.answer(NodeAnswer.encode(.success(answer.encoded())))
    }

    private func reply(to statement: ClientStatement) -> Result<ClientAnswer, DatabaseError> {
      seen.withLock { (seen: inout Seen) -> Result<ClientAnswer, DatabaseError> in
        guard let id = statement.transaction else {
          seen.begins += 1
          let id = TransactionID(
            start: Timestamp(milliseconds: 1_000 + seen.begins), coordinator: CoordinatorID(rawValue: 7))
          seen.open[id] = []
          return .success(.begun(id))
        }
        switch statement.operation {
        case .put(let key, _, _):
          let keys = seen.open[id, default: []] + [key]
          seen.open[id] = keys
          return keys.count > Self.most && !refusal.isAtCommit ? refused(atCommit: false) : .success(.noted)
        case .commit:
          let keys = seen.open.removeValue(forKey: id) ?? []
          if keys.count > Self.most { return refused(atCommit: true) }
          seen.committed.append(keys)
          return .success(.ended(.committed(at: Timestamp(milliseconds: 5))))
        default: return .success(.noted)
        }
      }
    }

    private func refused(atCommit: Bool) -> Result<ClientAnswer, DatabaseError> {
      switch refusal {
      case .expired, .expiredAtCommit: .success(atCommit ? .ended(.aborted(.expired)) : .aborted(.expired))
      case .forgotten, .forgottenAtCommit: .failure(DatabaseError(.transactionEnded, "it is not here"))
      case .tooLarge, .tooLargeAtCommit: .failure(DatabaseError(.transactionTooLarge, "too much"))
      case .failed, .failedAtCommit:
        .success(atCommit ? .ended(.aborted(.failed("no space"))) : .aborted(.failed("no space")))
      }
    }

    /// Answers the reads that wait.
    func release() {
      let waiting = seen.withLock { (seen: inout Seen) -> [ReceivedMessage] in
        defer { seen.waiting = [] }
        return seen.waiting
      }
      for message in waiting { Self.answerNothing(message) }
    }

    func close() async { await withCheckedContinuation { done in network.close { done.resume() } } }
  }

  /// Runs `body` with a client of a node, and closes both.
  private func withClient(
    of node: FakeNode, _ body: (ClusterClient) async throws -> Void
  ) async throws {
    let client = try ClusterClient(
      to: try #require(node.network.address).description, cluster: "music", tls: .plainOnLoopback,
      timeout: Patience.limit)
    let result: Result<Void, any Error>
    do { result = .success(try await body(client)) } catch { result = .failure(error) }
    await client.close()
    await node.close()
    try result.get()
  }

  private func entry(_ key: String) -> (key: [UInt8], value: [UInt8]) { (key: Array(key.utf8), value: [1]) }

  @Test(arguments: Refusal.tooMuch)
  func `a transaction that was too much is tried with fewer keys`(refusal: Refusal) async throws {
    let node = try FakeNode(refusal)
    let entries = (0..<100).map { entry("a\($0)") }
    try await withClient(of: node) { client in
      try await client.multiPut(entries, in: "accounts")
      // By now the client knows what the keyspace is, and how much may be written.
      try await client.multiPut(Array(entries.prefix(30)), in: "accounts")
    }
    let seen = node.seen.withLock { $0 }
    #expect(seen.committed.map(\.count) == [25, 25, 25, 25, 25, 5])
    #expect(seen.committed.flatMap { $0 } == (entries + entries.prefix(30)).map(\.key))
    #expect(seen.begins == 7)
    #expect(seen.requests.count == 1, "it is asked once of which kind the keyspace is")
  }

  @Test(arguments: [Refusal.failed, .failedAtCommit])
  func `a transaction that failed is not tried with fewer keys`(refusal: Refusal) async throws {
    let node = try FakeNode(refusal)
    let entries = (0..<100).map { entry("a\($0)") }
    try await withClient(of: node) { client in
      let error = await #expect(throws: DatabaseError.self) {
        try await client.multiPut(entries, in: "accounts")
      }
      #expect(error?.code == .transactionAborted)
    }
    let seen = node.seen.withLock { $0 }
    #expect(seen.begins == 1 && seen.committed.isEmpty)
  }

  @Test func `what is cancelled between its read and its write is not written`() async throws {
    let node = try FakeNode()
    let entries = ["first", "k1", "k2", "k3"].map(entry)
    try await withClient(of: node) { client in
      await #expect(throws: CancellationError.self) {
        try await withThrowingTaskGroup(of: Void.self) { group in
          group.addTask { try await client.multiPut(entries, in: "posts") }
          try await poll("reads that wait") { node.seen.withLock { $0.waiting.count } == 3 }
          group.cancelAll()
          node.release()
          try await group.waitForAll()
        }
      }
    }
    let requests = node.seen.withLock { $0.requests }
    #expect(requests.count == 5)
    #expect(requests.filter(\.isWrite).map(\.key) == [entries[0].key])
  }

  @Test func `nothing is asked for a task that was cancelled`() async throws {
    let node = try FakeNode()
    let entries = ["a", "b", "c"].map(entry)
    try await withClient(of: node) { client in
      for keyspace in ["accounts", "posts"] {
        await #expect(throws: CancellationError.self) {
          try await withThrowingTaskGroup(of: Void.self) { group in
            group.cancelAll()
            group.addTask { try await client.multiPut(entries, in: keyspace) }
            try await group.waitForAll()
          }
        }
        await #expect(throws: CancellationError.self) {
          try await withThrowingTaskGroup(of: Void.self) { group in
            group.cancelAll()
            group.addTask { _ = try await client.multiGet(entries.map(\.key), in: keyspace) }
            try await group.waitForAll()
          }
        }
      }
    }
    let seen = node.seen.withLock { $0 }
    #expect(seen.requests.isEmpty && seen.begins == 0)
  }
}
