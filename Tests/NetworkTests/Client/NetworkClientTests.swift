import RoostCausality
import RoostCluster
import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostNetwork

/// A program that asks one node: answers and failures, and waiting for a connection. Over TCP on loopback;
/// the clients' clocks are real, and their deadlines far away where a test does not wait for them.
// Budget: 5 s
@Suite(.endsNodes) struct NetworkClientTests {
  private static let request = KeyRequest(.put([1, 2], timeToLiveMilliseconds: nil), [7], in: "default")
  private static let answer = KeyAnswer(
    context: CausalContext(binding: 5, vector: VersionVector()))

  /// Of clients that dial again soon, and give no node up that is only slow.
  private static var options: NetworkOptions {
    var options = NetworkOptions()
    options.threads = 1
    options.backoff = .milliseconds(5) ... .milliseconds(20)
    options.handshakeTimeout = .seconds(120)
    options.silentHeartbeats = 120
    return options
  }

  /// A client, closed when `body` is done.
  private func withClient<R>(
    of address: NodeAddress, cluster: String = "test", timeout: Duration = .seconds(120),
    _ body: (NetworkClient) async throws -> R
  ) async throws -> R {
    let client = try NetworkClient(
      to: address, cluster: cluster, tls: .plainOnLoopback, timeout: timeout, Self.options,
      environment: .posix())
    let result: Result<R, any Error>
    do { result = .success(try await body(client)) } catch { result = .failure(error) }
    await client.close()
    return try result.get()
  }

  /// What a call of a client failed with.
  private func failure<R>(_ body: () async throws(DatabaseError) -> R) async -> DatabaseError? {
    do {
      _ = try await body()
      return nil
    } catch { return error }
  }

  /// Answers each kind of message as a node would.
  private static func answering(_ result: Result<[UInt8], DatabaseError>) -> TestHandler {
    TestHandler { message in
      message.answer(NodeAnswer.encode(result))
      return true
    }
  }

  @Test func `a client asks whoever answers at an address`() async throws {
    let handler = Self.answering(.success(Self.answer.encoded()))
    let node = try TestNode(2, on: still(), handler)
    let answer = try await withClient(of: try #require(node.network.address)) { client in
      try await client.key(Self.request)
    }
    #expect(answer == Self.answer)
    let message = try handler.messages.wait(count: 1)[0]
    #expect(message.message.kind == NodeMessageKind.key)
    #expect(try KeyRequest(decoding: message.message.body) == Self.request)
  }

  @Test func `each call sends a message of its kind`() async throws {
    let status = NodeStatus(
      cluster: "test", database: TestNode.database, epoch: 3, partitionCount: 16, replicas: 2,
      members: [], keyspaces: [], counters: .init())
    var report = RepairReport()
    report.mended = 7
    let told = report
    let handler = TestHandler { message in
      let body: [UInt8] =
        switch message.message.kind {
        case NodeMessageKind.status: status.encoded()
        case NodeMessageKind.repair: told.encoded()
        default: []
        }
      message.answer(NodeAnswer.encode(.success(body)))
      return true
    }
    let node = try TestNode(2, on: still(), handler)
    try await withClient(of: try #require(node.network.address)) { client in
      try await client.makeKeyspace(KeyspaceRequest(name: "posts", kind: .lastWriterWins))
      #expect(try await client.status() == status)
      #expect(try await client.repair() == told)
    }
    let messages = handler.messages.values.map { $0.message }
    let kinds = [NodeMessageKind.makeKeyspace, NodeMessageKind.status, NodeMessageKind.repair]
    #expect(messages.map { $0.kind } == kinds)
    let asked = try KeyspaceRequest(decoding: messages[0].body)
    #expect(asked == KeyspaceRequest(name: "posts", kind: .lastWriterWins))
  }

