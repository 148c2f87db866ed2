import RoostEnvironment
import RoostSimulation
import SystemPackage
import TestSupport
import Testing

@testable import RoostStorage

/// A merge of sorted runs that is told to stop.
// Budget: 1 s
@Suite struct MergeTests {
  /// Merges so many entries of a memtable and stops once `stopAt` have been read.
  static func merge(_ count: Int, stopAt: Int) -> (error: StoreError?, created: Int) {
    let memtable = Memtable()
    for i in 0..<count {
      Array(Tree.key("k", i).utf8).withByteView { key in
        memtable.insert(key, Tag(sequence: UInt64(i + 1), .put), key)
      }
    }
    let fileSystem = SimulatedFileSystem()
    let numbers = AtomicWord(1)
    let output = TableOutput(
      TableOutput.Environment(
        create: { () throws(StoreError) in
          let number = numbers.take()
          let file = try doing("create") { () throws(FileSystemError) in
            try fileSystem.open(FilePath("/" + FileNames.table(number)), .createNew)
          }
          return (file, number, FileIdentity(low: number, high: 1))
        }, discard: { _ in }),
      treeID: 1, options: TreeOptions(), targetBytes: .max, grandparents: [], tombstones: nil)
    let cursor = CountingCursor(memtable.makeCursor())
    let merge = Merge(
      source: cursor, tombstones: nil, filter: VisibilityFilter(snapshots: []),
      isBottom: { _ in true }, isBottomRange: { _, _ in true },
      isStopping: { cursor.count >= stopAt })
    let error = storeError { _ = try merge.run(into: output) }
    return (error, Int(numbers.load()) - 1)
  }

  /// Counts the entries that were read.
  final class CountingCursor: SourceCursor {
    private let inner: MemtableCursor
    private(set) var count = 0
    init(_ inner: MemtableCursor) { self.inner = inner }
    override func seekToFirst() throws(StoreError) {
      inner.seekToFirst()
      show()
    }
    override func next() throws(StoreError) {
      count += 1
      inner.next()
      show()
    }
    private func show() { (isValid, key, tag, value) = (inner.isValid, inner.key, inner.tag, inner.value) }
  }

  /// However few entries there are: a store that was closed before the merge began gets no file.
  @Test func oneThatBeginsTooLateWritesNothing() {
    let (error, created) = Self.merge(3, stopAt: 0)
    #expect(error?.code == .closed)
    #expect(created == 0)
  }

  @Test func oneThatRunsStopsSoon() {
    #expect(Self.merge(5000, stopAt: 1500).error?.code == .closed)
    #expect(Self.merge(5000, stopAt: 6000).error == nil)
  }
}
