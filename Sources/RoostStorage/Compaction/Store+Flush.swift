import RoostEnvironment

// A flush, of a tree's oldest immutable memtable:
//
// 1. Write it to a level-0 table; sync the file and its directory.
// 2. Sync the log (rule 1): a batch may have its other half in another tree's memtable, and a table
//    that is durable must not hold half of a batch whose record is not.
// 3. Install the edit: the table joins level 0, the tree is flushed through the memtable's last
//    sequence number, and the logs that no memtable needs any more are dropped.
// 4. Swap the tree's state; retire the logs.

extension Store {
  /// Flushes the active memtables of `which` (all trees when `nil`) and waits until it is done.
  func flush(_ which: [TreeCore]?) throws(StoreError) {
    // What failed before, on a full disk for one, is tried again rather than reported again.
    if stateLock.withLock({ backgroundFailure != nil }) { retryBackgroundWork() }
    for (tree, newest) in try rotateAll(which) {
      try waitUntil("a flush of the tree `\(tree.name)`") {
        tree.isDropped || !tree.current.immutables.contains { $0 === newest }
      }
    }
  }

  /// Rotates those of the trees that have anything to flush.
  ///
  /// - Returns: the trees, each with the newest memtable that is to be flushed.
  private func rotateAll(
    _ which: [TreeCore]?
  ) throws(StoreError) -> [(tree: TreeCore, newest: TreeMemtable)] {
    try commits.lead()
    defer { commits.release() }
    try checkOpen()
    try failure.check()
    var rotated: [(tree: TreeCore, newest: TreeMemtable)] = []
    for tree in which ?? stateLock.withLock({ orderedTrees }) {
      if tree.isDropped {
        if which != nil { throw StoreError(.treeDropped, "the tree `\(tree.name)` was dropped") }
        continue
      }
      if tree.hasActiveEntries { try rotate(tree) }
      if let newest = stateLock.withLock({ tree.current.immutables.first }) {
        rotated.append((tree, newest))
      }
    }
    return rotated
  }

  /// Has the tree's immutable memtables flushed in the background.
  func scheduleFlush(_ tree: TreeCore) {
    let begins = stateLock.withLock {
      // After a failure nothing is flushed any more: the job would find nothing to do and come
      // back.
      if tree.isFlushing || tree.current.immutables.isEmpty || failure.current != nil { return false }
      tree.isFlushing = true
      return true
    }
    guard begins else { return }
    workers.submit(.urgent) { [weak self] in self?.flushInBackground(tree) }
  }

  private func flushInBackground(_ tree: TreeCore) {
    var problem: StoreError?
    while problem == nil, !shared.isClosed.load(ordering: .acquiring), !tree.isDropped,
      failure.current == nil
    {
      guard let memtable = stateLock.withLock({ tree.current.immutables.last }) else { break }
      do throws(StoreError) { try flush(memtable, of: tree) } catch { problem = error }
    }
    let retries = stateLock.withLock {
      tree.isFlushing = false
      let retries = noteBackground(problem)
      updatePressure()
      stateChanged.broadcast()
      return retries
    }
    if retries { retryBackgroundWork() }
    if problem == nil {
      scheduleCompaction(tree)
      // One that was rotated in between.
      scheduleFlush(tree)
    }
    shared.epochs.reclaim()
  }

  private func flush(_ memtable: TreeMemtable, of tree: TreeCore) throws(StoreError) {
    let filter = VisibilityFilter(snapshots: snapshots.sequences())
    let keyFilter = stateLock.withLock { tree.current.keyFilter }
    let coverage = keyFilter?.generation ?? 0
    let table = try writeTable(
      memtable.memtable, of: tree, filter: filter,
      addingTo: memtable.coverage == coverage ? nil : keyFilter)
    do throws(StoreError) { try log.syncAll() } catch {
      failure.set(error)
      throw error
    }
    try installing.withLock { () throws(StoreError) in
      if tree.isDropped { return discard(table.map { [$0] } ?? []) }
      // Read before the memtables are asked: what is being logged now begins there or later.
      let floor = log.floorNumber
      let needed = stateLock.withLock {
        var oldest = floor
        for other in trees.values {
          oldest = min(oldest, other.current.active.pinnedLog)
          for immutable in other.current.immutables where immutable !== memtable {
            oldest = min(oldest, immutable.pinnedLog)
          }
        }
        return oldest
      }
      var edits: [VersionEdit] = [.nextFileNumber(fileNumbers.load())]
      if let table { edits.append(.tableAdded(tree: tree.id, level: 0, table)) }
      edits.append(.flushed(tree: tree.id, through: memtable.memtable.largestSequence))
      edits.append(.logsDropped(below: needed))
      try commitEdits(edits, adding: table.map { [$0] } ?? [])
      stateLock.withLock {
        let state = tree.current
        var levels = state.levels
        if let table {
          let file = TableFile(table, treeID: tree.id, tables, coverage: coverage)
          levels[0] = Level([file] + levels[0].files)
        }
        tree.install(
          state.with(immutables: state.immutables.filter { $0 !== memtable }, levels: levels))
        memtable.release()
        updatePressure()
        stateChanged.broadcast()
      }
      log.drop(below: needed)
      counters.noteFlush(table.map { UInt64($0.byteCount) } ?? 0)
    }
  }

