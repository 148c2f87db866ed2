import RoostEnvironment
import Synchronization

/// What a store shares with its trees, so that a read touches nothing else of it.
final class SharedState: Sendable {
  /// The greatest sequence number that reads may see.
  let visible: Atomic<UInt64>
  let isClosed = Atomic<Bool>(false)
  let epochs: EpochDomain
  let tables: TableCache
  let memory: MemoryCharge
  /// What filters of keys may take.
  let filterMemory: MemoryAllowance
  let strainedTrees = StrainedTrees()

  init(
    visible: UInt64, epochs: EpochDomain, tables: TableCache, memory: MemoryCharge,
    filterMemory: MemoryAllowance
  ) {
    self.memory = memory
    self.filterMemory = filterMemory
    self.visible = Atomic(visible)
    self.epochs = epochs
    self.tables = tables
  }
}

/// A tree as the engine holds it: its current state, and how the commit leader changes it.
///
/// Readers pin `state` through the epochs. The commit leader owns `active` and `isFull`. `current`
/// and the flags of background work are guarded by the store's `stateLock`.
@safe
final class TreeCore: @unchecked Sendable {
  let id: UInt64
  let name: String
  let options: TreeOptions
  let shared: SharedState
  private let memtableLimit: Int
  private let strain: TreeStrain

  /// What readers use: always `current`.
  let state: EpochPointer<TreeState>
  private let dropped = Atomic<Bool>(false)

  // The commit leader's.
  private var active: TreeMemtable {
    didSet {
      unsafe writing = Unmanaged.passUnretained(active)
      unsafe filtering = active.filter.map { unsafe Unmanaged.passUnretained($0) }
    }
  }
  /// `active` and its filter, for each operation: not counted.
  private var writing: Unmanaged<TreeMemtable>
  private var filtering: Unmanaged<KeyFilter>?
  private(set) var isFull = false
  private var isNearlyFull = false

  // Changed by the commit leader with the store's state lock held.
  /// Whether the tree keeps a filter of its keys, where there is memory for it.
  private var keepsFilter = false
  private var lastFilterGeneration: UInt64 = 0

  // Guarded by the store's state lock.
  private(set) var current: TreeState
  var isFlushing = false
  var isCompacting = false

  init(
    id: UInt64, name: String, options: TreeOptions, levels: [Level], memtableLimit: Int,
    shared: SharedState
  ) {
    self.id = id
    self.name = name
    self.options = options
    self.shared = shared
    self.memtableLimit = memtableLimit
    strain = TreeStrain(shared.strainedTrees)
    active = TreeMemtable(shared.memory, options, expectedBytes: memtableLimit)
    unsafe writing = Unmanaged.passUnretained(active)
    unsafe filtering = nil
    current = TreeState(active: active, immutables: [], levels: levels)
    state = EpochPointer(current)
  }

  @inline(__always) var isDropped: Bool { dropped.load(ordering: .acquiring) }

  func markDropped() { dropped.store(true, ordering: .releasing) }

  /// - Throws: `.closed`, `.treeDropped`.
  @inline(__always)
  func checkReadable() throws(StoreError) {
    if shared.isClosed.load(ordering: .acquiring) || isDropped { throw unreadable() }
  }

  @inline(never)
  private func unreadable() -> StoreError {
    isDropped
      ? StoreError(.treeDropped, "the tree `\(name)` was dropped")
      : StoreError(.closed, "the store is closed")
  }

  /// Swaps the state that readers see. With the store's state lock held.
  func install(_ next: TreeState) {
    current = next
    state.swap(next, retiringIn: shared.epochs)
    if next.immutables.isEmpty { strain.remove(.waitsForFlush) } else { strain.insert(.waitsForFlush) }
  }

  /// Lets go of everything: the tree was dropped. With the lead and the state lock held.
  func installEmpty() {
    active.release()
    for immutable in current.immutables { immutable.release() }
    keepsFilter = false
    beginMemtable(nil)
    install(TreeState(active: active, immutables: [], levels: TreeState.noLevels))
  }

  // MARK: - The commit leader

