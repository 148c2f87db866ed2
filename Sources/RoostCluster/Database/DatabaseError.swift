public import RoostStorage

/// What went wrong in a database, and why.
///
/// Absent keys are empty reads, never an error. What the engine below reported is in ``cause``.
public struct DatabaseError: Error, Sendable, CustomStringConvertible {
  /// A kind of failure. New kinds may be added: a `switch` needs a default.
  public struct Code: Sendable, Hashable, CustomStringConvertible {
    public let description: String
    package init(_ description: String) { self.description = description }

    /// A key of no bytes or too many, a name or a bound that is not allowed.
    public static let invalidArgument = Code("invalidArgument")
    /// An option outside its limits.
    public static let invalidOption = Code("invalidOption")
    /// There is no keyspace of that name.
    public static let unknownKeyspace = Code("unknownKeyspace")
    /// The keyspace exists with another policy.
    public static let wrongPolicy = Code("wrongPolicy")
    /// The key holds another kind of value: plain values, a counter, a set…
    public static let wrongKind = Code("wrongKind")
    /// A context was read from another key, keyspace or database, or from a state that this one
    /// never had; or a change token is of another keyspace or database.
    public static let foreignContext = Code("foreignContext")
    /// A context, a resume token or an export is not what Roost handed out, or was changed.
    public static let damagedToken = Code("damagedToken")
    /// A resume token of another database, another keyspace or another scan.
    public static let foreignToken = Code("foreignToken")
    /// Bytes on disk are not what was written.
    public static let corruption = Code("corruption")
    /// The files were written by a later version of Roost.
    public static let newerFormat = Code("newerFormat")
    /// A counter's total does not fit its type.
    public static let counterOverflow = Code("counterOverflow")
    /// A keyspace asks for more replicas than the database has members.
    public static let tooManyReplicas = Code("tooManyReplicas")
    /// The set of members is not one that a ring can have.
    public static let invalidMembers = Code("invalidMembers")
    /// A store of the database was not opened with it; the message names the partitions out of
    /// reach.
    public static let missingStore = Code("missingStore")
    /// A directory holds no member of this database.
    public static let notAMember = Code("notAMember")
    /// A directory holds a store of another database, or one that is no database's.
    public static let foreignStore = Code("foreignStore")
    /// No present store holds the key's partition.
    public static let unreachable = Code("unreachable")
    /// A node went by another ring than the one that it asked: either learns of the newer one, and what was
    /// asked may be asked again. Nothing was done.
    public static let staleRing = Code("staleRing")
    /// The replicas within reach hold an older state than the session saw; the message says what is missing.
    public static let behindSession = Code("behindSession")
    /// A write reached some replicas and failed at others: it may still appear.
    public static let indeterminate = Code("indeterminate")
    /// The versions that a read at a past time asks for may be gone: it lies before what is retained.
    public static let snapshotTooOld = Code("snapshotTooOld")
    /// An increment was tried again later than it is recognised by its id: it may have counted, or not.
    public static let operationExpired = Code("operationExpired")
    /// The key changed since the context of a conditional write was read.
    public static let conditionFailed = Code("conditionFailed")
    /// There is no index of that name on the keyspace.
    public static let unknownIndex = Code("unknownIndex")
    /// The index is being built; the message says how far it is.
    public static let indexNotReady = Code("indexNotReady")
    /// A remote time lies further in the future than clocks may differ.
    public static let clockOutOfBound = Code("clockOutOfBound")
    /// One value was asked for and concurrent writes left several.
    public static let severalValues = Code("severalValues")
    /// A codec could not encode or decode a value.
    public static let codec = Code("codec")
    /// The ring is being changed already; a node has too much in hand; a counter remembers too many
    /// increments.
    public static let busy = Code("busy")
    /// A wait reached its deadline; the message says for what.
    public static let deadlineExceeded = Code("deadlineExceeded")
    /// A transaction writes more bytes or touches more keys than it may.
    public static let transactionTooLarge = Code("transactionTooLarge")
    /// The transaction was committed or aborted already.
    public static let transactionEnded = Code("transactionEnded")
    /// The transaction was aborted, and trying it again did not help within the bounds; the message says
    /// why. Nothing of it was done.
    public static let transactionAborted = Code("transactionAborted")
    /// Nobody can tell yet whether the transaction committed: the message has its id.
    public static let outcomeUnknown = Code("outcomeUnknown")
    /// The database was closed.
    public static let closed = Code("closed")
    /// The engine failed: ``DatabaseError/cause`` says how.
    public static let storage = Code("storage")
  }

  /// One word, so that a call which may throw costs no more than one that does not.
  private let details: Details

  private final class Details: Sendable {
    let code: Code
    let message: String
    let cause: StoreError?

    init(_ code: Code, _ message: String, _ cause: StoreError?) {
      self.code = code
      self.message = message
      self.cause = cause
    }
  }

  public var code: Code { details.code }
  public var message: String { details.message }
  /// What the engine reported, where the failure was its.
  public var cause: StoreError? { details.cause }

  public init(_ code: Code, _ message: String, cause: StoreError? = nil) {
    details = Details(code, message, cause)
  }

  /// Wraps what a store threw.
  public init(_ cause: StoreError, _ doing: String = "the store failed") {
    let code: Code =
      switch cause.code {
      case .corruption: .corruption
      case .newerFormat: .newerFormat
      case .closed: .closed
      case .invalidArgument, .tooLarge: .invalidArgument
      case .invalidOption: .invalidOption
      case .deadlineExceeded: .deadlineExceeded
      case .outcomeUnknown: .indeterminate
      default: .storage
      }
    self.init(code, "\(doing): \(cause.message)", cause: cause)
  }

  public var description: String {
    var text = "\(code): \(message)"
    if let cause { text += " (\(cause))" }
    return text
  }
}

/// Runs a call to the engine and wraps what it throws.
@inline(__always)
package func storing<R: ~Copyable>(
  _ doing: @autoclosure () -> String = "the store failed", _ body: () throws(StoreError) -> R
) throws(DatabaseError) -> R {
  do { return try body() } catch { throw DatabaseError(error, doing()) }
}
