import RoostEnvironment
import Synchronization

/// What a memtable knows of a key. The value's bytes live as long as the memtable.
enum MemtableLookup {
  /// The memtable has no version of the key that the reader may see. Older places may.
  case absent
  /// The newest visible version deletes the key.
  case deleted(Tag)
  case value(ByteView, Tag)
}

/// The newest writes of a tree, in order, in memory.
///
/// One thread at a time writes (`insert`, `insertRangeTombstone`, `insertLateDelete`); any number of
/// threads read beside it without locks. Reads see all that was inserted before they began and may see
/// some of what is inserted meanwhile, so a reader loads the sequence number it reads at first and
/// passes it on. Late deletes are seen by no read. Entries are never changed or removed; their bytes stay
/// where they are until the memtable goes, so whoever stores a view of them holds the memtable.
@safe
final class Memtable: @unchecked Sendable {
  /// What other threads read and the writer stores, away from the cache line of the object's
  /// header.
  private struct Counters: ~Copyable {
    let chargedBytes = Atomic<Int>(0)
    let entryCount = Atomic<Int>(0)
    let smallestSequence = Atomic<UInt64>(.max)
    let largestSequence = Atomic<UInt64>(0)
    let rangeTombstoneCount = Atomic<Int>(0)
    let lateDeleteCount = Atomic<Int>(0)
  }

  private struct RangeTombstone {
    var start: ByteView
    var end: ByteView
    var sequence: UInt64
  }

  /// What a range tombstone is charged beside its keys: its place here and in the cached list.
  private static let rangeTombstoneBytes = 256

  /// How many late deletes are charged at once for the memory that sorting them takes.
  private static let lateDeleteStep = 64

  /// A memtable that is to hold as much takes large pages.
  static let leastBytesInPages = 16 * LargePages.byteCount

  private let counters: UnsafeMutablePointer<Counters>
  private let writer: UnsafeMutablePointer<MemtableWriter>
  private let index: MemtableIndex

  private let rangeLock = Lock()
  // Guarded by `rangeLock`. The views are of the arena.
  private var ranges: [RangeTombstone] = []
  private var cachedList: RangeTombstoneList?
  private var cachedCount = 0

  /// - Parameters:
  ///   - prefixLength: how many leading bytes of keys name the partitions that they come in, 0 to 2:
  ///     each gets a tree of its own. Changes nothing but speed and memory.
  ///   - expectedBytes: about what it will hold. Large ones take their memory in larger pieces.
  ///   - pages: where large pieces come from.
  init(prefixLength: Int = 0, expectedBytes: Int = 0, pages: LargePagePool? = nil) {
    unsafe counters = .allocate(capacity: 1)
    unsafe counters.initialize(to: Counters())
    unsafe writer = .allocate(capacity: 1)
    // The atomic is the first field, at the struct's own address.
    unsafe writer.initialize(
      to: MemtableWriter(
        prefixLength: prefixLength,
        // Pieces should stay a small part of the whole: what is left of the last one is charged too.
        largestChunkBytes: expectedBytes >= Memtable.leastBytesInPages ? LargePages.byteCount : 1 << 20,
        charge: UnsafeMutableRawPointer(counters).assumingMemoryBound(to: Atomic<Int>.self),
        pages: pages))
    unsafe index = writer.pointee.index
  }

  deinit {
    unsafe writer.deinitialize(count: 1)
    unsafe writer.deallocate()
    unsafe counters.deinitialize(count: 1)
    unsafe counters.deallocate()
  }

  // MARK: - The writer's side

  /// Adds an entry. No entry with the same key and tag may be there. O(log n).
  @inline(__always)
  func insert(_ key: ByteView, _ tag: Tag, _ value: ByteView) {
    unsafe writer.pointee.insert(key, tag, value)
    unsafe counters.pointee.entryCount.store(
      counters.pointee.entryCount.load(ordering: .relaxed) &+ 1, ordering: .releasing)
    widen(tag.sequence)
  }

  /// Deletes all older versions of the keys from `start` up to `end`, which is greater.
  ///
  /// Tell readers of the sequence number only after this has returned.
  func insertRangeTombstone(from start: ByteView, to end: ByteView, sequence: UInt64) {
    precondition(start < end)
    unsafe counters.pointee.chargedBytes.wrappingAdd(
      Memtable.rangeTombstoneBytes + start.count + end.count, ordering: .relaxed)
    rangeLock.withLock {
      let stored = unsafe RangeTombstone(
        start: writer.pointee.store(start), end: writer.pointee.store(end), sequence: sequence)
      ranges.append(stored)
      unsafe counters.pointee.rangeTombstoneCount.store(ranges.count, ordering: .releasing)
    }
    widen(sequence)
  }

