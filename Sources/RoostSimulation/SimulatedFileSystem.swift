public import RoostEnvironment
public import SystemPackage

/// Files in memory that know what a power loss would leave of them.
///
/// Deterministic: the same calls by one thread give the same results, the same trace and, for the
/// same seed, the same clones. What it keeps apart is told at ``CrashPolicy`` and `FileContent`. A
/// file's bytes are durable after ``File/sync()``, a change of a directory only after that
/// directory was synced, also where it is the directory itself that is new. A directory sync that
/// fails leaves its changes unsynced.
///
/// Thread-safe: one lock around everything. The hook runs outside it.
///
/// Its ``FileInfo/changeNanoseconds`` count the changes of the whole file system; one that is made
/// through a mapping is noted when the file is mapped, synced and unmapped.
///
/// A file cannot grow past its storage while it is mapped; that throws.
public final class SimulatedFileSystem: FileSystem, @unchecked Sendable {
  /// The process number that lock files name.
  public static let processNumber: Int32 = 1

  let lock = Lock()
  // All below is guarded by `lock`.
  let root: DirectoryNode
  var unsyncedChanges: [DirectoryChange] = []
  var nextNumber: UInt64
  /// Counts changes of files and directories, from 1.
  var changeCount: Int64
  private var lockedFiles: Set<UInt64> = []
  private var openFiles = 0
  private var usedBytes = 0
  var settings = Settings()
  private var isPoweredOff = false
  private var operationCounts = OperationCounts()
  private var faults: [(rule: FaultRule, matched: Int)] = []
  private var hook: (@Sendable (Operation) throws(FileSystemError) -> Void)?
  private var recorded: [Operation]?

  struct Settings {
    var capacity: Int64?
    var openFileLimit = 1024
    var overwritesInPlace = true
    var reusesNumbers = false
  }

  /// Numbers of files that are gone, where they are given out again.
  private var freeNumbers: [UInt64] = []

  public convenience init() {
    self.init(root: DirectoryNode(number: 1, changed: 1), nextNumber: 2, changeCount: 1)
  }

  init(root: DirectoryNode, nextNumber: UInt64, changeCount: Int64) {
    self.root = root
    self.nextNumber = nextNumber
    self.changeCount = changeCount
  }

  // MARK: What tests set and see

  /// How many bytes the disk has; without end where `nil`.
  public var capacity: Int64? {
    get { lock.withLock { settings.capacity } }
    set { lock.withLock { settings.capacity = newValue } }
  }

  /// Bytes that files take, in whole pages.
  public var usedByteCount: Int64 { lock.withLock { Int64(usedBytes) } }

  public var openFileCount: Int { lock.withLock { openFiles } }

  public var openFileLimit: Int {
    get { lock.withLock { settings.openFileLimit } }
    set { lock.withLock { settings.openFileLimit = newValue } }
  }

  public func setOverwritesInPlace(_ value: Bool) {
    lock.withLock { settings.overwritesInPlace = value }
  }

  /// Whether a new file gets the number (inode) of the file that went last, as many systems do it;
  /// else no number is used twice.
  public var reusesNumbers: Bool {
    get { lock.withLock { settings.reusesNumbers } }
    set { lock.withLock { settings.reusesNumbers = newValue } }
  }

  public var counts: OperationCounts { lock.withLock { operationCounts } }

  /// Adds a rule. Where several strike one operation, the first added wins; all count it.
  public func inject(_ rule: FaultRule) { lock.withLock { faults.append((rule, 0)) } }

  public func clearFaults() { lock.withLock { faults = [] } }

  /// Called before each operation, without a lock held: it may take clones, cut the power, or throw
  /// in the operation's place.
  public func onOperation(_ hook: (@Sendable (Operation) throws(FileSystemError) -> Void)?) {
    lock.withLock { self.hook = hook }
  }

  /// From now on every operation throws `.io`, so that whoever still runs on this file system ends.
  public func powerOff() { lock.withLock { isPoweredOff = true } }

  /// Whether operations are recorded. Turning it on begins a new trace.
  public var recordsTrace: Bool {
    get { lock.withLock { recorded != nil } }
    set { lock.withLock { recorded = newValue ? [] : nil } }
  }

  public var trace: [Operation] { lock.withLock { recorded ?? [] } }

  // MARK: Operations

  /// What every operation does first. Returns what a fault rule wants of it, apart from failing it.
  func begin(
    _ kind: Operation.Kind, _ path: FilePath, offset: Int64 = 0, byteCount: Int64 = 0,
    newPath: FilePath? = nil, file: FileNode? = nil
  ) throws(FileSystemError) -> FaultRule.Action? {
    let operation: Operation
    let action: FaultRule.Action?
    let hook: (@Sendable (Operation) throws(FileSystemError) -> Void)?
    (operation, action, hook) = lock.withLock {
      let operation = Operation(
        index: operationCounts.operations, kind: kind, path: path, offset: offset,
        byteCount: byteCount, newPath: newPath)
      count(operation)
      recorded?.append(operation)
      return (operation, faults.isEmpty ? nil : strike(operation), self.hook)
    }
    if let hook { try hook(operation) }
    if lock.withLock({ isPoweredOff }) {
      throw Self.error(.io, kind, path, "the power is off")
    }
    guard case .fail(let code) = action else { return action }
    if let file, kind == .sync { lock.withLock { file.content.failSync() } }
    throw Self.error(code, kind, path, "injected fault")
  }

  private func count(_ operation: Operation) {
    operationCounts.operations += 1
    switch operation.kind {
    case .read: operationCounts.reads += 1
    case .write: operationCounts.writes += 1
    case .sync: operationCounts.fileSyncs += 1
    case .syncDirectory: operationCounts.directorySyncs += 1
    default: break
    }
  }

  func countBytes(_ change: (inout OperationCounts) -> Void) { change(&operationCounts) }

  private func strike(_ operation: Operation) -> FaultRule.Action? {
    var action: FaultRule.Action?
    for i in faults.indices where faults[i].rule.matches(operation) {
      faults[i].matched += 1
      let rule = faults[i].rule
      guard
        faults[i].matched == rule.occurrence
          || (rule.repeats && faults[i].matched > rule.occurrence)
      else { continue }
      if action == nil { action = rule.action }
    }
    if action != nil { operationCounts.faults += 1 }
    return action
  }

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

  private func createFile(_ name: String, in directory: DirectoryNode) -> FileNode {
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

  private func takeNumber() -> UInt64 {
    if settings.reusesNumbers, let number = freeNumbers.popLast() { return number }
    defer { nextNumber += 1 }
    return nextNumber
  }

  // MARK: Paths, with the lock held

  private static func names(of path: FilePath) -> [String] {
    var names: [String] = []
    for name in path.string.split(separator: "/") where name != "." {
      if name != ".." { names.append(String(name)) } else if !names.isEmpty { names.removeLast() }
    }
    return names
  }

  private func node(at path: FilePath) -> Node? {
    var node: Node = root
    for name in Self.names(of: path) {
      guard let next = (node as? DirectoryNode)?.entries[name] else { return nil }
      node = next
    }
    return node
  }

  private func directory(
    _ path: FilePath, _ kind: Operation.Kind
  ) throws(FileSystemError) -> DirectoryNode {
    try directory(Self.names(of: path)[...], path, kind)
  }

  private func directory(
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

  private func parent(
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
