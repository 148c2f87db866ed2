import RoostCluster
import RoostEnvironment

/// Asks a client's node, and has what finds no connection wait for one.
///
/// A peer refuses at once what comes between two attempts to dial, so that a node can turn to another one.
/// A client has no other: so
///
/// 1. a request goes to the peer;
/// 2. where that refuses it as out of reach, so that nothing was sent, it waits here;
/// 3. it is asked anew as soon as a connection stands, and given up at its deadline, or when the node has
///    refused the client itself: that will be no better the next time.
///
/// What waits is bounded as a peer's queue is: beyond that a request is refused with `.overloaded`.
///
/// Each request is answered exactly once. Thread-safe.
final class ClientConnection: @unchecked Sendable {
  typealias Reply = @Sendable (Result<[UInt8], TransportError>) -> Void

  private struct Waiting {
    var message: NodeMessage
    var deadline: UInt64
    /// Why there was no connection.
    var error: TransportError
    var reply: Reply
  }

  private let network: Network
  private let time: any TimeSource
  private let timers: Timers
  private let options: NetworkOptions
  private let lock = Lock()
  // Guarded by `lock`.
  private var waiting: [UInt64: Waiting] = [:]
  /// Of their bodies.
  private var waitingBytes = 0
  private var nextNumber: UInt64 = 0
  /// Connections so far: who was refused before the last of them has missed it.
  private var connections = 0
  private var isConnected = false
  private var isClosed = false

  init(_ network: Network, _ time: any TimeSource, _ timers: Timers, _ options: NetworkOptions) {
    self.network = network
    self.time = time
    self.timers = timers
    self.options = options
  }

  func ask(_ message: NodeMessage, for nanoseconds: UInt64, _ reply: @escaping Reply) {
    ask(message, until: time.monotonicNanoseconds &+ nanoseconds, reply)
  }

  private func ask(_ message: NodeMessage, until deadline: UInt64, _ reply: @escaping Reply) {
    let before = lock.withLock { connections }
    network.request(message, of: .anyone, deadline: deadline) { [self] result in
      guard case .failure(let error) = result, error.code == .unreachable, !error.mayHaveArrived else {
        return reply(result)
      }
      refused(Waiting(message: message, deadline: deadline, error: error, reply: reply), before)
    }
  }

  /// - Parameter before: how many connections there had been when it was asked.
  private func refused(_ request: Waiting, _ before: Int) {
    enum Next {
      case askAgain, giveUp
      case refuse(TransportError)
      case wait(UInt64)
    }
    let byteCount = request.message.body.count
    let isUp = network.statistics.peers.first?.state == .connected
    let next = lock.withLock { () -> Next in
      if isClosed { return .giveUp }
      if connections != before { return .askAgain }
      // The connection stands, and did: it is the node that says so.
      if isConnected, isUp { return .giveUp }
      guard waiting.count < options.queuedMessages,
        waiting.isEmpty || byteCount <= options.queuedBytes - waitingBytes
      else {
        let full = "\(waiting.count) messages of \(waitingBytes) bytes wait for a connection already"
        return .refuse(TransportError(.overloaded, "\(full): \(request.error.message)"))
      }
      nextNumber += 1
      waiting[nextNumber] = request
      waitingBytes += byteCount
      return .wait(nextNumber)
    }
    switch next {
    case .askAgain: ask(request.message, until: request.deadline, request.reply)
    case .giveUp: request.reply(.failure(request.error))
    case .refuse(let error): request.reply(.failure(error))
    case .wait(let number):
      let isSet = timers.schedule(atMonotonicNanoseconds: request.deadline) { [weak self] in
        self?.giveUp(number)
      }
      if !isSet { giveUp(number) }
    }
  }

  private func giveUp(_ number: UInt64) {
    let request = lock.withLock { () -> Waiting? in
      guard let request = waiting.removeValue(forKey: number) else { return nil }
      waitingBytes -= request.message.body.count
      return request
    }
    if let request { request.reply(.failure(request.error)) }
  }

  /// All that waits, which waits no longer. With the lock held.
  private func takeAll() -> [Waiting] {
    defer {
      waiting = [:]
      waitingBytes = 0
    }
    return Array(waiting.values)
  }

  /// Calls `job` some time later; at once where the client is closed.
  func later(_ nanoseconds: UInt64, _ job: @escaping @Sendable () -> Void) {
    if !timers.schedule(atMonotonicNanoseconds: time.monotonicNanoseconds &+ nanoseconds, job) { job() }
  }

  /// What became of the connection.
  func saw(_ event: NetworkEvent) {
    guard case .peer(.anyone, let state, let error) = event else { return }
    let requests = lock.withLock { () -> [Waiting] in
      isConnected = state == .connected
      if isConnected {
        connections += 1
      } else if let error, error.code.isFinal {
        for number in waiting.keys { waiting[number]?.error = TransportError(error.code, error.message) }
      } else {
        // The next attempt's reason is the one to tell.
        if let error { for number in waiting.keys { waiting[number]?.error = error } }
        return []
      }
      return takeAll()
    }
    for request in requests {
      if state == .connected {
        ask(request.message, until: request.deadline, request.reply)
      } else {
        request.reply(.failure(request.error))
      }
    }
  }

  /// Gives up what waits. What is under way ends with the network, which is closed next.
  func close() {
    let requests = lock.withLock { () -> [Waiting] in
      isClosed = true
      return takeAll()
    }
    for request in requests {
      request.reply(.failure(TransportError(.closed, "the client was closed")))
    }
    timers.stop()
    timers.shutdown()
  }
}

extension TransportError.Code {
  /// Whether the two sides do not fit, or it is no node that answers: dialling again leads to the same.
  fileprivate var isFinal: Bool {
    switch self {
    case .wrongCluster, .wrongDatabase, .wrongVersion, .wrongNode, .clockOutOfBound, .tls, .notSecure,
      .certificate, .rubbish:
      true
    default: false
    }
  }
}
