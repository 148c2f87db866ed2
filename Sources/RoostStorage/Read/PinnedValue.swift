/// A value together with what keeps its bytes in place.
@safe
@usableFromInline
struct PinnedValue {
  @usableFromInline let base: UnsafeRawPointer
  @usableFromInline let count: Int
  @usableFromInline let owner: AnyObject

  init(_ value: ByteView, owner: AnyObject) {
    unsafe base = value.base
    count = value.count
    self.owner = owner
  }

  /// Runs `body` with the bytes, which stay valid within it.
  @inlinable
  func withBytes<R>(_ body: (RawSpan) throws -> R) rethrows -> R {
    try withExtendedLifetime(owner) {
      try unsafe body(RawSpan(_unsafeStart: base, byteCount: count))
    }
  }
}
