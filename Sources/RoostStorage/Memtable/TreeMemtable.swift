import Synchronization

/// One tree's memtable with what the log and the memory budget need to know of it.
final class TreeMemtable: @unchecked Sendable {
  let memtable: Memtable

  /// The number of the oldest log that holds a record of this memtable; `UInt64.max` while it is
  /// empty. Written by the commit leader before it applies the record.
  private let oldestLog = Atomic<UInt64>(.max)

  /// The filter that all of its keys are in, if there is one.
  let filter: KeyFilter?

  private let memory: MemoryCharge
  /// What of the memtable's memory is charged. The commit leader's; once the memtable is immutable,
  /// its flush's.
  private var charged: Int
  private var isWaiting = false

  /// - Parameter memory: the store's, which the memtable is charged to until it is released.
  init(
    _ memory: MemoryCharge, _ options: TreeOptions, expectedBytes: Int, filter: KeyFilter? = nil
  ) {
    self.filter = filter
    memtable = Memtable(
      prefixLength: options.memtablePrefixLength, expectedBytes: expectedBytes,
      pages: memory.pages)
    self.memory = memory
    charged = memtable.chargedBytes
    memory.addMemtable(charged)
  }

  deinit { release() }

  /// The generation of ``filter``; 0 without one.
  var coverage: UInt64 { filter?.generation ?? 0 }

  /// The oldest log that must be kept for this memtable.
  var pinnedLog: UInt64 { oldestLog.load(ordering: .acquiring) }

  @inline(__always)
  func noteLog(_ number: UInt64) {
    if oldestLog.load(ordering: .relaxed) == .max { oldestLog.store(number, ordering: .releasing) }
  }

  /// Charges what the memtable has grown to.
  @inline(__always)
  func charge(_ byteCount: Int) {
    if byteCount != charged { grow(byteCount) }
  }

  @inline(never)
  private func grow(_ byteCount: Int) {
    memory.addMemtable(byteCount - charged)
    charged = byteCount
  }

  /// From now on the memtable is immutable and waits for its flush.
  func noteWaiting() {
    isWaiting = true
    memory.addWaiting(charged)
  }

  /// Ends the charge: the memtable is in a table now, and its memory goes with its last reader.
  func release() {
    if isWaiting { memory.addWaiting(-charged) }
    isWaiting = false
    charge(0)
  }
}

extension TreeOptions {
  /// How many bytes of prefix a memtable tells apart: the partition's number, where keys begin with
  /// a short one.
  var memtablePrefixLength: Int { cutPrefixLength <= 2 ? cutPrefixLength : 0 }
}
