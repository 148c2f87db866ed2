import Synchronization

/// What counts against the memory budget of a store: the capacity of all memtables that are in no
/// table yet, and the log pages that are mapped (rule 14). Thread-safe.
final class MemoryCharge: Sendable {
  private let memtables = Atomic<Int>(0)
  private let waiting = Atomic<Int>(0)
  private let logPages = Atomic<Int>(0)

  /// Memory that memtables gave back, for the next ones. It counts for nothing: it is at most two
  /// memtables' (of trees that are written together), and an eighth of the budget.
  let pages: LargePagePool

  init(keptPages: Int = 0) { pages = LargePagePool(limit: keptPages) }

  @inline(__always)
  var byteCount: Int { memtables.load(ordering: .relaxed) &+ logPages.load(ordering: .relaxed) }

  var memtableBytes: Int { memtables.load(ordering: .relaxed) }
  /// What of ``memtableBytes`` waits for its flush.
  var waitingBytes: Int { waiting.load(ordering: .relaxed) }
  var logBytes: Int { logPages.load(ordering: .relaxed) }

  func addMemtable(_ byteCount: Int) { memtables.wrappingAdd(byteCount, ordering: .relaxed) }

  func addWaiting(_ byteCount: Int) { waiting.wrappingAdd(byteCount, ordering: .relaxed) }

  func setLog(_ byteCount: Int) { logPages.store(byteCount, ordering: .relaxed) }
}
