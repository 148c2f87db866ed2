public import RoostEnvironment
public import SystemPackage

// What a file system does.

extension SimulatedFileSystem {
  public func open(_ path: FilePath, _ mode: RoostEnvironment.FileMode) throws(FileSystemError)
    -> any File
  {
    _ = try begin(.open, path)
    return try locked { () throws(FileSystemError) in
      guard openFiles < settings.openFileLimit else { throw Self.error(.tooManyFiles, .open, path) }
      let (directory, name) = try parent(of: path, .open)
      let file: FileNode
      switch directory.entries[name] {
      case let existing as FileNode:
        if case .createNew = mode { throw Self.error(.alreadyExists, .open, path) }
        file = existing
      case .some:
        if case .createNew = mode { throw Self.error(.alreadyExists, .open, path) }
        throw Self.error(.isDirectory, .open, path)
      case nil:
        switch mode {
        case .read, .readWrite: throw Self.error(.notFound, .open, path)
        case .createNew, .createOrTruncate: file = createFile(name, in: directory)
        }
      }
      if case .createOrTruncate = mode, file.content.size > 0 {
        guard file.content.resize(to: 0) else { throw Self.mappedError(.open, path) }
        setReserved(0, of: file)
        noteChange(of: file)
      }
      openFiles += 1
      file.references += 1
      var isWritable = true
      if case .read = mode { isWritable = false }
      return SimulatedFile(self, path, file, isWritable: isWritable)
    }
  }

  public func createDirectory(_ path: FilePath) throws(FileSystemError) {
    _ = try begin(.createDirectory, path)
    try locked { () throws(FileSystemError) in
      var directory = root
      for name in Self.names(of: path) {
        switch directory.entries[name] {
        case let existing as DirectoryNode: directory = existing
        case .some:
          let isLast = Self.names(of: path).last == name
          throw Self.error(isLast ? .alreadyExists : .notADirectory, .createDirectory, path)
        case nil:
          let new = DirectoryNode(number: takeNumber(), changed: 0)
          directory.entries[name] = new
          noteChange(of: directory, new)
          unsyncedChanges.append(.create(directory, name, new))
          directory = new
        }
      }
    }
  }

  public func entries(of directory: FilePath) throws(FileSystemError) -> [String] {
    _ = try begin(.entries, directory)
    return try locked { () throws(FileSystemError) in
      try self.directory(directory, .entries).entries.keys.sorted()
    }
  }

  public func rename(_ path: FilePath, to newPath: FilePath) throws(FileSystemError) {
    _ = try begin(.rename, path, newPath: newPath)
    try locked { () throws(FileSystemError) in
      let (from, old) = try parent(of: path, .rename)
      let (to, new) = try parent(of: newPath, .rename)
      guard let node = from.entries[old] else { throw Self.error(.notFound, .rename, path) }
      if let replaced = to.entries[new] {
        if replaced === node { return }
        if node is DirectoryNode != replaced is DirectoryNode {
          throw Self.error(
            replaced is DirectoryNode ? .isDirectory : .notADirectory, .rename, path)
        }
        if let directory = replaced as? DirectoryNode, !directory.entries.isEmpty {
          throw Self.error(.io, .rename, path, "the new name is a directory that is not empty")
        }
        if let file = replaced as? FileNode { release(file) }
      }
      from.entries[old] = nil
      to.entries[new] = node
      noteChange(of: from, to, node)
      unsyncedChanges.append(.rename(from, old, to, new, node))
    }
  }

  public func remove(_ path: FilePath) throws(FileSystemError) {
    _ = try begin(.remove, path)
    try locked { () throws(FileSystemError) in
      let (directory, name) = try parent(of: path, .remove)
      guard let node = directory.entries[name] else { throw Self.error(.notFound, .remove, path) }
      guard let file = node as? FileNode else { throw Self.error(.isDirectory, .remove, path) }
      directory.entries[name] = nil
      noteChange(of: directory, file)
      unsyncedChanges.append(.remove(directory, name, file))
      release(file)
    }
  }

  public func sync(directory path: FilePath) throws(FileSystemError) {
    _ = try begin(.syncDirectory, path)
    try locked { () throws(FileSystemError) in
      let directory = try directory(path, .syncDirectory)
      var durable = DurableEntries()
      unsyncedChanges.removeAll { change in
        guard change.concerns(directory) else { return false }
        durable.apply(change)
        return true
      }
      durable.store()
    }
  }

  public func info(of path: FilePath) throws(FileSystemError) -> FileInfo? {
    _ = try begin(.info, path)
    return lock.withLock {
      guard let node = node(at: path) else { return nil }
      let size = (node as? FileNode)?.content.size ?? 4096
      return FileInfo(
        byteCount: Int64(size), isDirectory: node is DirectoryNode, device: 1, inode: node.number,
        changeNanoseconds: node.changed)
    }
  }

  public func lock(_ path: FilePath) throws(FileSystemError) -> any FileLock {
    _ = try begin(.lock, path)
    return try locked { () throws(FileSystemError) in
      let (directory, name) = try parent(of: path, .lock)
      let file: FileNode
      switch directory.entries[name] {
      case let existing as FileNode: file = existing
      case .some: throw Self.error(.isDirectory, .lock, path)
      case nil: file = createFile(name, in: directory)
      }
      guard lockedFiles.insert(file.number).inserted else {
        throw FileSystemError(
          .locked, operation: "lock", path: path.string, holder: Self.processNumber,
          message: "the lock is held")
      }
      let text = Array("\(Self.processNumber)\n".utf8)
      _ = file.content.resize(to: 0)
      _ = unsafe file.content.write(text.span.bytes, count: text.count, at: 0)
      noteChange(of: file)
      return SimulatedFileLock(self, file.number)
    }
  }

  func unlock(_ number: UInt64) { lock.withLock { _ = lockedFiles.remove(number) } }

  public func overwritesInPlace(_ directory: FilePath) -> Bool {
    lock.withLock { settings.overwritesInPlace }
  }

  /// What is left of the capacity; 1 TiB less what is used where there is no limit.
  public func availableBytes(_ directory: FilePath) throws(FileSystemError) -> Int64 {
    try locked { () throws(FileSystemError) in
      _ = try self.directory(directory, .info)
      return max(0, (settings.capacity ?? 1 << 40) - Int64(usedBytes))
    }
  }
}
