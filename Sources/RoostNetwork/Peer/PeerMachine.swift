import RoostCluster
import RoostEnvironment

/// What happens to a connection that this node dials, or is asked of it.
enum PeerEvent: Sendable {
  /// Dial.
  case begin
  case request(UInt64, NodeMessage, deadline: UInt64)
  case cancel(UInt64)
  /// The connection of this attempt stands, TLS included.
  case opened(attempt: UInt64)
  case frame(attempt: UInt64, Frame)
  /// Bytes came that end within a frame, or not.
  case bytes(attempt: UInt64, count: Int, isPartial: Bool)
  /// The other side sent rubbish, or TLS failed.
  case broke(attempt: UInt64, TransportError)
  /// The connection failed or ended.
  case ended(attempt: UInt64, TransportError)
  /// It is some time later.
  case tick
  /// Take nothing new.
  case drain
  /// End all.
  case stop
}

/// What its driver is to do.
enum PeerEffect: Sendable {
  case dial(attempt: UInt64)
  /// Close the connection of this attempt, after this frame.
  case close(attempt: UInt64, Frame?)
  /// There is something to send: ask ``PeerMachine/nextFrame(attempt:at:)``.
  case flush
  case complete(UInt64, Result<[UInt8], TransportError>)
  case wake(at: UInt64)
  case changed(PeerStatistics.State, TransportError?)
  case heard(physicalMilliseconds: UInt64, roundTripNanoseconds: UInt64)
  /// The last request under way has ended, after ``PeerEvent/drain``.
  case drained
}

/// The connection to one other node, which this one dials: requests, their queue, deadlines, and dialling
/// again.
///
/// - While it is dialled, messages wait; while it waits to be dialled again, they are refused at once, so
///   that a caller can turn elsewhere.
/// - A request is completed exactly once. It is in ``items`` from when it is taken to when it is completed.
/// - What waits is bounded in messages and bytes; what is under way by the other side's window.
///
/// A value of one thread; decides, and does nothing itself.
struct PeerMachine {
  private enum Link {
    case idle
    case waiting(until: UInt64)
    case dialling(attempt: UInt64, since: UInt64)
    case greeting(attempt: UInt64, since: UInt64)
    case up(attempt: UInt64, Up)
    case stopped
  }

  private struct Up {
    var since: UInt64
    var largestBody: Int
    var window: Int
    var heartbeat: Heartbeat
    var isDraining = false
  }

  private struct Item {
    /// Until it is sent.
    var message: NodeMessage?
    var deadline: UInt64
    var isRequest: Bool
    var byteCount: Int
  }

  let node: NodeID
  private let options: NetworkOptions
  private let hello: Hello
  private var backoff: Backoff
  private var link = Link.idle
  private var attempt: UInt64 = 0
  private var isDraining = false
  private var lastError = TransportError(.unreachable, "no connection was made yet")
  private(set) var statistics: PeerStatistics

  private var items: [UInt64: Item] = [:]
  /// Numbers of what waits, in order; some may be gone.
  private var queue: [UInt64] = []
  private var queueStart = 0
  private var control: [Frame] = []
  private var deadlines = DeadlineQueue()
  private var wakeAt: UInt64?
  /// The greatest number that was sent.
  private var lastSent: UInt64 = 0

  /// - Parameter hello: this node's, but for its clock.
  init(
    node: NodeID, address: NodeAddress, hello: Hello, _ options: NetworkOptions, seed: UInt64
  ) {
    self.node = node
    self.hello = hello
    self.options = options
    backoff = Backoff(options, seed: seed)
    statistics = PeerStatistics(node: node, address: address)
  }

  /// As errors call the other side: who answers for anyone has no number until it does.
  private var name: String { node == .anyone ? "the node" : "node \(node)" }

  /// Entries that are kept for messages, those included that are gone: for tests.
  var keptCount: Int { items.count + queue.count + deadlines.count + control.count }

