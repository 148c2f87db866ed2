/// What a read of one tree sees: the memtables and the levels at one moment. Immutable; a change
/// makes a new one, and readers pin the one they found (`EpochDomain`).
///
/// Thread-safe, being immutable; the active memtable is written by the commit leader beside its
/// readers.
@safe
final class TreeState: @unchecked Sendable {
  /// Where writes go.
  let active: TreeMemtable
  /// Full memtables that wait for their flush, newest first.
  let immutables: [TreeMemtable]
  /// Level 0 first. Level 0 is newest first and may overlap; the others are in key order, disjoint.
  let levels: [Level]
  /// Level 0, and the other levels that have tables, unretained (`levels` holds them): point reads
  /// walk these without ARC traffic.
  let level0: Unmanaged<Level>
  let deeperCount: Int
  private let deeper: UnsafeMutablePointer<Unmanaged<Level>>
  /// The immutable memtables again, unretained, for the same.
  let immutableCount: Int
  private let waiting: UnsafeMutablePointer<Unmanaged<Memtable>>
  /// The tree's filter, if it keeps one, and whether it covers the memtables, and all there is.
  let keyFilter: KeyFilter?
  let filter: Unmanaged<KeyFilter>?
  let filterGeneration: UInt64
  let coversMemtables: Bool
  let coversAll: Bool

  init(
    active: TreeMemtable, immutables: [TreeMemtable], levels: [Level], keyFilter: KeyFilter? = nil
  ) {
    let generation = keyFilter?.generation ?? 0
    self.keyFilter = keyFilter
    unsafe filter = keyFilter.map { unsafe Unmanaged.passUnretained($0) }
    filterGeneration = generation
    coversMemtables =
      generation != 0 && active.coverage == generation
      && immutables.allSatisfy { $0.coverage == generation }
    coversAll = coversMemtables && levels.allSatisfy { $0.isCovered(by: generation) }
    self.active = active
    self.immutables = immutables
    self.levels = levels
    unsafe level0 = Unmanaged.passUnretained(levels[0])
    unsafe deeper = UnsafeMutablePointer.allocate(capacity: levels.count)
    var count = 0
    for level in levels.dropFirst() where level.count > 0 {
      unsafe (deeper + count).initialize(to: Unmanaged.passUnretained(level))
      count += 1
    }
    deeperCount = count
    immutableCount = immutables.count
    unsafe waiting = UnsafeMutablePointer.allocate(capacity: max(immutables.count, 1))
    for (index, immutable) in immutables.enumerated() {
      unsafe (waiting + index).initialize(to: Unmanaged.passUnretained(immutable.memtable))
    }
  }

  deinit {
    unsafe deeper.deallocate()
    unsafe waiting.deallocate()
  }

  /// A full memtable that waits for its flush, newest first.
  @inline(__always)
  func immutable(_ index: Int) -> Unmanaged<Memtable> {
    precondition(UInt(bitPattern: index) < UInt(bitPattern: immutableCount))
    return unsafe waiting[index]
  }

  /// A level below 0 that has tables, shallowest first.
  @inline(__always)
  func deeper(_ index: Int) -> Unmanaged<Level> {
    precondition(UInt(bitPattern: index) < UInt(bitPattern: deeperCount))
    return unsafe deeper[index]
  }

  func with(
    active: TreeMemtable? = nil, immutables: [TreeMemtable]? = nil, levels: [Level]? = nil
  ) -> TreeState {
    TreeState(
      active: active ?? self.active, immutables: immutables ?? self.immutables,
      levels: levels ?? self.levels, keyFilter: keyFilter)
  }

  /// Every level, empty.
  static var noLevels: [Level] {
    Array(repeating: Level.empty, count: VersionEdit.deepestLevel + 1)
  }

  /// The deepest level that has tables, or 0.
  var deepestLevel: Int { levels.lastIndex { !$0.files.isEmpty } ?? 0 }

  /// Whether no table in the levels below `level` may hold `key`.
  func hasNothing(below level: Int, for key: ByteView) -> Bool {
    var deeper = level + 1
    while deeper < levels.count {
      if levels[deeper].file(for: key) != nil { return false }
      deeper += 1
    }
    return true
  }
}

/// One level's tables with their upper bounds laid out for a search without ARC traffic.
///
/// Invariant for all levels but 0: in key order, each file ends before the next begins.
@safe
final class Level: @unchecked Sendable {
  let files: [TableFile]
  let byteCount: Int64
  /// The generation of the filter that all files' keys are in; 0 where there is no such.
  private let coverage: UInt64
  /// Heads of the files' upper bounds; the search compares these first.
  private let heads: UnsafeMutablePointer<UInt64>
  /// The files again, unretained: `files` holds them.
  private let unretained: UnsafeMutablePointer<Unmanaged<TableFile>>
  let count: Int

  static let empty = Level([])

  init(_ files: [TableFile]) {
    self.files = files
    count = files.count
    let first = files.first?.coverage ?? 0
    coverage = files.allSatisfy { $0.coverage == first } ? first : 0
    var bytes: Int64 = 0
    unsafe heads = UnsafeMutablePointer.allocate(capacity: max(files.count, 1))
    unsafe unretained = UnsafeMutablePointer.allocate(capacity: max(files.count, 1))
    for (index, file) in files.enumerated() {
      bytes += file.metadata.byteCount
      unsafe (heads + index).initialize(to: file.largest.head)
      unsafe (unretained + index).initialize(to: Unmanaged.passUnretained(file))
    }
    byteCount = bytes
  }

  deinit {
    unsafe heads.deallocate()
    unsafe unretained.deallocate()
  }

  /// Whether the keys of all files are in the filter of that generation.
  func isCovered(by generation: UInt64) -> Bool { count == 0 || coverage == generation }

  /// The file at an index, without a retain: valid while the level is.
  @inline(__always)
  func unretained(at index: Int) -> Unmanaged<TableFile> {
    precondition(UInt(bitPattern: index) < UInt(bitPattern: count))
    return unsafe unretained[index]
  }

  /// The index of the first file that does not end before `key`; `count` where all do.
  /// Only for levels below 0. O(log n).
  @inline(__always)
  func index(for key: ByteView) -> Int {
    let head = key.head
    var low = 0
    var high = count
    while low < high {
      let middle = (low &+ high) / 2
      let other = unsafe heads[middle]
      let before =
        other != head
        ? other < head
        : unsafe unretained[middle].borrow { $0.endsBefore(key) }
      if before { low = middle &+ 1 } else { high = middle }
    }
    return low
  }

  /// The one file that may hold `key`. Only for levels below 0.
  func file(for key: ByteView) -> TableFile? {
    let index = index(for: key)
    return index < count && files[index].smallest <= key ? files[index] : nil
  }
}
