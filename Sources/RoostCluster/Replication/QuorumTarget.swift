/// A store that a request goes to, and where it stands.
public struct QuorumTarget: Hashable, Sendable {
  public var member: MemberID
  /// The process or machine that the store is in: stores that share one fail together.
  public var host: UInt64

  public init(member: MemberID, host: UInt64) {
    self.member = member
    self.host = host
  }
}

/// How many stores must have answered.
public struct QuorumSize: Hashable, Sendable {
  /// At least 1.
  public var count: Int
  /// Whether two stores of one host count once.
  public var countsHosts: Bool

  /// - Parameter count: taken as 1 where it is less.
  public init(_ count: Int, countsHosts: Bool = true) {
    self.count = max(count, 1)
    self.countsHosts = countsHosts
  }

  /// Whether the answers of so many suffice.
  func isMet(by targets: some Sequence<QuorumTarget>) -> Bool { strength(of: targets) >= count }

  /// What the answers of so many come to.
  func strength(of targets: some Sequence<QuorumTarget>) -> Int {
    countsHosts ? Set(targets.map(\.host)).count : Set(targets.map(\.member)).count
  }
}
