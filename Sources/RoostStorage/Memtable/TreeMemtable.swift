import Synchronization

/// One tree's memtable with what the log needs to know of it.
final class TreeMemtable: @unchecked Sendable {
  let memtable = Memtable()

  /// The number of the oldest log that holds a record of this memtable; `UInt64.max` while it is empty.
  /// Written by the commit leader before it applies the record.
  private let oldestLog = Atomic<UInt64>(.max)

  /// The oldest log that must be kept for this memtable.
  var pinnedLog: UInt64 { oldestLog.load(ordering: .acquiring) }

  @inline(__always)
  func noteLog(_ number: UInt64) {
    if oldestLog.load(ordering: .relaxed) == .max { oldestLog.store(number, ordering: .releasing) }
  }
}
