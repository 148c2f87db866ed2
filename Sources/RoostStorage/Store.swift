public import RoostEnvironment
import Synchronization
import SystemPackage

/// An embedded key-value store: a directory with one write-ahead log, any number of ``Tree``s, one
/// block cache and one set of background workers.
///
/// ```swift
/// let store = try Store.open(at: "/var/lib/app")
/// let users = try store.tree("users")
/// try users.put("u:1", "Ada")
/// ```
///
/// All calls are synchronous and may be made from any thread; those that block may be long (a sync,
/// a wait for a flush), so asynchronous code calls them from a thread of its own. The directory is
/// locked: one process at a time.
///
/// Ends with ``close()``, or when the last reference goes: then as after a kill, which loses no
/// acknowledged write.
public final class Store: @unchecked Sendable {
  // The parts. What each does is told in its file. Locks are taken in this order: the lead of
  // `commits`, `installing`, `stateLock`.
  let fileSystem: any FileSystem
  let time: any TimeSource
  let randomness: any Randomness
  let workers: any Workers
  let directory: FilePath
  let options: StoreOptions
  let identity: FileIdentity
  let directoryLock: any FileLock
  let blockCache: BlockCache
  let tables: TableCache
  let fileNumbers: AtomicWord
  let shared: SharedState
  let snapshots = SnapshotList()
  let commits: CommitQueue
  let log: LogSet
  let pressure = WritePressure()
  let counters = StoreCounters()
  let recovery: RecoveryReport

  /// Held while an edit is made durable and the states it changes are swapped, so that both happen
  /// in one order.
  let installing = Lock()
  let manifest: Manifest
  /// New tables and logs of an edit that met a full disk, which a restart may find in force. Guarded
  /// by `installing`.
  var tablesInDoubt: [TableMetadata] = []
  var segmentsInDoubt: [LogSegment] = []

  /// Why nothing may be written any more, if so. Set once.
  let failure = FailureState()

  /// Guards `trees`, `backgroundFailure`, each tree's `current` state, and the flags of background
  /// work.
  let stateLock = Lock()
  /// Signalled when any of that changes.
  let stateChanged: Condition
  var trees: [UInt64: TreeCore] = [:]
  /// In the order of their ids, with the state lock held. What is done to one after the other goes by no
  /// dictionary's order, which differs from process to process: a simulation's seed does the same each time.
  var orderedTrees: [TreeCore] { trees.values.sorted { $0.id < $1.id } }
  /// Why the last background work failed, where it may be tried again (a full disk, too many open
  /// files).
  var backgroundFailure: StoreError?

  /// Compactions that run on callers' threads. Guarded by `stateLock`.
  var callersCompactions = 0

  // Owned by the commit leader.
  let writer: LogWriter
  var lastSequence: UInt64
  /// Trees by id, as the leader knows them: changed only while leading.
  var writableTrees = TreeTable()
  var fullTrees: [TreeCore] = []
  /// Charged bytes past which the budget is looked at.
  var memoryCheckBytes: Int

  init(_ parts: Recovery.Parts, _ recovered: Recovery.Result) {
    fileSystem = parts.fileSystem
    time = parts.time
    randomness = parts.randomness
    workers = parts.workers
    directory = parts.directory
    options = parts.options
    directoryLock = parts.lock
    blockCache = parts.blockCache
    tables = parts.tables
    fileNumbers = parts.fileNumbers
    identity = recovered.identity
    manifest = recovered.manifest
    log = recovered.log
    writer = recovered.writer
    lastSequence = recovered.lastSequence
    memoryCheckBytes = parts.options.memoryBudgetBytes / 2
    shared = recovered.shared
    recovery = recovered.report
    stateChanged = Condition(stateLock)
    commits = CommitQueue(parts.time, deadlineNanoseconds: nanoseconds(parts.options.stallDeadline))
    for tree in recovered.trees {
      trees[tree.id] = tree
      writableTrees[tree.id] = tree
    }
  }

  /// What a fresh store starts by itself.
  func afterOpening() {
    let all = stateLock.withLock {
      updatePressure()
      return orderedTrees
    }
    for tree in all { scheduleCompaction(tree) }
  }

  deinit {
    // Without `close()` this is like the end of the process: what was acknowledged is with the
    // operating system.
    workers.shutdown()
    // Whatever was retired holds tables, these the cache of open tables, and that one the epochs, which hold
    // what was retired: nobody else comes to end the circle.
    shared.epochs.reclaim()
    directoryLock.unlock()
  }

  // MARK: - Opening and closing