  // MARK: - Events

  mutating func receive(_ event: PeerEvent, at moment: Moment) -> [PeerEffect] {
    var effects: [PeerEffect] = []
    switch event {
    case .begin: if case .idle = link { dial(moment, &effects) }
    case .request(let number, let message, let deadline):
      do throws(TransportError) {
        try take(number, message, deadline: deadline, isRequest: true, at: moment.nanoseconds)
        effects.append(.flush)
      } catch {
        effects.append(.complete(number, .failure(error)))
      }
    case .cancel(let number):
      end(number, TransportError(.cancelled, "the caller took it back"), &effects)
    case .opened(let attempt):
      if case .dialling(attempt, let since) = link {
        link = .greeting(attempt: attempt, since: since)
        var hello = hello
        hello.physicalMilliseconds = moment.physicalMilliseconds
        control.append(Frame(kind: .hello, body: hello.encoded))
        effects.append(.flush)
      }
    case .frame(let attempt, let frame):
      if isCurrent(attempt) {
        do throws(TransportError) { try receive(frame, at: moment, &effects) } catch {
          lose(error, goodbye: true, at: moment, &effects)
        }
      }
    case .bytes(let attempt, let count, let isPartial):
      if isCurrent(attempt) {
        statistics.bytesReceived += UInt64(count)
        withUp { $0.heartbeat.received(isPartial: isPartial, at: moment.nanoseconds) }
      }
    case .broke(let attempt, let error):
      if isCurrent(attempt) { lose(error, goodbye: true, at: moment, &effects) }
    case .ended(let attempt, let error):
      if isCurrent(attempt) { lose(error, goodbye: false, closes: false, at: moment, &effects) }
    case .tick: tick(moment, &effects)
    case .drain:
      isDraining = true
      if statistics.inFlight + statistics.queuedMessages == 0 { effects.append(.drained) }
    case .stop: stop(&effects)
    }
    wake(moment.nanoseconds, &effects)
    return effects
  }

  /// Takes a message that needs no answer.
  ///
  /// - Throws: why it is not sent.
  mutating func tell(
    _ number: UInt64, _ message: NodeMessage, deadline: UInt64, at moment: Moment
  ) throws(TransportError) -> [PeerEffect] {
    try take(number, message, deadline: deadline, isRequest: false, at: moment.nanoseconds)
    var effects = [PeerEffect.flush]
    wake(moment.nanoseconds, &effects)
    return effects
  }

  /// The next frame to send over the connection of this attempt; `nil` where there is none now.
  mutating func nextFrame(attempt: UInt64, at moment: Moment) -> Frame? {
    guard isCurrent(attempt) else { return nil }
    if !control.isEmpty { return counted(control.removeFirst()) }
    guard case .up(_, let up) = link, !up.isDraining else { return nil }
    let window = min(up.window, options.window)
    while queueStart < queue.count {
      let number = queue[queueStart]
      guard var item = items[number], let message = item.message, item.deadline > moment.nanoseconds else {
        // Gone, or overdue: its deadline's alarm sees to it.
        queueStart += 1
        continue
      }
      if item.isRequest, statistics.inFlight >= window { return nil }
      queueStart += 1
      tidyQueue()
      statistics.queuedMessages -= 1
      statistics.queuedBytes -= item.byteCount
      statistics.messagesSent += 1
      item.message = nil
      items[number] = item.isRequest ? item : nil
      if item.isRequest { statistics.inFlight += 1 }
      lastSent = max(lastSent, number)
      let left = (item.deadline - moment.nanoseconds + 999_999) / 1_000_000
      return counted(
        Frame(
          kind: item.isRequest ? .request : .oneWay, message: message.kind,
          request: item.isRequest ? number : 0,
          deadlineMilliseconds: UInt32(clamping: left), body: message.body))
    }
    tidyQueue()
    return nil
  }

  // MARK: - Messages

