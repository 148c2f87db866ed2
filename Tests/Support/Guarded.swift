import RoostEnvironment

/// A value behind a lock, for tests whose threads share it.
///
/// In place of `Synchronization.Mutex`, whose slow path stands in the standard library: the thread sanitizer
/// does not see it, and reports races that are none.
public final class Guarded<Value>: @unchecked Sendable {
  private let lock = Lock()
  // Guarded by `lock`.
  private var value: Value

  public init(_ value: Value) { self.value = value }

  public func withLock<R, E: Error>(_ body: (inout Value) throws(E) -> R) throws(E) -> R {
    lock.lock()
    defer { lock.unlock() }
    return try body(&value)
  }
}
