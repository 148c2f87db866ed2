import RoostCluster
import RoostEnvironment
import RoostTransactions

/// How a simulated network treats messages. Chances are in a thousand.
public struct NetworkWeather: Sendable {
  /// The shortest and the longest way of a message, in microseconds.
  public var latencyMicroseconds: ClosedRange<Int> = 200...1_200
  /// Requests and answers that are lost.
  public var lost = 0
  /// Messages of replicas that come twice, as from a sender that tries again. Requests of clients do not: a
  /// transport never doubles them by itself.
  public var doubled = 0
  /// Messages that take up to 60 ms, and so are overtaken by others.
  public var late = 0
  /// Messages that take up to 900 ms.
  public var veryLate = 0

  public init() {}

  /// Nothing is lost, nothing is late.
  public static var fair: NetworkWeather { NetworkWeather() }

  public static var rough: NetworkWeather {
    var weather = NetworkWeather()
    weather.lost = 10
    weather.doubled = 15
    weather.late = 60
    weather.veryLate = 8
    return weather
  }
}

/// The network between the hosts of a world: it delays, loses, doubles and reorders messages, and knows
/// which ways are cut. Used by one thread.
final class SimulatedNetwork: @unchecked Sendable {
  private struct Way: Hashable {
    var from: Int
    var to: Int
  }

  private unowned let world: SimulatedWorld
  var weather = NetworkWeather.fair
  var transactionFate: (@Sendable (Envelope, _ from: Int, _ to: Int) -> TransactionFate)?
  private var cuts: Set<Way> = []
  private var processes: [NodeID: HostProcess] = [:]

  init(_ world: SimulatedWorld) { self.world = world }

  func cut(from: Int, to: Int) { cuts.insert(Way(from: from, to: to)) }
  func mend(from: Int, to: Int) { cuts.remove(Way(from: from, to: to)) }
  func mendAll() { cuts = [] }
  func isCut(from: Int, to: Int) -> Bool { cuts.contains(Way(from: from, to: to)) }

  func add(_ process: HostProcess) { processes[process.nodeID] = process }
  func remove(_ process: HostProcess) { processes[process.nodeID] = nil }

  func end() {
    transactionFate = nil
    processes = [:]
    cuts = []
  }

  // MARK: - Messages

  func send(
    _ message: NodeMessage, from: HostProcess, to node: NodeID, remaining: UInt64,
    _ request: SimulatedRequest?
  ) {
    guard from.isAlive else { return }
    let target = processes[node]
    if target == nil, let heir = world.heir(message, from: from) {
      return send(heir.message, from: from, to: heir.process.nodeID, remaining: remaining, request)
    }
    // One that is gone is out of reach at once: its host refuses.
    let host = target?.host.index ?? world.host(ofFormer: node) ?? from.host.index
    let label = EventLabel(
      kind: .request, from: from.host.index, to: host, detail: Self.checksum(message))
    let isDoubled =
      message.kind == NodeMessageKind.key ? world.repeats(message) : world.chance(weather.doubled)
    let (isDropped, extra) = fate(message, from: from.host.index, to: host)
    let isLost = world.chance(weather.lost) || isCut(from: from.host.index, to: host) || isDropped
    if !isLost {
      let way = delay(from.host, target?.host) + extra
      world.plan(after: way, label, byteCount: message.body.count) { [self] in
        deliver(message, from: from, to: node, host, remaining - min(remaining, way), request, isDoubled)
      }
    }
    if isDoubled, !isDropped {
      let way = delay(from.host, target?.host) + 1_000_000 + extra
      world.plan(after: way, label, byteCount: message.body.count) { [self] in
        deliver(message, from: from, to: node, host, remaining - min(remaining, way), nil, true)
      }
    }
    if let request {
      let late = EventLabel(kind: .timeout, from: host, to: from.host.index, detail: label.detail)
      world.plan(after: remaining, late) { request.expire() }
    }
  }

