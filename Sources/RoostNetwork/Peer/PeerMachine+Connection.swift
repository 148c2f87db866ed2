import RoostCluster
import RoostEnvironment

// How the connection of a `PeerMachine` comes about and ends, and what time does to it.

extension PeerMachine {
  /// Whether the connection of this attempt is the one that counts.
  func isCurrent(_ number: UInt64) -> Bool {
    switch link {
    case .dialling(let attempt, _), .greeting(let attempt, _), .up(let attempt, _): attempt == number
    case .idle, .waiting, .stopped: false
    }
  }

  mutating func withUp(_ body: (inout Up) -> Void) {
    guard case .up(let attempt, var up) = link else { return }
    body(&up)
    link = .up(attempt: attempt, up)
  }

  mutating func counted(_ frame: Frame) -> Frame {
    statistics.bytesSent += UInt64(frame.encodedCount)
    return frame
  }

  mutating func dial(_ moment: Moment, _ effects: inout [PeerEffect]) {
    attempt += 1
    link = .dialling(attempt: attempt, since: moment.nanoseconds)
    statistics.state = .connecting
    effects.append(.dial(attempt: attempt))
  }

  mutating func receive(
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

  var waiting: [UInt64] { queue[queueStart...].filter { items[$0]?.message != nil } }

  /// What a message is refused with that finds no connection: why there is none.
  var refusal: TransportError {
    switch lastError.code {
    case .wrongCluster, .wrongDatabase, .wrongVersion, .wrongNode, .clockOutOfBound, .tls, .notSecure,
      .certificate:
      TransportError(lastError.code, lastError.message)
    default: TransportError(.unreachable, "\(name) is out of reach: \(lastError)")
    }
  }

  /// Ends the connection, and what hangs on it.
  mutating func lose(
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

  mutating func stop(_ effects: inout [PeerEffect]) {
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

  mutating func tick(_ moment: Moment, _ effects: inout [PeerEffect]) {
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
  mutating func wake(_ now: UInt64, _ effects: inout [PeerEffect]) {
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
