/// A walk over the keys of a tree, in order, both ways, as of one moment.
///
/// A new cursor stands nowhere: ``next()`` goes to the first key of its range, ``previous()`` to
/// the last. It keeps showing the moment at which it was made (or its snapshot's), across flushes
/// and compactions; what it reads is kept until it goes. Not thread-safe; may be sent to another
/// thread.
///
/// ```swift
/// var cursor = try users.cursor(prefix: "u:")
/// while try cursor.next() { print(cursor.keyText, cursor.valueBytes) }
/// ```
public struct Cursor: ~Copyable {
  private let core: CursorCore

  init(_ core: CursorCore) { self.core = core }

  /// Moves to the next key; from the start, to the first.
  ///
  /// - Returns: whether there is one. After the last key, `previous()` goes back to it.
  /// - Throws: `.corruption`, `.io`.
  /// - Complexity: amortised O(log of the runs), plus what deleted and hidden entries must be
  ///   passed over.
  public mutating func next() throws(StoreError) -> Bool { try core.next() }

  /// Moves to the key before; from the start, to the last.
  ///
  /// - Returns: whether there is one.
  /// - Throws: `.corruption`, `.io`.
  public mutating func previous() throws(StoreError) -> Bool { try core.previous() }

  /// Moves to the first key at or after `key` that lies in the cursor's range.
  ///
  /// - Returns: whether there is one.
  /// - Throws: `.corruption`, `.io`, `.closed`.
  /// - Complexity: O(log n) comparisons, at most one index and one data block read a sorted run.
  public mutating func seek(
    to key: borrowing some ByteKey & ~Copyable & ~Escapable
  ) throws(StoreError) -> Bool {
    try key.withKeyBytes { bytes throws(StoreError) in try core.seek(ByteView(bytes)) }
  }

  /// Moves to the last key before `key` that lies in the cursor's range.
  ///
  /// - Returns: whether there is one.
  /// - Throws: as ``seek(to:)``.
  public mutating func seek(
    before key: borrowing some ByteKey & ~Copyable & ~Escapable
  ) throws(StoreError) -> Bool {
    try key.withKeyBytes { bytes throws(StoreError) in try core.seekBefore(ByteView(bytes)) }
  }

  /// Moves to the first key of the range.
  public mutating func seekToFirst() throws(StoreError) -> Bool { try core.seekToFirst() }

  /// Moves to the last key of the range.
  public mutating func seekToLast() throws(StoreError) -> Bool { try core.seekToLast() }

  /// Whether the cursor stands on a key.
  public var isPositioned: Bool { core.isPositioned }

  /// The current key, without a copy; empty where the cursor stands on none. Valid until the next
  /// move.
  public var key: RawSpan {
    @_lifetime(borrow self)
    get { unsafe _overrideLifetime(core.key.span, borrowing: self) }
  }

  /// The current value, without a copy. Valid until the next move.
  public var value: RawSpan {
    @_lifetime(borrow self)
    get { unsafe _overrideLifetime(core.value.span, borrowing: self) }
  }

  /// A copy of the current key.
  public var keyBytes: [UInt8] { core.key.array }

  /// A copy of the current value.
  public var valueBytes: [UInt8] { core.value.array }

  /// The current key as text; bytes that are not UTF-8 show as U+FFFD.
  public var keyText: String { String(decoding: core.key.array, as: UTF8.self) }

  /// The current value as text; bytes that are not UTF-8 show as U+FFFD.
  public var valueText: String { String(decoding: core.value.array, as: UTF8.self) }
}
