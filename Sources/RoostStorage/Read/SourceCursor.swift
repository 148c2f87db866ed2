/// A position in one sorted run of entries (a memtable, a table, a level): what merging works on.
///
/// Invariants:
/// - While `isValid`, `key`, `tag` and `value` describe the current entry, and their bytes stay
///   where they are until the next move. The cursor holds the owner of those bytes.
/// - Entries come in internal order: key ascending, then tag descending. No two are equal.
/// - After a throw the cursor is not valid; a seek may be tried again.
///
/// The position is kept in stored properties of the base class, so that merging compares without
/// dispatching; moves are the only virtual calls. Not thread-safe.
class SourceCursor {
  final var isValid = false
  final var key = ByteView.empty
  final var tag = Tag(word: 0)
  final var value = ByteView.empty

  init() {}

  /// To the first entry at or after (`key`, `tag`) in internal order.
  func seek(_ key: ByteView, _ tag: Tag) throws(StoreError) { preconditionFailure("abstract") }
  /// To the last entry whose user key is less than `key`.
  func seekBefore(_ key: ByteView) throws(StoreError) { preconditionFailure("abstract") }
  func seekToFirst() throws(StoreError) { preconditionFailure("abstract") }
  func seekToLast() throws(StoreError) { preconditionFailure("abstract") }
  /// To the next entry. Only while valid.
  func next() throws(StoreError) { preconditionFailure("abstract") }
  /// To the next entry of another user key. Only while valid, and only where ``findsNextKey`` is.
  func nextKey() throws(StoreError) { preconditionFailure("abstract") }
  /// Whether it has ``nextKey()``: a source that is one run alone sees at once whether a key repeats.
  var findsNextKey: Bool { false }
  /// Has blocks handed over that the cursor leaves, so that values of earlier entries can be looked at
  /// where they stand. (In a memtable they stay as long as the cursor.)
  func keepLeftBlocks(in left: LeftBlocks) {}
  /// To the entry before. Only while valid.
  func previous() throws(StoreError) { preconditionFailure("abstract") }
}
