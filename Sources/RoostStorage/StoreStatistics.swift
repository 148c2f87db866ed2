import RoostEnvironment

/// What replaying the log found when the store was opened.
public struct RecoveryReport: Sendable, Equatable {
  /// Log records read.
  public var records = 0
  /// Operations that were not in tables yet.
  public var operations = 0
  /// Bytes of log read.
  public var bytes = 0
  /// Where an unfinished end of the log was cut off, if it was: what was there was never
  /// acknowledged as synced.
  public var tornTail: TornTail?

  public struct TornTail: Sendable, Equatable {
    public var file: String
    public var offset: Int
    public var byteCount: Int
  }

  init() {}

  init(_ report: LogReplay.Report, _ operations: Int) {
    records = report.records
    self.operations = operations
    bytes = report.bytes
    tornTail = report.tornTail.map {
      TornTail(file: $0.file, offset: $0.offset, byteCount: $0.byteCount)
    }
  }
}

/// Nanoseconds that writers waited, by reason.
public struct StallTimes: Sendable, Equatable {
  /// For a memtable to be flushed.
  public var flush: UInt64 = 0
  /// For level 0 to be compacted.
  public var compaction: UInt64 = 0
  /// Slowed down because level 0 grew.
  public var slowdown: UInt64 = 0
  /// How many waits there were in all.
  public var count: UInt64 = 0
}

/// What a store holds and has done since it was opened.
public struct StoreStatistics: Sendable {
  public struct LevelStatistics: Sendable, Equatable {
    public var level: Int
    public var tables: Int
    public var byteCount: Int64
    public var entries: UInt64
    public var deletes: UInt64
    public var rangeTombstones: UInt64
    /// What the level may hold before it is compacted; 0 where it should be empty.
    public var targetBytes: Int64
  }

  public struct TreeStatistics: Sendable {
    public var name: String
    public var memtableBytes: Int
    public var memtableEntries: Int
    public var immutableMemtables: Int
    public var levels: [LevelStatistics]
    public var byteCount: Int64 { levels.reduce(0) { $0 + $1.byteCount } }
    public var entries: UInt64 { levels.reduce(0) { $0 + $1.entries } + UInt64(memtableEntries) }
  }

  public struct SnapshotStatistics: Sendable, Equatable {
    public var sequence: UInt64
    public var ageNanoseconds: UInt64
  }

  public var identity = ""
  public var lastSequence: UInt64 = 0
  public var trees: [TreeStatistics] = []
  public var snapshots: [SnapshotStatistics] = []
  public var logSegments = 0
  public var logBytes = 0
  public var manifestNumber: UInt64 = 0
  /// What counts against the memory budget: memtables that are in no table yet, and mapped log
  /// pages.
  public var memoryBytes = 0
  public var openTables = 0
  public var cacheHits: UInt64 = 0
  public var cacheMisses: UInt64 = 0
  public var cacheBytes = 0
  /// Bytes that filters of keys take.
  public var keyFilterBytes = 0
  public var flushes: UInt64 = 0
  public var flushedBytes: UInt64 = 0
  public var compactions: UInt64 = 0
  public var tableMoves: UInt64 = 0
  public var compactionBytesRead: UInt64 = 0
  public var compactionBytesWritten: UInt64 = 0
  public var syncs: UInt64 = 0
  public var stalls = StallTimes()
  public var recovery = RecoveryReport()
  /// Why background work stopped, or why the store is read-only.
  public var failure: StoreError?
}

/// Counts of what a store has done. Thread-safe.
final class StoreCounters: @unchecked Sendable {
  let syncs = AtomicWord(0)
  let flushes = AtomicWord(0)
  let flushedBytes = AtomicWord(0)
  let compactions = AtomicWord(0)
  let moves = AtomicWord(0)
  let compactionRead = AtomicWord(0)
  let compactionWritten = AtomicWord(0)
  private let lock = Lock()
  private var stallTimes = StallTimes()

  func noteFlush(_ bytes: UInt64) {
    flushes.add(1)
    flushedBytes.add(bytes)
  }

  func noteCompaction(read: UInt64, written: UInt64) {
    compactions.add(1)
    compactionRead.add(read)
    compactionWritten.add(written)
  }

  func noteMove() { moves.add(1) }

  func addStall(_ reason: WritableKeyPath<StallTimes, UInt64>, _ nanoseconds: UInt64) {
    lock.withLock {
      stallTimes[keyPath: reason] += nanoseconds
      stallTimes.count += 1
    }
  }

  var stalls: StallTimes { lock.withLock { stallTimes } }
}

extension Store {
  /// What the store holds and has done.
  ///
  /// - Complexity: O(tables).
  public var statistics: StoreStatistics {
    var result = StoreStatistics()
    result.identity = identity.description
    result.lastSequence = shared.visible.load(ordering: .acquiring)
    let now = time.monotonicNanoseconds
    result.snapshots = snapshots.current.map {
      .init(sequence: $0.sequence, ageNanoseconds: now &- $0.sinceNanoseconds)
    }
    let states = stateLock.withLock { trees.values.map { ($0, $0.current) } }
    result.trees = states.sorted { $0.0.id < $1.0.id }.map { treeStatistics($0, $1) }
    result.logSegments = log.liveCount
    result.logBytes = log.liveBytes
    result.manifestNumber = installing.withLock { manifest.number }
    result.memoryBytes = shared.memory.byteCount
    result.openTables = tables.openCount
    let cache = blockCache.statistics
    result.cacheHits = cache.hits
    result.cacheMisses = cache.misses
    result.cacheBytes = cache.byteCount + cache.heldByteCount
    result.keyFilterBytes = shared.filterMemory.byteCount - shared.filterMemory.remaining
    result.flushes = counters.flushes.load()
    result.flushedBytes = counters.flushedBytes.load()
    result.compactions = counters.compactions.load()
    result.tableMoves = counters.moves.load()
    result.compactionBytesRead = counters.compactionRead.load()
    result.compactionBytesWritten = counters.compactionWritten.load()
    result.syncs = counters.syncs.load()
    result.stalls = counters.stalls
    result.recovery = recovery
    result.failure = failure.current ?? stateLock.withLock { backgroundFailure }
    return result
  }

  private func treeStatistics(_ tree: TreeCore, _ state: TreeState) -> StoreStatistics.TreeStatistics {
    let targets = CompactionPicker(tree.options, memtableBytes: options.memtableBytes)
      .targets(state.levels).bytes
    let memtables = [state.active] + state.immutables
    return .init(
      name: tree.name,
      memtableBytes: memtables.reduce(0) { $0 + $1.memtable.chargedBytes },
      memtableEntries: memtables.reduce(0) { $0 + $1.memtable.operationCount },
      immutableMemtables: state.immutables.count,
      levels: state.levels.enumerated().map { index, level in
        .init(
          level: index, tables: level.count, byteCount: level.byteCount,
          entries: level.files.reduce(0) { $0 + $1.metadata.entryCount },
          deletes: level.files.reduce(0) { $0 + $1.metadata.deleteCount },
          rangeTombstones: level.files.reduce(0) { $0 + $1.metadata.rangeTombstoneCount },
          targetBytes: targets[index])
      })
  }
}
