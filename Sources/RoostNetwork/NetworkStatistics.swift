public import RoostCluster

/// What a node has exchanged with another one that it dials, and how the connection is.
public struct PeerStatistics: Sendable, Hashable {
  /// How a connection is.
  public enum State: Sendable, Hashable {
    /// Being dialled, or introducing itself.
    case connecting
    /// Messages go.
    case connected
    /// The other side is about to leave: what is under way is finished.
    case draining
    /// It was lost, or refused; it is dialled again soon.
    case waiting
    /// It was closed here.
    case closed
  }

  public var node: NodeID
  public var address: NodeAddress
  public var state = State.connecting
  /// Over all connections so far, frames' headers included.
  public var bytesSent: UInt64 = 0
  public var bytesReceived: UInt64 = 0
  /// Requests and messages without an answer that were sent, and answers that came.
  public var messagesSent: UInt64 = 0
  public var answersReceived: UInt64 = 0
  /// Requests sent and not answered yet.
  public var inFlight = 0
  /// Messages that wait to be sent, and the bytes of their bodies.
  public var queuedMessages = 0
  public var queuedBytes = 0
  /// Messages that were refused because a queue was full.
  public var shed: UInt64 = 0
  public var deadlinesExceeded: UInt64 = 0
  /// Connections after the first.
  public var reconnects: UInt64 = 0
  /// Why there was no connection, last.
  public var lastError: String?
  /// Of the last heartbeat; `nil` before the first.
  public var roundTripNanoseconds: UInt64?

  init(node: NodeID, address: NodeAddress) {
    self.node = node
    self.address = address
  }
}

/// What a node does for the others that have dialled it.
public struct ListenerStatistics: Sendable, Hashable {
  /// Connections that are open now, those being introduced included.
  public var connections = 0
  public var accepted: UInt64 = 0
  /// Connections that this side ended with a reason, by the reason's code.
  public var dropped: [String: UInt64] = [:]
  /// The last of them, in words.
  public var lastDrop: String?
  public var bytesReceived: UInt64 = 0
  public var bytesSent: UInt64 = 0
  public var messagesReceived: UInt64 = 0
  /// Messages that handlers have in hand now, and the bytes of their bodies.
  public var inHand = 0
  public var bytesInHand = 0
  /// Requests that were refused because as many as may be were in hand.
  public var shed: UInt64 = 0

  init() {}
}
