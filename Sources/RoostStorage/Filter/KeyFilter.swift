import CPrefetch
import RoostEnvironment
import Synchronization

// One filter in memory for the keys of a tree's memtables and tables.
//
// Most lookups of a writer that first looks what is there (of RoostCluster's puts) are for keys that are not.
// They cost a search of each memtable and a filter of each table. This filter answers them at once, from a
// cache line or two.
//
// 1. A *covered* source is one whose every entry's key, deletions included, is in the filter. Each memtable
//    begun under the filter is: the commit leader adds a key before it inserts the entry, and so before
//    the entry's sequence number is published. A table is covered where it was merged of covered sources
//    only; else the merge adds the keys that it writes. Tables that were there when the store was opened are
//    covered once they are compacted.
// 2. A reader that finds a key's bits unset passes all covered sources by, but for their range tombstones,
//    which hide what is in the others. Where all sources are covered the key is absent.
// 3. A reader pins the tree's state, loads the sequence number that it reads at, then asks the filter. What
//    it may see in a table was added before the state was installed; what it may see in a memtable, before
//    the sequence number was published. So it sees those bits: no false negative.
// 4. Bits are only ever set. Segments are added as keys are, each larger than the one before; a key is in one
//    of them. Where there is no memory for another, the filter is given up: from then on it says
//    "perhaps" of every key, and nothing more is added. Keys that are not there any more go with it.
// 5. When the next memtable begins, the tree lets go of a filter that was given up. It begins another, which
//    covers nothing yet, once all of its keys would fill half of the memory at most (``TreeCore``).
//
//   segment := line * n             line, 64 bytes := word u64 * 8
//
// A key sets three bits in each of two words of one line. Nothing of it is stored: the hash may be any.

/// Which keys the sources of one tree may hold. Thread-safe; any number add and ask.
@safe
final class KeyFilter: @unchecked Sendable {
  @safe
  private struct Segment: ~Copyable {
    let lines: UnsafeMutableRawPointer
    let lineCount: UInt64
    let capacity: Int
    /// Keys that set a bit, more or less.
    let keyCount = Atomic<Int>(0)

    init(byteCount: Int) {
      unsafe lines =
        byteCount % LargePages.byteCount == 0
        ? LargePages.allocate(byteCount: byteCount)
        : .allocate(byteCount: byteCount, alignment: KeyFilter.lineBytes)
      unsafe lines.initializeMemory(as: UInt64.self, repeating: 0, count: byteCount / 8)
      lineCount = UInt64(byteCount / KeyFilter.lineBytes)
      capacity = byteCount * 8 / KeyFilter.bitsPerKey
    }

    var byteCount: Int { Int(lineCount) * KeyFilter.lineBytes }

    private typealias Word = UnsafeMutablePointer<Atomic<UInt64>>

    /// The two words of a key's line, and what it sets there.
    @inline(__always)
    private func place(
      _ hash: UInt64
    ) -> (Word, UInt64, Word, UInt64) {
      let line = unsafe lines
        + Int(truncatingIfNeeded: ((hash &>> 32) &* lineCount) &>> 32) &* KeyFilter.lineBytes
      // The line goes by the high half of the hash, the bits by all of it.
      let mixed = hash &* 0x9E37_79B9_7F4A_7C15
      let first = 1 &<< (mixed &>> 22 & 63) | 1 &<< (mixed &>> 28 & 63) | 1 &<< (mixed &>> 34 & 63)
      let second = 1 &<< (mixed &>> 40 & 63) | 1 &<< (mixed &>> 46 & 63) | 1 &<< (mixed &>> 52 & 63)
      let words = unsafe line.assumingMemoryBound(to: Atomic<UInt64>.self)
      return unsafe (
        words + Int(truncatingIfNeeded: mixed &>> 58 & 7), first,
        words + Int(truncatingIfNeeded: mixed &>> 61), second
      )
    }

    @inline(__always)
    func prefetch(_ hash: UInt64) {
      unsafe roost_prefetch(
        lines + Int(truncatingIfNeeded: ((hash &>> 32) &* lineCount) &>> 32) &* KeyFilter.lineBytes)
    }

    @inline(__always)
    func contains(_ hash: UInt64) -> Bool {
      let (first, firstBits, second, secondBits) = unsafe place(hash)
      return unsafe first.pointee.load(ordering: .relaxed) & firstBits == firstBits
        && second.pointee.load(ordering: .relaxed) & secondBits == secondBits
    }

