import RoostEnvironment
import Synchronization

// What a writer may have to wait for, before its group is logged:
//
// - A full memtable is made immutable; where too many wait for their flush already, the leader
//   waits for one to be done.
// - Where level 0 grows faster than compaction drains it, writes are slowed down: by a delay that
//   grows with the number of files, at most 100 ms each; past the stop mark the leader waits.
//
// Every wait ends at the deadline with an error that says what it was for. Each is counted with its
// reason.

extension Store {
  /// Immutable memtables that a tree may have.
  static let immutableLimit = 1
  /// Level-0 files from which writes are slowed down, and from which they wait.
  static let slowdownFiles = 12
  static let stopFiles = 36
  static let longestDelayNanoseconds: UInt64 = 100_000_000

  /// What a leader does before it logs.
  @inline(__always)
  func prepareToWrite(byteCount: Int) throws(StoreError) {
    try checkOpen()
    try failure.check()
    if shared.memory.byteCount &+ byteCount > memoryCheckBytes { try makeMemoryRoom(for: byteCount) }
    if !fullTrees.isEmpty || pressure.isSet { try makeRoom() }
    if pressure.delayNanosecondsPerKiB > 0 { pace(byteCount) }
    if writer.wantsNext {
      if log.claimPreparing() { prepareLog() }
      log.isEnding = writer.isEnding
    }
  }

  /// A value may take an eighth of the budget, a batch a quarter: so a flush can always make room
  /// for it.
  @inline(__always)
  func checkBudget(value byteCount: Int) throws(StoreError) {
    if byteCount > options.memoryBudgetBytes / 8 { throw overBudget("a value", byteCount, "an eighth") }
  }

  @inline(__always)
  func checkBudget(batch byteCount: Int) throws(StoreError) {
    if byteCount > options.memoryBudgetBytes / 4 { throw overBudget("a batch", byteCount, "a quarter") }
  }

  @inline(never)
  private func overBudget(_ what: String, _ byteCount: Int, _ share: String) -> StoreError {
    StoreError(
      .exceedsBudget,
      "\(what) of \(byteCount) bytes; \(share) of memoryBudgetBytes "
        + "(\(options.memoryBudgetBytes)) is the limit")
  }

  /// Keeps the memtables of all trees and the mapped log pages within the budget (rule 14).
  ///
  /// From half the budget on, the largest memtables are rotated until what is neither being flushed
  /// nor small enough is on its way; near the whole, the leader waits for those flushes. It waits
  /// for nothing but a flush that is due, and a flush asks nobody for memory, so the budget cannot
  /// hold up what would free it.
  @inline(never)
  private func makeMemoryRoom(for byteCount: Int) throws(StoreError) {
    let budget = options.memoryBudgetBytes
    let memory = shared.memory
    memory.pages.drain()
    while true {
      let (waiting, candidates) = stateLock.withLock {
        let all = orderedTrees
        let waiting = all.reduce(0) { sum, tree in
          tree.current.immutables.reduce(sum) { $0 + $1.memtable.chargedBytes }
        }
        return (waiting, all)
      }
      guard memory.byteCount - waiting + byteCount > budget / 2 else { break }
      let filled = candidates.filter(\.hasActiveEntries)
      guard let largest = filled.max(by: { $0.activeBytes < $1.activeBytes }) else { break }
      try rotate(largest)
    }
    let most = budget / 8 * 7
    try waitUntil("flushes: the memtables fill the memory budget", reason: \.flush) {
      memory.byteCount + byteCount <= most
        || trees.values.allSatisfy { $0.current.immutables.isEmpty }
    }
    // Not again for every write while flushes are on their way.
    memoryCheckBytes = min(max(budget / 2, memory.byteCount + byteCount + budget / 64), most)
  }

  /// Makes the next log segment ready while this one is still being filled.
  @inline(never)
  private func prepareLog() {
    workers.submit(.urgent) { [weak self] in self?.log.prepare() }
  }

  @inline(never)
  private func makeRoom() throws(StoreError) {
    // Past the log's limit, the trees that pin the oldest log are flushed (rule 1).
    if pressure.takeLogFull(), let oldest = log.oldestNumber {
      let pinning = stateLock.withLock {
        orderedTrees.filter { $0.current.active.pinnedLog <= oldest }
      }
      for tree in pinning where tree.hasActiveEntries {
        if !fullTrees.contains(where: { $0 === tree }) { fullTrees.append(tree) }
      }
    }
    while let tree = fullTrees.last {
      if !tree.isDropped, tree.hasActiveEntries { try rotate(tree) }
      fullTrees.removeLast()
    }
  }