  /// Says that an operation on the key will be applied once it is logged, which takes a while: meanwhile
  /// the processor can load the key's place in the filter.
  @inline(__always)
  func expect(_ key: ByteView) {
    guard let filter = unsafe filtering else { return }
    let hash = BloomFilter.hash(key)
    unsafe filter.borrow { $0.prefetch(hash) }
  }

  /// Applies one logged operation to the memtable.
  ///
  /// - Parameter log: the oldest log that may hold its record.
  @inline(__always)
  func apply(
    _ kind: BatchOperationKind, _ key: ByteView, _ value: ByteView, _ sequence: UInt64, _ log: UInt64
  ) {
    unsafe writing.borrow { active in
      active.noteLog(log)
      // Before the entry is there (``KeyFilter``, 1).
      if let filter = unsafe filtering, kind != .deleteRange {
        let hash = BloomFilter.hash(key)
        unsafe filter.borrow { $0.add(hash) }
      }
      switch kind {
      case .put: active.memtable.insert(key, Tag(sequence: sequence, .put), value)
      case .delete: active.memtable.insert(key, Tag(sequence: sequence, .delete), .empty)
      case .deleteRange:
        active.memtable.insertRangeTombstone(from: key, to: value, sequence: sequence)
      case .deleteLate: active.memtable.insertLateDelete(key, sequence: sequence)
      }
      let charged = active.memtable.chargedBytes
      active.charge(charged)
      if charged >= memtableLimit / 4 &* 3
        || active.memtable.rangeTombstoneCount >= TreeCore.rangeTombstoneLimit / 4 &* 3
      {
        noteFilling(charged)
      }
    }
  }

  @inline(never)
  private func noteFilling(_ charged: Int) {
    if !isNearlyFull {
      isNearlyFull = true
      strain.insert(.nearlyFull)
    }
    isFull =
      charged >= memtableLimit
      || active.memtable.rangeTombstoneCount >= TreeCore.rangeTombstoneLimit
  }

  /// Range tombstones that a memtable may hold: reads beside a stream of them rebuild their index.
  static let rangeTombstoneLimit = 4096

  /// Makes the active memtable immutable and begins a new one. The leader calls it with the state
  /// lock held.
  func rotate() {
    let full = active
    full.noteWaiting()
    let filter = nextFilter()
    beginMemtable(filter)
    install(
      TreeState(
        active: active, immutables: [full] + current.immutables, levels: current.levels,
        keyFilter: filter))
  }

  private func beginMemtable(_ filter: KeyFilter?) {
    active = TreeMemtable(
      shared.memory, options, expectedBytes: memtableLimit, filter: filter)
    isFull = false
    isNearlyFull = false
    strain.remove(.nearlyFull)
  }

  /// Has the tree keep a filter of its keys from now on, where there is memory. With the lead and the state
  /// lock held.
  func keepFilter() {
    guard !keepsFilter, !isDropped else { return }
    keepsFilter = true
    // A memtable that is in use stays without it; the next one begins with it.
    guard active.memtable.isEmpty, let filter = nextFilter() else { return }
    active.release()
    beginMemtable(filter)
    install(
      TreeState(
        active: active, immutables: current.immutables, levels: current.levels, keyFilter: filter))
  }

  /// The filter for a memtable that begins: the one that there is; none where that was given up, so that its
  /// memory comes back; else a new one, where all keys would fill half of what is left at most.
  private func nextFilter() -> KeyFilter? {
    guard keepsFilter else { return nil }
    if let filter = current.keyFilter { return filter.isGivenUp ? nil : filter }
    var keys = UInt64(clamping: active.memtable.operationCount)
    for immutable in current.immutables { keys &+= UInt64(clamping: immutable.memtable.operationCount) }
    for level in current.levels { for file in level.files { keys &+= file.metadata.entryCount } }
    let left = UInt64(clamping: max(shared.filterMemory.remaining, 0))
    guard keys < left * 8 / UInt64(2 * KeyFilter.bitsPerKey),
      let filter = KeyFilter(generation: lastFilterGeneration + 1, shared.filterMemory)
    else { return nil }
    lastFilterGeneration += 1
    return filter
  }

  /// Whether the active memtable has anything in it, for the leader.
  var hasActiveEntries: Bool { !active.memtable.isEmpty }

  /// Bytes of memory that the active memtable takes, for the leader.
  var activeBytes: Int { active.memtable.chargedBytes }

