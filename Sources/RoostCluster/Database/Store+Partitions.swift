import RoostStorage

extension Store {
  /// Deletes a partition from all trees, durably: all but the system's, the transactions' and the hints' are
  /// ordered by it.
  ///
  /// - Throws: what a commit throws.
  func deletePartition(_ partition: Int) throws(StoreError) {
    let start = StoredKey.make(partition)
    // Partitions are below 32,768.
    let end = StoredKey.make(partition + 1)
    let others = [Member.systemTree, Member.transactionTree, HintStore.treeName]
    var batch = WriteBatch()
    for name in treeNames where !others.contains(name) {
      if let tree = existingTree(name) { batch.deleteRange(from: start, to: end, in: tree) }
    }
    try commit(batch, .synced)
  }
}
