import Glibc
import SystemPackage

extension FileSystemError {
  /// What the system said about a call that failed.
  init(_ operation: String, _ path: FilePath, errno number: Int32) {
    self.init(
      Code(errno: number), operation: operation, path: path.string, errorNumber: number,
      message: Errno(rawValue: number).description)
  }
}

extension FileSystemError.Code {
  init(errno number: Int32) {
    self =
      switch number {
      case ENOENT: .notFound
      case EEXIST: .alreadyExists
      case EACCES, EPERM: .permissionDenied
      case ENOSPC, EDQUOT: .noSpace
      case EMFILE, ENFILE: .tooManyFiles
      case ENOTDIR: .notADirectory
      case EISDIR: .isDirectory
      case EROFS: .readOnly
      default: .io
      }
  }
}

/// Makes a system call again as long as a signal interrupts it, and throws what it fails with.
@inline(__always)
func systemCall<I: FixedWidthInteger>(
  _ operation: StaticString, _ path: @autoclosure () -> FilePath, _ call: () -> I
) throws(FileSystemError) -> I {
  while true {
    let result = call()
    if result >= 0 { return result }
    let number = errno
    if number != EINTR { throw FileSystemError("\(operation)", path(), errno: number) }
  }
}

/// The same for calls that return their error number.
func systemCallReturningError(
  _ operation: StaticString, _ path: FilePath, _ call: () -> Int32
) throws(FileSystemError) {
  while true {
    let number = call()
    if number == 0 { return }
    if number != EINTR { throw FileSystemError("\(operation)", path, errno: number) }
  }
}
