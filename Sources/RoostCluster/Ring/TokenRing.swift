/// The plain token ring (Karger et al. 1997; Dynamo's first strategy, 2007), for comparison with
/// ``Ring``: nothing in Roost is placed by it.
///
/// Each member stands at V places of the circle of hashes, its virtual nodes, and a key belongs to
/// whoever stands at its hash or next behind it. Shares are left to chance: over 10 equal members
/// their standard deviation is about 1/√V of the mean. A member that joins takes from its neighbours on
/// the circle alone, so as little moves as with ``Ring``, but only on average.
///
/// A value; its tokens are the virtual nodes by which rings place partitions too (``VirtualNodes``).
public struct TokenRing: Sendable {
  public let members: [RingMember]
  /// Positions, rising, and the place in `members` of who stands there.
  private let tokens: [UInt64]
  private let owners: [UInt16]
  /// By the highest bits of a hash: the first token that is not before that range.
  private let starts: [Int32]
  private let startBits: UInt64

  /// How many virtual nodes a member of weight 1 may have.
  public static let virtualNodeCounts = 1...4096
  /// The most tokens that a ring may have in all.
  public static let maximumTokens = 4 << 20

  /// - Parameters:
  ///   - members: 1 to 1024, each with its own id. Zones are not looked at.
  ///   - virtualNodes: 1 to 4096 for each unit of weight, at most 2^22 in all.
  /// - Throws: ``RingError`` with code `.tooFewMembers`, `.tooManyMembers`, `.duplicateMember`,
  ///   `.weightOutOfRange`, `.nameTooLong`, `.virtualNodeCount`.
  /// - Complexity: O(T · log T) for T tokens.
  public init(members: [RingMember], virtualNodes: Int) throws(RingError) {
    let members = try Ring.checked(members, replicas: 1)
    let weights = members.reduce(0) { $0 + $1.weight }
    guard Self.virtualNodeCounts.contains(virtualNodes), weights * virtualNodes <= Self.maximumTokens
    else {
      throw RingError(
        .virtualNodeCount,
        "\(virtualNodes) virtual nodes for each of \(weights) units of weight: it must be 1 to 4096, "
          + "and at most \(Self.maximumTokens) in all")
    }
    var all: [(token: UInt64, owner: UInt16)] = []
    all.reserveCapacity(weights * virtualNodes)
    for (place, member) in members.enumerated() {
      for token in VirtualNodes.positions(of: member.id, count: member.weight * virtualNodes) {
        all.append((token, UInt16(place)))
      }
    }
    all.sort { ($0.token, $0.owner) < ($1.token, $1.owner) }
    self.members = members
    tokens = all.map(\.token)
    owners = all.map(\.owner)
    // Some ranges a token, so that most hold none or one.
    startBits = UInt64(min(22, Int.bitWidth - tokens.count.leadingZeroBitCount + 2))
    var starts: [Int32] = []
    starts.reserveCapacity(1 << Int(startBits))
    var next = 0
    for range in 0..<UInt64(1) << startBits {
      while next < tokens.count, tokens[next] < range << (64 - startBits) { next += 1 }
      starts.append(Int32(next))
    }
    self.starts = starts
  }

  /// The place in `members` of who a key with that hash belongs to. O(1) on average.
  public func owner(ofHash hash: UInt64) -> Int { Int(owners[token(ofHash: hash)]) }

  /// The first members, `count` of them or all, that a walk from the hash meets: places in `members`.
  /// O(T) at worst, O(count · log count) on average, for equal weights.
  public func replicas(ofHash hash: UInt64, count: Int) -> [Int] {
    var result: [Int] = []
    var token = token(ofHash: hash)
    while result.count < min(count, members.count) {
      let owner = Int(owners[token])
      if !result.contains(owner) { result.append(owner) }
      token = token + 1 < tokens.count ? token + 1 : 0
    }
    return result
  }

  /// The part of all hashes that belongs to each member, in the order of `members`; their sum is 1.
  /// O(T).
  public var shares: [Double] {
    if tokens.count == 1 { return [1] }
    var shares = Array(repeating: 0.0, count: members.count)
    var previous = tokens[tokens.count - 1]
    for (token, owner) in zip(tokens, owners) {
      shares[Int(owner)] += Double(token &- previous) / 18_446_744_073_709_551_616.0
      previous = token
    }
    return shares
  }

  /// How many tokens there are, and where each stands, rising.
  package var positions: [UInt64] { tokens }

  /// The place in `positions` of the token that a key with that hash finds. O(1) on average.
  @inline(__always)
  package func token(ofHash hash: UInt64) -> Int {
    var token = Int(starts[Int(truncatingIfNeeded: hash &>> (64 &- startBits))])
    while token < tokens.count, tokens[token] < hash { token &+= 1 }
    return token < tokens.count ? token : 0
  }
}
