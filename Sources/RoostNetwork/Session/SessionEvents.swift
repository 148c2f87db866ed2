import RoostCluster

/// What happens to a connection that another node dialled.
enum SessionEvent: Sendable {
  case frame(Frame)
  /// Bytes came that end within a frame, or not.
  case bytes(count: Int, isPartial: Bool)
  /// The other side broke the rules, or TLS failed.
  case broken(TransportError)
  /// The handler answered, or finished a message without an answer.
  case handled(UInt64, Result<[UInt8], TransportError>?)
  /// So many bytes have left this process.
  case wrote(Int)
  /// It is some time later.
  case tick
  /// Take nothing new, end what is in hand until then.
  case drain(until: UInt64)
  /// There is no room for the connection, or the network is being closed.
  case refuse(TransportError)
  /// The connection has ended.
  case ended
}

/// What its driver is to do.
enum SessionEffect: Sendable {
  /// Hand it to the handler. The number comes back with ``SessionEvent/handled(_:_:)``.
  case deliver(UInt64, from: NodeID, Frame, deadline: UInt64)
  /// Nobody waits for the answer any more.
  case cancelled(UInt64)
  /// There is something to send: ask ``SessionMachine/nextFrame(at:)``.
  case flush
  /// Read nothing more, or go on.
  case pause(Bool)
  case wake(at: UInt64)
  case established(NodeID)
  case heard(NodeID, physicalMilliseconds: UInt64, roundTripNanoseconds: UInt64)
  /// Close the connection, after this frame. Why, where this side had a reason.
  case close(Frame?, TransportError?)
}
