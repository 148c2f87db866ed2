import RoostEnvironment
import SystemPackage

// Opening a store:
//
//  1. Lock the directory. Read the marker; none in an empty directory means a new store.
//  2. Read the manifest that the marker names. Check that every file it names is there, with its
//     size.
//  3. Replay the live logs in order into memtables, passing over what the tables hold already.
//     Damage before the last mark is corruption; a torn tail is reported (rules 2 and 3).
//  4. Write the memtables to tables, synced: recovery builds on no file that it only hopes is on
//     disk (rule 4).
//  5. Write a new manifest with the result, naming no old log; swap the marker.
//  6. Remove what nothing names any more: old logs and manifests, outputs of merges that were never
//     installed.
//  7. Make the first log segment, and name it in the manifest.
//
// A crash before 5 leaves the old state as it was; after it, the new one. File numbers exceed every
// number on disk (rule 13), so an unfinished recovery's leftovers are never mistaken for anything.

/// Brings a store's directory from whatever state its last process left it in to one that can be
/// written.
struct Recovery {
  /// What a store is made of, before it is read.
  struct Parts {
    let fileSystem: any FileSystem
    let time: any TimeSource
    let randomness: any Randomness
    let workers: any Workers
    let directory: FilePath
    let options: StoreOptions
    let lock: any FileLock
    let epochs: EpochDomain
    let blockCache: BlockCache
    let tables: TableCache
    let fileNumbers: AtomicWord
    let cleaner: Cleaner
  }

  struct Result {
    var manifest: Manifest
    var log: LogSet
    var writer: LogWriter
    var trees: [TreeCore]
    var shared: SharedState
    var lastSequence: UInt64
    var identity: FileIdentity
    var report: RecoveryReport
    var roller: LogRoller
  }

  private let parts: Parts
  private var fileSystem: any FileSystem { parts.fileSystem }
  private var directory: FilePath { parts.directory }

  static func open(
    _ path: FilePath, _ options: StoreOptions, _ environment: Environment
  ) throws(StoreError) -> Store {
    let fileSystem = environment.fileSystem
    try prepareDirectory(path, options, fileSystem)
    let lock = try lock(path, fileSystem)
    let workers = environment.makeWorkers()
    do throws(StoreError) {
      let epochs = EpochDomain()
      let blockCache = BlockCache(capacity: options.blockCacheBytes)
      let cleaner = Cleaner()
      let limit = options.openFileLimit ?? max(fileSystem.openFileLimit / 4 * 3, 16)
      let tables = TableCache(
        fileSystem, path, limit: limit - min(8, limit / 2), blockCache: blockCache, epochs: epochs,
        onObsolete: { cleaner.wake() })
      let parts = Parts(
        fileSystem: fileSystem, time: environment.time, randomness: environment.randomness,
        workers: workers, directory: path, options: options, lock: lock, epochs: epochs,
        blockCache: blockCache, tables: tables, fileNumbers: AtomicWord(1), cleaner: cleaner)
      let result = try Recovery(parts: parts).run()
      let store = Store(parts, result)
      cleaner.attach(store)
      result.roller.attach(store)
      store.afterOpening()
      return store
    } catch {
      workers.shutdown()
      lock.unlock()
      throw error
    }
  }

  private static func lock(
    _ path: FilePath, _ fileSystem: any FileSystem
  ) throws(StoreError) -> any FileLock {
    do { return try fileSystem.lock(path.appending(FileNames.lock)) } catch {
      guard error.code == .locked else { throw StoreError("lock the store", error) }
      let holder = error.holder.map { "process \($0)" } ?? "another process"
      throw StoreError(
        .locked, "the store is open already, in \(holder)", file: error.path, cause: error)
    }
  }

