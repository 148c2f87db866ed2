import Synchronization

/// Waits for what another thread hands over, once. Where it comes before `begin` returns, nobody waits.
///
/// The value goes through an atomic word, which the thread sanitizer knows of: it does not see all that
/// orders a continuation's two sides.
func handedOver<Value: Sendable>(
  _ begin: (@escaping @Sendable (Value) -> Void) -> Void
) async -> Value {
  let slot = HandedOver<Value>()
  begin { slot.fill($0) }
  if let value = slot.value { return value }
  await withCheckedContinuation { slot.wake($0) }
  return slot.value!
}

/// Where a value waits for its receiver, or the receiver for it. Thread-safe.
///
/// The one that comes second sees by the word what the first has left, and goes on.
private final class HandedOver<Value: Sendable>: @unchecked Sendable {
  private enum First {
    static var nobody: Int { 0 }
    static var value: Int { 1 }
    static var receiver: Int { 2 }
  }

  private let first = Atomic<Int>(First.nobody)
  // Written before `first` is, read once it is seen.
  private var held: Value?
  private var receiver: CheckedContinuation<Void, Never>?

  /// What was filled in before, or before the receiver was resumed.
  var value: Value? { first.load(ordering: .acquiring) == First.value ? held : nil }

  func fill(_ value: Value) {
    held = value
    if first.exchange(First.value, ordering: .acquiringAndReleasing) == First.receiver { receiver!.resume() }
  }

  /// Resumes `receiver` once the value is there.
  func wake(_ receiver: CheckedContinuation<Void, Never>) {
    self.receiver = receiver
    let (isFirst, _) = first.compareExchange(
      expected: First.nobody, desired: First.receiver, ordering: .acquiringAndReleasing)
    if !isFirst { receiver.resume() }
  }
}
