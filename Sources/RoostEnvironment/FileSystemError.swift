/// A failed file operation: what was tried, on what, and what the system said.
public struct FileSystemError: Error, Sendable, Equatable, CustomStringConvertible {
  public enum Code: Sendable, Equatable {
    case notFound
    case alreadyExists
    case permissionDenied
    /// The disk or the quota is full.
    case noSpace
    case tooManyFiles
    case notADirectory
    case isDirectory
    case readOnly
    /// Another process holds the lock.
    case locked
    case closed
    /// Anything else: the device failed, or the arguments were wrong for this file system.
    case io
  }

  public var code: Code
  /// The call that failed, as the system names it: `open`, `pwrite`, `fdatasync` …
  public var operation: String
  public var path: String
  /// The system's error number, or 0 where there is none.
  public var errorNumber: Int32
  /// The process that holds the lock, for `.locked`, where it is known.
  public var holder: Int32?
  /// The system's words.
  public var message: String

  public init(
    _ code: Code, operation: String, path: String, errorNumber: Int32 = 0, holder: Int32? = nil,
    message: String = ""
  ) {
    self.code = code
    self.operation = operation
    self.path = path
    self.errorNumber = errorNumber
    self.holder = holder
    self.message = message
  }

  public var description: String {
    var text = "\(operation) \(path): "
    text += message.isEmpty ? "\(code)" : message
    if errorNumber != 0 { text += " (errno \(errorNumber))" }
    if let holder { text += " (held by process \(holder))" }
    return text
  }
}