    /// - Returns: whether any bit was unset.
    @inline(__always)
    func set(_ hash: UInt64) -> Bool {
      let (first, firstBits, second, secondBits) = unsafe place(hash)
      var isNew = false
      if unsafe first.pointee.load(ordering: .relaxed) & firstBits != firstBits {
        unsafe first.pointee.bitwiseOr(firstBits, ordering: .relaxed)
        isNew = true
      }
      if unsafe second.pointee.load(ordering: .relaxed) & secondBits != secondBits {
        unsafe second.pointee.bitwiseOr(secondBits, ordering: .relaxed)
        isNew = true
      }
      return isNew
    }
  }

  static let lineBytes = 64
  /// About one key in a hundred that was not added is said to be there, perhaps, when a segment is full.
  static let bitsPerKey = 10
  /// The first segment takes an eighth of the memory, and no more than this.
  static let firstBytes = 64 << 10
  private static let segmentLimit = 8

  /// Names what the filter covers: no two filters of a tree have the same, and none has 0.
  let generation: UInt64

  private let memory: MemoryAllowance
  private let segments: UnsafeMutablePointer<Segment>
  /// How many segments there are; 0 once the filter was given up. Released after a segment is in its place.
  private let published = Atomic<Int>(1)

  private let growing = Lock()
  /// As `published`, but never less. Guarded by `growing`.
  private var made = 1

  /// - Parameter memory: what all filters of a store may take.
  /// - Returns: `nil` where there is none left.
  init?(generation: UInt64, _ memory: MemoryAllowance) {
    let first = min(Self.firstBytes, max(memory.byteCount / 8 & ~(Self.lineBytes - 1), Self.lineBytes))
    guard memory.take(first) else { return nil }
    self.generation = generation
    self.memory = memory
    unsafe segments = .allocate(capacity: Self.segmentLimit)
    unsafe segments.initialize(to: Segment(byteCount: first))
  }

  deinit {
    for index in 0..<made {
      unsafe memory.giveBack(segments[index].byteCount)
      unsafe segments[index].lines.deallocate()
    }
    unsafe segments.deinitialize(count: made)
    unsafe segments.deallocate()
  }

  /// Whether the filter says anything of any key.
  var isGivenUp: Bool { published.load(ordering: .acquiring) == 0 }

  /// Bytes of memory that it takes.
  var byteCount: Int {
    growing.withLock { (0..<made).reduce(0) { unsafe $0 + segments[$1].byteCount } }
  }

  /// Whether a covered source may hold the key of this hash. To be asked after the sequence number was
  /// loaded that is read at. O(1).
  @inline(__always)
  func mayContain(_ hash: UInt64) -> Bool {
    let count = published.load(ordering: .acquiring)
    if count == 0 { return true }
    var index = 0
    while index < count {
      if unsafe segments[index].contains(hash) { return true }
      index &+= 1
    }
    return false
  }

  /// Has the processor load the lines of a key that will be added soon.
  @inline(__always)
  func prefetch(_ hash: UInt64) {
    let count = published.load(ordering: .acquiring)
    var index = 0
    while index < count {
      unsafe segments[index].prefetch(hash)
      index &+= 1
    }
  }

  /// Adds the key of this hash, to be called before what it names can be seen. O(1), but where the filter
  /// grows.
  @inline(__always)
  func add(_ hash: UInt64) {
    let last = published.load(ordering: .acquiring) &- 1
    if last < 0 { return }
    var index = 0
    while index < last {
      if unsafe segments[index].contains(hash) { return }
      index &+= 1
    }
    if unsafe segments[last].set(hash) {
      let count = unsafe segments[last].keyCount.wrappingAdd(1, ordering: .relaxed).newValue
      if unsafe count > segments[last].capacity { grow(beyond: last) }
    }
  }

  /// A segment eight times as large as the last, or smaller where memory is short; none that is not at
  /// least twice as large, since each costs lookups a cache line.
  @inline(never)
  private func grow(beyond last: Int) {
    growing.withLock {
      guard !isGivenUp, made == last + 1 else { return }
      if made < Self.segmentLimit {
        let old = unsafe segments[last].byteCount
        for times in [8, 4, 2] where memory.take(times * old) {
          unsafe (segments + made).initialize(to: Segment(byteCount: times * old))
          made += 1
          published.store(made, ordering: .releasing)
          return
        }
      }
      // From now on it says "perhaps" of every key: before one can be seen that is not added.
      published.store(0, ordering: .releasing)
    }
  }
}
