import Glibc
import Synchronization
public import SystemPackage

/// A file of the operating system.
///
/// Thread-safe. ``close()`` may race with any other call, which then works or throws `.closed` but
/// never touches another file: closing replaces what the descriptor stands for, and the number
/// itself is given back only when the object goes, which its callers keep alive.
public final class POSIXFile: File {
  public let path: FilePath
  private let descriptor: Int32
  private let isClosed = Atomic<Bool>(false)

  /// Takes over an open descriptor.
  init(_ path: FilePath, descriptor: Int32) {
    self.path = path
    self.descriptor = descriptor
  }

  deinit { Glibc.close(descriptor) }

  public func size() throws(FileSystemError) -> Int64 {
    try use("fstat") { () throws(FileSystemError) in
      var status = stat()
      _ = try systemCall("fstat", path) { unsafe fstat(descriptor, &status) }
      return Int64(status.st_size)
    }
  }

  public func read(
    into buffer: inout MutableRawSpan, at offset: Int64
  ) throws(FileSystemError) -> Int {
    try checkOpen("pread")
    let read = try unsafe buffer.withUnsafeMutableBytes { bytes throws(FileSystemError) in
      var done = 0
      while done < bytes.count {
        let n = try systemCall("pread", path) {
          unsafe pread(
            descriptor, bytes.baseAddress! + done, bytes.count - done, off_t(offset) + done)
        }
        if n == 0 { break }
        done += n
      }
      return done
    }
    try checkOpen("pread")
    return read
  }

  public func write(_ bytes: RawSpan, at offset: Int64) throws(FileSystemError) {
    try checkOpen("pwrite")
    try unsafe bytes.withUnsafeBytes { bytes throws(FileSystemError) in
      var done = 0
      while done < bytes.count {
        let n = try systemCall("pwrite", path) {
          unsafe pwrite(
            descriptor, bytes.baseAddress! + done, bytes.count - done, off_t(offset) + done)
        }
        // No file system does so, but an endless loop would be a poor answer to the first that
        // does.
        if n == 0 { throw FileSystemError("pwrite", path, errno: EIO) }
        done += n
      }
    }
    try checkOpen("pwrite")
  }

  public func sync() throws(FileSystemError) {
    try use("fdatasync") { () throws(FileSystemError) in
      _ = try systemCall("fdatasync", path) { fdatasync(descriptor) }
    }
  }

  public func truncate(to byteCount: Int64) throws(FileSystemError) {
    try use("ftruncate") { () throws(FileSystemError) in
      _ = try systemCall("ftruncate", path) { ftruncate(descriptor, off_t(byteCount)) }
    }
  }

  public func allocate(_ byteCount: Int64) throws(FileSystemError) {
    try use("posix_fallocate") { () throws(FileSystemError) in
      if byteCount == 0 { return }
      // Where the file system cannot reserve space the C library writes to each block instead.
      try systemCallReturningError("posix_fallocate", path) {
        posix_fallocate(descriptor, 0, off_t(byteCount))
      }
    }
  }

  public func map(
    _ byteCount: Int, faulting access: MappedAccess
  ) throws(FileSystemError) -> any MappedFile {
    try use("mmap") { () throws(FileSystemError) in
      // A page behind the end of the file can be mapped, but touching it kills the process.
      guard byteCount > 0, try Int64(byteCount) <= size() else {
        throw FileSystemError(
          .io, operation: "mmap", path: path.string, errorNumber: EINVAL,
          message: "cannot map \(byteCount) bytes: none, or behind the end of the file")
      }
      return try POSIXMappedFile(
        path, descriptor: descriptor, byteCount: byteCount, faulting: access)
    }
  }

  public func advise(_ advice: FileAdvice) {
    if isClosed.load(ordering: .relaxed) { return }
    let number =
      switch advice {
      case .random: POSIX_FADV_RANDOM
      case .sequential: POSIX_FADV_SEQUENTIAL
      case .willNotNeed: POSIX_FADV_DONTNEED
      }
    _ = posix_fadvise(descriptor, 0, 0, number)
  }

  public func close() {
    if isClosed.exchange(true, ordering: .sequentiallyConsistent) { return }
    // Lets go of the file at once, and of the number when nobody can be using it any more.
    if Self.nothing >= 0, dup2(Self.nothing, descriptor) >= 0 {
      _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    }
  }

  /// What a closed file's descriptor stands for. Opened once a process; -1 where it could not be:
  /// then a closed file lives until its object goes.
  private static let nothing: Int32 = unsafe Glibc.open("/dev/null", O_RDWR | O_CLOEXEC)

  /// Runs a call on the descriptor and checks afterwards that it still was the file's.
  @inline(__always)
  private func use<R>(
    _ operation: StaticString, _ body: () throws(FileSystemError) -> R
  ) throws(FileSystemError) -> R {
    try checkOpen(operation)
    let result: R
    do {
      result = try body()
    } catch {
      try checkOpen(operation)
      throw error
    }
    try checkOpen(operation)
    return result
  }

  @inline(__always)
  private func checkOpen(_ operation: StaticString) throws(FileSystemError) {
    if isClosed.load(ordering: .sequentiallyConsistent) {
      throw FileSystemError(
        .closed, operation: "\(operation)", path: path.string, message: "the file was closed")
    }
  }
}
