/// A process that has stores of a cluster: what messages go to and come from.
///
/// Random, minted by whoever starts the process and told to the cluster's directory, which also knows
/// where each node listens and which members (stores) it has. 0 is nobody.
public struct NodeID: Hashable, Comparable, Sendable {
  public let rawValue: UInt64

  public init(rawValue: UInt64) { self.rawValue = rawValue }

  public static func < (a: NodeID, b: NodeID) -> Bool { a.rawValue < b.rawValue }
}

extension NodeID: CustomStringConvertible {
  /// 16 lower-case hexadecimal digits.
  public var description: String {
    let digits = String(rawValue, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
}
