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

  /// Appends two runs.
  ///
  /// - Returns: where the first and the second begin, and where the second ends.
  @inline(__always)
  func append(_ a: ByteView, _ b: ByteView) -> (Int, Int, Int) {
    let start = unsafe buffer.count
    unsafe buffer.append(a)
    let middle = unsafe buffer.count
    unsafe buffer.append(b)
    return (start, middle, unsafe buffer.count)
  }

  /// Appends two runs that stand elsewhere.
  ///
  /// - Returns: where the first and the second begin, and where the second ends.
  package func append(_ a: RawSpan, _ b: RawSpan) -> (Int, Int, Int) {
    append(ByteView(a), ByteView(b))
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
