/// The name of one write: who made it, and the how-manieth of that replica it is.
///
/// A dot is minted once and names one write of one key for ever; a write may touch several elements
/// or fields of that key. Ordered by replica, then counter: an order for sorting, not of causes.
public struct Dot: Hashable, Comparable, Sendable, CustomStringConvertible {
  public let replica: ReplicaID
  public let counter: UInt64

  /// - Parameter counter: at least 1.
  @inlinable
  public init(replica: ReplicaID, counter: UInt64) {
    precondition(counter >= 1, "dots count from 1")
    self.replica = replica
    self.counter = counter
  }

  @inlinable
  public static func < (a: Dot, b: Dot) -> Bool {
    a.replica != b.replica ? a.replica < b.replica : a.counter < b.counter
  }

  public var description: String { "\(replica)#\(counter)" }
}

extension Dot: Dotted {
  package var dot: Dot { self }
}