  /// What a script does to a message about a transaction.
  private func fate(_ message: NodeMessage, from: Int, to: Int) -> (isDropped: Bool, extra: UInt64) {
    guard let transactionFate, message.kind == NodeMessageKind.transaction,
      let remote = try? RemoteEnvelope(decoding: message.body)
    else { return (false, 0) }
    switch transactionFate(remote.envelope, from, to) {
    case .arrives: return (false, 0)
    case .lost: return (true, 0)
    case .late(let duration): return (false, SimulatedWorld.nanoseconds(duration))
    }
  }

  private func deliver(
    _ message: NodeMessage, from: HostProcess, to node: NodeID, _ host: Int, _ remaining: UInt64,
    _ request: SimulatedRequest?, _ mayHaveComeBefore: Bool
  ) {
    if isCut(from: from.host.index, to: host) { return }
    guard let target = processes[node], target.isAlive, let handler = target.handler else {
      let error = TransportError(
        .unreachable, "node \(node) is out of reach", mayHaveArrived: mayHaveComeBefore)
      return answer(.failure(error), from: host, to: from, request)
    }
    if let swallowed = world.answerOfSwallowed(message) {
      return answer(.success(NodeAnswer.encode(.success(swallowed))), from: host, to: from, request)
    }
    if let body = world.forgottenOutcome(message) {
      return answer(.success(body), from: host, to: from, request)
    }
    if let answer = world.presumed(message, at: target) {
      return send(answer, from: target, to: from.nodeID, remaining: 1_000_000_000, nil)
    }
    if let release = world.release(message, at: target) {
      send(release, from: target, to: from.nodeID, remaining: 1_000_000_000, nil)
    }
    hear(target, of: from)
    let received = ReceivedMessage(
      from: from.nodeID, world.forged(message, at: target),
      deadline: target.host.time.monotonicNanoseconds &+ remaining, isRequest: request != nil
    ) { [weak self, weak target] result in
      guard let self, let target, target.isAlive, let result else { return }
      answer(result, from: target.host.index, to: from, request)
    }
    request?.received = received
    handler.receive(received)
  }

  private func answer(
    _ result: Result<[UInt8], TransportError>, from host: Int, to asker: HostProcess,
    _ request: SimulatedRequest?
  ) {
    guard let request, !world.hasEnded else { return }
    if world.chance(weather.lost) || isCut(from: host, to: asker.host.index) { return }
    var hash = TraceHash()
    var byteCount = 0
    if case .success(let bytes) = result {
      hash.add(bytes)
      byteCount = bytes.count
    }
    let label = EventLabel(kind: .answer, from: host, to: asker.host.index, detail: hash.value)
    world.plan(after: delay(asker.host, world.hosts[host]), label, byteCount: byteCount) { [self] in
      if isCut(from: host, to: asker.host.index) { return }
      if let target = world.hosts[host].process { hear(asker, of: target) }
      request.end(result)
    }
  }

  /// The process of a host has ended: who waits for its answers learns of it, or does not.
  func disconnect(_ process: HostProcess, _ waiting: [SimulatedRequest]) {
    for request in waiting where !request.hasEnded {
      let label = EventLabel(kind: .disconnect, from: process.host.index, to: process.host.index)
      world.plan(after: 1_000_000, label) {
        request.end(
          .failure(TransportError(.disconnected, "the connection ended", mayHaveArrived: true)))
      }
    }
  }

  /// Says to all others that a process is there.
  func heartbeat(of process: HostProcess) {
    for other in world.hosts where other !== process.host {
      guard other.process != nil, !isCut(from: process.host.index, to: other.index),
        !world.chance(weather.lost)
      else { continue }
      let label = EventLabel(kind: .heartbeat, from: process.host.index, to: other.index)
      world.plan(after: delay(process.host, other), label) { [self] in
        guard let target = other.process, !isCut(from: process.host.index, to: other.index) else { return }
        hear(target, of: process)
      }
    }
  }

