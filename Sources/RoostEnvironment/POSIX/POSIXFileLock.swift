import Glibc
import SystemPackage

/// A lock that the kernel keeps on a file, and gives up when the process ends, however it ends.
///
/// The lock belongs to the open file and not to the process (`flock`), so a second open in the same
/// process is refused as one in another is. The file holds the holder's process number in decimal,
/// for the error of whoever comes second; it is emptied on release and never removed, because
/// whoever had it open by then would go on to lock a file that no longer has a name.
///
/// Thread-safe.
final class POSIXFileLock: FileLock, @unchecked Sendable {
  private let lock = Lock()
  /// The descriptor, or -1 once unlocked. Guarded by `lock`.
  private var descriptor: Int32

  init(_ path: FilePath) throws(FileSystemError) {
    while true {
      let descriptor = try openDescriptor(path, O_RDWR | O_CREAT)
      do {
        try Self.take(descriptor, path)
        if try Self.stillNamed(descriptor, path) {
          try Self.writeHolder(descriptor, path)
          self.descriptor = descriptor
          return
        }
        Glibc.close(descriptor)
      } catch {
        Glibc.close(descriptor)
        throw error
      }
    }
  }

  deinit { unlock() }

  func unlock() {
    lock.withLock {
      guard descriptor >= 0 else { return }
      _ = ftruncate(descriptor, 0)
      // Explicitly, because a child process between fork and exec still has the file open.
      _ = flock(descriptor, LOCK_UN)
      Glibc.close(descriptor)
      descriptor = -1
    }
  }

  private static func take(_ descriptor: Int32, _ path: FilePath) throws(FileSystemError) {
    do {
      _ = try systemCall("flock", path) { flock(descriptor, LOCK_EX | LOCK_NB) }
    } catch {
      guard error.errorNumber == EWOULDBLOCK else { throw error }
      throw FileSystemError(
        .locked, operation: "flock", path: path.string, errorNumber: EWOULDBLOCK,
        holder: holder(descriptor), message: "the lock is held")
    }
  }

  /// Whether the file locked is the one that the path names now.
  private static func stillNamed(
    _ descriptor: Int32, _ path: FilePath
  ) throws(FileSystemError) -> Bool {
    var mine = stat()
    _ = try systemCall("fstat", path) { unsafe fstat(descriptor, &mine) }
    var named = stat()
    do {
      _ = try systemCall("stat", path) {
        unsafe path.withPlatformString { unsafe stat($0, &named) }
      }
    } catch where error.code == .notFound {
      return false
    }
    return mine.st_dev == named.st_dev && mine.st_ino == named.st_ino
  }

  private static func writeHolder(
    _ descriptor: Int32, _ path: FilePath
  ) throws(FileSystemError) {
    _ = try systemCall("ftruncate", path) { ftruncate(descriptor, 0) }
    let text = Array("\(getpid())\n".utf8)
    _ = try systemCall("pwrite", path) { unsafe pwrite(descriptor, text, text.count, 0) }
  }

  /// The process number in the lock file; none where its holder has not written it yet.
  private static func holder(_ descriptor: Int32) -> Int32? {
    var buffer = [UInt8](repeating: 0, count: 16)
    let n = unsafe pread(descriptor, &buffer, buffer.count, 0)
    guard n > 0 else { return nil }
    let digits = buffer[..<n].prefix { $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }
    return Int32(String(decoding: digits, as: UTF8.self))
  }
}
