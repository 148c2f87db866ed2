import Synchronization

/// Bytes that several may take together. Thread-safe.
package final class MemoryAllowance: Sendable {
  /// How many there are in all.
  package let byteCount: Int
  private let left: Atomic<Int>

  package init(_ byteCount: Int) {
    self.byteCount = byteCount
    left = Atomic(byteCount)
  }

  /// Takes so many bytes, if they are left.
  package func take(_ byteCount: Int) -> Bool {
    let now = left.wrappingSubtract(byteCount, ordering: .relaxed).newValue
    if now >= 0 { return true }
    giveBack(byteCount)
    return false
  }

  package func giveBack(_ byteCount: Int) { left.wrappingAdd(byteCount, ordering: .relaxed) }

  /// Bytes that nobody has taken; for a moment less than that, while someone asks for too many.
  package var remaining: Int { left.load(ordering: .relaxed) }
}