  @Test func `what the node answers with is thrown`() async throws {
    let told = DatabaseError(.unknownKeyspace, "there is no keyspace `default`")
    let node = try TestNode(2, on: still(), Self.answering(.failure(told)))
    let error = try await withClient(of: try #require(node.network.address)) { client in
      await failure { () throws(DatabaseError) in try await client.key(Self.request) }
    }
    #expect(error?.code == .unknownKeyspace)
    #expect(error?.message == told.message)
  }

  @Test func `rubbish in place of an answer is corruption`() async throws {
    let handler = TestHandler { message in
      message.answer([9, 9])
      return false
    }
    let node = try TestNode(2, on: still(), handler)
    let error = try await withClient(of: try #require(node.network.address)) { client in
      await failure { () throws(DatabaseError) in try await client.key(Self.request) }
    }
    #expect(error?.code == .corruption)
  }

  @Test func `a request waits for a node that is not up yet`() async throws {
    // A port that nobody else has taken meanwhile, or not yet.
    let first = try TestNode(2, on: still())
    let address = try #require(first.network.address)
    try first.close()
    let answer = try await withClient(of: address) { client in
      async let answer = client.key(Self.request)
      // Refused at least once, and then there.
      let node = try TestNode(
        3, on: still(), Self.answering(.success(Self.answer.encoded())), at: address.description)
      _ = node
      return try await answer
    }
    #expect(answer == Self.answer)
  }

  @Test func `a deadline ends the wait for a connection, with why there is none`() async throws {
    let node = try TestNode(2, on: still())
    let address = try #require(node.network.address)
    try node.close()
    let error = try await withClient(of: address, timeout: .milliseconds(100)) { client in
      await failure { () throws(DatabaseError) in try await client.key(Self.request) }
    }
    // The deadline may also find it while it is being dialled.
    #expect(error?.code == .unreachable || error?.code == .deadlineExceeded)
    #expect(error?.message.contains("\(address)") == true)
    #expect(error?.message.contains("errno") == false)
  }