  /// Opens the store in a directory.
  ///
  /// Replays the log: every acknowledged write is there again. A tail of the log that was never
  /// acknowledged as synced and did not reach the disk whole is dropped, and reported by
  /// ``StoreStatistics/recovery``.
  ///
  /// - Parameters:
  ///   - path: the directory; created, with those above it, unless `options.creation` says
  ///     otherwise.
  ///   - options: resources and defaults.
  ///   - environment: the outside world.
  /// - Throws: `.invalidOption`; `.notAStore` (the directory holds something else), `.notFound`,
  ///   `.alreadyExists`; `.locked` (the message names the process); `.newerFormat`; `.missingFile`,
  ///   `.corruption` (both name the file); `.permissionDenied`, `.diskFull`, `.io`.
  /// - Complexity: O(log bytes since the last flush) plus O(files).
  public static func open(
    at path: String, _ options: StoreOptions = StoreOptions(), environment: Environment = .posix()
  ) throws(StoreError) -> Store {
    try options.validate()
    return try Recovery.open(FilePath(path), options, environment)
  }

  /// Makes everything durable and lets go of the directory. Later calls throw `.closed`; closing
  /// twice does nothing.
  ///
  /// - Throws: `.outcomeUnknown` where the last sync fails, or the log failed earlier: writes that
  ///   were only applied may then be lost with the machine. The store is closed all the same.
  public func close() throws(StoreError) {
    try commits.lead()
    defer { commits.release() }
    guard !shared.isClosed.exchange(true, ordering: .acquiringAndReleasing) else { return }
    stateLock.withLock { stateChanged.broadcast() }
    workers.shutdown()
    waitForCallersCompactions()
    var first: StoreError?
    if case .failed = writer.state {
      let cause = failure.current
      first = StoreError(
        .outcomeUnknown,
        "the log failed earlier: writes that were applied and not synced may be lost with the machine",
        file: cause?.file, cause: cause?.cause)
    }
    // Also after another failure: the log can be durable all the same.
    do throws(StoreError) { try writer.close() } catch { first = error }
    log.close()
    do throws(StoreError) {
      try installing.withLock { () throws(StoreError) in try manifest.close() }
    } catch {
      if first == nil, failure.current == nil { first = error }
    }
    // What the last work retired while a reader was inside: nobody else comes to free it, and it
    // may hold tables that are to go.
    shared.epochs.reclaim()
    removeObsoleteFiles()
    directoryLock.unlock()
    if let first { throw first }
  }

  /// Compactions that callers asked for run on their threads; they notice that the store is closed
  /// within a thousand entries, and must not write into a directory that is another's by then.
  private func waitForCallersCompactions() {
    let deadline = time.monotonicNanoseconds &+ nanoseconds(options.stallDeadline)
    stateLock.withLock {
      while callersCompactions > 0, time.wait(on: stateChanged, untilMonotonicNanoseconds: deadline) {}
    }
  }

  // MARK: - Trees

  /// The tree of that name, created on first use.
  ///
  /// - Parameters:
  ///   - name: 1 to 255 bytes of UTF-8.
  ///   - options: how a new tree lays out its tables; an existing tree keeps its own.
  /// - Throws: `.invalidArgument`, `.invalidOption`; creating may throw `.diskFull`, `.io`,
  ///   `.readOnly`; `.closed`.
  public func tree(_ name: String, _ options: TreeOptions = TreeOptions()) throws(StoreError) -> Tree {
    if let tree = existingTree(name) {
      try checkOpen()
      return tree
    }
    guard !name.isEmpty, name.utf8.count <= Limits.treeNameBytes else {
      throw StoreError(
        .invalidArgument,
        "a tree's name must have 1 to \(Limits.treeNameBytes) bytes, not \(name.utf8.count)")
    }
    try options.validate()
    return try createTree(name, options)
  }

  /// The tree of that name, or `nil` where there is none.
  public func existingTree(_ name: String) -> Tree? {
    stateLock.withLock { trees.values.first { $0.name == name } }.map { Tree(self, $0) }
  }

  /// The names of all trees, sorted.
  public var treeNames: [String] {
    stateLock.withLock { trees.values.map(\.name) }.sorted()
  }

  /// Removes a tree and all it holds. Cursors that are open on it go on to their end; everything
  /// else on it throws `.treeDropped`. Its id is never used again (rule 17).
  ///
  /// - Throws: `.invalidArgument` where there is no such tree; `.diskFull`, `.io`, `.readOnly`,
  ///   `.closed`.
  public func dropTree(_ name: String) throws(StoreError) { try dropTreeNamed(name) }

  // MARK: - Writing

  /// Gathers operations and writes them together: all or none, across trees.
  ///
  /// - Parameters:
  ///   - durability: what the write must survive before the call returns; the store's default when
  ///     `nil`.
  ///   - body: fills the batch. What it throws is thrown, and nothing is written.
  /// - Returns: what `body` returns.
  /// - Throws: the first bad argument (`.invalidArgument`, `.tooLarge`), before anything is logged;
  ///   else as ``Tree/put(_:_:_:)``.
  public func write<R>(
    _ durability: Durability? = nil, _ body: (inout WriteBatch) throws -> R
  ) throws -> R {
    var batch = WriteBatch(self)
    let result = try body(&batch)
    try commit(batch, durability)
    return result
  }

