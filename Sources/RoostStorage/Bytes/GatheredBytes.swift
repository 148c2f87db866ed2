/// Bytes gathered one after the other in one piece of memory, for those who keep many small runs at
/// once.
///
/// One thread gathers; once it has handed the object on, any may read.
@safe
package final class GatheredBytes: @unchecked Sendable {
  private var buffer: ByteBuffer

  package init(capacity: Int) { buffer = ByteBuffer(capacity: capacity) }

  package var count: Int { buffer.count }

  /// - Returns: where the bytes begin.
  @discardableResult
  package func append(_ bytes: RawSpan) -> Int {
    defer { buffer.append(ByteView(bytes)) }
    return buffer.count
  }

  /// Drops all but the first `count` bytes.
  package func truncate(to count: Int) { buffer.truncate(to: count) }

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
  package func array(_ start: Int, _ end: Int) -> [UInt8] { buffer.view.slice(start, end).array }

  /// Whether the bytes of a range are those of a span.
  package func equals(_ start: Int, _ end: Int, _ other: RawSpan) -> Bool {
    buffer.view.slice(start, end) == ByteView(other)
  }
}
