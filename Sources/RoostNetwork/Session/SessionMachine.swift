import RoostCluster

/// A connection that another node dialled: its requests, what of them is in hand, and the answers.
///
/// What one connection can make this process keep is bounded: so many requests in hand, and more are
/// refused; so many bytes in hand or waiting to be sent, and nothing more is read; a frame's length is
/// checked when its header comes.
///
/// A value of one thread; decides, and does nothing itself.
struct SessionMachine {
  enum Link {
    case greeting(since: UInt64)
    case up(NodeID, Heartbeat)
    case ended
  }

  struct InHand {
    /// 0 of a message without an answer.
    var request: UInt64
    var byteCount: Int
    var isCancelled = false
  }

  let options: NetworkOptions
  let hello: Hello
  var link: Link
  var inHand: [UInt64: InHand] = [:]
  private var numbers: [UInt64: UInt64] = [:]
  var deadlines = DeadlineQueue()
  private var nextNumber: UInt64 = 0
  /// The longest answer that both sides allow.
  private var longestAnswer: Int
  var oneWaysInHand = 0
  private(set) var bytesInHand = 0
  var control: [Frame] = []
  var answers: [Frame] = []
  var answersStart = 0
  /// Bytes of answers that wait, and of frames that are being written.
  var bytesWaiting = 0
  var bytesLeaving = 0
  /// When something was last written, while something has to be.
  var lastProgress: UInt64 = 0
  var isPaused = false
  var drainUntil: UInt64?
  var wakeAt: UInt64?

  // Counted since the connection began.
  private(set) var bytesReceived: UInt64 = 0
  private(set) var bytesSent: UInt64 = 0
  private(set) var messagesReceived: UInt64 = 0
  private(set) var shed: UInt64 = 0

  /// - Parameter hello: this node's, but for its clock.
  init(hello: Hello, _ options: NetworkOptions, at now: UInt64) {
    self.hello = hello
    self.options = options
    longestAnswer = options.largestBody
    link = .greeting(since: now)
  }

  var inHandCount: Int { inHand.count }
  var isEnded: Bool { if case .ended = link { true } else { false } }

  // MARK: - Events

  mutating func receive(_ event: SessionEvent, at moment: Moment) -> [SessionEffect] {
    var effects: [SessionEffect] = []
    let now = moment.nanoseconds
    switch event {
    case .frame(let frame):
      do throws(TransportError) { try receive(frame, at: moment, &effects) } catch { end(error, &effects) }
    case .bytes(let count, let isPartial):
      bytesReceived += UInt64(count)
      withHeartbeat { $0.received(isPartial: isPartial, at: now) }
    case .broken(let error), .refuse(let error): end(error, &effects)
    case .handled(let number, let answer): handled(number, answer, at: now, &effects)
    case .wrote(let count):
      bytesLeaving -= count
      lastProgress = now
      settleIfDrained(&effects)
    case .tick: tick(moment, &effects)
    case .drain(let until):
      drain(until, &effects)
    case .ended: end(nil, &effects)
    }
    pace(now, &effects)
    wake(now, &effects)
    return effects
  }

  /// The next frame to send; `nil` where there is none now.
  mutating func nextFrame(at now: UInt64) -> Frame? {
    if isEnded { return nil }
    if bytesWaiting + bytesLeaving == 0 { lastProgress = now }
    let frame: Frame
    if !control.isEmpty {
      frame = control.removeFirst()
    } else if answersStart < answers.count {
      frame = answers[answersStart]
      answersStart += 1
      bytesWaiting -= frame.encodedCount
      if answersStart == answers.count || answersStart >= 256 {
        answers.removeFirst(answersStart)
        answersStart = 0
      }
    } else {
      return nil
    }
    bytesLeaving += frame.encodedCount
    bytesSent += UInt64(frame.encodedCount)
    return frame
  }

  // MARK: - Frames

