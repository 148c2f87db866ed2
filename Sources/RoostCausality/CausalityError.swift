/// What went wrong in a value of this module: an encoding that is damaged, a counter that is full, a
/// clock that is out of bounds.
public struct CausalityError: Error, Sendable, CustomStringConvertible {
  /// A kind of failure. New kinds may be added: a `switch` needs a default.
  public struct Code: Sendable, Hashable, CustomStringConvertible {
    public let description: String
    init(_ description: String) { self.description = description }

    /// Bytes are no encoding, or not the one that Roost writes for their value.
    public static let damaged = Code("damaged")
    /// The bytes were written by a later version of Roost.
    public static let newerFormat = Code("newerFormat")
    /// A counter's total does not fit 64 bits.
    public static let overflow = Code("overflow")
    /// A counter remembers as many increments by their ids as it may.
    public static let tooManyOperations = Code("tooManyOperations")
    /// A dot that was to name a new write is one that the record has seen: whoever minted it lost its
    /// count and must take a new ``ReplicaID``.
    public static let dotAlreadySeen = Code("dotAlreadySeen")
    /// A timestamp from elsewhere is further ahead than clocks may differ.
    public static let farFuture = Code("farFuture")
  }

  /// One word, so that a call which may throw costs no more than one that does not.
  private let details: Details

  private final class Details: Sendable {
    let code: Code
    let message: String
    let offset: Int?

    init(_ code: Code, _ message: String, _ offset: Int?) {
      self.code = code
      self.message = message
      self.offset = offset
    }
  }

  public var code: Code { details.code }
  public var message: String { details.message }
  /// Where in the encoding, in bytes from its first.
  public var offset: Int? { details.offset }

  public init(_ code: Code, _ message: String, offset: Int? = nil) {
    details = Details(code, message, offset)
  }

  public var description: String {
    "\(code): \(message)" + (offset.map { " at offset \($0)" } ?? "")
  }
}
