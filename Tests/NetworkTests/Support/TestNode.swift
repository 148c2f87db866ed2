import Logging
import RoostCluster
import RoostEnvironment
import RoostSimulation
import TestSupport

@testable import RoostNetwork

/// What a test saw happen, on whatever threads; and waiting for it. Thread-safe.
final class Seen<Value: Sendable>: @unchecked Sendable {
  private let lock = Lock()
  private let changed: Condition
  private var all: [Value] = []

  /// A test that waited so long for something has missed it: it ends instead of hanging.
  struct NeverCame: Error, CustomStringConvertible {
    var description: String
  }

  init() { changed = Condition(lock) }

  var values: [Value] { lock.withLock { all } }

  func add(_ value: Value) {
    lock.withLock {
      all.append(value)
      changed.broadcast()
    }
  }

  /// Waits until the values so far are as wished.
  @discardableResult
  func wait<R>(_ what: String = "", _ wish: ([Value]) -> R?) throws -> R {
    let patience = POSIXTime().monotonicNanoseconds + 300_000_000_000
    lock.lock()
    defer { lock.unlock() }
    while true {
      if let result = wish(all) { return result }
      guard changed.wait(untilMonotonicNanoseconds: patience) else {
        throw NeverCame(description: "never came: \(what); but: \(all)")
      }
    }
  }

  @discardableResult
  func wait(count: Int) throws -> [Value] { try wait("\(count) values") { $0.count >= count ? $0 : nil } }
}

/// A handler that does with each message what a test says.
final class TestHandler: NodeMessageHandler, @unchecked Sendable {
  let messages = Seen<ReceivedMessage>()
  let signs = Seen<NodeSign>()
  /// Numbers of connections that have ended.
  let ends = Seen<UInt64>()
  private let action: @Sendable (ReceivedMessage) -> Bool

  /// - Parameter action: returns whether the message is kept in ``messages``.
  init(_ action: @escaping @Sendable (ReceivedMessage) -> Bool = { _ in true }) { self.action = action }

  /// Answers with the body backwards.
  static func reversing() -> TestHandler {
    TestHandler { message in
      message.answer(message.message.body.reversed())
      return false
    }
  }

  func receive(_ message: ReceivedMessage) { if action(message) { messages.add(message) } }
  func heard(_ sign: NodeSign) { signs.add(sign) }
  func ended(_ connection: UInt64, of node: NodeID) { ends.add(connection) }
}

/// A network with its own handler, on a clock that stands still until told.
final class TestNode: Ending {
  let network: Network
  let handler: TestHandler
  let time: SimulatedTime
  let events = Seen<NetworkEvent>()

  static func id(_ number: UInt64) -> NodeID { NodeID(rawValue: number) }
  static let database = DatabaseID(high: 1, low: 2)

  init(
    _ number: UInt64, on time: SimulatedTime, _ handler: TestHandler = .reversing(), cluster: String = "test",
    database: DatabaseID? = TestNode.database, at address: String? = "127.0.0.1:0",
    tls: TLSOptions = .plainOnLoopback, _ change: (inout NetworkOptions) -> Void = { _ in }
  ) throws {
    var options = NetworkOptions()
    options.threads = 1
    // How long the system may take to connect goes by the machine's clock.
    options.handshakeTimeout = .seconds(60)
    change(&options)
    self.time = time
    self.handler = handler
    network = try Network.start(
      NetworkIdentity(cluster: cluster, database: database, node: Self.id(number)),
      at: try address.map { try NodeAddress($0) }, tls: tls, options,
      Environment(
        fileSystem: POSIXFileSystem(), time: time, randomness: SeededRandomness(seed: number),
        makeWorkers: { ThreadWorkers(backgroundThreads: 1) }),
      logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }))
    network.attach(handler)
    let events = events
    network.observe { events.add($0) }
    KeptAlive.keep(self)
  }

  func end() { network.close() }

  /// Waits until all sockets are closed.
  func close() throws {
    let closed = Seen<Bool>()
    network.close { closed.add(true) }
    try closed.wait(count: 1)
  }

  /// Drains for so long at most.
  func drain(seconds: UInt64) -> Seen<Bool> {
    let drained = Seen<Bool>()
    network.drain(until: time.monotonicNanoseconds + seconds * 1_000_000_000) { drained.add($0) }
    return drained
  }

  /// Says where others listen, and waits for connections to them.
  func meet(_ others: [TestNode]) throws {
    var addresses: [NodeID: NodeAddress] = [:]
    for other in others { addresses[other.network.node] = other.network.address }
    network.setPeers(addresses)
    for other in others where other !== self { try connected(to: other.network.node) }
  }

  func connected(to node: NodeID, times: Int = 1) throws {
    try events.wait("a connection to \(node)") { events in
      let count = events.count { event in
        if case .peer(node, .connected, _) = event { true } else { false }
      }
      return count >= times ? true : nil
    }
  }

  /// Waits for the reason why a connection ended, or did not come about.
  func lost(_ node: NodeID) throws -> TransportError {
    try events.wait("the loss of \(node)") { events in
      for case .peer(node, .waiting, let error?) in events { return error }
      return nil
    }
  }

  /// Waits for the reason why a node does not take up with this one.
  func refused(by node: NodeID) throws -> TransportError {
    let outcome = try events.wait("a refusal by \(node)") { events -> Result<[UInt8], TransportError>? in
      for case .peer(node, let state, let error) in events {
        if state == .connected { return .success([]) }
        if state == .waiting, let error { return .failure(error) }
      }
      return nil
    }
    guard let error = outcome.failure else {
      throw Seen<NetworkEvent>.NeverCame(description: "\(node) took up with \(network.node)")
    }
    return error
  }

  /// Waits for the reason why this side dropped a connection.
  func dropped() throws -> TransportError {
    try events.wait("a drop") { events in
      for case .dropped(let error) in events { return error }
      return nil
    }
  }

  func deadline(seconds: UInt64 = 60) -> UInt64 { time.monotonicNanoseconds + seconds * 1_000_000_000 }

  typealias Answers = Seen<Result<[UInt8], TransportError>>

  @discardableResult
  func ask(
    _ node: UInt64, _ body: [UInt8], kind: UInt16 = 1, seconds: UInt64 = 60, into answers: Answers
  ) -> any NodeRequest {
    network.request(
      NodeMessage(kind: kind, body: body), of: Self.id(node), deadline: deadline(seconds: seconds)
    ) { answers.add($0) }
  }

  /// Asks, and waits for the answer.
  func ask(_ node: UInt64, _ body: [UInt8], seconds: UInt64 = 60) throws -> [UInt8] {
    let answers = Answers()
    ask(node, body, seconds: seconds, into: answers)
    return try answers.wait(count: 1)[0].get()
  }

  func tell(_ node: UInt64, _ body: [UInt8]) throws(TransportError) {
    try network.tell(NodeMessage(kind: 2, body: body), to: Self.id(node), deadline: deadline())
  }
}

func still() -> SimulatedTime { SimulatedTime(waiting: .blocks) }

extension Result where Failure == TransportError {
  var failure: TransportError? { if case .failure(let error) = self { error } else { nil } }
}