  private mutating func receive(
    _ frame: Frame, at moment: Moment, _ effects: inout [SessionEffect]
  ) throws(TransportError) {
    withHeartbeat { $0.heard() }
    switch (frame.kind, link) {
    case (_, .ended): break
    case (.goodbye, _): end(nil, &effects)
    case (.hello, .greeting(let since)):
      let other = try Hello(decoding: frame.body)
      var mine = hello
      mine.physicalMilliseconds = moment.physicalMilliseconds
      _ = try mine.accept(
        other, expecting: nil, clockBound: options.clockBound.map { $0.wholeNanoseconds / 1_000_000 },
        age: (moment.nanoseconds &- since) / 1_000_000 + 1)
      if drainUntil != nil { throw TransportError(.unreachable, "node \(hello.node) is about to leave") }
      link = .up(other.node, Heartbeat(options, at: moment.nanoseconds))
      longestAnswer = min(longestAnswer, other.largestBody)
      control.append(Frame(kind: .hello, body: mine.encoded))
      effects.append(.established(other.node))
      effects.append(.flush)
    case (.request, .up(let node, _)), (.oneWay, .up(let node, _)):
      try deliver(frame, from: node, at: moment.nanoseconds, &effects)
    case (.cancel, .up):
      guard let number = numbers[frame.request], inHand[number]?.isCancelled == false else { break }
      inHand[number]?.isCancelled = true
      effects.append(.cancelled(number))
    case (.ping, .up):
      // One that was not sent yet stands for all.
      control.removeAll { $0.kind == .pong }
      control.append(try Heartbeat.pong(to: frame, at: moment))
      effects.append(.flush)
    case (.pong, .up(let node, let heartbeat)):
      if let sign = try heartbeat.takePong(frame, at: moment.nanoseconds) {
        effects.append(
          .heard(node, physicalMilliseconds: sign.milliseconds, roundTripNanoseconds: sign.roundTrip))
      }
    default: throw TransportError(.rubbish, "a frame of kind \(frame.kind) out of place")
    }
  }

  private mutating func deliver(
    _ frame: Frame, from node: NodeID, at now: UInt64, _ effects: inout [SessionEffect]
  ) throws(TransportError) {
    let isRequest = frame.kind == .request
    guard (frame.request != 0) == isRequest, numbers[frame.request] == nil else {
      throw TransportError(.rubbish, "a request numbered \(frame.request), which is 0 or under way already")
    }
    guard frame.deadlineMilliseconds > 0 else {
      throw TransportError(.rubbish, "a message without a deadline")
    }
    messagesReceived += 1
    if isRequest {
      if drainUntil != nil {
        return refuse(
          frame, TransportError(.unreachable, "node \(hello.node) is about to leave"), now, &effects)
      }
      if inHand.count - oneWaysInHand >= options.window {
        shed += 1
        let error = TransportError(
          .overloaded, "node \(hello.node) has \(options.window) requests of node \(node) in hand already")
        return refuse(frame, error, now, &effects)
      }
    }
    nextNumber += 1
    inHand[nextNumber] = InHand(request: frame.request, byteCount: frame.body.count)
    bytesInHand += frame.body.count
    let deadline = now &+ UInt64(frame.deadlineMilliseconds) * 1_000_000
    if isRequest {
      numbers[frame.request] = nextNumber
      deadlines.add(nextNumber, at: deadline)
      deadlines.tidy(live: numbers.count) { inHand[$0] != nil }
    } else {
      oneWaysInHand += 1
    }
    effects.append(.deliver(nextNumber, from: node, frame, deadline: deadline))
  }

  private mutating func refuse(
    _ frame: Frame, _ error: TransportError, _ now: UInt64, _ effects: inout [SessionEffect]
  ) {
    answer(Frame(kind: .failure, request: frame.request, body: Notice(error).encoded), now, &effects)
  }

  private mutating func handled(
    _ number: UInt64, _ result: Result<[UInt8], TransportError>?, at now: UInt64,
    _ effects: inout [SessionEffect]
  ) {
    guard let item = inHand.removeValue(forKey: number) else { return }
    bytesInHand -= item.byteCount
    if item.request == 0 { oneWaysInHand -= 1 } else { numbers[item.request] = nil }
    if !isEnded, !item.isCancelled, item.request != 0, let result {
      switch result {
      case .success(let body) where body.count <= longestAnswer:
        answer(Frame(kind: .response, request: item.request, body: body), now, &effects)
      case .success(let body):
        let error = TransportError(
          .tooLarge, "an answer of \(body.count) bytes; \(longestAnswer) are the most",
          mayHaveArrived: true)
        answer(Frame(kind: .failure, request: item.request, body: Notice(error).encoded), now, &effects)
      case .failure(let error):
        answer(Frame(kind: .failure, request: item.request, body: Notice(error).encoded), now, &effects)
      }
    }
    settleIfDrained(&effects)
  }

  private mutating func answer(_ frame: Frame, _ now: UInt64, _ effects: inout [SessionEffect]) {
    if bytesWaiting + bytesLeaving == 0 { lastProgress = now }
    answers.append(frame)
    bytesWaiting += frame.encodedCount
    effects.append(.flush)
  }
}