  private mutating func take(
    _ number: UInt64, _ message: NodeMessage, deadline: UInt64, isRequest: Bool, at now: UInt64
  ) throws(TransportError) {
    if isDraining { throw TransportError(.closed, "this node is about to leave") }
    let count = message.body.count
    var limit = options.largestBody
    switch link {
    case .stopped: throw TransportError(.closed, "the network was closed")
    case .idle, .waiting: throw refusal
    case .dialling, .greeting: break
    case .up(_, let up):
      if up.isDraining { throw TransportError(.unreachable, "\(name) is about to leave") }
      limit = min(limit, up.largestBody)
    }
    guard count <= limit else {
      throw TransportError(.tooLarge, "a body of \(count) bytes; \(limit) are the most to \(name)")
    }
    guard deadline > now else {
      statistics.deadlinesExceeded += 1
      throw TransportError(.deadlineExceeded, "the deadline had passed already")
    }
    guard statistics.queuedMessages < options.queuedMessages,
      statistics.queuedMessages == 0 || count <= options.queuedBytes - statistics.queuedBytes
    else {
      statistics.shed += 1
      throw TransportError(
        .overloaded,
        "\(statistics.queuedMessages) messages of \(statistics.queuedBytes) bytes wait for \(name) already"
      )
    }
    items[number] = Item(message: message, deadline: deadline, isRequest: isRequest, byteCount: count)
    statistics.queuedMessages += 1
    statistics.queuedBytes += count
    queue.append(number)
    deadlines.add(number, at: deadline)
    deadlines.tidy(live: items.count) { items[$0] != nil }
  }

  /// Drops what is gone from the queue's memory, once it is most of it.
  private mutating func tidyQueue() {
    if queueStart == queue.count {
      queue.removeAll(keepingCapacity: queue.count < 1_024)
      queueStart = 0
    } else if queueStart >= 1_024, queueStart * 2 > queue.count {
      queue.removeFirst(queueStart)
      queueStart = 0
    } else if queue.count - queueStart > 2 * statistics.queuedMessages + 1_024 {
      queue = queue[queueStart...].filter { items[$0]?.message != nil }
      queueStart = 0
    }
  }

  /// Completes a message without an answer from the other side.
  private mutating func end(_ number: UInt64, _ error: TransportError, _ effects: inout [PeerEffect]) {
    guard let item = items.removeValue(forKey: number) else { return }
    var error = error
    if item.message != nil {
      statistics.queuedMessages -= 1
      statistics.queuedBytes -= item.byteCount
      tidyQueue()
    } else {
      statistics.inFlight -= 1
      error.mayHaveArrived = true
      if case .up = link {
        control.append(Frame(kind: .cancel, request: number))
        effects.append(.flush)
      }
    }
    if item.isRequest { effects.append(.complete(number, .failure(error))) }
    noteDrained(&effects)
  }

  private mutating func answer(
    _ number: UInt64, _ result: Result<[UInt8], TransportError>, _ effects: inout [PeerEffect]
  ) throws(TransportError) {
    guard number != 0, number <= lastSent else {
      throw TransportError(.rubbish, "an answer to a request that was not made")
    }
    // It may have been given up meanwhile.
    guard let item = items[number], item.message == nil else { return }
    items[number] = nil
    statistics.inFlight -= 1
    statistics.answersReceived += 1
    effects.append(.complete(number, result))
    // Another has its turn.
    effects.append(.flush)
    noteDrained(&effects)
  }

  private func noteDrained(_ effects: inout [PeerEffect]) {
    if isDraining, statistics.inFlight + statistics.queuedMessages == 0 { effects.append(.drained) }
  }

  // MARK: - The connection

  /// Whether the connection of this attempt is the one that counts.
  func isCurrent(_ number: UInt64) -> Bool {
    switch link {
    case .dialling(let attempt, _), .greeting(let attempt, _), .up(let attempt, _): attempt == number
    case .idle, .waiting, .stopped: false
    }
  }

