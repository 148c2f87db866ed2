import Synchronization

/// For each partition of a keyspace in one store: a change number at or above that of every change
/// there is. So whoever has read a partition's feed up to there need not ask the store.
///
/// Thread-safe.
@safe
final class LatestChanges: @unchecked Sendable {
  private let numbers: UnsafeMutablePointer<Atomic<UInt64>>
  private let count: Int

  /// - Parameter start: at or above the change numbers that are in the store already.
  init(partitionCount: Int, start: UInt64) {
    count = partitionCount
    unsafe numbers = .allocate(capacity: partitionCount)
    for index in 0..<partitionCount { unsafe (numbers + index).initialize(to: Atomic(start)) }
  }

  deinit {
    unsafe numbers.deinitialize(count: count)
    unsafe numbers.deallocate()
  }

  @inline(__always)
  subscript(_ partition: Int) -> UInt64 {
    precondition(partition >= 0 && partition < count)
    return unsafe numbers[partition].load(ordering: .acquiring)
  }

  /// Says that there is going to be a change of that number: before it is written.
  @inline(__always)
  func raise(_ partition: Int, to number: UInt64) {
    precondition(partition >= 0 && partition < count)
    var known = unsafe numbers[partition].load(ordering: .relaxed)
    while known < number {
      let (exchanged, original) = unsafe numbers[partition].weakCompareExchange(
        expected: known, desired: number, ordering: .acquiringAndReleasing)
      if exchanged { return }
      known = original
    }
  }
}
