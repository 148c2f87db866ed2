public import RoostEnvironment
import SystemPackage

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
  var lockedFiles: Set<UInt64> = []
  var openFiles = 0
  var usedBytes = 0
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
  var freeNumbers: [UInt64] = []

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
}