  /// The oldest log that the tree's memtables need. With the state lock held.
  var pinnedLog: UInt64 {
    var oldest = current.active.pinnedLog
    for memtable in current.immutables { oldest = min(oldest, memtable.pinnedLog) }
    return oldest
  }

  // MARK: - Point reads

  func copyValue(_ key: ByteView, at snapshot: UInt64?) throws(StoreError) -> [UInt8]? {
    try checkReadable()
    let token = shared.epochs.enter(ThreadStripe.current(of: EpochDomain.stripes))
    defer { shared.epochs.exit(token) }
    // Rule 8: pin first, then load the sequence number.
    let pinned = unsafe state.load(within: token)!
    let sequence = snapshot ?? shared.visible.load(ordering: .acquiring)
    var lookup = PointLookup(key, sequence)
    try unsafe pinned.borrow { (state) throws(StoreError) in
      try lookup.run(state, shared.tables, token)
    }
    return lookup.isFound ? lookup.value.array : nil
  }

  func pinnedValue(_ key: ByteView, at snapshot: UInt64?) throws(StoreError) -> PinnedValue? {
    try checkReadable()
    let token = shared.epochs.enter(ThreadStripe.current(of: EpochDomain.stripes))
    defer { shared.epochs.exit(token) }
    let pinned = unsafe state.load(within: token)!
    let sequence = snapshot ?? shared.visible.load(ordering: .acquiring)
    var lookup = PointLookup(key, sequence)
    try unsafe pinned.borrow { (state) throws(StoreError) in
      try lookup.run(state, shared.tables, token)
    }
    guard lookup.isFound else { return nil }
    // A value in a memtable is kept by the state that holds the memtable.
    let owner: AnyObject = unsafe lookup.block ?? pinned.takeUnretainedValue()
    return PinnedValue(lookup.value, owner: owner)
  }

  /// The newest value. The caller ends the stay in the epoch that keeps it.
  func visitedValue(_ key: ByteView) throws(StoreError) -> VisitedValue {
    try checkReadable()
    let token = shared.epochs.enter(ThreadStripe.current(of: EpochDomain.stripes))
    let pinned = unsafe state.load(within: token)!
    var lookup = PointLookup(key, shared.visible.load(ordering: .acquiring))
    do throws(StoreError) {
      try unsafe pinned.borrow { (state) throws(StoreError) in
        try lookup.run(state, shared.tables, token)
      }
    } catch {
      shared.epochs.exit(token)
      throw error
    }
    return VisitedValue(lookup, token)
  }

  // MARK: - Cursors

  /// The state, held.
  func pin() -> TreeState {
    state.strong(in: shared.epochs, stripe: ThreadStripe.current(of: EpochDomain.stripes))!
  }

  func makeCursor(
    _ store: Store, _ range: KeyRange, at snapshot: UInt64?
  ) throws(StoreError) -> CursorCore {
    try checkReadable()
    let state = pin()
    let sequence = snapshot ?? shared.visible.load(ordering: .acquiring)
    var sources: [SourceCursor] = []
    var tombstones: [RangeTombstoneList] = []
    for memtable in [state.active] + state.immutables {
      if memtable.memtable.entryCount > 0 { sources.append(memtable.memtable.makeCursor()) }
      if let list = memtable.memtable.rangeTombstones() { tombstones.append(list) }
    }
    for file in state.levels[0].files where file.overlaps(range) {
      sources.append(TableCursor(try shared.tables.reader(of: file), purpose: .read))
    }
    for level in state.levels.dropFirst() where level.count > 0 {
      if level.count == 1 {
        guard level.files[0].overlaps(range) else { continue }
        sources.append(TableCursor(try shared.tables.reader(of: level.files[0]), purpose: .read))
      } else {
        sources.append(LevelCursor(level, shared.tables, purpose: .read))
      }
    }
    for level in state.levels {
      for file in level.files where file.hasRangeTombstones && file.overlaps(range) {
        if let list = try shared.tables.reader(of: file).rangeTombstones { tombstones.append(list) }
      }
    }
    return CursorCore(
      store: store, tree: self, state: state, snapshot: sequence, range: range, sources: sources,
      tombstones: tombstones)
  }
}
