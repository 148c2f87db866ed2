/// Why a message was not sent, or a request was not answered.
///
/// ``mayHaveArrived`` says whether the other side may have acted on it.
public struct TransportError: Error, Sendable, CustomStringConvertible {
  /// A kind of failure. New kinds may be added: a `switch` needs a default.
  public struct Code: Sendable, Hashable, CustomStringConvertible {
    public let description: String
    init(_ description: String) { self.description = description }

    /// There is no connection to the node: it is not known, does not listen, or is about to leave. The
    /// message has the last reason.
    public static let unreachable = Code("unreachable")
    /// A queue or a limit is full, here or there: nothing was done, try again later or elsewhere.
    public static let overloaded = Code("overloaded")
    /// The request's deadline passed.
    public static let deadlineExceeded = Code("deadlineExceeded")
    /// The caller took its request back.
    public static let cancelled = Code("cancelled")
    /// The body is longer than this node sends or the other one takes.
    public static let tooLarge = Code("tooLarge")
    /// The connection ended before the answer came.
    public static let disconnected = Code("disconnected")
    /// The other side's handler failed; the message is its own.
    public static let failed = Code("failed")
    /// This side was closed.
    public static let closed = Code("closed")

    // Why two nodes do not talk to each other.

    /// They are not of the same cluster.
    public static let wrongCluster = Code("wrongCluster")
    /// They are not of the same database.
    public static let wrongDatabase = Code("wrongDatabase")
    /// They have no version of the protocol in common.
    public static let wrongVersion = Code("wrongVersion")
    /// Another node answered than the one that was asked for.
    public static let wrongNode = Code("wrongNode")
    /// Their physical clocks differ by more than the bound.
    public static let clockOutOfBound = Code("clockOutOfBound")
    /// The other side sent what is no message of the protocol, or broke its rules.
    public static let rubbish = Code("rubbish")
    /// Nothing, or nothing whole, came in time.
    public static let silent = Code("silent")
    /// TLS failed: a certificate is missing, expired or of another authority, or the other side speaks no
    /// TLS.
    public static let tls = Code("tls")
    /// Plain TCP was asked for, and the address is not on loopback.
    public static let notSecure = Code("notSecure")

    // What was wrong here from the beginning.

    /// A text is no address.
    public static let invalidAddress = Code("invalidAddress")
    /// An option outside its limits.
    public static let invalidOption = Code("invalidOption")
    /// A certificate, a key or an authority could not be read, or they do not fit together.
    public static let certificate = Code("certificate")
    /// The address cannot be listened on.
    public static let listen = Code("listen")
  }

  public var code: Code
  public var message: String
  /// `false` where it is certain that the other side has not begun to handle the message, and never will.
  public var mayHaveArrived: Bool

  public init(_ code: Code, _ message: String, mayHaveArrived: Bool = false) {
    self.code = code
    self.message = message
    self.mayHaveArrived = mayHaveArrived
  }

  public var description: String { "\(code): \(message)" }
}
