import RoostCluster

/// The moment at which something happens, by both of a node's clocks.
struct Moment: Hashable, Sendable {
  /// Of the monotonic clock.
  var nanoseconds: UInt64
  /// Of the physical clock, since 1970.
  var physicalMilliseconds: UInt64
}

/// Tells a silent connection from an idle one: gives signs of life, and counts those that do not come.
///
/// What counts is heartbeats in which nothing came, not time: where this process stood still itself, it has
/// read nothing either, and the next heartbeat comes after what arrived meanwhile was read.
struct Heartbeat {
  private let interval: UInt64
  private let mostSilent: Int
  private let frameTimeout: UInt64
  private(set) var next: UInt64
  private var silent = 0
  private var number: UInt64 = 0
  private var sentAt: UInt64 = 0
  /// Since when the other side owes the rest of a frame.
  private var partialSince: UInt64?
  /// Nothing can come, because nothing is read.
  var isPaused = false

  init(_ options: NetworkOptions, at now: UInt64) {
    interval = options.heartbeat.wholeNanoseconds
    mostSilent = options.silentHeartbeats
    frameTimeout = options.frameTimeout.wholeNanoseconds
    next = now &+ interval
  }

  /// When ``beat(at:)`` wants to be called.
  var due: UInt64 {
    guard let partialSince, !isPaused else { return next }
    return min(next, partialSince &+ frameTimeout)
  }

  /// - Returns: the ping to send, if one is due.
  /// - Throws: `.silent`.
  mutating func beat(at moment: Moment) throws(TransportError) -> Frame? {
    let now = moment.nanoseconds
    if let partialSince, !isPaused, now >= partialSince &+ frameTimeout {
      throw TransportError(.silent, "the rest of a frame did not come in \(frameTimeout / 1_000_000) ms")
    }
    guard now >= next else { return nil }
    next = now &+ interval
    if !isPaused { silent += 1 }
    if silent > mostSilent {
      throw TransportError(.silent, "nothing came for \(mostSilent) heartbeats of \(interval / 1_000_000) ms")
    }
    number &+= 1
    sentAt = now
    return Frame(kind: .ping, request: number, body: Heartbeat.clock(moment))
  }

  /// A whole frame came.
  mutating func heard() {
    silent = 0
    partialSince = nil
  }

  /// Bytes came.
  ///
  /// - Parameter isPartial: whether they end within a frame.
  mutating func received(isPartial: Bool, at now: UInt64) {
    silent = 0
    partialSince = isPartial ? partialSince ?? now : nil
  }

  /// Begins to count anew: what stood in the way was on this side.
  mutating func resumed(at now: UInt64) {
    isPaused = false
    silent = 0
    if partialSince != nil { partialSince = now }
  }

  static func pong(to ping: Frame, at moment: Moment) throws(TransportError) -> Frame {
    _ = try reading(ping)
    return Frame(kind: .pong, request: ping.request, body: clock(moment))
  }

  /// - Returns: what the other's clock showed, and how long the round trip took; `nil` for an answer to
  ///   an older ping.
  func takePong(
    _ pong: Frame, at now: UInt64
  ) throws(TransportError) -> (milliseconds: UInt64, roundTrip: UInt64)? {
    let milliseconds = try Heartbeat.reading(pong)
    guard pong.request <= number else {
      throw TransportError(.rubbish, "an answer to a ping that was not sent")
    }
    return pong.request == number ? (milliseconds, now &- sentAt) : nil
  }

  private static func clock(_ moment: Moment) -> [UInt8] {
    var writer = FieldWriter()
    writer.write(fixed: moment.physicalMilliseconds)
    return writer.bytes
  }

  private static func reading(_ frame: Frame) throws(TransportError) -> UInt64 {
    var reader = FieldReader(frame.body, "a \(frame.kind)")
    do throws(DatabaseError) {
      let value = try reader.readFixed()
      try reader.readEnd()
      return value
    } catch { throw TransportError(.rubbish, error.message) }
  }
}
