import RoostEnvironment
import RoostStorage
import SystemPackage

/// How the tool ends, for scripts. The numbers above 63 are those of sysexits.h.
///
/// A command that has said all there is to say ends by throwing it.
enum ExitStatus: Int32, Error {
  case success = 0
  /// `get`, `smembers`: there is no such key. `txn`: it was aborted, and left no trace.
  case absent = 1
  /// Bytes on disk are not what was written, or `fill` or `bank` found other contents than there must be.
  case damage = 2
  /// What was asked for may have been done, or may still be: whoever does it again may do it twice.
  case uncertain = 3
  /// The command line is wrong; nothing was done.
  case usage = 64
  /// What was to be imported, a script, a file of settings or of a session, or a certificate is not what its
  /// format says.
  case badInput = 65
  /// No store, tree, keyspace, member or file of that name.
  case notFound = 66
  /// No node answers at an address, too few replicas do, or the address cannot be listened on.
  case unavailable = 69
  /// The store failed in some other way.
  case software = 70
  /// The system failed a file operation, or the disk is full.
  case io = 74
  /// Another process has the store, too much is under way, a wait took too long, or the key has changed
  /// since it was read: nothing was done that doing it again could do twice.
  case busy = 75
  /// A later version of Roost wrote the files.
  case newerFormat = 76
  case noPermission = 77

  /// `simulate`: a promise was broken.
  static let violation = ExitStatus.absent

  static let table = """
    EXIT CODES
      0   done
      1   `get`, `smembers`: the key is absent; `txn`: it was aborted;
          `simulate`: a promise was broken
      2   damaged files; `fill --check`, `bank`: the contents are wrong
      3   it may have happened, or may still: look before you do it again
      64  wrong usage, or what the keyspace or the cluster does not allow
      65  bad input: of `import` or `txn`, settings, a session, certificates
      66  no such store, tree, keyspace, index, member or file
      69  no node, or too few, within reach; an address that is taken
      70  it failed in another way
      74  the system failed, or the disk is full
      75  busy, not done in time (as `--wait` says), changed since it was
          read, or another process has the store open: try again
      76  written by a later version of Roost
      77  no permission
    """
}

/// Why a command ended without doing what was asked: one line for standard error, and how the tool
/// ends.
struct Failure: Error {
  var status: ExitStatus
  var message: String

  init(_ status: ExitStatus, _ message: String) {
    self.status = status
    self.message = message
  }

  static func usage(_ message: String) -> Failure { Failure(.usage, message) }
}

/// The reader of standard output went away. Not worth a word.
struct BrokenPipe: Error {}

extension Failure {
  init(_ error: StoreError) {
    self.init(Self.status(of: error.code), Self.line(error))
  }

  init(_ error: FileSystemError) {
    let status: ExitStatus =
      switch error.code {
      case .notFound, .notADirectory, .isDirectory: .notFound
      case .permissionDenied: .noPermission
      default: .io
      }
    self.init(status, "\(error.path): \(error.reason)")
  }

  private static func status(of code: StoreError.Code) -> ExitStatus {
    switch code {
    case .invalidArgument, .tooLarge, .exceedsBudget, .invalidOption: .usage
    case .notAStore, .notFound, .alreadyExists: .notFound
    case .newerFormat: .newerFormat
    case .missingFile, .corruption: .damage
    case .permissionDenied: .noPermission
    case .locked, .deadlineExceeded: .busy
    case .outcomeUnknown: .uncertain
    case .io, .diskFull, .tooManyFiles, .readOnly: .io
    default: .software
    }
  }

  /// What, where, why: on one line.
  static func line(_ error: StoreError) -> String {
    if error.code == .locked {
      let holder = error.cause?.holder.map { "process \($0)" } ?? "another process"
      return "the store is open in \(holder)" + (error.file.map { " (\($0))" } ?? "")
    }
    var text = error.message
    if error.code == .corruption { text = "damaged: " + text }
    if let file = error.file, !text.contains(file) {
      text += " (\(file)" + (error.offset.map { ", offset \($0)" } ?? "") + ")"
    } else if let offset = error.offset {
      text += " (offset \(offset))"
    }
    if let cause = error.cause {
      text += ": \(cause.operation): \(cause.reason)"
      if cause.path != error.file { text += " (\(cause.path))" }
    }
    return text
  }
}

extension FileSystemError {
  /// The system's words, or what stands for them.
  var reason: String { message.isEmpty ? "\(code)" : message }
}

extension Failure {
  /// A failed call on a file that is not the store's.
  init(_ error: Errno, _ doing: String, _ path: String) {
    let status: ExitStatus =
      switch error {
      case .noSuchFileOrDirectory, .notDirectory, .isDirectory: .notFound
      case .permissionDenied: .noPermission
      default: .io
      }
    self.init(status, "could not \(doing) \(path): \(error)")
  }
}
