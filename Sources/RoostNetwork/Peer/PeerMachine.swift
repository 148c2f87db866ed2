import RoostCluster
import RoostEnvironment

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
  enum Link {
    case idle
    case waiting(until: UInt64)
    case dialling(attempt: UInt64, since: UInt64)
    case greeting(attempt: UInt64, since: UInt64)
    case up(attempt: UInt64, Up)
    case stopped
  }

  struct Up {
    var since: UInt64
    var largestBody: Int
    var window: Int
    var heartbeat: Heartbeat
    var isDraining = false
  }

  struct Item {
    /// Until it is sent.
    var message: NodeMessage?
    var deadline: UInt64
    var isRequest: Bool
    var byteCount: Int
  }

  let node: NodeID
  let options: NetworkOptions
  let hello: Hello
  var backoff: Backoff
  var link = Link.idle
  var attempt: UInt64 = 0
  var isDraining = false
  var lastError = TransportError(.unreachable, "no connection was made yet")
  var statistics: PeerStatistics

  var items: [UInt64: Item] = [:]
  /// Numbers of what waits, in order; some may be gone.
  var queue: [UInt64] = []
  var queueStart = 0
  var control: [Frame] = []
  var deadlines = DeadlineQueue()
  var wakeAt: UInt64?
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
  var name: String { node == .anyone ? "the node" : "node \(node)" }

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
  mutating func end(_ number: UInt64, _ error: TransportError, _ effects: inout [PeerEffect]) {
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

  mutating func answer(
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
}
