import RoostEnvironment
import Synchronization

/// A live table file: what the manifest knows of it, its reader once one was needed, and the duty
/// to remove the file when nobody uses it any more.
///
/// Every version that contains the file holds it, and so does every cursor, through its version.
/// When the edit that drops it is durable, ``markObsolete()`` is called; the last holder's release
/// then hands the number to the store's clean-up. So a file is removed only after the dropping edit
/// is durable and no reader is left.
///
/// Thread-safe.
@safe
final class TableFile: @unchecked Sendable {
  let metadata: TableMetadata
  /// Copies of the bounds at an address that stays, for comparing without touching an array.
  let smallest: ByteView
  let largest: ByteView
  let number: UInt64
  let largestIsExclusive: Bool
  let hasRangeTombstones: Bool

  private let tables: TableCache
  private let bounds: UnsafeMutableRawPointer
  private let obsolete = Atomic<Bool>(false)

  /// Where the cache keeps the file's open reader.
  let slot = ReaderSlot()

  let treeID: UInt64

  /// The generation of the filter that all keys of the file are in; 0 for none. See ``KeyFilter``.
  let coverage: UInt64

  init(_ metadata: TableMetadata, treeID: UInt64, _ tables: TableCache, coverage: UInt64 = 0) {
    self.treeID = treeID
    self.coverage = coverage
    self.metadata = metadata
    self.tables = tables
    number = metadata.number
    largestIsExclusive = metadata.largestIsExclusive
    hasRangeTombstones = metadata.rangeTombstoneCount > 0
    let lowCount = metadata.smallest.count
    let highCount = metadata.largest.count
    let bounds = UnsafeMutableRawPointer.allocate(
      byteCount: max(lowCount + highCount, 1), alignment: 8)
    unsafe self.bounds = bounds
    metadata.smallest.withByteView { unsafe $0.copy(to: bounds) }
    metadata.largest.withByteView { unsafe $0.copy(to: bounds + lowCount) }
    smallest = unsafe ByteView(UnsafeRawPointer(bounds), count: lowCount)
    largest = unsafe ByteView(UnsafeRawPointer(bounds + lowCount), count: highCount)
  }

  deinit {
    tables.forget(slot, number, remove: obsolete.load(ordering: .acquiring))
    unsafe bounds.deallocate()
  }

  /// Says that the edit which drops the file is durable.
  func markObsolete() { obsolete.store(true, ordering: .releasing) }

  /// Whether `key` may be in the file, by its bounds.
  @inline(__always)
  func mayContain(_ key: ByteView) -> Bool { smallest <= key && !endsBefore(key) }

  /// Whether all of the file lies before `key`.
  @inline(__always)
  func endsBefore(_ key: ByteView) -> Bool {
    let order = largest.compare(key)
    return order < 0 || (order == 0 && largestIsExclusive)
  }

  /// Whether the file shares a key with `other`, by their bounds.
  func overlaps(_ other: TableFile) -> Bool {
    !endsBefore(other.smallest) && !other.endsBefore(smallest)
  }

  /// Whether the file shares a key with the range.
  func overlaps(_ range: KeyRange) -> Bool {
    if let lower = range.lower, lower.withByteView({ endsBefore($0) }) { return false }
    if let upper = range.upper, upper.withByteView({ !(smallest < $0) }) { return false }
    return true
  }
}

/// The open reader of one table, if it is open. Held by the table's `TableFile` and, while the
/// reader is open, by the cache: so the cache may close it without holding the file.
final class ReaderSlot: Sendable {
  /// Retired through the epochs when the cache closes it.
  let reader = EpochPointer<TableReader>(nil)
  /// Held while the reader is opened, so that two readers of a cold file open it once.
  let opening = Lock()
  private let recentlyUsed = Atomic<Bool>(false)

  /// Notes a use, for the cache's choice of what to close.
  @inline(__always)
  func noteUse() {
    if !recentlyUsed.load(ordering: .relaxed) { recentlyUsed.store(true, ordering: .relaxed) }
  }

  /// Whether the file was used since this was last asked.
  func takeUse() -> Bool { recentlyUsed.exchange(false, ordering: .relaxed) }
}

/// A half-open range of user keys; a missing bound is open.
package struct KeyRange: Sendable, Equatable {
  /// Inclusive.
  package var lower: [UInt8]?
  /// Exclusive.
  package var upper: [UInt8]?

  package init(lower: [UInt8]? = nil, upper: [UInt8]? = nil) {
    self.lower = lower
    self.upper = upper
  }

  package static let all = KeyRange()

  /// All keys that begin with `prefix`.
  package init(prefix: [UInt8]) {
    lower = prefix.isEmpty ? nil : prefix
    var end = prefix
    while let last = end.last {
      if last < 0xFF {
        end[end.count - 1] = last + 1
        upper = end
        return
      }
      end.removeLast()
    }
    upper = nil
  }

  package func contains(_ key: [UInt8]) -> Bool {
    if let lower, key.lexicographicallyPrecedes(lower) { return false }
    if let upper, !key.lexicographicallyPrecedes(upper) { return false }
    return true
  }
}
