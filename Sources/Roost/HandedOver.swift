import RoostEnvironment

/// Waits for what another thread hands over, once.
///
/// The value goes through a lock, which the thread sanitizer knows of: it does not see all that orders
/// a continuation's two sides.
func handedOver<Value: Sendable>(
  _ begin: (@escaping @Sendable (Value) -> Void) -> Void
) async -> Value {
  let slot = HandedOver<Value>()
  await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
    begin { value in
      slot.value = value
      continuation.resume()
    }
  }
  return slot.value!
}

/// Where a value waits for its receiver. Thread-safe.
private final class HandedOver<Value: Sendable>: @unchecked Sendable {
  private let lock = Lock()
  // Guarded by `lock`.
  private var held: Value?

  var value: Value? {
    get { lock.withLock { held } }
    set { lock.withLock { held = newValue } }
  }
}