  /// Writes a batch. It may be committed again, or emptied and filled anew.
  ///
  /// - Throws: as ``write(_:_:)``.
  public func commit(
    _ batch: borrowing WriteBatch, _ durability: Durability? = nil
  ) throws(StoreError) {
    if let problem = batch.problem(for: self) { throw problem }
    if batch.count == 0, (durability ?? options.durability) == .applied { return try checkOpen() }
    try commitBatch(batch.encoder.view, durability)
  }

  /// Makes every write that has returned durable.
  ///
  /// - Throws: `.outcomeUnknown` where the sync fails: the store then is read-only; `.readOnly`,
  ///   `.closed`.
  public func sync() throws(StoreError) {
    try submit(.sync(.synced))
  }

  /// The same, while others go on writing: for a worker that syncs what callers have written. It leads to
  /// see how far the log reaches, and again to note in a mark that this is durable; what is written in
  /// between goes into the log and the memtables, and waits for the next sync.
  ///
  /// What is unsynced is visible all the same, as after every `.applied` write. A write that must not be seen
  /// before it is durable (rule 4) is made `.synced`.
  ///
  /// - Throws: as ``sync()``.
  package func syncBesideWriters() throws(StoreError) {
    guard let target = try beginSync() else { return }
    do throws(StoreError) {
      for segment in target.segments { try segment.sync() }
    } catch {
      // The segment remembers it: no later sync of it succeeds, and nothing is appended any more.
      failure.set(error)
      throw error
    }
    counters.syncs.add(1)
    // All is durable. Where the mark has to wait too long the next one states it.
    guard (try? commits.lead()) != nil else { return }
    writer.endSync(target)
    commits.release()
  }

  private func beginSync() throws(StoreError) -> LogWriter.SyncTarget? {
    try commits.lead()
    defer { commits.release() }
    try checkOpen()
    try failure.check()
    do throws(StoreError) {
      let target = try writer.beginSync()
      if target != nil { log.noteSync() }
      return target
    } catch {
      failure.set(error)
      throw StoreError(
        .outcomeUnknown,
        "the log failed while writes were being made durable: they may or may not be there after a restart",
        file: error.file, cause: error.cause)
    }
  }

  // MARK: - Reading

  /// A moment to read at: all trees, as they are now.
  ///
  /// - Complexity: O(1).
  public func snapshot() -> Snapshot {
    let pin = snapshots.pin(at: time.monotonicNanoseconds) { shared.visible.load(ordering: .acquiring) }
    return Snapshot(self, pin)
  }

  // MARK: - Maintenance

  /// Writes all memtables to tables.
  ///
  /// - Throws: `.diskFull`, `.io`, `.readOnly`, `.deadlineExceeded`, `.closed`.
  public func flush() throws(StoreError) { try flush(nil) }

  /// Flushes, then merges every tree into one sorted run. Runs on the calling thread.
  ///
  /// - Throws: as ``flush()``, and `.corruption`.
  public func compact() throws(StoreError) {
    try flush(nil)
    let all = stateLock.withLock { trees.values.sorted { $0.id < $1.id } }
    for tree in all {
      do throws(StoreError) { try compact(tree, .all) } catch {
        if error.code != .treeDropped { throw error }
      }
    }
    removeObsoleteFiles()
    log.trim()
    shared.memory.pages.drain()
  }

  func checkOpen() throws(StoreError) {
    if shared.isClosed.load(ordering: .acquiring) { throw StoreError(.closed, "the store is closed") }
  }
}

/// Why writing ended, once it has. Thread-safe.
final class FailureState: @unchecked Sendable {
  private let lock = Lock()
  private var error: StoreError?
  private let isSet = Atomic<Bool>(false)

  var current: StoreError? {
    isSet.load(ordering: .acquiring) ? lock.withLock { error } : nil
  }

  /// Keeps the first failure.
  func set(_ new: StoreError) {
    lock.withLock {
      if error == nil { error = new }
      isSet.store(true, ordering: .releasing)
    }
  }

  @inline(__always)
  func check() throws(StoreError) {
    if isSet.load(ordering: .acquiring), let cause = current {
      throw StoreError(
        .readOnly, "an earlier failure stopped all writing (\(cause)); reopen the store to recover",
        file: cause.file, offset: cause.offset, cause: cause.cause)
    }
  }
}

/// Nanoseconds of a duration, at most `UInt64.max / 2`.
func nanoseconds(_ duration: Duration) -> UInt64 {
  let (seconds, attoseconds) = duration.components
  if seconds < 0 { return 0 }
  if seconds > 4_000_000_000 { return UInt64.max / 2 }
  return UInt64(seconds) * 1_000_000_000 + UInt64(max(0, attoseconds) / 1_000_000_000)
}