  private mutating func withUp(_ body: (inout Up) -> Void) {
    guard case .up(let attempt, var up) = link else { return }
    body(&up)
    link = .up(attempt: attempt, up)
  }

  private mutating func counted(_ frame: Frame) -> Frame {
    statistics.bytesSent += UInt64(frame.encodedCount)
    return frame
  }

  private mutating func dial(_ moment: Moment, _ effects: inout [PeerEffect]) {
    attempt += 1
    link = .dialling(attempt: attempt, since: moment.nanoseconds)
    statistics.state = .connecting
    effects.append(.dial(attempt: attempt))
  }

  private mutating func receive(
    _ frame: Frame, at moment: Moment, _ effects: inout [PeerEffect]
  ) throws(TransportError) {
    withUp { $0.heartbeat.heard() }
    switch (frame.kind, link) {
    case (.goodbye, _):
      let error = try Notice(decoding: frame.body).error
      lose(error, goodbye: false, at: moment, &effects)
    case (.hello, .greeting(let attempt, let since)):
      try welcome(frame, attempt, since, at: moment, &effects)
    case (.response, .up): try answer(frame.request, .success(frame.body), &effects)
    case (.failure, .up):
      try answer(frame.request, .failure(try Notice(decoding: frame.body).error), &effects)
    case (.ping, .up):
      // One that was not sent yet stands for all.
      control.removeAll { $0.kind == .pong }
      control.append(try Heartbeat.pong(to: frame, at: moment))
      effects.append(.flush)
    case (.pong, .up(_, let up)):
      if let sign = try up.heartbeat.takePong(frame, at: moment.nanoseconds) {
        statistics.roundTripNanoseconds = sign.roundTrip
        effects.append(.heard(physicalMilliseconds: sign.milliseconds, roundTripNanoseconds: sign.roundTrip))
      }
    case (.draining, .up):
      withUp { $0.isDraining = true }
      statistics.state = .draining
      let error = TransportError(.unreachable, "\(name) is about to leave")
      for number in waiting { end(number, error, &effects) }
      effects.append(.changed(.draining, nil))
    default: throw TransportError(.rubbish, "a frame of kind \(frame.kind) out of place")
    }
  }

  private mutating func welcome(
    _ frame: Frame, _ attempt: UInt64, _ since: UInt64, at moment: Moment, _ effects: inout [PeerEffect]
  ) throws(TransportError) {
    let other = try Hello(decoding: frame.body)
    var mine = hello
    mine.physicalMilliseconds = moment.physicalMilliseconds
    let age = moment.nanoseconds &- since
    _ = try mine.accept(
      other, expecting: node == .anyone ? nil : node,
      clockBound: options.clockBound.map { $0.wholeNanoseconds / 1_000_000 },
      age: age / 1_000_000 + 1)
    link = .up(
      attempt: attempt,
      Up(
        since: moment.nanoseconds, largestBody: other.largestBody, window: other.window,
        heartbeat: Heartbeat(options, at: moment.nanoseconds)))
    if attempt > 1 { statistics.reconnects += 1 }
    statistics.state = .connected
    effects.append(.changed(.connected, nil))
    effects.append(.heard(physicalMilliseconds: other.physicalMilliseconds, roundTripNanoseconds: age))
    // What was taken before the other side's limit was known.
    for number in waiting where (items[number]?.byteCount ?? 0) > other.largestBody {
      let error = TransportError(
        .tooLarge, "a body of \(items[number]?.byteCount ?? 0) bytes; \(name) takes \(other.largestBody)"
      )
      end(number, error, &effects)
    }
    effects.append(.flush)
  }

  private var waiting: [UInt64] { queue[queueStart...].filter { items[$0]?.message != nil } }

