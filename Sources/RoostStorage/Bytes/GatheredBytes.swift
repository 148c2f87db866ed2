/// Where a key and a value stand in a ``GatheredBytes``: the value between `value` and `end`, the key
/// just before it.
package struct GatheredEntry: Sendable {
  package let key: Int
  package let value: Int
  package let end: Int
}

/// Bytes gathered one after the other in one piece of memory, for those who keep many small runs at
/// once.
///
/// One thread gathers; once it has handed the object on, any may read.
@safe
package final class GatheredBytes: @unchecked Sendable {
  // No call here makes another in between, so nothing need be checked at run time.
  @exclusivity(unchecked) private var buffer: ByteBuffer

  package init(capacity: Int) { unsafe buffer = ByteBuffer(capacity: capacity) }

  package var count: Int { unsafe buffer.count }

  /// Room for bytes, those that are there included, before memory grows.
  package var capacity: Int { unsafe buffer.capacity }

  /// Appends a key and a value.
  @inline(__always)
  func append(_ key: ByteView, _ value: ByteView) -> GatheredEntry {
    let start = unsafe buffer.count
    let middle = start &+ key.count
    let end = middle &+ value.count
    unsafe buffer.reserve(key.count &+ value.count)
    unsafe key.copyShort(to: buffer.base + start)
    unsafe value.copy(to: buffer.base + middle)
    unsafe buffer.setCount(end)
    return GatheredEntry(key: start, value: middle, end: end)
  }

  /// Appends a key and a value that stand elsewhere.
  package func append(_ key: RawSpan, _ value: RawSpan) -> GatheredEntry {
    append(ByteView(key), ByteView(value))
  }

  /// Drops all but the first `count` bytes.
  package func truncate(to count: Int) { unsafe buffer.truncate(to: count) }

  /// The bytes of a range. Valid until the next change.
  @inline(__always)
  func view(_ start: Int, _ end: Int) -> ByteView { unsafe buffer.view.slice(start, end) }

  /// The bytes of a range, as long as nothing is added.
  @_lifetime(borrow self)
  package func span(_ start: Int, _ end: Int) -> RawSpan {
    unsafe _overrideLifetime(buffer.view.slice(start, end).span, borrowing: self)
  }

  /// The same, for owners of this object that answer for its lifetime themselves.
  @unsafe
  @_lifetime(immortal)
  package func unguardedSpan(_ start: Int, _ end: Int) -> RawSpan {
    unsafe _overrideLifetime(buffer.view.slice(start, end).span, copying: ())
  }

  /// A copy of the bytes of a range.
  package func array(_ start: Int, _ end: Int) -> [UInt8] { unsafe buffer.view.slice(start, end).array }

  /// Whether the bytes of a range are those of a span.
  package func equals(_ start: Int, _ end: Int, _ other: RawSpan) -> Bool {
    unsafe buffer.view.slice(start, end) == ByteView(other)
  }
}
