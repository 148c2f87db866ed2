public import RoostEnvironment

/// What went wrong in the engine, where, and why.
///
/// Absent keys are `nil`, never an error. Damaged bytes throw ``Code/corruption`` with the file and
/// the offset.
public struct StoreError: Error, Sendable, CustomStringConvertible {
  /// A kind of failure. New kinds may be added: a `switch` needs a default.
  public struct Code: Sendable, Hashable, CustomStringConvertible {
    public let description: String
    init(_ description: String) { self.description = description }

    /// A key of no bytes or of more than 65,535, a bound or a name that is not allowed.
    public static let invalidArgument = Code("invalidArgument")
    /// A value above 1 GiB, or a batch whose encoding is above 2 GiB.
    public static let tooLarge = Code("tooLarge")
    /// A value or a batch that the memory budget can never hold.
    public static let exceedsBudget = Code("exceedsBudget")
    /// An option outside its limits.
    public static let invalidOption = Code("invalidOption")
    /// The directory exists and holds no store.
    public static let notAStore = Code("notAStore")
    /// The store must exist and does not.
    public static let notFound = Code("notFound")
    /// The store must not exist and does.
    public static let alreadyExists = Code("alreadyExists")
    /// The files were written by a later version of Roost.
    public static let newerFormat = Code("newerFormat")
    /// A file that the manifest or the marker names is not there.
    public static let missingFile = Code("missingFile")
    /// The system's permissions forbid it.
    public static let permissionDenied = Code("permissionDenied")
    /// Another process, or another `Store` in this one, has the directory open.
    public static let locked = Code("locked")
    /// Bytes on disk are not what was written.
    public static let corruption = Code("corruption")
    /// The system failed a file operation.
    public static let io = Code("io")
    /// No space is left on the disk. Nothing of the failed call was kept unless it says so.
    public static let diskFull = Code("diskFull")
    /// The process has too many files open.
    public static let tooManyFiles = Code("tooManyFiles")
    /// An earlier failure stopped all writing; reads go on. Reopen the store to recover.
    public static let readOnly = Code("readOnly")
    /// The write was logged but its sync failed: it may or may not be there after a restart.
    public static let outcomeUnknown = Code("outcomeUnknown")
    /// The store was closed.
    public static let closed = Code("closed")
    /// The tree was dropped.
    public static let treeDropped = Code("treeDropped")
    /// A wait reached its deadline; the message says for what.
    public static let deadlineExceeded = Code("deadlineExceeded")
  }

  /// One word, so that a call which may throw costs no more than one that does not.
  private let details: Details

  private final class Details: Sendable {
    let code: Code
    let message: String
    let file: String?
    let offset: Int64?
    let cause: FileSystemError?

    init(_ code: Code, _ message: String, _ file: String?, _ offset: Int64?, _ cause: FileSystemError?) {
      self.code = code
      self.message = message
      self.file = file
      self.offset = offset
      self.cause = cause
    }
  }

  public var code: Code { details.code }
  public var message: String { details.message }
  /// The file concerned, where there is one.
  public var file: String? { details.file }
  /// The byte offset in that file.
  public var offset: Int64? { details.offset }
  /// The failed system call below, where there was one.
  public var cause: FileSystemError? { details.cause }

  public init(
    _ code: Code, _ message: String, file: String? = nil, offset: Int64? = nil,
    cause: FileSystemError? = nil
  ) {
    details = Details(code, message, file, offset, cause)
  }

  public var description: String {
    var text = "\(code): \(message)"
    if let file { text += " [\(file)" + (offset.map { " at offset \($0)" } ?? "") + "]" }
    if let cause { text += " (\(cause))" }
    return text
  }

  /// Whether the work that failed may be tried again: nothing is in doubt, something was only used
  /// up.
  var mayPass: Bool { code == .diskFull || code == .tooManyFiles }

  static func corruption(_ message: String, file: String, offset: Int64? = nil) -> StoreError {
    StoreError(.corruption, message, file: file, offset: offset)
  }
}

extension StoreError {
  /// Wraps a failed file operation in what the engine was doing.
  init(_ doing: String, _ cause: FileSystemError) {
    let code: Code =
      switch cause.code {
      case .noSpace: .diskFull
      case .tooManyFiles: .tooManyFiles
      case .permissionDenied, .readOnly: .permissionDenied
      case .locked: .locked
      case .notFound: .missingFile
      default: .io
      }
    self.init(code, "could not \(doing)", file: cause.path, cause: cause)
  }
}

/// Runs a file operation and says what it was for when it fails.
@inline(__always)
func doing<R: ~Copyable>(
  _ what: @autoclosure () -> String, _ body: () throws(FileSystemError) -> R
) throws(StoreError) -> R {
  do { return try body() } catch { throw StoreError(what(), error) }
}
