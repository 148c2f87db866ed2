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

/// What a lookup found, kept in place by a stay in an epoch, which its user ends with
/// ``Tree/endVisit(_:)``. For short uses: nothing is retained for a value in a memtable.
@safe
@usableFromInline
struct VisitedValue {
  @usableFromInline let isFound: Bool
  @usableFromInline let base: UnsafeRawPointer
  @usableFromInline let count: Int
  private let block: Block?
  let token: EpochDomain.Token

  @inline(__always)
  init(_ lookup: borrowing PointLookup, _ token: EpochDomain.Token) {
    isFound = lookup.isFound
    unsafe base = lookup.value.base
    count = lookup.value.count
    block = lookup.block
    self.token = token
  }
}
