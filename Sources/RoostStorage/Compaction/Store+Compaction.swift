import RoostEnvironment

extension Store {
  /// Has the tree compacted in the background where it is due. One compaction of a tree runs at a
  /// time.
  func scheduleCompaction(_ tree: TreeCore) {
    let begins = stateLock.withLock {
      // After a failure nothing is compacted any more: the job would find nothing to do and come
      // back.
      if tree.isCompacting || tree.isDropped || failure.current != nil
        || shared.isClosed.load(ordering: .acquiring)
      {
        return false
      }
      guard picker(tree).pick(tree.current.levels) != nil else { return false }
      tree.isCompacting = true
      return true
    }
    guard begins else { return }
    workers.submit(.background) { [weak self] in self?.compactInBackground(tree) }
  }

  private func compactInBackground(_ tree: TreeCore) {
    var problem: StoreError?
    if !shared.isClosed.load(ordering: .acquiring), !tree.isDropped, failure.current == nil {
      let plan = stateLock.withLock { picker(tree).pick(tree.current.levels) }
      if let plan {
        do throws(StoreError) { try run(plan, of: tree) } catch { problem = error }
      }
    }
    endCompaction(of: tree, problem)
    if problem == nil { scheduleCompaction(tree) }
    shared.epochs.reclaim()
  }

  private func endCompaction(of tree: TreeCore, _ problem: StoreError?, isManual: Bool = false) {
    if isManual { stateLock.withLock { callersCompactions -= 1 } }
    let retries = stateLock.withLock {
      tree.isCompacting = false
      let retries = isManual && problem?.mayPass == true ? false : noteBackground(problem)
      updatePressure()
      stateChanged.broadcast()
      return retries
    }
    if retries { retryBackgroundWork() }
  }

  /// Compacts everything that overlaps `range`, on the calling thread.
  func compact(_ tree: TreeCore, _ range: KeyRange) throws(StoreError) {
    try checkOpen()
    try failure.check()
    if tree.isDropped { throw StoreError(.treeDropped, "the tree `\(tree.name)` was dropped") }
    var isOurs = false
    while !isOurs {
      try waitUntil("the running compaction of the tree `\(tree.name)`") { !tree.isCompacting }
      isOurs = stateLock.withLock {
        if tree.isCompacting || shared.isClosed.load(ordering: .acquiring) { return false }
        tree.isCompacting = true
        callersCompactions += 1
        return true
      }
      if !isOurs { try checkOpen() }
    }
    var problem: StoreError?
    let plan = stateLock.withLock { picker(tree).planManual(range, tree.current.levels) }
    if let plan {
      do throws(StoreError) { try run(plan, of: tree) } catch { problem = error }
    }
    // The caller is told; only what ends all writing is everybody's.
    endCompaction(of: tree, problem, isManual: true)
    shared.epochs.reclaim()
    scheduleCompaction(tree)
    if let problem { throw problem }
  }

  private func picker(_ tree: TreeCore) -> CompactionPicker {
    CompactionPicker(tree.options, memtableBytes: options.memtableBytes)
  }

  // MARK: - Running a plan

  private func run(_ plan: CompactionPlan, of tree: TreeCore) throws(StoreError) {
    if plan.isTrivialMove {
      let file = plan.inputs[0].files[0]
      try install(
        plan, [file.metadata], reusing: [file.number: file], coverage: 0, of: tree)
      counters.noteMove()
      return
    }
    let state = stateLock.withLock { tree.current }
    var sources: [SourceCursor] = []
    var lists: [RangeTombstoneList] = []
    for (level, files) in plan.inputs {
      if level == 0 {
        for file in files {
          sources.append(TableCursor(try tables.reader(of: file), purpose: .compaction))
        }
      } else {
        sources.append(LevelCursor(Level(files), tables, purpose: .compaction))
      }
      for file in files where file.hasRangeTombstones {
        if let list = try tables.reader(of: file).rangeTombstones { lists.append(list) }
      }
    }
    let coverage = state.filterGeneration
    let isCovered = plan.inputFiles.allSatisfy { $0.coverage == coverage }
    let outputLevel = plan.outputLevel
    let merge = Merge(
      source: sources.count == 1 ? sources[0] : MergingCursor(sources),
      tombstones: lists.isEmpty ? nil : RangeTombstoneList.merging(lists),
      // Rule 8: copied after the inputs were chosen, under the lock under which snapshots register.
      filter: VisibilityFilter(snapshots: snapshots.sequences()),
      isBottom: { key in state.hasNothing(below: outputLevel, for: key) },
      isBottomRange: { start, end in
        let range = KeyRange(lower: start.array, upper: end.array)
        return state.levels[(outputLevel + 1)...].allSatisfy { level in
          !level.files.contains { $0.overlaps(range) }
        }
      },
      keyFilter: isCovered ? nil : state.keyFilter,
      isStopping: { [shared] in shared.isClosed.load(ordering: .acquiring) || tree.isDropped })
    let output = makeOutput(
      tree, targetBytes: tree.options.tableBytes, grandparents: plan.grandparents,
      tombstones: merge.keptTombstones())
    let tables: [TableMetadata]
    do throws(StoreError) {
      _ = try merge.run(into: output)
      tables = try output.finish()
      try syncDirectory()
    } catch {
      output.discardAll()
      if tree.isDropped, error.code == .closed { return }
      throw error
    }
    try install(plan, tables, reusing: [:], coverage: coverage, of: tree)
    counters.noteCompaction(
      read: UInt64(plan.inputBytes), written: UInt64(tables.reduce(0) { $0 + $1.byteCount }))
  }

  /// Makes a finished compaction durable and swaps the tree's state.
  ///
  /// - Parameter coverage: of the outputs that are not known.
  private func install(
    _ plan: CompactionPlan, _ outputs: [TableMetadata], reusing known: [UInt64: TableFile],
    coverage: UInt64, of tree: TreeCore
  ) throws(StoreError) {
    try installing.withLock { () throws(StoreError) in
      if tree.isDropped { return known.isEmpty ? discard(outputs) : () }
      var edits: [VersionEdit] = [.nextFileNumber(fileNumbers.load())]
      for (level, files) in plan.inputs {
        for file in files {
          edits.append(.tableRemoved(tree: tree.id, level: level, number: file.number))
        }
      }
      for table in outputs {
        edits.append(.tableAdded(tree: tree.id, level: plan.outputLevel, table))
      }
      try commitEdits(edits, adding: known.isEmpty ? outputs : [])
      let added = outputs.map {
        known[$0.number] ?? TableFile($0, treeID: tree.id, self.tables, coverage: coverage)
      }
      stateLock.withLock {
        let state = tree.current
        var levels = state.levels
        for (level, files) in plan.inputs {
          let gone = Set(files.map(\.number))
          levels[level] = Level(levels[level].files.filter { !gone.contains($0.number) })
        }
        let merged = (levels[plan.outputLevel].files + added).sorted { $0.smallest < $1.smallest }
        levels[plan.outputLevel] = Level(merged)
        tree.install(state.with(levels: levels))
        updatePressure()
        stateChanged.broadcast()
      }
      // The edit that drops them is durable: they go when the last reader lets go.
      for file in plan.inputFiles where known[file.number] == nil { file.markObsolete() }
    }
  }
}
