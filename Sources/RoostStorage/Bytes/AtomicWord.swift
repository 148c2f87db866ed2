import Synchronization

/// An atomic word for flags and counters that are read without a lock. Loads acquire, stores
/// release.
final class AtomicWord: Sendable {
  private let word: Atomic<UInt64>

  init(_ value: UInt64) { word = Atomic(value) }

  @inline(__always) func load() -> UInt64 { word.load(ordering: .acquiring) }
  @inline(__always) func store(_ value: UInt64) { word.store(value, ordering: .releasing) }
  @inline(__always) func add(_ value: UInt64) { word.add(value, ordering: .relaxed) }

  /// Adds one and returns what was there before.
  @inline(__always) func take() -> UInt64 { word.add(1, ordering: .relaxed).oldValue }

  /// Makes the word at least `value`.
  func raise(to value: UInt64) {
    var seen = word.load(ordering: .relaxed)
    while seen < value {
      let (done, now) = word.compareExchange(
        expected: seen, desired: value, ordering: .acquiringAndReleasing)
      if done { return }
      seen = now
    }
  }
}
