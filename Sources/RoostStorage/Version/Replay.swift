import SystemPackage

/// What replay builds up: a memtable a tree. Used by one thread, while a store is opened.
struct Replay {
  struct ReplayedTree {
    var id: UInt64
    var options: TreeOptions
    var memtable: Memtable

    init(id: UInt64, options: TreeOptions) {
      self.id = id
      self.options = options
      memtable = Memtable(prefixLength: options.memtablePrefixLength)
    }
  }

  var trees: [UInt64: ReplayedTree] = [:]
  private(set) var lastSequence: UInt64
  private(set) var operations = 0
  private let flushedThrough: [UInt64: UInt64]
  private let limit: Int
  /// What all memtables together may take: as much as the writers' before one is flushed.
  private let totalLimit: Int
  private var total = 0
  private let directory: FilePath
  private var full: UInt64?

  init(_ contents: StoreContents, _ options: StoreOptions, file: FilePath) {
    lastSequence = contents.lastSequence
    flushedThrough = contents.trees.mapValues(\.flushedThrough)
    limit = options.memtableBytes
    totalLimit = options.memoryBudgetBytes / 2
    directory = file
    for tree in contents.trees.values {
      trees[tree.id] = ReplayedTree(id: tree.id, options: tree.options)
    }
  }

  mutating func apply(_ record: ByteView, _ position: LogPosition) throws(StoreError) {
    do throws(StoreError) { try applyRecord(record) } catch {
      throw .corruption(
        error.message,
        file: directory.appending(FileNames.log(position.log)).string, offset: Int64(position.offset))
    }
  }

  private mutating func applyRecord(_ record: ByteView) throws(StoreError) {
    var reader = try WriteBatchDecoder(record)
    var sequence = reader.baseSequence
    while let operation = try reader.next() {
      // A record of a tree that was dropped since, or whose tables hold it already, is passed over.
      if let through = flushedThrough[operation.treeID], sequence > through {
        let memtable = trees[operation.treeID]!.memtable
        let before = memtable.isEmpty ? 0 : memtable.chargedBytes
        switch operation.kind {
        case .put: memtable.insert(operation.key, Tag(sequence: sequence, .put), operation.value)
        case .delete: memtable.insert(operation.key, Tag(sequence: sequence, .delete), .empty)
        case .deleteRange:
          memtable.insertRangeTombstone(
            from: operation.key, to: operation.value, sequence: sequence)
        case .deleteLate: memtable.insertLateDelete(operation.key, sequence: sequence)
        }
        operations += 1
        total += memtable.chargedBytes - before
        if memtable.chargedBytes >= limit {
          full = operation.treeID
        } else if total >= totalLimit {
          full = trees.values.max { $0.memtable.chargedBytes < $1.memtable.chargedBytes }!.id
        }
      }
      lastSequence = max(lastSequence, sequence)
      sequence += 1
    }
  }

  /// A tree whose memtable is full, which begins anew.
  mutating func takeFull() -> ReplayedTree? {
    guard let id = full, let tree = trees[id] else { return nil }
    full = nil
    total -= tree.memtable.isEmpty ? 0 : tree.memtable.chargedBytes
    trees[id] = ReplayedTree(id: tree.id, options: tree.options)
    return tree
  }
}