  /// Writes a memtable to one table, which nothing names yet. `nil` where nothing of it is left to
  /// write.
  ///
  /// - Parameter keyFilter: what the table's keys are added to.
  func writeTable(
    _ memtable: Memtable, of tree: TreeCore, filter: VisibilityFilter,
    addingTo keyFilter: KeyFilter? = nil
  ) throws(StoreError) -> TableMetadata? {
    let merge = Merge(
      source: memtable.makeFlushCursor(), tombstones: memtable.rangeTombstones(), filter: filter,
      isBottom: { _ in false }, isBottomRange: { _, _ in false }, keyFilter: keyFilter,
      isStopping: { [shared] in shared.isClosed.load(ordering: .acquiring) })
    let output = makeOutput(
      tree, targetBytes: .max, grandparents: [], tombstones: merge.keptTombstones())
    do throws(StoreError) {
      _ = try merge.run(into: output)
      let tables = try output.finish()
      try syncDirectory()
      return tables.first
    } catch {
      output.discardAll()
      throw error
    }
  }

  func makeOutput(
    _ tree: TreeCore, targetBytes: Int, grandparents: [TableFile], tombstones: RangeTombstoneList?
  ) -> TableOutput {
    TableOutput(
      TableOutput.Environment(
        create: { [self] () throws(StoreError) in
          let number = fileNumbers.take()
          let path = directory.appending(FileNames.table(number))
          let file = try doing("create a table") { () throws(FileSystemError) in
            try fileSystem.open(path, .createNew)
          }
          return (file, number, FileIdentity(randomness))
        },
        discard: { [self] number in
          // Where this fails, the next open removes the file.
          try? fileSystem.remove(directory.appending(FileNames.table(number)))
        }),
      treeID: tree.id, options: tree.options, targetBytes: targetBytes, grandparents: grandparents,
      tombstones: tombstones)
  }

  func discard(_ tables: [TableMetadata]) {
    for table in tables { try? fileSystem.remove(directory.appending(FileNames.table(table.number))) }
  }

  func syncDirectory() throws(StoreError) {
    try doing("sync the directory") { () throws(FileSystemError) in
      try fileSystem.sync(directory: directory)
    }
  }

  /// Makes edits durable. With `installing` held.
  ///
  /// - Parameters:
  ///   - tables: new ones that the edits name.
  ///   - segment: a new log that they name.
  func commitEdits(
    _ edits: [VersionEdit], adding tables: [TableMetadata] = [], _ segment: LogSegment? = nil
  ) throws(StoreError) {
    let rewrites = manifest.isFailed
    do throws(StoreError) { try manifest.commit(edits) } catch {
      // A full disk is a state to leave again. Files that only a new manifest would have named give
      // their space back; those of an appended edit may be in force, so they stay until a new
      // manifest is durable (rule 13). After anything else nobody knows what the manifest says.
      if error.code != .diskFull {
        failure.set(error)
      } else if rewrites {
        discard(tables)
        if let segment { log.discard(segment) }
      } else {
        tablesInDoubt += tables
        if let segment { segmentsInDoubt.append(segment) }
      }
      throw error
    }
    discard(tablesInDoubt)
    tablesInDoubt = []
    for segment in segmentsInDoubt { log.discard(segment) }
    segmentsInDoubt = []
  }

  /// Records how background work ended. With the state lock held.
  ///
  /// - Returns: whether other work had failed for want of space or of files: now that some
  ///   succeeded, it is to be tried again (``retryBackgroundWork()``), because nobody else would.
  func noteBackground(_ problem: StoreError?) -> Bool {
    guard let problem else { return backgroundFailure != nil && failure.current == nil }
    if problem.code != .closed {
      backgroundFailure = problem
      if !problem.mayPass { failure.set(problem) }
    }
    return false
  }

  /// After a full disk: tries again what is waiting.
  func retryBackgroundWork() {
    let waiting = stateLock.withLock {
      backgroundFailure = nil
      return orderedTrees
    }
    for tree in waiting {
      scheduleFlush(tree)
      scheduleCompaction(tree)
    }
  }

  /// Removes tables that nobody uses and nothing durable names.
  func removeObsoleteFiles() {
    for number in tables.takeObsolete() {
      try? fileSystem.remove(directory.appending(FileNames.table(number)))
    }
  }
}

extension FileIdentity {
  /// A new one.
  init(_ randomness: any Randomness) {
    self.init(low: randomness.next(), high: randomness.next())
  }

  /// Both halves in one word, as the logs' headers hold it.
  var word: UInt128 { UInt128(high) << 64 | UInt128(low) }
}