  /// Checks and creates the directory, before it is locked.
  private static func prepareDirectory(
    _ path: FilePath, _ options: StoreOptions, _ fileSystem: any FileSystem
  ) throws(StoreError) {
    let info = try doing("look at \(path.string)") { () throws(FileSystemError) in
      try fileSystem.info(of: path)
    }
    guard let info else {
      if options.creation == .mustExist {
        throw StoreError(.notFound, "there is no store: the directory does not exist", file: path.string)
      }
      try doing("create the store's directory") { () throws(FileSystemError) in
        try fileSystem.createDirectoryDurably(path)
      }
      return
    }
    guard info.isDirectory else {
      throw StoreError(.notAStore, "a store is a directory, this is a file", file: path.string)
    }
    let names = try doing("list \(path.string)") { () throws(FileSystemError) in
      try fileSystem.entries(of: path)
    }
    let hasMarker = names.contains(FileNames.marker)
    if hasMarker {
      if options.creation == .mustNotExist {
        throw StoreError(.alreadyExists, "there is a store already", file: path.string)
      }
      return
    }
    try checkUnmarked(names, path)
    if options.creation == .mustExist {
      throw StoreError(.notFound, "there is no store in the directory", file: path.string)
    }
    // Made by someone else, or by a creation that was cut short. Where it cannot be synced, nor
    // could its maker.
    let parent = path.removingLastComponent()
    try? fileSystem.sync(directory: parent.isEmpty ? "." : parent)
  }

  /// A directory without a marker may be empty, or hold what a creation that was cut short leaves:
  /// the lock, the first manifest and the marker in progress. A log or a table says that the marker
  /// itself is lost.
  private static func checkUnmarked(_ names: [String], _ path: FilePath) throws(StoreError) {
    for name in names {
      switch FileNames.parse(name)?.kind {
      case .log, .table:
        throw StoreError(
          .missingFile, "the marker \(FileNames.marker) is missing, but \(name) is there",
          file: path.appending(FileNames.marker).string)
      case .manifest: continue
      case nil where name == FileNames.lock || name == FileNames.markerInProgress: continue
      case nil:
        throw StoreError(
          .notAStore, "the directory holds no store but other files, \(name) for one", file: path.string)
      }
    }
  }

  // MARK: - The steps

  private func run() throws(StoreError) -> Result {
    let names = try doing("list \(directory.string)") { () throws(FileSystemError) in
      try fileSystem.entries(of: directory)
    }
    var highest: UInt64 = 0
    for name in names { if let number = FileNames.parse(name)?.number { highest = max(highest, number) } }
    parts.fileNumbers.raise(to: highest &+ 1)

    guard names.contains(FileNames.marker) else {
      try Self.checkUnmarked(names, directory)
      return try finish(
        StoreContents(), [], identity: FileIdentity(parts.randomness), lastSequence: 0,
        RecoveryReport(), names)
    }
    let marker = try Marker.read(in: directory, fileSystem)
    var contents = try Manifest.read(marker, in: directory, fileSystem)
    parts.fileNumbers.raise(to: contents.nextFileNumber)
    try checkTables(contents)

    var replay = Replay(contents, parts.options, file: directory)
    let logs = contents.logs.map {
      LogReplay.Log(number: $0.number, salt: $0.salt, byteCount: $0.capacity)
    }
    var flushed: [(UInt64, TableMetadata)] = []
    let report = try LogReplay.replay(
      logs, fileSystem, directory, identity: marker.identity.word
    ) { (record, position) throws(StoreError) in
      try replay.apply(record, position)
      // What has been replayed is written out as it grows, so that recovery needs no more memory
      // than writing did.
      if let full = replay.takeFull() { try flushed.append(contentsOf: write(full)) }
    }
    for tree in replay.trees.values.sorted(by: { $0.id < $1.id }) {
      try flushed.append(contentsOf: write(tree))
    }
    for (tree, table) in flushed { _ = contents.apply(.tableAdded(tree: tree, level: 0, table)) }
    for id in contents.trees.keys {
      _ = contents.apply(.flushed(tree: id, through: replay.lastSequence))
    }
    contents.logs = []
    contents.lastSequence = max(contents.lastSequence, replay.lastSequence)
    if !flushed.isEmpty {
      try doing("sync the directory") { () throws(FileSystemError) in
        try fileSystem.sync(directory: directory)
      }
    }
    return try finish(
      contents, names.isEmpty ? [] : names, identity: marker.identity,
      lastSequence: contents.lastSequence, RecoveryReport(report, replay.operations), names)
  }