  /// On a clock that stands still: once dialling has failed, it is not done again.
  @Test func `what waits for a connection is bounded, in messages and in bytes`() throws {
    var options = NetworkOptions()
    options.backoff = .seconds(3_600) ... .seconds(3_600)
    options.queuedMessages = 3
    options.queuedBytes = 2_000
    let bounds = options
    let time = still()
    let node = try TestNode(1, on: time, at: nil) { options in
      options.backoff = bounds.backoff
      options.queuedMessages = bounds.queuedMessages
      options.queuedBytes = bounds.queuedBytes
    }
    // Nobody listens at it.
    node.network.setPeers([.anyone: try NodeAddress("127.0.0.1:1")])
    #expect(try node.lost(.anyone).code == .unreachable)
    let connection = ClientConnection(
      node.network, time, Timers(time, ThreadWorkers(backgroundThreads: 1)), bounds)
    defer { connection.close() }
    /// What is refused is refused within the call.
    func ask(_ byteCount: Int) -> TestNode.Answers {
      let answers = TestNode.Answers()
      let message = NodeMessage(kind: 1, body: [UInt8](repeating: 7, count: byteCount))
      connection.ask(message, for: 30_000_000_000) { answers.add($0) }
      return answers
    }
    func codes(_ answers: TestNode.Answers) -> [TransportError.Code] {
      answers.values.compactMap { $0.failure?.code }
    }

    let first = [1_500, 500].map(ask)
    #expect(codes(ask(1)) == [.overloaded], "2,000 bytes wait")
    let empty = ask(0)
    #expect(codes(ask(0)) == [.overloaded], "three messages wait")
    for answers in first + [empty] { #expect(answers.values.isEmpty) }
    // At their deadlines they make room. One alone may be larger.
    time.advance(byNanoseconds: 31_000_000_000)
    for answers in first + [empty] {
      try answers.wait(count: 1)
      #expect(codes(answers) == [.unreachable])
    }
    let large = ask(5_000)
    #expect(codes(ask(0)) == [.overloaded] && large.values.isEmpty)
    // All that waits goes at once where the node refuses the client.
    connection.saw(.peer(.anyone, .waiting, TransportError(.wrongCluster, "another cluster")))
    #expect(codes(large) == [.wrongCluster])
    let last = [1_500, 500].map(ask)
    for answers in last { #expect(answers.values.isEmpty) }
    connection.saw(.peer(.anyone, .connected, nil))
    #expect(codes(ask(1)) == [.overloaded], "asked anew, and without a connection again, both wait")
    for answers in last { #expect(answers.values.isEmpty) }
  }

  @Test func `a deadline ends the wait for an answer`() async throws {
    let handler = TestHandler()
    let node = try TestNode(2, on: still(), handler)
    let address = try #require(node.network.address)
    let (write, read) = try await withClient(of: address, timeout: .milliseconds(200)) { client in
      let write = await failure { () throws(DatabaseError) in try await client.key(Self.request) }
      let get = KeyRequest(.get, [7], in: "default")
      return (write, await failure { () throws(DatabaseError) in try await client.key(get) })
    }
    // A write that was sent may appear; one that did not get so far in time may not.
    #expect(write?.code == .indeterminate || write?.code == .deadlineExceeded)
    #expect(read?.code == .deadlineExceeded)
    for message in handler.messages.values { message.answer([]) }
  }

  @Test func `a node of another cluster refuses at once`() async throws {
    let node = try TestNode(2, on: still(), cluster: "films")
    let error = try await withClient(of: try #require(node.network.address)) { client in
      await failure { () throws(DatabaseError) in try await client.key(Self.request) }
    }
    #expect(error?.code == .unreachable)
    #expect(error?.message.contains("`films`") == true)
  }

  @Test func `a node that does not handle messages yet says so at once`() async throws {
    var options = NetworkOptions()
    options.threads = 1
    let service = try NodeService.listen(
      as: "test", at: try NodeAddress("127.0.0.1:0"), tls: .plainOnLoopback, options,
      environment: .posix())
    #expect(service.nodeID != .anyone)
    let error = try await withClient(of: service.address) { client in
      await failure { () throws(DatabaseError) in try await client.status() }
    }
    #expect(error?.code == .unreachable)
    #expect(try service.stop(drainingFor: .seconds(60)))
    // Once is enough.
    #expect(try service.stop(drainingFor: .zero))
    #expect(throws: (any Error).self) { try RawConnection(to: service.address) }
  }

  @Test func `closing ends what waits and what is under way`() async throws {
    // Waited for without a thread, which the call may need.
    let (messages, came) = AsyncStream.makeStream(of: ReceivedMessage.self)
    let handler = TestHandler { message in
      came.yield(message)
      return false
    }
    let node = try TestNode(2, on: still(), handler)
    let address = try #require(node.network.address)
    let client = try NetworkClient(
      to: address, cluster: "test", tls: .plainOnLoopback, timeout: .seconds(120), Self.options,
      environment: .posix())
    async let sent = failure { () throws(DatabaseError) in try await client.key(Self.request) }
    var iterator = messages.makeAsyncIterator()
    let message = try #require(await iterator.next())
    await client.close()
    #expect(await sent?.code == .indeterminate)
    #expect(
      await failure { () throws(DatabaseError) in try await client.key(Self.request) }?.code == .closed)
    message.answer([])
  }

  @Test func `an option outside its limits, and plain TCP off loopback, are refused`() throws {
    #expect {
      try NetworkClient(
        to: try NodeAddress("127.0.0.1:1"), cluster: "test", tls: .plainOnLoopback, timeout: .zero,
        environment: .posix())
    } throws: { ($0 as? TransportError)?.code == .invalidOption }
    #expect {
      try NetworkClient(
        to: try NodeAddress("192.0.2.1:7420"), cluster: "test", tls: .plainOnLoopback,
        environment: .posix())
    } throws: { ($0 as? TransportError)?.code == .notSecure }
  }
}
