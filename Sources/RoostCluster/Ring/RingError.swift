/// Why a ring could not be made, changed or read.
public struct RingError: Error, Sendable, Equatable, CustomStringConvertible {
  /// A kind of failure. New kinds may be added: a `switch` needs a default.
  public struct Code: Sendable, Hashable, CustomStringConvertible {
    public let description: String
    init(_ description: String) { self.description = description }

    /// A weight that is not 1 to 1000.
    public static let weightOutOfRange = Code("weightOutOfRange")
    /// No members, or fewer than a partition has replicas.
    public static let tooFewMembers = Code("tooFewMembers")
    /// More than ``Ring/maximumMembers``.
    public static let tooManyMembers = Code("tooManyMembers")
    /// Two members of one id.
    public static let duplicateMember = Code("duplicateMember")
    /// A member that is not in the ring.
    public static let unknownMember = Code("unknownMember")
    /// A name or a zone of more than 255 bytes.
    public static let nameTooLong = Code("nameTooLong")
    /// A number of partitions that is not 1 to 32,768.
    public static let partitionCount = Code("partitionCount")
    /// A number of replicas that is not 1 to 32.
    public static let replicaCount = Code("replicaCount")
    /// A number of virtual nodes that ``TokenRing`` does not take.
    public static let virtualNodeCount = Code("virtualNodeCount")
    /// An epoch above 2^62.
    public static let epochOutOfRange = Code("epochOutOfRange")
    /// A move that does not fit the ring: it was applied already, or belongs to another plan.
    public static let staleMove = Code("staleMove")
    /// Bytes that are no ring.
    public static let damaged = Code("damaged")
    /// A ring that a later version of Roost encoded.
    public static let newerFormat = Code("newerFormat")
  }

  public let code: Code
  public let message: String
  /// Where in the bytes the damage lies.
  public let offset: Int?

  public init(_ code: Code, _ message: String, offset: Int? = nil) {
    self.code = code
    self.message = message
    self.offset = offset
  }

  public var description: String {
    "\(code): \(message)" + (offset.map { " at offset \($0)" } ?? "")
  }
}