  private func write(_ tree: Replay.ReplayedTree) throws(StoreError) -> [(UInt64, TableMetadata)] {
    guard !tree.memtable.isEmpty else { return [] }
    let merge = Merge(
      source: tree.memtable.makeFlushCursor(), tombstones: tree.memtable.rangeTombstones(),
      filter: VisibilityFilter(snapshots: []), isBottom: { _ in false },
      isBottomRange: { _, _ in false }, isStopping: { false })
    let output = TableOutput(
      TableOutput.Environment(
        create: { [parts] () throws(StoreError) in
          let number = parts.fileNumbers.take()
          let file = try doing("create a table") { () throws(FileSystemError) in
            try parts.fileSystem.open(
              parts.directory.appending(FileNames.table(number)), .createNew)
          }
          return (file, number, FileIdentity(parts.randomness))
        },
        discard: { [parts] number in
          try? parts.fileSystem.remove(parts.directory.appending(FileNames.table(number)))
        }),
      treeID: tree.id, options: tree.options, targetBytes: .max, grandparents: [],
      tombstones: merge.keptTombstones())
    do throws(StoreError) {
      _ = try merge.run(into: output)
      return try output.finish().map { (tree.id, $0) }
    } catch {
      output.discardAll()
      throw error
    }
  }

  /// Every table that the manifest names must be there, as long as it says. What is inside is
  /// checked when it is read.
  private func checkTables(_ contents: StoreContents) throws(StoreError) {
    for tree in contents.trees.values {
      for level in tree.levels {
        for table in level {
          let path = directory.appending(FileNames.table(table.number))
          let info = try doing("look at a table") { () throws(FileSystemError) in
            try fileSystem.info(of: path)
          }
          guard let info else {
            throw StoreError(
              .missingFile, "the manifest names a table of the tree `\(tree.name)` that is not there",
              file: path.string)
          }
          guard info.byteCount == table.byteCount else {
            throw .corruption(
              "the table has \(info.byteCount) bytes, the manifest says \(table.byteCount)",
              file: path.string)
          }
        }
      }
    }
  }

  /// Steps 5 to 7.
  private func finish(
    _ contents: StoreContents, _ old: [String], identity: FileIdentity, lastSequence: UInt64,
    _ report: RecoveryReport, _ names: [String]
  ) throws(StoreError) -> Result {
    var contents = contents
    let numbers = parts.fileNumbers
    contents.nextFileNumber = max(contents.nextFileNumber, numbers.load())
    let manifest = try Manifest(
      fileSystem, directory, parts.randomness, identity: identity, contents: contents,
      allocateNumber: { numbers.take() })
    removeLeftovers(names, contents)
    let memory = MemoryCharge(
      keptPages: parts.options.memtableBytes < Memtable.leastBytesInPages
        ? 0
        : min(2 * parts.options.memtableBytes, parts.options.memoryBudgetBytes / 8) / LargePages.byteCount)
    let log = LogSet(
      fileSystem, directory, parts.time, parts.randomness, identity: identity,
      capacity: parts.options.logSegmentBytes, access: parts.options.logAccess,
      memory: memory, mappedLimit: parts.options.memoryBudgetBytes / 4,
      allocateNumber: { numbers.take() })
    let first = try log.make(minimumCapacity: 0, small: true)
    try manifest.commit([
      .logAdded(LogRecord(number: first.number, salt: first.salt, capacity: first.capacity))
    ])
    log.adopt(first)
    log.beginGroup(first.number)
    let roller = LogRoller(log, parts.time, nanoseconds(parts.options.stallDeadline))
    let writer = LogWriter(first) { minimum throws(StoreError) in
      try roller.next(minimumCapacity: minimum)
    }
    let shared = SharedState(
      visible: lastSequence, epochs: parts.epochs, tables: parts.tables, memory: memory,
      filterMemory: MemoryAllowance(parts.options.keyFilterBytes))
    let trees = contents.trees.values.map { tree in
      TreeCore(
        id: tree.id, name: tree.name, options: tree.options,
        levels: tree.levels.map { Level($0.map { TableFile($0, treeID: tree.id, parts.tables) }) },
        memtableLimit: parts.options.memtableBytes, shared: shared)
    }
    return Result(
      manifest: manifest, log: log, writer: writer, trees: trees, shared: shared,
      lastSequence: lastSequence, identity: identity, report: report, roller: roller)
  }

  /// Step 6. Best effort: what stays is tried again at the next open.
  private func removeLeftovers(_ names: [String], _ contents: StoreContents) {
    let tables = contents.tableNumbers
    for name in names {
      let isLeftover =
        switch FileNames.parse(name) {
        case (.table, let number)?: !tables.contains(number)
        case (.log, _)?, (.manifest, _)?: true
        case nil: name == FileNames.markerInProgress
        }
      if isLeftover { try? fileSystem.remove(directory.appending(name)) }
    }
  }
}
