import RoostCluster

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
