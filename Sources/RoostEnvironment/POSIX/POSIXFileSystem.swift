import Glibc
public import SystemPackage

/// The operating system's files.
///
/// Stateless and thread-safe. Files are created with mode 0644 and directories with 0755, both less
/// the process's umask; no descriptor is inherited by a program that this process starts.
public final class POSIXFileSystem: FileSystem {
  public init() {}

  public func open(_ path: FilePath, _ mode: FileMode) throws(FileSystemError) -> any File {
    let flags =
      switch mode {
      case .read: O_RDONLY
      case .readWrite: O_RDWR
      case .createNew: O_RDWR | O_CREAT | O_EXCL
      case .createOrTruncate: O_RDWR | O_CREAT | O_TRUNC
      }
    let descriptor = try openDescriptor(path, flags)
    let file = POSIXFile(path, descriptor: descriptor)
    // The system opens a directory for reading without complaint.
    if case .read = mode {
      var status = stat()
      _ = try systemCall("fstat", path) { unsafe fstat(descriptor, &status) }
      if status.isDirectory { throw FileSystemError("open", path, errno: EISDIR) }
    }
    return file
  }

  public func createDirectory(_ path: FilePath) throws(FileSystemError) {
    do {
      try makeDirectory(path)
    } catch {
      guard error.code == .notFound else { throw error }
      let parent = path.removingLastComponent()
      guard !parent.isEmpty, parent != path else { throw error }
      try createDirectory(parent)
      try makeDirectory(path)
    }
  }

  private func makeDirectory(_ path: FilePath) throws(FileSystemError) {
    do {
      _ = try systemCall("mkdir", path) {
        unsafe path.withPlatformString { unsafe mkdir($0, 0o755) }
      }
    } catch {
      // Someone made it before or meanwhile, which is as good, if it is a directory.
      if error.code == .alreadyExists, try info(of: path)?.isDirectory == true { return }
      throw error
    }
  }

  public func entries(of directory: FilePath) throws(FileSystemError) -> [String] {
    guard let stream = unsafe directory.withPlatformString({ unsafe opendir($0) }) else {
      throw FileSystemError("opendir", directory, errno: errno)
    }
    defer { unsafe closedir(stream) }
    var names: [String] = []
    while true {
      errno = 0
      guard let entry = unsafe readdir(stream) else {
        if errno != 0 { throw FileSystemError("readdir", directory, errno: errno) }
        return names.sorted()
      }
      let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != "." && name != ".." { names.append(name) }
    }
  }

  public func rename(_ path: FilePath, to newPath: FilePath) throws(FileSystemError) {
    _ = try systemCall("rename", path) {
      unsafe path.withPlatformString { old in
        unsafe newPath.withPlatformString { new in unsafe Glibc.rename(old, new) }
      }
    }
  }

  public func remove(_ path: FilePath) throws(FileSystemError) {
    _ = try systemCall("unlink", path) { unsafe path.withPlatformString { unsafe unlink($0) } }
  }

  public func sync(directory: FilePath) throws(FileSystemError) {
    let descriptor = try openDescriptor(directory, O_RDONLY | O_DIRECTORY)
    defer { Glibc.close(descriptor) }
    _ = try systemCall("fsync", directory) { fsync(descriptor) }
  }

  public func info(of path: FilePath) throws(FileSystemError) -> FileInfo? {
    var status = stat()
    do {
      _ = try systemCall("stat", path) {
        unsafe path.withPlatformString { unsafe stat($0, &status) }
      }
    } catch where error.code == .notFound || error.code == .notADirectory {
      return nil
    }
    return FileInfo(
      byteCount: Int64(status.st_size), isDirectory: status.isDirectory,
      device: UInt64(status.st_dev), inode: UInt64(status.st_ino),
      changeNanoseconds: Int64(status.st_ctim.tv_sec) &* 1_000_000_000 &+ Int64(status.st_ctim.tv_nsec))
  }

  public func lock(_ path: FilePath) throws(FileSystemError) -> any FileLock {
    try POSIXFileLock(path)
  }

  /// True on ext2, ext3 and ext4, and on tmpfs, which keeps a page that was written once. XFS
  /// overwrites in place too, but only where no block is shared by a reflink, which has been its
  /// default to allow for years; the rest copy on write, or are not known.
  public func overwritesInPlace(_ directory: FilePath) -> Bool {
    guard let info = try? info(of: directory), let mounts = try? MountTable.current() else {
      return false
    }
    return ["ext2", "ext3", "ext4", "tmpfs"].contains(mounts.fileSystemType(device: info.device))
  }

  public func availableBytes(_ directory: FilePath) throws(FileSystemError) -> Int64 {
    var status = statvfs()
    _ = try systemCall("statvfs", directory) {
      unsafe directory.withPlatformString { unsafe statvfs($0, &status) }
    }
    let (bytes, overflow) = UInt64(status.f_bavail)
      .multipliedReportingOverflow(by: UInt64(status.f_frsize))
    return overflow ? .max : Int64(clamping: bytes)
  }

  /// The process's limit, whose soft part is raised to the hard part when this is first asked.
  public var openFileLimit: Int { Self.raisedOpenFileLimit }

  private static let raisedOpenFileLimit: Int = {
    var limit = rlimit()
    // What every system grants.
    guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
      return 256
    }
    let soft = limit.rlim_cur
    limit.rlim_cur = limit.rlim_max
    let raised = unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0
    return Int(clamping: raised ? limit.rlim_cur : soft)
  }()
}

extension stat {
  var isDirectory: Bool { st_mode & S_IFMT == S_IFDIR }
}

/// Opens a path; the caller closes it.
func openDescriptor(_ path: FilePath, _ flags: Int32) throws(FileSystemError) -> Int32 {
  try systemCall("open", path) {
    unsafe path.withPlatformString { unsafe Glibc.open($0, flags | O_CLOEXEC, 0o644) }
  }
}