  /// Makes a tree's memtable immutable and schedules its flush. The caller leads.
  func rotate(_ tree: TreeCore) throws(StoreError) {
    try waitUntil("a flush of the tree `\(tree.name)`", reason: \.flush) {
      tree.current.immutables.count < Store.immutableLimit
    }
    try waitUntil("a compaction of the tree `\(tree.name)`", reason: \.compaction) {
      tree.current.levels[0].count < Store.stopFiles
    }
    stateLock.withLock { tree.rotate() }
    scheduleFlush(tree)
  }

  /// Waits for background work until `condition` holds, which is asked under the state lock.
  ///
  /// - Throws: `.deadlineExceeded`, naming what it waited for; what stopped the background work;
  ///   `.closed`.
  func waitUntil(
    _ what: @autoclosure () -> String, reason: WritableKeyPath<StallTimes, UInt64>? = nil,
    _ condition: () -> Bool
  ) throws(StoreError) {
    stateLock.lock()
    if condition() {
      stateLock.unlock()
      return
    }
    let start = time.monotonicNanoseconds
    let deadline = start &+ nanoseconds(options.stallDeadline)
    var problem: StoreError?
    while !condition() {
      if shared.isClosed.load(ordering: .acquiring) {
        problem = StoreError(.closed, "the store was closed while waiting for \(what())")
        break
      }
      if let cause = failure.current ?? backgroundFailure {
        problem = StoreError(
          cause.mayPass ? cause.code : .readOnly, "\(what()) failed: \(cause.message)",
          file: cause.file, offset: cause.offset, cause: cause.cause)
        break
      }
      stateLock.unlock()
      let ranOne = workers.runOneHere()
      stateLock.lock()
      // What happened without the lock has been told already, to nobody: looked at again before waiting.
      if ranOne || condition() || shared.isClosed.load(ordering: .acquiring) { continue }
      if failure.current != nil || backgroundFailure != nil { continue }
      if !time.wait(on: stateChanged, untilMonotonicNanoseconds: deadline), !condition() {
        problem = StoreError(.deadlineExceeded, "waited \(options.stallDeadline) for \(what())")
        break
      }
    }
    stateLock.unlock()
    if let reason { counters.addStall(reason, time.monotonicNanoseconds &- start) }
    guard let problem else { return }
    if problem.mayPass { retryBackgroundWork() }
    throw problem
  }

  /// Slows the leader down in proportion to what it writes and to how far compaction is behind.
  @inline(never)
  private func pace(_ byteCount: Int) {
    let delay = pressure.delay(for: byteCount)
    guard delay > 0 else { return }
    if workers.runOneHere() { return }
    let start = time.monotonicNanoseconds
    let deadline = start &+ min(delay, Store.longestDelayNanoseconds)
    stateLock.withLock {
      while pressure.delayNanosecondsPerKiB > 0,
        time.wait(on: stateChanged, untilMonotonicNanoseconds: deadline)
      {}
    }
    counters.addStall(\.slowdown, time.monotonicNanoseconds &- start)
  }

  /// Recomputes how much writers are slowed down. With the state lock held.
  func updatePressure() {
    var files = 0
    for tree in trees.values { files = max(files, tree.current.levels[0].count) }
    pressure.setLevel0Files(files)
  }
}

/// What slows writers down, shared between those who cause it and the commit leader.
final class WritePressure: @unchecked Sendable {
  private let lock = Lock()
  private var owedNanoseconds: UInt64 = 0
  // Read by the leader without the lock: a stale value costs one write's delay.
  private let flags = AtomicWord(0)
  private let delayRate = AtomicWord(0)
  private let syncing = Atomic<Bool>(false)

  @inline(__always) var isSet: Bool { flags.load() != 0 }
  @inline(__always) var delayNanosecondsPerKiB: UInt64 { delayRate.load() }

  /// Whether the leader syncs the log: writers queue meanwhile.
  var isSyncing: Bool {
    get { syncing.load(ordering: .relaxed) }
    set { syncing.store(newValue, ordering: .relaxed) }
  }

  func setLogFull() { flags.store(1) }

  func takeLogFull() -> Bool {
    if flags.load() == 0 { return false }
    flags.store(0)
    return true
  }

  /// From the slowdown mark on the rate falls smoothly: from 64 MiB/s, halved every four files.
  func setLevel0Files(_ files: Int) {
    guard files >= Store.slowdownFiles else { return delayRate.store(0) }
    let excess = min(files - Store.slowdownFiles, 64)
    delayRate.store(UInt64(16_000) << UInt64(excess / 4))
  }

  /// Nanoseconds to wait now for a write of so many bytes; small delays are added up until they are
  /// worth a wait. For the leader only.
  func delay(for byteCount: Int) -> UInt64 {
    owedNanoseconds &+= delayNanosecondsPerKiB &* UInt64(byteCount + 64) / 1024
    guard owedNanoseconds >= 1_000_000 else { return 0 }
    defer { owedNanoseconds = 0 }
    return owedNanoseconds
  }
}
