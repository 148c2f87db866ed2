import RoostEnvironment

// Where a key is looked for, newest first: the active memtable, the immutable ones, level 0 from
// its newest table, then each deeper level's one table that may hold it. The first entry that the
// snapshot sees decides. A range tombstone found in a source hides everything in the sources after
// it, because those are older; within its source, sequence numbers decide.

/// One key's lookup at one sequence number. Used within an epoch, on the stack: no allocation, no
/// ARC traffic but the retain of the block that holds the value.
struct PointLookup: ~Copyable {
  let key: ByteView
  let sequence: UInt64
  /// Whether there is a value.
  private(set) var isFound = false
  /// The value, in memory that the pinned state or `block` holds.
  private(set) var value = ByteView.empty
  private(set) var block: Block?
  /// Where not 0: no entry of the key is in a table of that coverage.
  private var passedBy: UInt64 = 0

  init(_ key: ByteView, _ sequence: UInt64) {
    self.key = key
    self.sequence = sequence
  }

  mutating func run(_ state: TreeState, _ tables: TableCache, _ token: EpochDomain.Token) throws(StoreError) {
    var hash: UInt64 = 0
    if let filter = unsafe state.filter {
      hash = BloomFilter.hash(key)
      // After the sequence number was loaded, as all who make a lookup do (``KeyFilter``, 3).
      if unsafe !filter.borrow({ $0.mayContain(hash) }) {
        if state.coversAll { return }
        passedBy = state.filterGeneration
      }
    }
    let passesMemtables = passedBy != 0 && state.coversMemtables
    if search(state.active.memtable, passesMemtables) { return }
    var waiting = 0
    while waiting < state.immutableCount {
      if unsafe state.immutable(waiting).borrow({ search($0, passesMemtables) }) { return }
      waiting &+= 1
    }
    if unsafe state.level0.borrow({ $0.count }) == 0 && state.deeperCount == 0 { return }
    if unsafe state.filter == nil { hash = BloomFilter.hash(key) }
    if try unsafe state.level0.borrow({ (level) throws(StoreError) in
      var index = 0
      while index < level.count {
        let file = unsafe level.unretained(at: index)
        if try unsafe file.borrow({ (file) throws(StoreError) in
          if !file.mayContain(key) { return false }
          return try search(file, hash, tables, token)
        }) {
          return true
        }
        index &+= 1
      }
      return false
    }) { return }
    var deeper = 0
    while deeper < state.deeperCount {
      if try unsafe state.deeper(deeper).borrow({ (level) throws(StoreError) in
        let index = level.index(for: key)
        guard index < level.count else { return false }
        return try unsafe level.unretained(at: index).borrow { (file) throws(StoreError) in
          if !(file.smallest <= key) { return false }
          return try search(file, hash, tables, token)
        }
      }) {
        return
      }
      deeper &+= 1
    }
  }

  /// - Returns: whether the search is over.
  @inline(__always)
  private mutating func search(_ memtable: Memtable, _ hasNoEntry: Bool) -> Bool {
    var covering: UInt64 = 0
    if memtable.rangeTombstoneCount > 0, let list = memtable.rangeTombstones() {
      covering = list.newestSequence(covering: key, at: sequence)
    }
    if hasNoEntry { return covering > 0 }
    switch memtable.get(key, at: sequence) {
    case .absent:
      return covering > 0
    case .deleted:
      return true
    case .value(let value, let tag):
      if tag.sequence >= covering {
        isFound = true
        self.value = value
      }
      return true
    }
  }

  /// - Returns: whether the search is over.
  @inline(__always)
  private mutating func search(
    _ file: TableFile, _ hash: UInt64, _ tables: TableCache, _ token: EpochDomain.Token
  ) throws(StoreError) -> Bool {
    if passedBy != 0, file.coverage == passedBy, !file.hasRangeTombstones { return false }
    if let reader = unsafe file.slot.reader.load(within: token) {
      file.slot.noteUse()
      return try unsafe reader.borrow { (reader) throws(StoreError) in
        try search(reader, hash, file.hasRangeTombstones)
      }
    }
    return try search(try tables.openReader(of: file), hash, file.hasRangeTombstones)
  }

  @inline(__always)
  private mutating func search(
    _ reader: TableReader, _ hash: UInt64, _ hasRangeTombstones: Bool
  ) throws(StoreError) -> Bool {
    var covering: UInt64 = 0
    if hasRangeTombstones, let list = reader.rangeTombstones {
      covering = list.newestSequence(covering: key, at: sequence)
    }
    var found = TableLookup()
    try reader.get(key, hash: hash, at: sequence, into: &found)
    switch found.outcome {
    case .absent:
      return covering > 0
    case .deleted:
      return true
    case .found:
      if found.tag.sequence >= covering {
        isFound = true
        value = found.value
        block = found.pin
      }
      return true
    }
  }
}
