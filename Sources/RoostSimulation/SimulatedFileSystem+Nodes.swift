import RoostEnvironment
import SystemPackage

// What the operations are made of.

extension SimulatedFileSystem {
  // MARK: Space and references, with the lock held

  /// Takes disk space for the first `byteCount` bytes of a file.
  ///
  /// - Returns: for how many of them there is space: fewer where the disk is full.
  func reserve(_ byteCount: Int, for file: FileNode) -> Int {
    let wanted = file.roundUp(byteCount)
    if wanted <= file.reserved { return byteCount }
    var granted = wanted
    if let capacity = settings.capacity {
      let free = max(0, Int(clamping: capacity) - usedBytes) / 4096 * 4096
      granted = min(wanted, file.reserved + free)
    }
    setReserved(max(granted, file.reserved), of: file)
    return min(byteCount, granted)
  }

  func setReserved(_ byteCount: Int, of file: FileNode) {
    if file.references > 0 { usedBytes += byteCount - file.reserved }
    file.reserved = byteCount
  }

  /// Notes that a name, an open file or a mapping is gone.
  func release(_ file: FileNode) {
    file.references -= 1
    if file.references == 0 {
      usedBytes -= file.reserved
      if settings.reusesNumbers { freeNumbers.append(file.number) }
    }
  }

  func fileClosed(_ file: FileNode) {
    openFiles -= 1
    release(file)
  }

  /// Counts a file that a clone was made with.
  func adopt(_ file: FileNode) {
    file.references += 1
    if file.references == 1 { usedBytes += file.reserved }
  }

  func createFile(_ name: String, in directory: DirectoryNode) -> FileNode {
    let file = FileNode(number: takeNumber(), changed: 0)
    file.references = 1
    directory.entries[name] = file
    noteChange(of: directory, file)
    unsyncedChanges.append(.create(directory, name, file))
    return file
  }

  /// Stamps what one operation changed. With the lock held.
  func noteChange(of node: Node, _ second: Node? = nil, _ third: Node? = nil) {
    changeCount += 1
    node.changed = changeCount
    second?.changed = changeCount
    third?.changed = changeCount
  }

  func takeNumber() -> UInt64 {
    if settings.reusesNumbers, let number = freeNumbers.popLast() { return number }
    defer { nextNumber += 1 }
    return nextNumber
  }

  // MARK: Paths, with the lock held

  static func names(of path: FilePath) -> [String] {
    var names: [String] = []
    for name in path.string.split(separator: "/") where name != "." {
      if name != ".." { names.append(String(name)) } else if !names.isEmpty { names.removeLast() }
    }
    return names
  }

  func node(at path: FilePath) -> Node? {
    var node: Node = root
    for name in Self.names(of: path) {
      guard let next = (node as? DirectoryNode)?.entries[name] else { return nil }
      node = next
    }
    return node
  }

  func directory(
    _ path: FilePath, _ kind: Operation.Kind
  ) throws(FileSystemError) -> DirectoryNode {
    try directory(Self.names(of: path)[...], path, kind)
  }

  func directory(
    _ names: ArraySlice<String>, _ path: FilePath, _ kind: Operation.Kind
  ) throws(FileSystemError) -> DirectoryNode {
    var directory = root
    for name in names {
      guard let next = directory.entries[name] else { throw Self.error(.notFound, kind, path) }
      guard let next = next as? DirectoryNode else { throw Self.error(.notADirectory, kind, path) }
      directory = next
    }
    return directory
  }

  func parent(
    of path: FilePath, _ kind: Operation.Kind
  ) throws(FileSystemError) -> (DirectoryNode, String) {
    let names = Self.names(of: path)
    guard let name = names.last else { throw Self.error(.isDirectory, kind, path) }
    return (try directory(names.dropLast(), path, kind), name)
  }

  /// `withLock` for bodies whose error type the compiler cannot find by itself.
  func locked<R>(_ body: () throws(FileSystemError) -> R) throws(FileSystemError) -> R {
    try lock.withLock(body)
  }

  static func error(
    _ code: FileSystemError.Code, _ kind: Operation.Kind, _ path: FilePath, _ message: String = ""
  ) -> FileSystemError {
    FileSystemError(code, operation: "\(kind)", path: path.string, message: message)
  }

  static func mappedError(_ kind: Operation.Kind, _ path: FilePath) -> FileSystemError {
    error(.io, kind, path, "the simulator cannot grow a file while it is mapped")
  }
}