  /// What a message is refused with that finds no connection: why there is none.
  private var refusal: TransportError {
    switch lastError.code {
    case .wrongCluster, .wrongDatabase, .wrongVersion, .wrongNode, .clockOutOfBound, .tls, .notSecure,
      .certificate:
      TransportError(lastError.code, lastError.message)
    default: TransportError(.unreachable, "\(name) is out of reach: \(lastError)")
    }
  }

  /// Ends the connection, and what hangs on it.
  private mutating func lose(
    _ error: TransportError, goodbye: Bool, closes: Bool = true, at moment: Moment,
    _ effects: inout [PeerEffect]
  ) {
    var upFor: UInt64 = 0
    if case .up(_, let up) = link { upFor = moment.nanoseconds &- up.since }
    if closes {
      effects.append(
        .close(attempt: attempt, goodbye ? Frame(kind: .goodbye, body: Notice(error).encoded) : nil))
    }
    link = .waiting(until: moment.nanoseconds &+ backoff.wait(afterUpFor: upFor))
    control = []
    lastError = error
    statistics.state = .waiting
    statistics.lastError = error.description
    effects.append(.changed(.waiting, error))
    failAll(refusal, &effects)
  }

  private mutating func failAll(_ refusal: TransportError, _ effects: inout [PeerEffect]) {
    let all = items.sorted { $0.key < $1.key }
    for (number, item) in all {
      let error =
        item.message != nil
        ? refusal
        : TransportError(.disconnected, "the connection ended: \(lastError)", mayHaveArrived: true)
      end(number, error, &effects)
    }
    queue = []
    queueStart = 0
    deadlines = DeadlineQueue()
  }

  private mutating func stop(_ effects: inout [PeerEffect]) {
    let error = TransportError(.closed, "the network was closed")
    if isCurrent(attempt) {
      effects.append(.close(attempt: attempt, Frame(kind: .goodbye, body: Notice(error).encoded)))
    }
    link = .stopped
    control = []
    lastError = error
    statistics.state = .closed
    failAll(error, &effects)
    effects.append(.changed(.closed, nil))
  }

  // MARK: - Time

  private mutating func tick(_ moment: Moment, _ effects: inout [PeerEffect]) {
    let now = moment.nanoseconds
    if let time = wakeAt, time <= now { wakeAt = nil }
    while let number = deadlines.take(until: now) {
      if items[number] == nil { continue }
      statistics.deadlinesExceeded += 1
      end(number, TransportError(.deadlineExceeded, "no answer from \(name) in time"), &effects)
    }
    switch link {
    case .waiting(let until): if until <= now { dial(moment, &effects) }
    case .dialling(_, let since), .greeting(_, let since):
      if since &+ options.handshakeTimeout.wholeNanoseconds <= now {
        let error = TransportError(
          .silent, "\(name) did not introduce itself in \(options.handshakeTimeout)")
        lose(error, goodbye: true, at: moment, &effects)
      }
    case .up(let attempt, var up):
      do throws(TransportError) {
        if let ping = try up.heartbeat.beat(at: moment) {
          // A ping that was not sent yet says the same.
          control.removeAll { $0.kind == .ping }
          control.append(ping)
          effects.append(.flush)
        }
        link = .up(attempt: attempt, up)
      } catch {
        lose(error, goodbye: true, at: moment, &effects)
      }
    case .idle, .stopped: break
    }
  }

  /// Asks to be woken for the soonest of what is due, where that was not asked for.
  private mutating func wake(_ now: UInt64, _ effects: inout [PeerEffect]) {
    var soonest = deadlines.first ?? .max
    switch link {
    case .idle, .stopped: break
    case .waiting(let until): soonest = min(soonest, until)
    case .dialling(_, let since), .greeting(_, let since):
      soonest = min(soonest, since &+ options.handshakeTimeout.wholeNanoseconds)
    case .up(_, let up): soonest = min(soonest, up.heartbeat.due)
    }
    guard soonest < wakeAt ?? .max else { return }
    wakeAt = soonest
    effects.append(.wake(at: soonest))
  }
}
