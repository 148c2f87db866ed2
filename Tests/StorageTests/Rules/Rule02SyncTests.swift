import RoostEnvironment
import RoostSimulation
import SystemPackage
import TestSupport
import Testing

@testable import RoostStorage

/// Rule 2: a sync covers everything before it, in this log and in older ones. (The log's own part:
/// LogWriterTests and LogReplayTests.)
// Budget: 2 s
@Suite struct Rule02SyncTests {
  @Test(arguments: [StoreOptions.LogAccess.mapped, .calls])
  func aSyncedWriteMakesAllEarlierOnesDurable(_ access: StoreOptions.LogAccess) throws {
    let world = SimulatedStore()
    let store = try world.open(
      .small {
        $0.logAccess = access
        $0.memtableBytes = 4 << 20
      })
    let tree = try store.tree("t")
    // Over several logs.
    try tree.fill(2500)
    #expect(store.statistics.logSegments > 3)
    try tree.put("last", "synced", .synced)
    let again = try world.crashed().open()
    #expect(try again.tree("t").keys().count == 2501)
    #expect(again.statistics.recovery.tornTail == nil)
  }

  @Test func syncCoversAllThatHasReturned() throws {
    let world = SimulatedStore()
    let store = try world.open(.small { $0.memtableBytes = 4 << 20 })
    let tree = try store.tree("t")
    try tree.fill(2500)
    try store.sync()
    #expect(try world.crashed().open().tree("t").keys().count == 2500)
  }

  @Test(arguments: [StoreOptions.LogAccess.mapped, .calls])
  func othersWriteWhileAWorkerSyncs(_ access: StoreOptions.LogAccess) throws {
    let world = SimulatedStore()
    let store = try world.open(
      .small {
        $0.logAccess = access
        $0.memtableBytes = 4 << 20
      })
    let tree = try store.tree("t")
    try tree.fill(2500)
    let meanwhile = Guarded(0)
    world.fileSystem.onOperation { operation in
      guard operation.kind == .sync, operation.path.string.hasSuffix(".log") else { return }
      let isFirst = meanwhile.withLock { (count: inout Int) in
        count += 1
        return count == 1
      }
      guard isFirst else { return }
      #expect(!store.mayWait)
      // Enough for other segments.
      do { try tree.fill(500, prefix: "m") } catch { Issue.record(error) }
    }
    try store.syncBesideWriters()
    world.fileSystem.onOperation(nil)
    #expect(meanwhile.withLock { $0 } > 0)
    #expect(try tree.keys().count == 3000)
    let first = try world.crashed().open()
    #expect(try first.tree("t").keys().count >= 2500)
    try store.syncBesideWriters()
    let again = try world.crashed().open()
    #expect(try again.tree("t").keys().count == 3000)
    #expect(again.statistics.recovery.tornTail == nil)
    let syncs = world.fileSystem.counts.fileSyncs
    try store.syncBesideWriters()
    #expect(world.fileSystem.counts.fileSyncs == syncs, "nothing was written since")
    try store.close()
    #expect(throws: StoreError.self) { try store.syncBesideWriters() }
  }

  @Test func afterASyncBesideWritersFailedNothingIsWritten() throws {
    let world = SimulatedStore()
    let store = try world.open()
    let tree = try store.tree("t")
    try tree.put("a", "v")
    world.fileSystem.inject(FaultRule([.sync], pathSuffix: ".log", .fail(.io)))
    #expect(storeError { try store.syncBesideWriters() }?.code == .outcomeUnknown)
    world.fileSystem.clearFaults()
    #expect(storeError { try tree.put("b", "v") }?.code == .readOnly)
    #expect(storeError { try store.syncBesideWriters() }?.code == .readOnly)
    #expect(storeError { try store.close() } != nil)
  }

  /// A log gets its end frame only after its successor is named. A flush that syncs the log in
  /// between has not made the end durable, and without the end replay does not enter the successor.
  @Test(arguments: [StoreOptions.LogAccess.mapped, .calls])
  func aFlushBeforeTheEndFrameDoesNotCoverIt(_ access: StoreOptions.LogAccess) throws {
    let world = SimulatedStore()
    let store = try world.open(.small { $0.logAccess = access })
    let flushed = try store.tree("flushed")
    let tree = try store.tree("t")
    try flushed.fill(600)
    #expect(store.statistics.trees[0].immutableMemtables == 1)
    #expect(store.statistics.flushes == 0)
    // 0: waits for the manifest to name a new log; 1: the next write of a log is of its end; 2:
    // done.
    let step = Guarded(0)
    let workers = world.workers
    world.fileSystem.onOperation { operation throws(FileSystemError) in
      if operation.kind == .sync, operation.path.string.hasSuffix(".manifest") {
        step.withLock { if $0 == 0 { $0 = 1 } }
      }
      let isEnd =
        (access == .calls && operation.kind == .write && operation.path.string.hasSuffix(".log"))
        // Through a mapping the end is written without a call; the mark of the manifest comes
        // shortly before.
        || (access == .mapped && operation.kind == .write && operation.path.string.hasSuffix(".manifest"))
      let isNext = isEnd && step.withLock { (step: inout Int) in
        defer { if step == 1 { step = 2 } }
        return step == 1
      }
      if isNext, access == .calls {
        workers.runAll()
      }
    }
    var i = 0
    while step.withLock({ $0 }) < 2 {
      try tree.put(Tree.key("t", i), String(repeating: "v", count: 1000))
      i += 1
    }
    world.fileSystem.onOperation(nil)
    if access == .calls { #expect(store.statistics.flushes > 0) }
    try tree.put("last", "synced", .synced)
    let again = try world.crashed().open()
    #expect(try again.tree("t").keys().count == i + 1)
    #expect(try again.tree("t").text("last") == "synced")
  }

  /// The same for any write that is staged in a log while its successor is made.
  @Test func onlyASyncThatBeganAfterTheEndCounts() throws {
    let fileSystem = SimulatedFileSystem()
    try fileSystem.createDirectory("/d")
    let numbers = AtomicWord(1)
    let log = LogSet(
      fileSystem, "/d", SimulatedTime(), SeededRandomness(seed: 1),
      identity: FileIdentity(low: 1, high: 2),
      capacity: 16 << 10, access: .mapped, memory: MemoryCharge(), mappedLimit: 1 << 20,
      allocateNumber: { numbers.take() })
    let first = try log.make(minimumCapacity: 0)
    log.adopt(first)
    let writer = LogWriter(first) { minimum throws(StoreError) in
      let next = try log.next(minimumCapacity: minimum, deadline: .max)
      log.adopt(next)
      // A flush in another thread, at the worst moment.
      try log.syncAll()
      return next
    }
    while writer.segment === first { try writer.append([UInt8](repeating: 1, count: 1000)) }
    #expect(writer.unsyncedEnded.count == 1)
    try writer.sync()
    let counts = fileSystem.counts.fileSyncs
    // Now it is known to be durable, and is not synced again.
    try log.syncAll()
    #expect(fileSystem.counts.fileSyncs == counts + 1)
  }
}
