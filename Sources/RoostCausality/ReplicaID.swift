/// Who mints dots: one incarnation of one store.
///
/// A random number, minted anew whenever a store may have lost something that it once held, so that
/// the same dot never names two writes.
public struct ReplicaID: Hashable, Comparable, Sendable {
  public let rawValue: UInt64

  public init(rawValue: UInt64) { self.rawValue = rawValue }

  @inlinable
  public static func < (a: ReplicaID, b: ReplicaID) -> Bool { a.rawValue < b.rawValue }
}
