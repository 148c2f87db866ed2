public import SystemPackage

/// The file system as the engine sees it: the seam that the simulator replaces.
///
/// Every call is synchronous, every failure is thrown, nothing is retried except an interrupted
/// system call. A change to a directory (create, rename, remove) is durable only after
/// ``sync(directory:)``; a change to a file's bytes only after ``File/sync()``.
///
/// All methods may be called from any thread.
public protocol FileSystem: AnyObject, Sendable {
  /// Opens or creates a file.
  ///
  /// - Throws: ``FileSystemError`` with `.notFound`, `.alreadyExists`, `.permissionDenied`,
  ///   `.tooManyFiles`, `.noSpace`, `.isDirectory` or `.io`.
  func open(_ path: FilePath, _ mode: FileMode) throws(FileSystemError) -> any File

  /// Creates a directory, and those above it that are missing. Does nothing where it exists.
  func createDirectory(_ path: FilePath) throws(FileSystemError)

  /// The names in a directory, without `.` and `..`, sorted.
  func entries(of directory: FilePath) throws(FileSystemError) -> [String]

  /// Renames a file; an existing target is replaced atomically.
  func rename(_ path: FilePath, to newPath: FilePath) throws(FileSystemError)

  /// Removes a file.
  func remove(_ path: FilePath) throws(FileSystemError)

  /// Makes the directory's entries durable.
  func sync(directory: FilePath) throws(FileSystemError)

  /// What stands at a path, or `nil` where nothing does.
  func info(of path: FilePath) throws(FileSystemError) -> FileInfo?

  /// Takes an exclusive lock on a lock file, creating it where it is missing, and writes this
  /// process's number into it. The lock ends when the returned value is released or the process
  /// ends.
  ///
  /// - Throws: ``FileSystemError`` with `.locked`, whose `holder` is the process that has it where
  ///   that is known.
  func lock(_ path: FilePath) throws(FileSystemError) -> any FileLock

  /// Whether a write over existing bytes of a file in `directory` reuses their place on disk, so
  /// that it can fail neither for want of space nor by copy-on-write (ext4, XFS without reflinks).
  func overwritesInPlace(_ directory: FilePath) -> Bool

  /// Bytes that an unprivileged process may still allocate.
  func availableBytes(_ directory: FilePath) throws(FileSystemError) -> Int64

  /// How many files this process may have open at once.
  var openFileLimit: Int { get }
}

/// How ``FileSystem/open(_:_:)`` opens a file.
public enum FileMode: Sendable {
  /// An existing file, to read.
  case read
  /// An existing file, to read and write.
  case readWrite
  /// A file that must not exist yet, to read and write.
  case createNew
  /// A file to read and write, emptied where it exists.
  case createOrTruncate
}

/// What ``FileSystem/info(of:)`` tells.
public struct FileInfo: Sendable, Equatable {
  public var byteCount: Int64
  public var isDirectory: Bool
  public var device: UInt64
  /// The file's number on its device. Another file may get it once this one is removed.
  public var inode: UInt64
  /// When the file's bytes, size or names were last changed, in nanoseconds since 1970-01-01 UTC
  /// where the file system is a real one. It cannot be set, unlike the time of modification.
  ///
  /// Device, inode and this together tell a file from any that replaces it or is copied from it, as
  /// far as the clock that the system stamps files with (some milliseconds a step) tells the moments
  /// apart.
  public var changeNanoseconds: Int64

  public init(
    byteCount: Int64, isDirectory: Bool, device: UInt64, inode: UInt64, changeNanoseconds: Int64
  ) {
    self.byteCount = byteCount
    self.isDirectory = isDirectory
    self.device = device
    self.inode = inode
    self.changeNanoseconds = changeNanoseconds
  }
}

/// An open file. Closed by ``close()`` or when released.
///
/// Reads and writes name their offset, so a file may be read from many threads at once.
public protocol File: AnyObject, Sendable {
  var path: FilePath { get }

  func size() throws(FileSystemError) -> Int64

  /// Reads from `offset` until `buffer` is full or the file ends.
  ///
  /// - Returns: bytes read; fewer than asked for only at the end of the file.
  func read(into buffer: inout MutableRawSpan, at offset: Int64) throws(FileSystemError) -> Int

  /// Writes all of `bytes` at `offset`, growing the file where needed.
  func write(_ bytes: RawSpan, at offset: Int64) throws(FileSystemError)

  /// Makes the file's bytes and size durable (`fdatasync`), those changed through a mapping
  /// included. After it throws, what the file holds on disk is unknown, and calling it again proves
  /// nothing.
  func sync() throws(FileSystemError)

  func truncate(to byteCount: Int64) throws(FileSystemError)

  /// Reserves disk space for the first `byteCount` bytes and makes the file at least that long.
  func allocate(_ byteCount: Int64) throws(FileSystemError)

  /// Maps the first `byteCount` bytes, shared and writable, with their pages faulted in for what is
  /// to be done at once. The file must already be that long.
  func map(
    _ byteCount: Int, faulting access: MappedAccess
  ) throws(FileSystemError) -> any MappedFile

  /// Tells the system how the file will be read. A hint: it never fails.
  func advise(_ advice: FileAdvice)

  /// Closes the file. Later calls throw `.closed`; closing twice does nothing.
  func close()
}

public enum FileAdvice: Sendable {
  case random
  case sequential
  case willNotNeed
}

/// What a mapping's pages are faulted in for.
public enum MappedAccess: Sendable {
  /// They are clean, and the first write to each of them takes a fault: a sync then writes what was
  /// written.
  case reading
  /// They are all dirty at once, and the first sync writes them all.
  case writing
}

/// A file's bytes in memory. Unmapped when released; stays valid after its file is closed.
public protocol MappedFile: AnyObject, Sendable {
  /// The first mapped byte.
  var base: UnsafeMutableRawPointer { get }
  var byteCount: Int { get }
}

/// A lock that is held as long as the value lives.
public protocol FileLock: AnyObject, Sendable {
  func unlock()
}
