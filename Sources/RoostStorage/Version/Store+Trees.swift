extension Store {
  /// Creates a tree, unless another thread has just done so.
  func createTree(_ name: String, _ options: TreeOptions) throws(StoreError) -> Tree {
    try commits.lead()
    defer { commits.release() }
    if let tree = existingTree(name) { return tree }
    try checkOpen()
    try failure.check()
    let core = try installing.withLock { () throws(StoreError) in
      let id = manifest.contents.nextTreeID
      try commitEdits([
        .nextTreeID(id + 1), .treeCreated(id: id, name: name, options: options),
        // Nothing older than now is this tree's.
        .flushed(tree: id, through: lastSequence),
      ])
      return TreeCore(
        id: id, name: name, options: options, levels: TreeState.noLevels,
        memtableLimit: self.options.memtableBytes, shared: shared)
    }
    writableTrees[core.id] = core
    stateLock.withLock { trees[core.id] = core }
    return Tree(self, core)
  }

  /// Has a tree keep a filter of its keys; see ``KeyFilter``.
  func keepFilter(of core: TreeCore) throws(StoreError) {
    try commits.lead()
    defer { commits.release() }
    try checkOpen()
    stateLock.withLock { core.keepFilter() }
    shared.epochs.reclaim()
  }

  func dropTreeNamed(_ name: String) throws(StoreError) {
    try commits.lead()
    defer { commits.release() }
    try checkOpen()
    try failure.check()
    guard let core = existingTree(name)?.core else {
      throw StoreError(.invalidArgument, "there is no tree `\(name)`")
    }
    try installing.withLock { () throws(StoreError) in
      try commitEdits([.treeDropped(id: core.id)])
      core.markDropped()
      stateLock.withLock {
        trees[core.id] = nil
        for level in core.current.levels { for file in level.files { file.markObsolete() } }
        core.installEmpty()
        updatePressure()
        stateChanged.broadcast()
      }
    }
    writableTrees[core.id] = nil
    fullTrees.removeAll { $0 === core }
    shared.epochs.reclaim()
  }
}