  /// Notes that the entry under `key` is dead. Reads do not know of it: it deletes in the table that the
  /// memtable becomes (``makeFlushCursor()``). O(1).
  @inline(__always)
  func insertLateDelete(_ key: ByteView, sequence: UInt64) {
    unsafe writer.pointee.insertLateDelete(key, Tag(sequence: sequence, .delete))
    let count = unsafe counters.pointee.lateDeleteCount.load(ordering: .relaxed)
    // In steps: a charge that changes is told to all.
    if count % Memtable.lateDeleteStep == 0 {
      unsafe counters.pointee.chargedBytes.wrappingAdd(
        Memtable.lateDeleteStep * LateDeleteCursor.bytesEach, ordering: .relaxed)
    }
    unsafe counters.pointee.lateDeleteCount.store(count &+ 1, ordering: .releasing)
    widen(sequence)
  }

  @inline(__always)
  private func widen(_ sequence: UInt64) {
    if unsafe sequence > counters.pointee.largestSequence.load(ordering: .relaxed) {
      unsafe counters.pointee.largestSequence.store(sequence, ordering: .relaxed)
    }
    if unsafe sequence < counters.pointee.smallestSequence.load(ordering: .relaxed) {
      unsafe counters.pointee.smallestSequence.store(sequence, ordering: .relaxed)
    }
  }

  // MARK: - The readers' side

  /// The newest version of `key` whose sequence number is at most `sequence`. Range tombstones are
  /// not looked at. O(log n).
  @inline(__always)
  func get(_ key: ByteView, at sequence: UInt64) -> MemtableLookup {
    guard let entry = index.find(key, Tag.seek(sequence).word) else { return .absent }
    let tag = entry.tag
    return tag.isDelete ? .deleted(tag) : .value(entry.value, tag)
  }

  /// A cursor over all entries, whatever their sequence numbers; nowhere at first.
  func makeCursor() -> MemtableCursor { MemtableCursor(self, index.directory) }

  /// A cursor over all entries and late deletes, as a flush writes them: one way, from the first to the
  /// last. Only once nobody writes any more. O(n log n) in the late deletes.
  func makeFlushCursor() -> SourceCursor {
    let entries = makeCursor()
    guard lateDeleteCount > 0 else { return entries }
    let late = unsafe LateDeleteCursor(self, writer.pointee.lastLateDelete, count: lateDeleteCount)
    return MergingCursor([entries, late])
  }

  /// All range tombstones inserted so far, or `nil` where there are none, which costs one load.
  ///
  /// The list is made when first asked for after an insert: O(n log n) then, O(1) else.
  @inline(__always)
  func rangeTombstones() -> RangeTombstoneList? {
    rangeTombstoneCount == 0 ? nil : listRangeTombstones()
  }

  @inline(never)
  private func listRangeTombstones() -> RangeTombstoneList? {
    rangeLock.withLock {
      if cachedCount != ranges.count {
        var builder = RangeTombstoneBuilder()
        for range in ranges {
          builder.add(from: range.start, to: range.end, sequence: range.sequence)
        }
        cachedList = builder.build()
        cachedCount = ranges.count
      }
      return cachedList
    }
  }

  /// Bytes of memory taken from the system for entries and index, whether in use or not.
  var chargedBytes: Int { unsafe counters.pointee.chargedBytes.load(ordering: .relaxed) }
  var entryCount: Int { unsafe counters.pointee.entryCount.load(ordering: .acquiring) }
  @inline(__always)
  var rangeTombstoneCount: Int {
    unsafe counters.pointee.rangeTombstoneCount.load(ordering: .acquiring)
  }
  var lateDeleteCount: Int { unsafe counters.pointee.lateDeleteCount.load(ordering: .acquiring) }
  /// Entries and late deletes: what a flush writes at most.
  var operationCount: Int { entryCount + lateDeleteCount }
  /// Whether there is neither an entry nor a range tombstone nor a late delete.
  var isEmpty: Bool { entryCount == 0 && rangeTombstoneCount == 0 && lateDeleteCount == 0 }
  /// The least sequence number of anything that was inserted; `UInt64.max` where nothing was.
  var smallestSequence: UInt64 {
    unsafe counters.pointee.smallestSequence.load(ordering: .relaxed)
  }
  /// The greatest sequence number of anything that was inserted; 0 where nothing was.
  var largestSequence: UInt64 {
    unsafe counters.pointee.largestSequence.load(ordering: .relaxed)
  }
}
