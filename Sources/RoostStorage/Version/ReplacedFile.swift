package import RoostEnvironment
import SystemPackage

/// A small file that is replaced as a whole: whoever reads it finds all of the old bytes or all of the
/// new ones, whenever the process or the machine stops.
///
/// Two writers of one file must keep each other out, by ``lock()`` or otherwise.
package struct ReplacedFile: Sendable {
  private let fileSystem: any FileSystem
  private let directory: FilePath
  private let name: String
  private let temporaryName: String

  /// - Parameter temporaryName: what new bytes are written under before they take the file's place;
  ///   anything that has that name may be removed.
  package init(
    _ directory: String, name: String, temporaryName: String, _ fileSystem: any FileSystem
  ) {
    self.directory = FilePath(directory)
    self.name = name
    self.temporaryName = temporaryName
    self.fileSystem = fileSystem
  }

  package var path: String { directory.appending(name).string }

  /// What the file is now, without reading it; `nil` where there is none.
  ///
  /// - Throws: `.permissionDenied`, `.io`.
  package func info() throws(StoreError) -> FileInfo? {
    try doing("look at \(path)") { () throws(FileSystemError) in
      try fileSystem.info(of: directory.appending(name))
    }
  }

  /// The file's bytes; `nil` where there is none.
  ///
  /// - Throws: `.corruption` where it has more than `limit` bytes; `.permissionDenied`, `.tooManyFiles`,
  ///   `.io`.
  package func read(limit: Int) throws(StoreError) -> [UInt8]? {
    if try info() == nil { return nil }
    return try readWholeFile(directory.appending(name), fileSystem, limit: limit)
  }

  /// Puts new bytes in the place of the old ones, durably.
  ///
  /// - Throws: `.outcomeUnknown` where either may be in force; else the old ones are.
  package func replace(_ bytes: [UInt8]) throws(StoreError) {
    let temporary = directory.appending(temporaryName)
    // A leftover whose sync failed may read well and never reach the disk (rule 4): a new file,
    // then.
    try? fileSystem.remove(temporary)
    try doing("replace \(path)") { () throws(FileSystemError) in
      let file = try fileSystem.open(temporary, .createOrTruncate)
      defer { file.close() }
      try unsafe file.write(bytes.span.bytes, at: 0)
      try file.sync()
      try fileSystem.rename(temporary, to: directory.appending(name))
    }
    do { try fileSystem.sync(directory: directory) } catch {
      // Never a disk that is merely full: the new file may be the one that a restart finds.
      throw StoreError(
        .outcomeUnknown, "the new \(name) may or may not be in force", file: directory.string,
        cause: error)
    }
  }

  /// Makes the directory, and those above it that are missing, durably.
  ///
  /// - Throws: `.permissionDenied`, `.diskFull`, `.io`.
  package func makeDirectory() throws(StoreError) {
    try doing("make \(directory.string)") { () throws(FileSystemError) in
      try fileSystem.createDirectoryDurably(directory)
    }
  }

  /// Takes the lock that keeps other writers out, from this process or another.
  ///
  /// - Parameter lockName: a file beside this one.
  /// - Returns: `nil` where another has it.
  /// - Throws: `.permissionDenied`, `.tooManyFiles`, `.io`.
  package func lock(_ lockName: String) throws(StoreError) -> (any FileLock)? {
    do throws(FileSystemError) {
      return try fileSystem.lock(directory.appending(lockName))
    } catch {
      if error.code == .locked { return nil }
      throw StoreError("lock \(directory.string)", error)
    }
  }
}

extension FileSystem {
  /// Makes a directory, and those above it that are missing: each is durable once the one above it is synced.
  func createDirectoryDurably(_ path: FilePath) throws(FileSystemError) {
    var parents: [FilePath] = []
    var above = path
    while !above.isEmpty, try info(of: above) == nil {
      above = above.removingLastComponent()
      parents.append(above)
    }
    if parents.isEmpty {
      // Whoever made it may have ended before this. Where it cannot be synced, nor could its maker.
      let parent = path.removingLastComponent()
      return (try? sync(directory: parent.isEmpty ? "." : parent)) ?? ()
    }
    try createDirectory(path)
    for parent in parents.reversed() { try sync(directory: parent.isEmpty ? "." : parent) }
  }
}
