/// What can be a key: anything that shows its bytes. Keys order byte by byte, as unsigned numbers,
/// a prefix before what it begins.
public protocol ByteKey: ~Copyable, ~Escapable {
  /// Runs `body` with the key's bytes, which stay valid within it.
  func withKeyBytes<R: ~Copyable, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R
}

/// What can be a value: anything that shows its bytes.
public protocol ByteValue: ~Copyable, ~Escapable {
  /// Runs `body` with the value's bytes, which stay valid within it.
  func withValueBytes<R: ~Copyable, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R
}

extension String: ByteKey, ByteValue {
  @inlinable
  public func withKeyBytes<R: ~Copyable, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
    try unsafe body(utf8Span.span.bytes)
  }
  @inlinable
  public func withValueBytes<R: ~Copyable, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
    try unsafe body(utf8Span.span.bytes)
  }
}

extension Substring: ByteKey, ByteValue {
  @inlinable
  public func withKeyBytes<R: ~Copyable, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
    try unsafe body(utf8Span.span.bytes)
  }
  @inlinable
  public func withValueBytes<R: ~Copyable, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
    try unsafe body(utf8Span.span.bytes)
  }
}

extension Array: ByteKey, ByteValue where Element == UInt8 {
  @inlinable
  public func withKeyBytes<R: ~Copyable, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
    try unsafe body(span.bytes)
  }
  @inlinable
  public func withValueBytes<R: ~Copyable, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
    try unsafe body(span.bytes)
  }
}

extension ArraySlice: ByteKey, ByteValue where Element == UInt8 {
  @inlinable
  public func withKeyBytes<R: ~Copyable, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
    try unsafe body(span.bytes)
  }
  @inlinable
  public func withValueBytes<R: ~Copyable, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
    try unsafe body(span.bytes)
  }
}

extension RawSpan: ByteKey, ByteValue {
  @inlinable
  public func withKeyBytes<R: ~Copyable, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
    try body(self)
  }
  @inlinable
  public func withValueBytes<R: ~Copyable, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
    try body(self)
  }
}

extension Span: ByteKey, ByteValue where Element == UInt8 {
  @inlinable
  public func withKeyBytes<R: ~Copyable, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
    try unsafe body(bytes)
  }
  @inlinable
  public func withValueBytes<R: ~Copyable, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
    try unsafe body(bytes)
  }
}