  private func hear(_ target: HostProcess, of other: HostProcess) {
    guard target.isAlive, other.isAlive else { return }
    target.handler?.heard(
      NodeSign(
        node: other.nodeID, physicalMilliseconds: other.host.time.wallClockNanoseconds / 1_000_000,
        localPhysicalMilliseconds: target.host.time.wallClockNanoseconds / 1_000_000,
        roundTripNanoseconds: 1_000_000, heardNanoseconds: target.host.time.monotonicNanoseconds))
  }

  private func delay(_ one: SimulatedHost, _ other: SimulatedHost?) -> UInt64 {
    let range = weather.latencyMicroseconds
    var micros = range.lowerBound + world.below(range.upperBound - range.lowerBound + 1)
    if world.chance(weather.veryLate) {
      micros += world.below(900_000)
    } else if world.chance(weather.late) {
      micros += world.below(60_000)
    }
    let slowness = max(one.slowness, other?.slowness ?? 1)
    return UInt64(micros) * slowness * 1_000
  }

  private static func checksum(_ message: NodeMessage) -> UInt64 {
    var hash = TraceHash()
    hash.add(UInt64(message.kind))
    hash.add(message.body)
    return hash.value
  }
}

/// A request on a simulated network, as its sender has it. Used by one thread.
final class SimulatedRequest: NodeRequest, @unchecked Sendable {
  private let process: HostProcess
  private let number: UInt64
  private var reply: (@Sendable (Result<[UInt8], TransportError>) -> Void)?
  /// What the other side has in hand; not held, since its handler may let go of it.
  weak var received: ReceivedMessage?
  /// Whom it asks.
  var target: NodeID?

  init(
    _ process: HostProcess, _ number: UInt64,
    _ reply: @escaping @Sendable (Result<[UInt8], TransportError>) -> Void
  ) {
    self.process = process
    self.number = number
    self.reply = reply
  }

  var hasEnded: Bool { reply == nil }

  /// Replies, where nobody did yet, and the process that asked is still there.
  func end(_ result: Result<[UInt8], TransportError>) {
    guard let reply else { return }
    self.reply = nil
    process.requests[number] = nil
    if case .failure = result { received?.cancel() }
    guard process.isAlive else { return }
    reply(result)
  }

  func expire() {
    end(.failure(TransportError(.deadlineExceeded, "no answer in time", mayHaveArrived: true)))
  }

  /// The process is gone: nobody waits.
  func drop() { reply = nil }

  func cancel() {
    end(.failure(TransportError(.cancelled, "the caller took it back", mayHaveArrived: true)))
  }
}

/// The transport of one simulated process. Used by one thread.
final class SimulatedTransport: NodeTransport, @unchecked Sendable {
  let node: NodeID
  let largestBody = 16 << 20
  private let process: HostProcess

  init(_ process: HostProcess) {
    node = process.nodeID
    self.process = process
  }

  func attach(_ handler: any NodeMessageHandler) { process.handler = handler }

  func request(
    _ message: NodeMessage, of other: NodeID, deadline: UInt64,
    _ reply: @escaping @Sendable (Result<[UInt8], TransportError>) -> Void
  ) -> any NodeRequest {
    let request = process.newRequest(reply)
    let now = process.host.time.monotonicNanoseconds
    guard deadline > now else {
      request.end(.failure(TransportError(.deadlineExceeded, "the deadline had passed already")))
      return request
    }
    process.host.world.network.send(
      message, from: process, to: other, remaining: deadline - now, request)
    request.target = other
    return request
  }

  func tell(_ message: NodeMessage, to other: NodeID, deadline: UInt64) throws(TransportError) {
    let now = process.host.time.monotonicNanoseconds
    guard deadline > now else {
      throw TransportError(.deadlineExceeded, "the deadline had passed already")
    }
    process.host.world.network.send(message, from: process, to: other, remaining: deadline - now, nil)
  }
}
