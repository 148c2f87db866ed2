extension Unmanaged {
  /// Runs `body` with the object and without a retain. The caller vouches that the object lives
  /// that long: something else holds it (an epoch, a pinned version).
  ///
  /// The standard library's `_withUnsafeGuaranteedRef` loses typed errors; this keeps them.
  @inlinable @inline(__always)
  package func borrow<R, E: Error>(_ body: (Instance) throws(E) -> R) throws(E) -> R {
    let result: Result<R, E> = unsafe _withUnsafeGuaranteedRef { object in
      do throws(E) { return .success(try body(object)) } catch { return .failure(error) }
    }
    return try result.get()
  }
}
