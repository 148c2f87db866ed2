import RoostCluster

@testable import RoostNetwork

/// A peer's machine under test, driven by hand.
struct PeerBench {
  var machine: PeerMachine
  var now: UInt64 = 1_000_000_000
  var effects: [PeerEffect] = []
  var nextNumber: UInt64 = 0

  init(
    seed: UInt64 = 7, node: NodeID = TestNode.id(2), _ change: (inout NetworkOptions) -> Void = { _ in }
  ) throws {
    var options = NetworkOptions()
    options.heartbeat = .seconds(3_600)
    change(&options)
    machine = PeerMachine(
      node: node, address: try NodeAddress("10.0.0.2:7420"), hello: .test(node: 1), options,
      seed: seed)
  }

  var moment: Moment { Moment(nanoseconds: now, physicalMilliseconds: 1_735_689_600_000) }

  mutating func receive(_ event: PeerEvent) { effects += machine.receive(event, at: moment) }

  /// Dials, and exchanges hellos.
  mutating func connect(attempt: UInt64 = 1, window: Int = 16, largestBody: Int = 1 << 20) {
    if attempt == 1 { receive(.begin) }
    receive(.opened(attempt: attempt))
    _ = frames(attempt: attempt)
    var hello = Hello.test(node: 2)
    hello.window = window
    hello.largestBody = largestBody
    receive(.frame(attempt: attempt, hello.frame))
  }

  @discardableResult
  mutating func request(_ count: Int = 10, milliseconds: UInt64 = 1_000) -> UInt64 {
    nextNumber += 1
    let message = NodeMessage(kind: 5, body: [UInt8](repeating: 1, count: count))
    receive(.request(nextNumber, message, deadline: now + milliseconds * 1_000_000))
    return nextNumber
  }

  mutating func tell(_ count: Int = 10, milliseconds: UInt64 = 1_000) throws(TransportError) {
    nextNumber += 1
    let message = NodeMessage(kind: 6, body: [UInt8](repeating: 1, count: count))
    effects += try machine.tell(nextNumber, message, deadline: now + milliseconds * 1_000_000, at: moment)
  }

  mutating func advance(milliseconds: UInt64) {
    now += milliseconds * 1_000_000
    receive(.tick)
  }

  mutating func frames(attempt: UInt64 = 1) -> [Frame] {
    var result: [Frame] = []
    while let frame = machine.nextFrame(attempt: attempt, at: moment) { result.append(frame) }
    return result
  }

  /// What requests came to, by number; forgets what happened so far.
  mutating func completions() -> [UInt64: Result<[UInt8], TransportError>] {
    var result: [UInt64: Result<[UInt8], TransportError>] = [:]
    for case .complete(let number, let answer) in effects {
      precondition(result[number] == nil, "completed twice")
      result[number] = answer
    }
    effects = []
    return result
  }

  var closes: [Frame?] {
    effects.compactMap { if case .close(_, let frame) = $0 { .some(frame) } else { nil } }
  }

  var dials: [UInt64] {
    effects.compactMap { if case .dial(let attempt) = $0 { attempt } else { nil } }
  }
}

/// A session's machine under test, driven by hand.
struct SessionBench {
  var machine: SessionMachine
  var now: UInt64 = 1_000_000_000
  var effects: [SessionEffect] = []

  init(_ change: (inout NetworkOptions) -> Void = { _ in }) {
    var options = NetworkOptions()
    options.heartbeat = .seconds(3_600)
    change(&options)
    machine = SessionMachine(hello: .test(node: 2), options, at: now)
  }

  var moment: Moment { Moment(nanoseconds: now, physicalMilliseconds: 1_735_689_600_000) }

  mutating func receive(_ event: SessionEvent) { effects += machine.receive(event, at: moment) }

  mutating func connect() {
    receive(.frame(Hello.test(node: 1).frame))
    _ = frames()
  }

  mutating func request(_ number: UInt64, _ count: Int = 10, milliseconds: UInt32 = 1_000) {
    receive(
      .frame(
        Frame(
          kind: .request, message: 5, request: number, deadlineMilliseconds: milliseconds,
          body: [UInt8](repeating: 1, count: count))))
  }

  mutating func oneWay(_ count: Int = 10) {
    receive(
      .frame(
        Frame(
          kind: .oneWay, message: 6, deadlineMilliseconds: 1_000, body: [UInt8](repeating: 1, count: count))))
  }

  mutating func advance(milliseconds: UInt64) {
    now += milliseconds * 1_000_000
    receive(.tick)
  }

  /// - Parameter leave: whether the bytes have left at once.
  mutating func frames(leave: Bool = true) -> [Frame] {
    var result: [Frame] = []
    while let frame = machine.nextFrame(at: now) { result.append(frame) }
    if leave, !result.isEmpty { receive(.wrote(result.reduce(0) { $0 + $1.encodedCount })) }
    return result
  }

  /// The numbers of what was delivered; forgets nothing.
  var delivered: [UInt64] {
    effects.compactMap { if case .deliver(let number, _, _, _) = $0 { number } else { nil } }
  }
  var cancelled: [UInt64] {
    effects.compactMap { if case .cancelled(let number) = $0 { number } else { nil } }
  }
  var drop: TransportError? {
    for case .close(_, let error) in effects { return error }
    return nil
  }
  var isClosed: Bool { machine.isEnded }
}
