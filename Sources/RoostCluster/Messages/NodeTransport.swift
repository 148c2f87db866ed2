// The seam between the protocols (replication, transactions) and what carries their messages: the network,
// or calls within a process. Kinds and bodies belong to the protocols, and are opaque here.

/// What one node says to another.
package struct NodeMessage: Hashable, Sendable {
  /// What the body is; chosen by the protocol.
  package var kind: UInt16
  package var body: [UInt8]

  package init(kind: UInt16, body: [UInt8]) {
    self.kind = kind
    self.body = body
  }
}

/// Carries messages between the nodes of a cluster: over a network, within a process, or in a simulation.
///
/// A message may be lost; what it carries is never changed. It arrives at most once over one call, but a
/// caller that sends it again makes two. Messages to one node may overtake each other.
///
/// Deadlines are moments of this node's monotonic clock, in nanoseconds; what is left of one travels with the
/// message. Thread-safe; no call waits.
package protocol NodeTransport: AnyObject, Sendable {
  /// This node.
  var node: NodeID { get }

  /// The longest body that it sends, in bytes. Another node may take less.
  var largestBody: Int { get }

  /// Asks `node`, and calls `reply` exactly once: with the answer, or with why there is none. The call
  /// may come before this returns, and must not wait for long.
  ///
  /// `reply` gets a ``TransportError`` with `.unreachable`, `.overloaded`, `.tooLarge`, `.closed`
  /// (nothing was sent), `.deadlineExceeded`, `.cancelled`, `.disconnected`
  /// (``TransportError/mayHaveArrived`` tells), or `.failed` from the other side's handler; and what the
  /// two sides' introduction was refused with, such as `.wrongCluster`.
  ///
  /// - Returns: by which the request can be taken back.
  @discardableResult
  func request(
    _ message: NodeMessage, of node: NodeID, deadline: UInt64,
    _ reply: @escaping @Sendable (Result<[UInt8], TransportError>) -> Void
  ) -> any NodeRequest

  /// Sends a message that needs no answer. Where this returns it is on its way, and may still be lost;
  /// one that waits past its deadline is dropped.
  ///
  /// - Throws: `.unreachable`, `.overloaded`, `.tooLarge`, `.deadlineExceeded`, `.closed`, and what the
  ///   introduction was refused with: nothing was sent.
  func tell(_ message: NodeMessage, to node: NodeID, deadline: UInt64) throws(TransportError)

  /// From now on what others send comes to `handler`, which is held weakly. Before, and when it is gone,
  /// requests fail and messages are lost.
  func attach(_ handler: any NodeMessageHandler)
}

/// A request under way.
package protocol NodeRequest: AnyObject, Sendable {
  /// Takes the request back: its reply is called with `.cancelled`, unless it was called before. The
  /// other side is told, and may have done what was asked.
  func cancel()
}

/// Handles what other nodes send. Called by many threads at once; must not wait for long, since other
/// messages of the same node wait behind it.
package protocol NodeMessageHandler: AnyObject, Sendable {
  func receive(_ message: ReceivedMessage)

  /// What was just heard of another node: for failure detection and the clock bound.
  func heard(_ sign: NodeSign)

  /// A connection over which messages came has ended: ``ReceivedMessage/connection`` is its number. Those of
  /// its messages that were in hand have been cancelled before.
  func ended(_ connection: UInt64, of node: NodeID)
}

extension NodeMessageHandler {
  package func heard(_ sign: NodeSign) {}
  package func ended(_ connection: UInt64, of node: NodeID) {}
}

/// A sign of life of another node.
package struct NodeSign: Hashable, Sendable {
  package var node: NodeID
  /// The other side's physical clock, in milliseconds since 1970, at some moment of the round trip.
  package var physicalMilliseconds: UInt64
  /// This side's, when the sign came.
  package var localPhysicalMilliseconds: UInt64
  /// How long the round trip took by this side's monotonic clock: the other's reading is at most so old.
  package var roundTripNanoseconds: UInt64
  /// When the sign came, by this side's monotonic clock: it may be told of later.
  package var heardNanoseconds: UInt64

  package init(
    node: NodeID, physicalMilliseconds: UInt64, localPhysicalMilliseconds: UInt64,
    roundTripNanoseconds: UInt64, heardNanoseconds: UInt64
  ) {
    self.node = node
    self.physicalMilliseconds = physicalMilliseconds
    self.localPhysicalMilliseconds = localPhysicalMilliseconds
    self.roundTripNanoseconds = roundTripNanoseconds
    self.heardNanoseconds = heardNanoseconds
  }
}
