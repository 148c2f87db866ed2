/// What a store consists of, as its manifest tells it: a plain value that edits change.
package struct StoreContents: Sendable {
  package struct TreeContents: Sendable, Equatable {
    package var id: UInt64
    package var name: String
    package var options: TreeOptions
    /// Index 0 is level 0, newest table first; the deeper levels are in key order.
    package var levels: [[TableMetadata]] = Array(repeating: [], count: VersionEdit.deepestLevel + 1)
    /// Every write to the tree up to this sequence number is in its tables: replay passes it over.
    package var flushedThrough: UInt64 = 0
  }

  package var trees: [UInt64: TreeContents] = [:]
  /// Live logs, oldest first.
  package var logs: [LogRecord] = []
  package var nextFileNumber: UInt64 = 1
  package var lastSequence: UInt64 = 0
  package var nextTreeID: UInt64 = 1

  /// Applies one edit.
  ///
  /// - Returns: what contradicts the contents so far, or `nil` where nothing does.
  mutating func apply(_ edit: VersionEdit) -> String? {
    switch edit {
    case .treeCreated(let id, let name, let options):
      guard trees[id] == nil, !trees.values.contains(where: { $0.name == name }) else {
        return "tree \(id) `\(name)` is created twice"
      }
      trees[id] = TreeContents(id: id, name: name, options: options)
      nextTreeID = max(nextTreeID, id &+ 1)
    case .treeDropped(let id):
      guard trees.removeValue(forKey: id) != nil else { return "tree \(id) is dropped and unknown" }
    case .tableAdded(let tree, let level, let table):
      guard var contents = trees.removeValue(forKey: tree) else {
        return "table \(table.number) joins tree \(tree), which is unknown"
      }
      insert(table, at: level, in: &contents)
      trees[tree] = contents
      nextFileNumber = max(nextFileNumber, table.number &+ 1)
    case .tableRemoved(let tree, let level, let number):
      guard let index = trees[tree]?.levels[level].firstIndex(where: { $0.number == number }) else {
        return "table \(number) leaves level \(level) of tree \(tree), where it is not"
      }
      trees[tree]!.levels[level].remove(at: index)
    case .logAdded(let log):
      guard logs.last.map({ $0.number < log.number }) ?? true else {
        return "log \(log.number) is added after log \(logs.last!.number)"
      }
      logs.append(log)
      nextFileNumber = max(nextFileNumber, log.number &+ 1)
    case .logsDropped(let number):
      logs.removeAll { $0.number < number }
    case .flushed(let tree, let sequence):
      guard trees[tree] != nil else { return "tree \(tree) is flushed and unknown" }
      trees[tree]!.flushedThrough = max(trees[tree]!.flushedThrough, sequence)
      lastSequence = max(lastSequence, sequence)
    case .nextFileNumber(let number):
      nextFileNumber = max(nextFileNumber, number)
    case .lastSequence(let sequence):
      lastSequence = max(lastSequence, sequence)
    case .nextTreeID(let id):
      nextTreeID = max(nextTreeID, id)
    }
    return nil
  }

  private func insert(_ table: TableMetadata, at level: Int, in tree: inout TreeContents) {
    if level == 0 {
      let place = tree.levels[0].firstIndex { $0.number < table.number } ?? tree.levels[0].endIndex
      tree.levels[0].insert(table, at: place)
    } else {
      let tables = tree.levels[level]
      var low = 0
      var high = tables.count
      while low < high {
        let middle = (low + high) / 2
        if tables[middle].smallest.lexicographicallyPrecedes(table.smallest) {
          low = middle + 1
        } else {
          high = middle
        }
      }
      tree.levels[level].insert(table, at: low)
    }
  }

  /// The edits that lead from nothing to these contents: how a new manifest begins.
  func edits() -> [VersionEdit] {
    var edits: [VersionEdit] = [
      .nextFileNumber(nextFileNumber), .lastSequence(lastSequence), .nextTreeID(nextTreeID),
    ]
    for tree in trees.values.sorted(by: { $0.id < $1.id }) {
      edits.append(.treeCreated(id: tree.id, name: tree.name, options: tree.options))
      edits.append(.flushed(tree: tree.id, through: tree.flushedThrough))
      for (level, tables) in tree.levels.enumerated() {
        for table in tables { edits.append(.tableAdded(tree: tree.id, level: level, table)) }
      }
    }
    for log in logs { edits.append(.logAdded(log)) }
    return edits
  }

  /// Numbers of all table files.
  package var tableNumbers: Set<UInt64> {
    var numbers: Set<UInt64> = []
    for tree in trees.values {
      for level in tree.levels { for table in level { numbers.insert(table.number) } }
    }
    return numbers
  }
}
