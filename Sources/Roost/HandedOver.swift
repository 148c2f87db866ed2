import RoostEnvironment

/// Waits for what another thread hands over, once. Where it comes before `begin` returns, nobody waits.
///
/// The value goes through a lock, which the thread sanitizer knows of: it does not see all that orders
/// a continuation's two sides.
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
private final class HandedOver<Value: Sendable>: @unchecked Sendable {
  private let lock = Lock()
  // Guarded by `lock`.
  private var held: Value?
  private var receiver: CheckedContinuation<Void, Never>?

  var value: Value? { lock.withLock { held } }

  func fill(_ value: Value) {
    let receiver = lock.withLock {
      held = value
      defer { self.receiver = nil }
      return self.receiver
    }
    receiver?.resume()
  }

  /// Resumes `receiver` once the value is there.
  func wake(_ receiver: CheckedContinuation<Void, Never>) {
    let isThere = lock.withLock {
      if held == nil { self.receiver = receiver }
      return held != nil
    }
    if isThere { receiver.resume() }
  }
}
