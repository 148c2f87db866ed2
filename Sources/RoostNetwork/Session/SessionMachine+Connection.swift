import RoostCluster

// How the connection of a `SessionMachine` comes about and ends, and what time does to it.

extension SessionMachine {
  mutating func withHeartbeat(_ body: (inout Heartbeat) -> Void) {
    guard case .up(let node, var heartbeat) = link else { return }
    body(&heartbeat)
    link = .up(node, heartbeat)
  }

  mutating func end(_ error: TransportError?, _ effects: inout [SessionEffect]) {
    if isEnded { return }
    link = .ended
    control = []
    answers = []
    answersStart = 0
    bytesWaiting = 0
    // Before the close, at which the handler may be told at once that the connection has ended.
    for number in inHand.keys.sorted() where inHand[number]?.isCancelled == false {
      inHand[number]?.isCancelled = true
      effects.append(.cancelled(number))
    }
    effects.append(.close(error.map { Frame(kind: .goodbye, body: Notice($0).encoded) }, error))
  }

  mutating func drain(_ until: UInt64, _ effects: inout [SessionEffect]) {
    if drainUntil == nil, case .up = link {
      control.append(Frame(kind: .draining))
      effects.append(.flush)
    }
    drainUntil = min(until, drainUntil ?? .max)
    if case .greeting = link {
      end(TransportError(.unreachable, "node \(hello.node) is about to leave"), &effects)
    }
    settleIfDrained(&effects)
  }

  mutating func settleIfDrained(_ effects: inout [SessionEffect]) {
    guard drainUntil != nil, inHand.isEmpty, control.isEmpty, answersStart == answers.count, bytesLeaving == 0
    else { return }
    end(TransportError(.unreachable, "node \(hello.node) has left"), &effects)
  }

  /// Stops reading where too much is kept, and goes on once a quarter of it is gone.
  mutating func pace(_ now: UInt64, _ effects: inout [SessionEffect]) {
    let kept = bytesWaiting + bytesLeaving
    if isPaused {
      func isBelow(_ value: Int, _ limit: Int) -> Bool { value == 0 || value < limit - limit / 4 }
      guard
        isBelow(oneWaysInHand, options.window), isBelow(bytesInHand, options.bytesInHand),
        isBelow(kept, options.queuedBytes)
      else { return }
      isPaused = false
      withHeartbeat { $0.resumed(at: now) }
    } else {
      guard
        oneWaysInHand >= options.window || bytesInHand >= options.bytesInHand || kept >= options.queuedBytes
      else { return }
      isPaused = true
      withHeartbeat { $0.isPaused = true }
    }
    if !isEnded { effects.append(.pause(isPaused)) }
  }

  // MARK: - Time

  mutating func tick(_ moment: Moment, _ effects: inout [SessionEffect]) {
    let now = moment.nanoseconds
    if let time = wakeAt, time <= now { wakeAt = nil }
    while let number = deadlines.take(until: now) {
      guard inHand[number]?.isCancelled == false else { continue }
      inHand[number]?.isCancelled = true
      effects.append(.cancelled(number))
    }
    do throws(TransportError) { try checkLink(moment, &effects) } catch { end(error, &effects) }
  }

  private mutating func checkLink(
    _ moment: Moment, _ effects: inout [SessionEffect]
  ) throws(TransportError) {
    let now = moment.nanoseconds
    switch link {
    case .ended: return
    case .greeting(let since):
      if since &+ options.handshakeTimeout.wholeNanoseconds <= now {
        throw TransportError(.silent, "no introduction came in \(options.handshakeTimeout)")
      }
    case .up(let node, var heartbeat):
      if bytesWaiting + bytesLeaving > 0, lastProgress &+ stallTimeout <= now {
        throw TransportError(
          .silent, "node \(node) took none of its answers in \(stallTimeout / 1_000_000) ms")
      }
      let ping = try heartbeat.beat(at: moment)
      link = .up(node, heartbeat)
      if let ping {
        // A ping that was not sent yet says the same.
        control.removeAll { $0.kind == .ping }
        control.append(ping)
        effects.append(.flush)
      }
    }
    if let drainUntil, drainUntil <= now {
      throw TransportError(
        .closed, "node \(hello.node) has left before all was answered", mayHaveArrived: true)
    }
  }

  private var stallTimeout: UInt64 { options.frameTimeout.wholeNanoseconds }

  /// Asks to be woken for the soonest of what is due, where that was not asked for.
  mutating func wake(_ now: UInt64, _ effects: inout [SessionEffect]) {
    var soonest = min(deadlines.first ?? .max, drainUntil ?? .max)
    switch link {
    case .ended: return
    case .greeting(let since): soonest = min(soonest, since &+ options.handshakeTimeout.wholeNanoseconds)
    case .up(_, let heartbeat): soonest = min(soonest, heartbeat.due)
    }
    guard soonest < wakeAt ?? .max else { return }
    wakeAt = soonest
    effects.append(.wake(at: soonest))
  }
}
