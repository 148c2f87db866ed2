public import RoostCluster

/// The limits and times of a node's connections. Those of one connection hold for each.
public struct NetworkOptions: Sendable {
  /// The longest body of a message, in bytes, sent or taken: 1 KiB to 1 GiB. Another node may take less.
  public var largestBody = 16 << 20

  /// Requests of one node that this one handles at a time; more wait at their sender. Beyond it they are
  /// refused with `.overloaded`, and messages without an answer wait in the sender's queue. 1 to 65,536.
  public var window = 256

  /// Bodies of one node that handlers may have in hand, in bytes, before nothing more is read from it. At
  /// least one is always taken. 1 KiB to 16 GiB.
  public var bytesInHand = 64 << 20

  /// Messages to one node that may wait to be sent; more are refused with `.overloaded`. As many of a client
  /// may wait for its connection. 1 to a million.
  public var queuedMessages = 4_096

  /// The same in bytes of their bodies; also of answers that a node does not fetch, before nothing more is
  /// read from it. 1 KiB to 16 GiB.
  public var queuedBytes = 32 << 20

  /// How often each side gives a sign of life, so that the other can tell silence from idleness: 10 ms to
  /// an hour.
  public var heartbeat: Duration = .seconds(1)

  /// After how many heartbeats in which nothing came from the other side the connection is given up: 2 to
  /// 1,000.
  public var silentHeartbeats = 5

  /// From dialling or accepting to the other side's introduction, TLS included: 10 ms to ten minutes.
  public var handshakeTimeout: Duration = .seconds(5)

  /// From a frame's first byte to its last: 10 ms to an hour.
  public var frameTimeout: Duration = .seconds(30)

  /// The waits before a lost connection is dialled again: about the lower bound at first, twice as long each
  /// time, each shortened at random by up to half. 1 ms to an hour.
  public var backoff: ClosedRange<Duration> = .milliseconds(50) ... .seconds(5)

  /// Connections that are accepted at a time; more are told `.overloaded`. 1 to 100,000.
  public var mostConnections = 1_024

  /// The greatest difference between the physical clocks of two nodes that take up with each other; `nil` for
  /// any. Messages check it on their own as well.
  public var clockBound: Duration?

  /// Threads for all connections: 1 to 64.
  public var threads = 2

  public init() {}

  /// - Throws: ``TransportError`` with `.invalidOption`, naming the first option outside its limits.
  public func validate() throws(TransportError) {
    func check<T: Comparable>(_ name: String, _ value: T, _ low: T, _ high: T) throws(TransportError) {
      if value >= low, value <= high { return }
      throw TransportError(.invalidOption, "network.\(name) is \(value), must be \(low) to \(high)")
    }
    try check("largestBody", largestBody, 1 << 10, 1 << 30)
    try check("window", window, 1, 65_536)
    try check("bytesInHand", bytesInHand, 1 << 10, 16 << 30)
    try check("queuedMessages", queuedMessages, 1, 1_000_000)
    try check("queuedBytes", queuedBytes, 1 << 10, 16 << 30)
    try check("heartbeat", heartbeat, .milliseconds(10), .seconds(3_600))
    try check("silentHeartbeats", silentHeartbeats, 2, 1_000)
    try check("handshakeTimeout", handshakeTimeout, .milliseconds(10), .seconds(600))
    try check("frameTimeout", frameTimeout, .milliseconds(10), .seconds(3_600))
    try check("backoff", backoff.lowerBound, .milliseconds(1), .seconds(3_600))
    try check("backoff", backoff.upperBound, .milliseconds(1), .seconds(3_600))
    try check("mostConnections", mostConnections, 1, 100_000)
    if let clockBound { try check("clockBound", clockBound, .zero, .seconds(3_600)) }
    try check("threads", threads, 1, 64)
  }
}

extension Duration {
  /// Of what was checked to be neither negative nor longer than an hour.
  var wholeNanoseconds: UInt64 {
    let (seconds, attoseconds) = components
    return UInt64(seconds) * 1_000_000_000 + UInt64(attoseconds / 1_000_000_000)
  }
}
